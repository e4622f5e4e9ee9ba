"""Map the range of a volume to 0..1."""

from __future__ import annotations

from typing import ClassVar

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.values import as_float32, finite_range, to_unit_range

__all__ = ["MinMax"]


class MinMax(Step):
    """Map the smallest value to 0 and the largest to 1, linearly.

    A constant volume becomes zeros. The grid stays; values are float32 and the unit is "normalised"
    afterwards. NaN and infinities do not count in the range; NaN stays NaN, infinities become 0 or 1.

    Raises
    ------
    ItemError
        ``step_failed``: no voxel is finite.
    """

    name: ClassVar[str] = "minmax"
    version: ClassVar[int] = 1

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        low, high = finite_range(data, self.name)
        return volume.with_data(
            to_unit_range(data, float(low), float(high), self.name), step=self.tag, unit="normalised"
        )
