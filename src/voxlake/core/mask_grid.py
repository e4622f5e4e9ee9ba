"""Carry a mask back to the grid from which steps led away."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.grid import Grid
from voxlake.core.volume import Mask

__all__ = ["carry_back"]

Whole = NDArray[np.int64]

# Resampling rounds the shape, so the outermost voxels may lie up to a quarter of a voxel beyond the faces.
_BEYOND = 0.25
# Voxels below which a difference is rounding of the arithmetic.
_ROUNDING = 1e-6


def carry_back(mask: Mask, grid: Grid) -> Mask:
    """Bring a mask to a grid of the same world by nearest neighbour.

    Each voxel takes the value of the voxel of `mask` in which its centre lies (exactly between two, the one
    with the higher index), and 0 outside of the mask's grid. A mask that lies on `grid` is given back as it
    is. The lineage says ``nearest voxel`` otherwise.

    Parameters
    ----------
    mask : Mask
        On any grid, flat or not.
    grid : Grid
        Where it shall lie; LPS mm, or pixels if flat.
    """
    if mask.grid == grid:
        return mask
    values = mask.numpy()
    matrix = np.asarray(np.linalg.solve(mask.grid.affine, grid.affine), dtype=np.float64)
    result = _separable(values, matrix, grid.shape)
    if result is None:
        result = _oblique(values, matrix, grid.shape)
    return Mask(result, grid, mask.labels, mask.lineage.then("carried back: nearest voxel"))


def _nearest(places: NDArray[np.float64], size: int) -> tuple[Whole, NDArray[np.bool_]]:
    inside = (places >= -0.5 - _BEYOND - _ROUNDING) & (places <= size - 0.5 + _BEYOND + _ROUNDING)
    index = np.floor(places + 0.5 + _ROUNDING).astype(np.int64)
    return np.clip(index, 0, size - 1), inside


def _separable(
    values: NDArray[Any], matrix: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[Any] | None:
    """The quick way where the axes of both grids are parallel, in any order and direction."""
    moves = np.abs(matrix[:3, :3]) * np.asarray(shape)
    along = [int(axis) for axis in moves.argmax(axis=1)]
    if sorted(along) != [0, 1, 2]:
        return None
    moves[np.arange(3), along] = 0
    if moves.max() > _ROUNDING:
        return None
    taken = values
    for axis, other in enumerate(along):
        places = matrix[axis, other] * np.arange(shape[other]) + matrix[axis, 3]
        index, inside = _nearest(places, values.shape[axis])
        taken = np.take(taken, index, axis=axis)
        taken[(slice(None),) * axis + (~inside,)] = 0
    return np.ascontiguousarray(np.transpose(taken, [along.index(axis) for axis in range(3)]))


def _oblique(values: NDArray[Any], matrix: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[Any]:
    result = np.zeros(shape, dtype=values.dtype)
    rows, columns = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    for number in range(shape[0]):
        indices, inside = [], np.ones(rows.shape, dtype=bool)
        for axis in range(3):
            line = matrix[axis]
            places = line[0] * number + line[1] * rows + line[2] * columns + line[3]
            index, within = _nearest(places, values.shape[axis])
            indices.append(index)
            inside &= within
        result[number] = np.where(inside, values[tuple(indices)], 0)
    return result
