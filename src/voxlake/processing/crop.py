"""Cut the centre out."""

from __future__ import annotations

from typing import ClassVar

from voxlake.core.errors import GeometryError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.box import crop_centre, put_back
from voxlake.processing.sizes import Shape, resolve_shape

__all__ = ["Crop"]


class Crop(Step):
    """Keep a box of the given shape about the centre.

    Kept voxels stay where they are in the world; values, type and unit stay, NaN too. Flat images are
    cropped alike.

    Parameters
    ----------
    shape : two or three numbers of voxels
        Rows and columns, or slices, rows and columns; ``"keep"`` (None in Python) leaves an axis as it is.

    Raises
    ------
    GeometryError
        The volume is smaller than the box.
    """

    name: ClassVar[str] = "crop"
    version: ClassVar[int] = 1

    shape: Shape

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        shape = resolve_shape(self.shape, volume.grid.shape)
        if any(want > have for want, have in zip(shape, volume.grid.shape, strict=True)):
            raise GeometryError(
                f"crop to {shape} does not fit into a volume of {volume.grid.shape}; crop_or_pad fills up"
            )
        data, grid = crop_centre(volume.numpy(), volume.grid, shape)
        return volume.with_data(data, step=self.tag, grid=grid)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Put the voxels back where they were; see `voxlake.core.step.Invertible`."""
        return put_back(volume, before, step=self.tag)
