"""Cut or fill up about the centre, to a shape."""

from __future__ import annotations

from typing import ClassVar

from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.box import crop_centre, pad_centre, put_back
from voxlake.processing.sizes import Fill, Shape, resolve_shape

__all__ = ["CropOrPad"]


class CropOrPad(Step):
    """Bring every axis to a length: cut it where it is longer, fill it up where it is shorter.

    Kept voxels stay where they are in the world; values, type and unit stay, NaN too. Flat images are
    treated alike.

    Parameters
    ----------
    shape : two or three numbers of voxels
        Rows and columns, or slices, rows and columns; ``"keep"`` (None in Python) leaves an axis as it is.
    fill : number or "minimum"
        Value of new voxels, in the unit of the volume.

    Raises
    ------
    ItemError
        ``step_failed``: the type of the volume cannot hold the fill value.
    """

    name: ClassVar[str] = "crop_or_pad"
    version: ClassVar[int] = 1

    shape: Shape
    fill: Fill = 0.0

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        shape = resolve_shape(self.shape, volume.grid.shape)
        given = volume.numpy()
        data, grid = crop_centre(given, volume.grid, shape)
        data, grid = pad_centre(data, grid, shape, self.fill, given=given, step=self.name)
        return volume.with_data(data, step=self.tag, grid=grid)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Put the voxels back where they were; see `voxlake.core.step.Invertible`."""
        return put_back(volume, before, step=self.tag)
