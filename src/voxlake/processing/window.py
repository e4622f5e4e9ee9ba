"""Window: an interval of values becomes 0..1."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import model_validator

from voxlake.core.errors import ItemError
from voxlake.core.step import Step
from voxlake.core.volume import Unit, Volume
from voxlake.processing.sizes import Value
from voxlake.processing.values import as_float32, to_unit_range

__all__ = ["Window"]


class Window(Step):
    """Clip to an interval and map it linearly to 0..1.

    The grid stays; values are float32 and the unit is "normalised" afterwards. Infinities become 0 or 1,
    NaN stays NaN.

    Parameters
    ----------
    low, high : float
        Become 0 and 1; in the unit of the volume. A window of centre c and width w is c - w/2 to c + w/2.
    unit : str, optional
        The unit that the limits are meant in, for example ``"HU"``; volumes in another unit are refused.

    Raises
    ------
    ItemError
        ``step_failed``: the volume is in another unit.
    """

    name: ClassVar[str] = "window"
    version: ClassVar[int] = 1

    low: Value
    high: Value
    unit: Unit | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if np.float32(self.low) >= np.float32(self.high):
            raise ValueError(f"low must be below high (in float32), got {self.low} and {self.high}")
        return self

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        if self.unit is not None and volume.unit != self.unit:
            raise ItemError(
                "step_failed", f"window: the limits are in {self.unit}, but the volume is in {volume.unit}"
            )
        data = to_unit_range(as_float32(volume, self.name), self.low, self.high, self.name)
        return volume.with_data(data, step=self.tag, unit="normalised")
