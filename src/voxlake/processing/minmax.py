"""Map the range of a volume to 0..1."""

from __future__ import annotations

from typing import ClassVar

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.values import Region, as_float32, finite_range, measure, to_unit_range

__all__ = ["MinMax"]


class MinMax(Step):
    """Map the smallest value to 0 and the largest to 1, linearly.

    A constant volume becomes zeros. The grid stays; values are float32 and the unit is "normalised"
    afterwards. NaN and infinities do not count in the range; NaN stays NaN, infinities become 0 or 1.

    Parameters
    ----------
    over : str, float or box
        Voxels whose range counts: ``"all"``, ``"nonzero"``, ``"above_mean"`` (of all voxels: a rough
        foreground), those above a number in the unit of the volume, or those in a box
        ``{start = [...], stop = [...]}`` in voxels. What lies outside that range is clipped.

    Raises
    ------
    ItemError
        ``step_failed``: no finite voxel, none above the number, or the box leaves the volume.
    """

    name: ClassVar[str] = "minmax"
    version: ClassVar[int] = 1

    over: Region = "all"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        if self.over == "all":
            low, high = finite_range(data, self.name)
        else:
            found = measure(data, self.over, self.name)
            low, high = found.low, found.high
        return volume.with_data(
            to_unit_range(data, float(low), float(high), self.name), step=self.tag, unit="normalised"
        )
