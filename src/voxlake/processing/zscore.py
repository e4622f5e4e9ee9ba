"""Standardise: mean 0, standard deviation 1."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.values import Region, as_float32, measure, single_precision

__all__ = ["ZScore"]


class ZScore(Step):
    """Subtract the mean and divide by the standard deviation (of the population).

    Mean and deviation are those of the voxels that `over` selects; the map is applied to all voxels, so
    that background keeps its distance from tissue. A deviation of 0 gives zeros. The grid stays; values are
    float32 and the unit is "normalised" afterwards. NaN and infinities do not count in the statistics and
    stay.

    Parameters
    ----------
    over : str, float or box
        ``"all"``, ``"nonzero"``, ``"above_mean"`` (of all voxels: a rough foreground), a number (the voxels
        above it, in the unit of the volume), or a box ``{start = [...], stop = [...]}`` in voxels.

    Raises
    ------
    ItemError
        ``step_failed``: no finite voxel, none above the number, or the box leaves the volume.
    """

    name: ClassVar[str] = "zscore"
    version: ClassVar[int] = 1

    over: Region = "all"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        found = measure(data, self.over, self.name)
        with single_precision(self.name):
            out = data - np.float32(found.mean)
            if found.deviation > 0:
                out /= np.float32(found.deviation)
            else:
                out[np.isfinite(out)] = 0
        return volume.with_data(out, step=self.tag, unit="normalised")
