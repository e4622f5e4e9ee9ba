"""Gamma: a power of the values within a range."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from voxlake.core.errors import ItemError
from voxlake.core.step import Step
from voxlake.core.volume import Unit, Volume
from voxlake.processing.sizes import Value
from voxlake.processing.values import as_float32, finite_range, single_precision, to_unit_range

__all__ = ["Gamma"]


class Gamma(Step):
    """Raise the values to a power within a range whose ends stay where they are.

    low + (high - low) x ((value - low) / (high - low)) ** gamma: the power law of Gonzalez and Woods, Digital
    Image Processing, 3.2.3. Below 1 dark parts become brighter, above 1 darker. Values outside of the range
    are clipped. All channels of RGB share the range. The grid stays; values are float32. The unit stays
    "normalised" where it was that, else it is "arbitrary" afterwards. A constant volume stays as it is. NaN
    stays NaN, infinities become the ends of the range.

    Parameters
    ----------
    gamma : float
        The power, above 0.
    low, high : float, optional
        Ends of the range, in the unit of the volume; the smallest and largest finite value unless given.

    Raises
    ------
    ItemError
        ``step_failed``: no voxel is finite, or the range that results is empty.
    """

    name: ClassVar[str] = "gamma"
    version: ClassVar[int] = 1

    gamma: Annotated[float, Field(gt=0, le=100)]
    low: Value | None = None
    high: Value | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and np.float32(self.low) >= np.float32(self.high):
            raise ValueError(f"low must be below high (in float32), got {self.low} and {self.high}")
        return self

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        low, high = self._range(data)
        with single_precision(self.name):
            out = np.power(to_unit_range(data, low, high, self.name), np.float32(self.gamma))
            out *= np.float32(high) - np.float32(low)
            out += np.float32(low)
        # Rounding must not carry the upper end over the range.
        np.minimum(out, np.float32(high), out=out)
        unit: Unit = "normalised" if volume.unit == "normalised" else "arbitrary"
        return volume.with_data(out, step=self.tag, unit=unit)

    def _range(self, data: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> tuple[float, float]:
        smallest, largest = (float(value) for value in finite_range(data, self.name))
        low = smallest if self.low is None else self.low
        high = largest if self.high is None else self.high
        # A constant volume has an empty range of its own, which is no mistake of the settings.
        if low > high:
            raise ItemError(
                "step_failed", f"gamma: the range from {low:g} to {high:g} is empty; give both low and high"
            )
        return low, high
