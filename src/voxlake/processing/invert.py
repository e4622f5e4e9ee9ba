"""Swap dark and bright."""

from __future__ import annotations

from typing import ClassVar

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.values import finite_range, single_precision

__all__ = ["Invert"]


class Invert(Step):
    """Reflect the values within their own range: minimum + maximum - value.

    Doing it twice gives the input back. Grid and type stay; the unit becomes "arbitrary", except that
    "normalised" stays. NaN and infinities do not count in the range; NaN stays NaN, infinities change sign.

    Raises
    ------
    ItemError
        ``step_failed``: no voxel is finite.
    """

    name: ClassVar[str] = "invert"
    version: ClassVar[int] = 1

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = volume.numpy()
        low, high = finite_range(data, self.name)
        if data.dtype.kind == "b":
            inverted = data if low == high else ~data
        else:
            with single_precision(self.name):
                # In this order integers may wrap around in between and still end on the right value.
                inverted = (high - data) + low
        unit = volume.unit if volume.unit == "normalised" else "arbitrary"
        return volume.with_data(inverted, step=self.tag, unit=unit)
