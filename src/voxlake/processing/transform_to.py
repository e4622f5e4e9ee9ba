"""Resample through a transform onto the grid of another image: what a registration found."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from voxlake.core.errors import FlatGridError, GeometryError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Mask, Volume
from voxlake.processing.lattice import (
    Displacements,
    control_points,
    derivative_weights,
    displacements_between,
    spline_weights,
)
from voxlake.processing.maps import IDENTITY, Matrix, Outside, moved_mask, outside_value, square
from voxlake.processing.pull import pull, pull_map
from voxlake.processing.values import as_float32

__all__ = ["TransformTo"]

Float = NDArray[np.float64]
_Size = Annotated[int, Field(ge=1, le=65535)]


def _regular(value: Matrix) -> Matrix:
    try:
        Grid.from_affine((1, 1, 1), square(value))
    except GeometryError as error:
        raise ValueError(str(error)) from None
    return value


class TransformTo(Step):
    """Resample a volume onto another grid through a transform.

    The value at p of the grid comes from `matrix` (p + d(p)) of the volume, where d is a cubic B-spline on a
    lattice that spans the grid (Rueckert et al., IEEE TMI 18(8), 1999); all in LPS mm. Linear interpolation,
    in float32, without smoothing (for a much coarser grid, ``resample`` first); the unit stays, and NaN and
    infinities spread to the voxels that they are mixed into. The transform holds for the image that it was
    found for and for others in its frame of reference.

    Parameters
    ----------
    shape : three numbers of voxels
        Of the grid: slices, rows, columns.
    affine : three rows of four numbers
        Of the grid: (slice, row, column) index -> LPS mm.
    matrix : three rows of four numbers
        LPS mm of the grid -> LPS mm of the volume.
    displacements : nested lists of numbers
        x, y, z in mm of each control point of the lattice, nested by slice, row and column; empty displaces
        nothing.
    frame : str
        FrameOfReferenceUID (0020,0052) of the grid; ``"none"`` if it has none, ``"keep"`` for that of the
        volume.
    outside : number, "minimum" or "edge"
        Value of what comes from outside the volume, in its unit; ``"minimum"`` is the smallest finite value
        of the volume, ``"edge"`` repeats the outermost voxels.

    Raises
    ------
    FlatGridError
        The image has no position.
    """

    name: ClassVar[str] = "transform_to"
    version: ClassVar[int] = 1

    shape: tuple[_Size, _Size, _Size]
    affine: Annotated[Matrix, AfterValidator(_regular)]
    matrix: Annotated[Matrix, AfterValidator(_regular)] = IDENTITY
    displacements: Displacements = ()
    frame: Annotated[str, Field(min_length=1, max_length=64)] | Literal["none", "keep"] = "keep"
    outside: Outside = "minimum"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        grid = self._grid(volume.grid)
        data = as_float32(volume, self.name)
        through = pull_map(grid, volume.grid, square(self.matrix), control_points(self.displacements))
        out = pull(data, through, outside=outside_value(self.outside, data, self.name))
        return volume.with_data(out, step=self.tag, grid=grid)

    def apply_mask(self, mask: Mask) -> Mask:
        """Resample a mask alike, by nearest neighbour; outside is background, or the edge."""
        grid = self._grid(mask.grid)
        through = pull_map(grid, mask.grid, square(self.matrix), control_points(self.displacements))
        outside = None if self.outside == "edge" else 0
        out = pull(mask.numpy(), through, order="nearest", outside=outside)
        return moved_mask(mask, out, self.tag, grid)

    def points(self, world: Float) -> Float:
        """Where points of the grid lie in the volume.

        Parameters
        ----------
        world : array
            LPS mm, (..., 3), on or beside the grid; beside it the displacement at its edge is taken.

        Returns
        -------
        array
            LPS mm, (..., 3).
        """
        matrix = square(self.matrix)
        moved = np.asarray(world, dtype=np.float64)
        control = control_points(self.displacements)
        if control is not None:
            index = Grid.from_affine(self.shape, square(self.affine)).world_to_index(moved)
            moved = moved + displacements_between(control, self.shape, index)
        return np.asarray(moved @ matrix[:3, :3].T + matrix[:3, 3])

    def jacobian(self, most: int = 48) -> Float:
        """Determinant of the derivative of the transform; below 1 the volume shrinks there, below 0 it folds.

        Parameters
        ----------
        most : int
            Places along each axis; a longer one is sampled.

        Returns
        -------
        array
            (slices, rows, columns), on evenly spaced places from face to face.
        """
        matrix = square(self.matrix)[:3, :3]
        control = control_points(self.displacements)
        if control is None:
            return np.full((1, 1, 1), np.linalg.det(matrix))
        counts = [min(most, size) for size in self.shape]
        shares = np.array([size / count for size, count in zip(self.shape, counts, strict=True)])
        by_index = np.stack([_derivative(control, counts, axis) for axis in range(3)], axis=-1)
        steps = square(self.affine)[:3, :3] * shares
        inner = np.eye(3) + by_index @ np.linalg.inv(steps)
        return np.asarray(np.linalg.det(inner) * np.linalg.det(matrix))

    def _grid(self, have: Grid) -> Grid:
        if have.flat:
            raise FlatGridError("transform_to needs millimetres, but this image is flat: it has no position")
        frame = {"keep": have.frame, "none": None}.get(self.frame, self.frame)
        return Grid.from_affine(self.shape, square(self.affine), frame=frame)


def _derivative(control: Float, counts: list[int], along: int) -> Float:
    out = control
    for axis, count in enumerate(counts):
        weights = derivative_weights if axis == along else spline_weights
        out = np.moveaxis(np.tensordot(weights(control.shape[axis], count), out, axes=(1, axis)), 0, axis)
    return out
