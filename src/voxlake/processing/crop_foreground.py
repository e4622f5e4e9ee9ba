"""Cut away the empty border."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.box import cut, put_back
from voxlake.processing.sizes import Value

__all__ = ["CropForeground"]


class CropForeground(Step):
    """Keep the smallest box that holds every voxel above a threshold, and a margin around it.

    Kept voxels stay where they are in the world; values, type and unit stay. In an RGB image one
    channel above the threshold is enough. NaN is background. Flat images are cropped alike.

    Parameters
    ----------
    threshold : float
        In the unit of the volume; foreground lies above it (-500 finds a body in HU).
    margin : int
        Voxels kept around the box on each side, as far as the volume reaches.

    Raises
    ------
    ItemError
        ``step_failed``: no voxel lies above the threshold.
    """

    name: ClassVar[str] = "crop_foreground"
    version: ClassVar[int] = 1

    threshold: Value = 0.0
    margin: Annotated[int, Field(ge=0)] = 0

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = volume.numpy()
        found = data > np.float32(self.threshold)
        start, stop = [], []
        for axis, size in enumerate(volume.grid.shape):
            others = tuple(other for other in range(data.ndim) if other != axis)
            places = np.flatnonzero(found.any(axis=others))
            if places.size == 0:
                raise ItemError("step_failed", f"crop_foreground: no voxel lies above {self.threshold}")
            start.append(max(0, int(places[0]) - self.margin))
            stop.append(min(size, int(places[-1]) + 1 + self.margin))
        kept, grid = cut(data, volume.grid, start, stop)
        return volume.with_data(kept, step=self.tag, grid=grid)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Put the voxels back where they were; see `voxlake.core.step.Invertible`."""
        return put_back(volume, before, step=self.tag)
