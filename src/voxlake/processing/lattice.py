"""Smooth displacements from few numbers: a lattice of cubic B-splines over a grid.

A lattice spans the voxel faces at both ends of each axis. With n control points along an axis there are n - 3
cells; at u cells from the first face, control point k has the weight of the uniform cubic B-spline centred on
u = k - 1. One control point alone means: constant along that axis. (Rueckert et al., IEEE TMI 18(8), 1999;
the same layout as ITK's ``BSplineTransform`` with a mesh of n - 3 cells.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

__all__ = [
    "Displacements",
    "control_points",
    "derivative_weights",
    "displacements_between",
    "nested",
    "spline_weights",
]

Float = NDArray[np.float64]

_MOST_POINTS = 64


_Entry = Annotated[float, Field(ge=-1e6, le=1e6)]
_Points = tuple[tuple[tuple[tuple[_Entry, _Entry, _Entry], ...], ...], ...]


def _whole(value: _Points) -> _Points:
    if not value:
        return value
    rows, columns = len(value[0]), len(value[0][0]) if value[0] else 0
    even = all(len(plane) == rows and all(len(line) == columns for line in plane) for plane in value)
    sizes = (len(value), rows, columns)
    if not even or not all(size == 1 or 4 <= size <= _MOST_POINTS for size in sizes):
        raise ValueError(
            f"a lattice has 1 or from 4 to {_MOST_POINTS} control points along slice, row and column, "
            f"the same everywhere; got {list(sizes)}"
        )
    return value


Displacements = Annotated[_Points, AfterValidator(_whole)]
"""x, y, z in mm of every control point, nested by slice, row and column; empty where nothing moves."""


@lru_cache(maxsize=64)
def spline_weights(points: int, count: int) -> Float:
    """Weight of each control point at each of `count` voxel centres, (count, points); rows sum to 1."""
    if points == 1:
        return np.ones((count, 1))
    return _spline(np.abs(_apart(points, count)))


@lru_cache(maxsize=64)
def derivative_weights(points: int, count: int) -> Float:
    """Derivative of `spline_weights` by the voxel index, (count, points); rows sum to 0."""
    if points == 1:
        return np.zeros((count, 1))
    signed = _apart(points, count)
    apart = np.abs(signed)
    near = (-12 * apart + 9 * apart**2) / 6
    far = -(np.maximum(2 - apart, 0) ** 2) / 2
    slopes: Float = np.where(apart < 1, near, far) * np.sign(signed) * (points - 3) / count
    return slopes


def control_points(displacements: Sequence[Any]) -> Float | None:
    """Displacements as an array (slices, rows, columns, 3), or None where there are none."""
    return np.asarray(displacements, dtype=np.float64) if displacements else None


def nested(control: Float) -> Any:
    """An array of displacements as the tuples that `Displacements` takes."""
    if control.ndim == 1:
        return tuple(float(value) for value in control)
    return tuple(nested(part) for part in control)


def displacements_between(control: Float, shape: Sequence[int], index: Float) -> Float:
    """The displacement at any places, (..., 3), in the unit of `control`.

    Parameters
    ----------
    control : array
        (slices, rows, columns, 3) of control points.
    shape : sequence of int
        Of the grid that the lattice spans.
    index : array
        (..., 3), fractional indices; beyond the faces of the grid those of the faces are taken.
    """
    parts = [
        _at_places(points, size, index[..., axis])
        for axis, (points, size) in enumerate(zip(control.shape, shape, strict=False))
    ]
    out = np.zeros((*index.shape[:-1], 3))
    for near in product(*(range(weights.shape[-1]) for _, weights in parts)):
        weight = np.prod([weights[..., one] for one, (_, weights) in zip(near, parts, strict=True)], axis=0)
        places = tuple(first + one for one, (first, _) in zip(near, parts, strict=True))
        out += weight[..., np.newaxis] * control[places]
    return out


def _at_places(points: int, size: int, index: Float) -> tuple[NDArray[np.intp], Float]:
    if points == 1:
        return np.zeros(index.shape, dtype=np.intp), np.ones((*index.shape, 1))
    cells = np.clip((index + 0.5) / size, 0, 1) * (points - 3)
    first = np.minimum(np.floor(cells), points - 4)
    apart = np.abs((cells - first)[..., np.newaxis] - (np.arange(4) - 1))
    return first.astype(np.intp), _spline(apart)


def _spline(apart: Float) -> Float:
    near = (4 - 6 * apart**2 + 3 * apart**3) / 6
    far = np.maximum(2 - apart, 0) ** 3 / 6
    weights: Float = np.where(apart < 1, near, far)
    return weights


def _apart(points: int, count: int) -> Float:
    cells = (np.arange(count) + 0.5) / count * (points - 3)
    return np.asarray(cells[:, np.newaxis] - (np.arange(points) - 1), dtype=np.float64)
