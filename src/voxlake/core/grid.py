"""Where voxels lie in space.

Arrays are indexed ``[slice, row, column]``. The world frame is DICOM's patient frame, LPS in mm
(x to the patient's left, y to posterior, z to superior; PS3.3 C.7.6.2.1.1). The affine maps the
homogeneous index ``(slice, row, column, 1)`` to ``(x, y, z, 1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import fsum
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import FlatGridError, GeometryError

__all__ = ["Grid"]

_LETTERS = ("RL", "AP", "IS")
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Shape of an array and its place in the world.

    Parameters
    ----------
    shape : tuple of int
        Number of (slices, rows, columns).
    matrix : tuple of tuple of float
        The 4 x 4 affine, index -> LPS mm, row by row. See `from_affine` and `from_vectors`.
    frame : str or None
        FrameOfReferenceUID (0020,0052). Grids of different frames share no coordinates.
    flat : bool
        A flat image without position or spacing: coordinates are pixels and millimetres are refused.

    Raises
    ------
    GeometryError
        If the shape is not positive or the affine is not finite, not invertible or not 4 x 4.
    """

    shape: tuple[int, int, int]
    matrix: tuple[tuple[float, ...], ...]
    frame: str | None = None
    flat: bool = False

    def __post_init__(self) -> None:
        shape, affine = _triple(self.shape), _matrix(self.matrix)
        if min(shape) < 1:
            raise GeometryError(
                f"a grid needs three positive sizes (slices, rows, columns), got {self.shape}"
            )
        # Plain numbers whatever came in, so that equal grids are equal, hash alike and become JSON.
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "matrix", _rows(affine))
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("the affine must be a finite 4 x 4 matrix, index -> LPS mm")
        if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
            raise GeometryError("the last row of the affine must be 0 0 0 1")
        norms = np.linalg.norm(affine[:3, :3], axis=0)
        # 1e-6 is the sine of the smallest angle between axes that is still taken for a volume.
        if (norms <= 0).any() or abs(np.linalg.det(affine[:3, :3] / norms)) < 1e-6:
            raise GeometryError("the affine cannot be inverted: two axes are parallel or one is null")

    @classmethod
    def from_affine(cls, shape: Sequence[int], affine: ArrayLike, *, frame: str | None = None) -> Self:
        """Make a grid from a 4 x 4 affine, (slice, row, column) index -> LPS mm."""
        return cls(_triple(shape), _rows(_matrix(affine)), frame)

    @classmethod
    def from_vectors(
        cls,
        shape: Sequence[int],
        *,
        origin: ArrayLike,
        slice_step: ArrayLike,
        row_step: ArrayLike,
        column_step: ArrayLike,
        frame: str | None = None,
    ) -> Self:
        """Make a grid from the centre of the first voxel and the step in mm along each array axis."""
        affine = np.eye(4)
        for column, vector in enumerate((slice_step, row_step, column_step, origin)):
            affine[:3, column] = np.asarray(vector, dtype=np.float64)
        return cls.from_affine(shape, affine, frame=frame)

    @classmethod
    def from_spacing(
        cls, shape: Sequence[int], spacing: Sequence[float], *, frame: str | None = None
    ) -> Self:
        """Make an axial grid at the world's origin: slices to superior, rows to posterior, columns to left.

        `spacing` is in mm, (slice, row, column).
        """
        depth, height, width = (float(value) for value in spacing)
        return cls.from_vectors(
            shape,
            origin=(0, 0, 0),
            slice_step=(0, 0, depth),
            row_step=(0, height, 0),
            column_step=(width, 0, 0),
            frame=frame,
        )

    @classmethod
    def flat_image(cls, shape: Sequence[int]) -> Self:
        """Make a flat grid: pixel units, no place in the world.

        `shape` is (rows, columns) or (1, rows, columns).
        """
        sizes = tuple(shape) if len(shape) == 3 else (1, *shape)
        axial = cls.from_spacing(sizes, (1, 1, 1))
        return cls(axial.shape, axial.matrix, None, True)

    @property
    def affine(self) -> Float:
        """4 x 4 float64, (slice, row, column, 1) -> (x, y, z, 1). A new array each time."""
        return np.array(self.matrix, dtype=np.float64)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbours along (slice, row, column); refused where the grid is flat."""
        self._need_millimetres("spacing")
        return self._steps()

    @property
    def origin(self) -> Float:
        """LPS mm of the centre of voxel (0, 0, 0)."""
        return self.affine[:3, 3]

    @property
    def direction(self) -> Float:
        """3 x 3, columns are the unit vectors (LPS) of the slice, row and column axis."""
        linear = self.affine[:3, :3]
        return np.asarray(linear / np.linalg.norm(linear, axis=0), dtype=np.float64)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel in cubic mm (the parallelepiped, also when the axes are sheared)."""
        self._need_millimetres("voxel_volume")
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orthogonal(self) -> bool:
        """Whether the axes stand at right angles (to 1e-4, the rounding of DICOM's decimal strings)."""
        gram = self.direction.T @ self.direction
        return bool(np.abs(gram - np.eye(3)).max() < 1e-4)

    @property
    def orientation(self) -> str:
        """Three letters: where the slice, row and column axis point, for example ``"SPL"`` for axial CT."""
        columns: list[list[float]] = self.direction.T.tolist()
        # A tie is decided by the vectors and not by their order: reorienting must not make another tie.
        ranked = sorted(range(3), key=lambda axis: _without_sign(columns[axis]))
        best = max(
            permutations(range(3)),
            key=lambda worlds: fsum(
                abs(columns[axis][world]) for axis, world in zip(ranked, worlds, strict=True)
            ),
        )
        letters = {
            axis: _LETTERS[world][int(columns[axis][world] > 0)]
            for axis, world in zip(ranked, best, strict=True)
        }
        return letters[0] + letters[1] + letters[2]

    def index_to_world(self, index: ArrayLike) -> Float:
        """Map indices (..., 3), fractional allowed, to LPS mm (..., 3)."""
        points = np.asarray(index, dtype=np.float64)
        affine = self.affine
        return points @ affine[:3, :3].T + affine[:3, 3]

    def world_to_index(self, world: ArrayLike) -> Float:
        """Map LPS mm (..., 3) to fractional indices (..., 3)."""
        points = np.asarray(world, dtype=np.float64)
        affine = self.affine
        shifted = (points - affine[:3, 3]).reshape(-1, 3)
        solved = np.linalg.solve(affine[:3, :3], shifted.T).T.reshape(points.shape)
        return np.asarray(solved, dtype=np.float64)

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> Grid:
        """The grid of ``array[start[0]:stop[0], start[1]:stop[1], start[2]:stop[2]]``.

        Raises
        ------
        GeometryError
            If the box is empty or leaves the grid; negative indices are not wrapped.
        """
        low, high = _triple(start), _triple(stop)
        inside = all(0 <= a < b <= n for a, b, n in zip(low, high, self.shape, strict=True))
        if not inside:
            raise GeometryError(f"crop from {low} to {high} is empty or leaves the shape {self.shape}")
        return self._moved(low, tuple(b - a for a, b in zip(low, high, strict=True)))

    def pad(self, before: Sequence[int], after: Sequence[int]) -> Grid:
        """The grid after adding voxels in front of and behind each axis."""
        front, back = _triple(before), _triple(after)
        if min(*front, *back) < 0:
            raise GeometryError(f"pad takes counts of at least 0, got {front} and {back}")
        sizes = tuple(n + a + b for n, a, b in zip(self.shape, front, back, strict=True))
        return self._moved(tuple(-n for n in front), sizes)

    def flip(self, axis: int) -> Grid:
        """The grid of ``np.flip(array, axis)``; negative axes count from the end."""
        if not -3 <= axis < 3:
            raise GeometryError(f"flip takes an axis from 0 to 2, got {axis}")
        # The affine has a fourth column, so -1 must not be left to its own indexing.
        axis %= 3
        affine = self.affine
        affine[:3, 3] += affine[:3, axis] * (self.shape[axis] - 1)
        affine[:3, axis] *= -1
        return self._with(self.shape, affine)

    def transpose(self, order: Sequence[int]) -> Grid:
        """The grid of ``np.transpose(array, order)``."""
        axes = _triple(order)
        if sorted(axes) != [0, 1, 2]:
            raise GeometryError(f"transpose takes an order of 0, 1 and 2, got {axes}")
        affine = self.affine
        affine[:, :3] = affine[:, list(axes)]
        sizes = tuple(self.shape[axis] for axis in axes)
        return self._with(sizes, affine)

    def reorientation(self, target: str) -> tuple[tuple[int, int, int], tuple[int, ...]]:
        """How to bring an array on this grid to another orientation without resampling.

        Parameters
        ----------
        target : str
            Three letters for the slice, row and column axis, one each of R/L, A/P and I/S.

        Returns
        -------
        order : tuple of int
            For ``np.transpose``.
        flips : tuple of int
            Axes to flip afterwards.

        Raises
        ------
        GeometryError
            If `target` is not an orientation.
        """
        wanted = target.upper()
        places = [next((i for i, pair in enumerate(_LETTERS) if c in pair), -1) for c in wanted]
        if len(wanted) != 3 or sorted(places) != [0, 1, 2]:
            raise GeometryError(
                f"orientation '{target}' is not one letter each of R/L, A/P and I/S (axial CT is 'SPL')"
            )
        have = self.orientation
        worlds = [next(i for i, pair in enumerate(_LETTERS) if c in pair) for c in have]
        order = tuple(worlds.index(place) for place in places)
        flips = tuple(axis for axis in range(3) if have[order[axis]] != wanted[axis])
        return _triple(order), flips

    def reoriented(self, target: str) -> Grid:
        """Permute and flip the axes to another orientation; the voxels stay in place."""
        order, flips = self.reorientation(target)
        grid = self.transpose(order)
        for axis in flips:
            grid = grid.flip(axis)
        return grid

    def resampled(self, spacing: Sequence[float]) -> Grid:
        """A grid over the same field of view with another spacing, (slice, row, column) in mm.

        The outer faces stay centred on those of this grid; the shape is rounded to whole
        voxels, at least one.
        """
        self._need_millimetres("resampling to a spacing")
        target = np.asarray(spacing, dtype=np.float64)
        if target.shape != (3,) or not (np.isfinite(target).all() and (target > 0).all()):
            raise GeometryError(f"spacing must be three positive numbers in mm, got {tuple(spacing)}")
        extent = np.asarray(self.shape) * np.asarray(self._steps())
        sizes = np.maximum(1, np.floor(extent / target + 0.5)).astype(int)
        return self._rescaled(sizes, target / np.asarray(self._steps()))

    def with_shape(self, shape: Sequence[int]) -> Grid:
        """A grid of another shape over exactly the same field of view; allowed on flat grids too."""
        sizes = np.asarray(_triple(shape))
        if (sizes < 1).any():
            raise GeometryError(f"a shape needs three positive sizes, got {tuple(shape)}")
        return self._rescaled(sizes, np.asarray(self.shape) / sizes)

    def matches(self, other: Grid, *, tolerance: float = 1e-3) -> bool:
        """Whether both grids have the same voxels.

        Same shape, flatness and frame, and corners within `tolerance` mm.
        """
        if self.shape != other.shape or self.flat != other.flat:
            return False
        if self.frame and other.frame and self.frame != other.frame:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        apart = np.abs(self.index_to_world(corners) - other.index_to_world(corners)).max()
        return bool(apart <= tolerance)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads back exactly."""
        return {
            "shape": list(self.shape),
            "affine": [list(row) for row in self.matrix],
            "frame": self.frame,
            "flat": self.flat,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(
            _triple(values["shape"]),
            _rows(_matrix(values["affine"])),
            values.get("frame"),
            bool(values.get("flat")),
        )

    def _steps(self) -> tuple[float, float, float]:
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    def _rescaled(self, sizes: NDArray[np.int_], factor: Float) -> Grid:
        affine = self.affine
        centre = self.index_to_world((np.asarray(self.shape) - 1) / 2)
        affine[:3, :3] = affine[:3, :3] * factor
        affine[:3, 3] = centre - affine[:3, :3] @ ((sizes - 1) / 2)
        return self._with(tuple(int(n) for n in sizes), affine)

    def _moved(self, start: tuple[int, ...], shape: tuple[int, ...]) -> Grid:
        affine = self.affine
        affine[:3, 3] = self.index_to_world(start)
        return self._with(shape, affine)

    def _with(self, shape: Sequence[int], affine: Float) -> Grid:
        return Grid(_triple(shape), _rows(affine), self.frame, self.flat)

    def _need_millimetres(self, what: str) -> None:
        if self.flat:
            raise FlatGridError(
                f"{what} needs millimetres, but this image is flat: it has no position or pixel spacing. "
                "Use pixel-based steps (resize to a shape) instead."
            )


def _triple(values: Sequence[int]) -> tuple[int, int, int]:
    numbers = np.asarray(values)
    whole = numbers.dtype.kind in "iu" or (
        numbers.dtype.kind == "f" and bool((numbers == np.trunc(numbers)).all() & np.isfinite(numbers).all())
    )
    if numbers.shape != (3,) or not whole:
        raise GeometryError(f"expected three whole numbers (slice, row, column), got {values}")
    return int(numbers[0]), int(numbers[1]), int(numbers[2])


def _without_sign(vector: list[float]) -> list[float]:
    leading = next(value for value in vector if value != 0)
    return [value if leading > 0 else -value for value in vector]


def _matrix(values: ArrayLike) -> Float:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise GeometryError("the affine must be a finite 4 x 4 matrix, index -> LPS mm") from None


def _rows(affine: Float) -> tuple[tuple[float, ...], ...]:
    # Anything but a table is left for the constructor to refuse.
    return tuple(map(tuple, np.atleast_2d(affine).tolist())) if affine.ndim <= 2 else ()
