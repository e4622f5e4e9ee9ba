"""Resize to a number of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray

from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.box import crop_centre, grid_of, need_match, pad_centre
from voxlake.processing.resample import interpolate
from voxlake.processing.separable import area_weights, mix, triangle_weights
from voxlake.processing.sizes import KEEP, Fill, Shape, resolve_shape
from voxlake.processing.values import mixable

__all__ = ["Resize"]


class Resize(Step):
    """Interpolate to a shape over the same field of view (`Grid.with_shape`); flat images too.

    Shrinking averages (anti-aliasing is built in); a constant stays exactly constant and, but for
    ``"cubic"``, no value leaves the range of the input. The unit stays. Values are float32 afterwards, except
    with ``filter = "nearest"``, which keeps values and type. NaN and infinities spread to the voxels that
    they are averaged into.

    Parameters
    ----------
    shape : two or three numbers of voxels
        Rows and columns, or slices, rows and columns; ``"keep"`` (None in Python) leaves an axis as it is.
    filter : str
        ``"linear"``: a triangle that widens when shrinking, linear interpolation when growing.
        ``"area"``: the mean of what a new voxel covers, which keeps the mean of the image.
        ``"cubic"``: the B-spline through the voxels, after a Gaussian where an axis shrinks (as `Resample`
        does it); it may leave the range of the input and refuses NaN and infinities.
        ``"nearest"``: a voxel of the input, without averaging.
    keep_aspect : bool
        Scale all axes that change by one factor in voxels, so that the image fits into `shape`, and fill up
        about the centre. The shape of a voxel in mm stays as it was.
    fill : number or "minimum"
        What to fill up with, in the unit of the volume.
    """

    name: ClassVar[str] = "resize"
    version: ClassVar[int] = 1

    shape: Shape
    filter: Literal["linear", "area", "cubic", "nearest"] = "linear"
    keep_aspect: bool = False
    fill: Fill = 0.0

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        shape = resolve_shape(self.shape, volume.grid.shape)
        inner = self._fitted(shape, volume.grid.shape) if self.keep_aspect else shape
        data, grid = self._values(volume, inner), volume.grid.with_shape(inner)
        data, grid = pad_centre(data, grid, shape, self.fill, given=volume.numpy(), step=self.name)
        return volume.with_data(data, step=self.tag, grid=grid)

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Cut away what was filled up and interpolate back to the shape before, with the same filter.

        What averaging took away does not come back.
        """
        grid = grid_of(before)
        shape = resolve_shape(self.shape, grid.shape)
        inner = self._fitted(shape, grid.shape) if self.keep_aspect else shape
        data, small = crop_centre(volume.numpy(), volume.grid, inner)
        need_match(small, grid.with_shape(inner), self.tag)
        values = self._values(replace(volume, data=data, grid=small), grid.shape)
        return volume.with_data(values, step=f"undo {self.tag}", grid=grid)

    def _fitted(self, shape: Sequence[int], sizes: Sequence[int]) -> tuple[int, int, int]:
        free = [wanted != KEEP for wanted in self.shape]
        factor = min(
            (new / old for new, old, moves in zip(shape, sizes, free, strict=True) if moves), default=1.0
        )
        slices, rows, columns = (
            min(new, max(1, round(old * factor))) if moves else old
            for new, old, moves in zip(shape, sizes, free, strict=True)
        )
        return slices, rows, columns

    def _values(self, volume: Volume, shape: Sequence[int]) -> NDArray[Any]:
        pairs = list(zip(volume.grid.shape, shape, strict=True))
        if self.filter in ("nearest", "cubic"):
            factors = [old / new for old, new in pairs]
            return interpolate(volume, shape, factors, self.filter, antialias=True, step=self.name)
        weights = triangle_weights if self.filter == "linear" else area_weights
        data = mixable(volume, self.name)
        return mix(data, [weights(old, new) if old != new else None for old, new in pairs])
