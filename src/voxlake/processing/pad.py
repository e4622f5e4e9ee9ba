"""Fill up about the centre."""

from __future__ import annotations

from typing import ClassVar

from voxlake.core.errors import GeometryError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.box import pad_centre, put_back
from voxlake.processing.sizes import Fill, Shape, resolve_shape

__all__ = ["Pad"]


class Pad(Step):
    """Add voxels on both sides of each axis up to a shape.

    The voxels of the input stay where they are in the world; values, type and unit stay, NaN too. Flat
    images are padded alike.

    Parameters
    ----------
    shape : two or three numbers of voxels
        Rows and columns, or slices, rows and columns; ``"keep"`` (None in Python) leaves an axis as it is.
    fill : number or "minimum"
        Value of the new voxels, in the unit of the volume.

    Raises
    ------
    GeometryError
        The volume is larger than the shape.
    ItemError
        ``step_failed``: the type of the volume cannot hold the fill value.
    """

    name: ClassVar[str] = "pad"
    version: ClassVar[int] = 1

    shape: Shape
    fill: Fill = 0.0

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        shape = resolve_shape(self.shape, volume.grid.shape)
        if any(want < have for want, have in zip(shape, volume.grid.shape, strict=True)):
            raise GeometryError(
                f"pad to {shape} is smaller than the volume of {volume.grid.shape}; crop_or_pad also cuts"
            )
        data = volume.numpy()
        data, grid = pad_centre(data, volume.grid, shape, self.fill, given=data, step=self.name)
        return volume.with_data(data, step=self.tag, grid=grid)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Put the voxels back where they were; see `voxlake.core.step.Invertible`."""
        return put_back(volume, before, step=self.tag)
