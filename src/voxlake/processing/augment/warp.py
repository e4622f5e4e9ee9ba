"""Move what a volume shows: affine, elastic, or both with one interpolation."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Mask, Volume
from voxlake.processing.augment.base import RandomStep, Range, uniform
from voxlake.processing.lattice import Displacements, control_points, nested
from voxlake.processing.maps import IDENTITY, Matrix, Outside, matrix_rows, moved_mask, outside_value, square
from voxlake.processing.pull import PullMap, pull, pull_map
from voxlake.processing.values import as_float32

__all__ = ["RandomAffine", "RandomElastic", "Warp"]

Float = NDArray[np.float64]


class Warp(Step):
    """Move the content of a volume; the grid stays.

    The value at p comes from c + A (p + d(p) - c) + t, where c is the centre of the grid, A and t are
    `matrix` and d is a cubic B-spline on a lattice that spans the grid (free-form deformation: Rueckert et
    al., IEEE TMI 18(8), 1999). Linear interpolation, in float32; the unit stays, and NaN and infinities
    spread to the voxels that they are mixed into. On flat images a millimetre is a pixel.

    Parameters
    ----------
    matrix : three rows of four numbers
        A and, in the last column, t: LPS mm, from where a voxel is to where its value comes from.
    displacements : nested lists of numbers
        x, y, z in mm of each control point of the lattice, nested by slice, row and column; 1 or at least 4
        points along each; empty displaces nothing.
    outside : number, "minimum" or "edge"
        Value of what comes from outside the volume, in its unit; ``"minimum"`` is the smallest finite value
        of the volume, ``"edge"`` repeats the outermost voxels.
    """

    name: ClassVar[str] = "warp"
    version: ClassVar[int] = 1

    matrix: Matrix = IDENTITY
    displacements: Displacements = ()
    outside: Outside = "minimum"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        out = pull(data, self._map(volume.grid), outside=outside_value(self.outside, data, self.name))
        return volume.with_data(out, step=self.tag)

    def apply_mask(self, mask: Mask) -> Mask:
        """Move a mask alike, by nearest neighbour; outside is background, or the edge."""
        outside = None if self.outside == "edge" else 0
        out = pull(mask.numpy(), self._map(mask.grid), order="nearest", outside=outside)
        return moved_mask(mask, out, self.tag)

    def after(self, first: Step) -> Step | None:
        """One step for `first` and then this one, if there is one that interpolates once; else None."""
        if not isinstance(first, Warp) or first.displacements or first.outside != self.outside:
            return None
        both = square(first.matrix) @ square(self.matrix)
        return self.model_copy(update={"matrix": matrix_rows(both)})

    def _map(self, grid: Grid) -> PullMap:
        centre = grid.index_to_world((np.asarray(grid.shape) - 1) / 2)
        about = np.eye(4)
        about[:3, 3] = centre
        back = np.eye(4)
        back[:3, 3] = -centre
        return pull_map(grid, grid, about @ square(self.matrix) @ back, control_points(self.displacements))


class RandomAffine(RandomStep):
    """Draw a rotation, a scaling and a shift about the centre of the grid: a `Warp`.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    degrees : range
        Angle about each axis of the grid, drawn three times; on a single slice about the normal only.
    log2_scale : range
        Power of two by which the content grows, drawn for each axis of the grid.
    isotropic : bool
        One scale for all axes.
    shift : range
        Millimetres (pixels on flat images) along each axis of the grid by which the content moves.
    outside : number, "minimum" or "edge"
        See `Warp`.
    """

    name: ClassVar[str] = "affine"
    version: ClassVar[int] = 1

    degrees: Range = (-10.0, 10.0)
    log2_scale: Range = (-0.15, 0.15)
    isotropic: bool = False
    shift: Range = (-5.0, 5.0)
    outside: Outside = "minimum"

    def draw(self, rng: np.random.Generator, grid: Grid) -> Warp:
        """Draw a step for volumes on `grid`."""
        angles = np.radians([uniform(rng, self.degrees) for _ in range(3)])
        scales = np.exp2([uniform(rng, self.log2_scale) for _ in range(3)])
        shift = np.array([uniform(rng, self.shift) for _ in range(3)])
        if self.isotropic:
            scales[:] = scales[0]
        if grid.shape[0] == 1:
            # Content must not leave the only slice.
            angles[1:], scales[0], shift[0] = 0.0, 1.0, 0.0
        moves = np.eye(4)
        moves[:3, :3] = _rotation(angles) @ np.diag(scales)
        moves[:3, 3] = shift
        axes = _directions(grid)
        pulls = np.linalg.inv(axes @ moves @ np.linalg.inv(axes))
        return Warp(matrix=matrix_rows(pulls), outside=self.outside)


class RandomElastic(RandomStep):
    """Draw the displacement of every control point of a lattice: a `Warp`.

    Displacements are uniform up to `largest` along each axis of the grid and 0 at the outer control points.
    Below (extent of a cell) / 2.5 nothing folds (Choi and Lee, Injectivity conditions of 2D and 3D uniform
    cubic B-spline functions, 2000, give 1 / 2.48).

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    points : number
        Control points along each axis, from 4.
    largest : number
        Millimetres (pixels on flat images), along each axis.
    locked : number
        Control points at each end of an axis that stay where they are; 2 keeps the outer faces nearly still.
    outside : number, "minimum" or "edge"
        See `Warp`.
    """

    name: ClassVar[str] = "elastic"
    version: ClassVar[int] = 1

    points: Annotated[int, Field(ge=4, le=64)] = 7
    largest: Annotated[float, Field(ge=0, le=1e3)] = 7.5
    locked: Annotated[int, Field(ge=0, le=31)] = 2
    outside: Outside = "minimum"

    @model_validator(mode="after")
    def _some_free(self) -> RandomElastic:
        if 2 * self.locked >= self.points:
            raise ValueError(f"{self.locked} locked at both ends leave none of {self.points} points free")
        return self

    def draw(self, rng: np.random.Generator, grid: Grid) -> Warp:
        """Draw a step for volumes on `grid`."""
        lattice = tuple(1 if size == 1 else self.points for size in grid.shape)
        moves = rng.uniform(-self.largest, self.largest, (*lattice, 3))
        for axis, size in enumerate(grid.shape):
            if size == 1:
                # Content must not leave the only slice.
                moves[..., axis] = 0
            elif self.locked:
                edges = np.moveaxis(moves, axis, 0)
                edges[: self.locked] = 0
                edges[-self.locked :] = 0
        world = moves @ _directions(grid)[:3, :3].T
        return Warp(displacements=nested(world), outside=self.outside)


def _directions(grid: Grid) -> Float:
    axes = np.eye(4)
    axes[:3, :3] = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    return axes


def _rotation(angles: Float) -> Float:
    out = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[one, other], [one, other]] = math.cos(angle)
        turn[one, other], turn[other, one] = -math.sin(angle), math.sin(angle)
        out = out @ turn
    return out
