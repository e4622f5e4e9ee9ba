"""Interpolation along one axis after the other, as sparse matrices.

A row of a matrix holds the weights of the few input voxels that make one output voxel. Compared with a dense
product or with `scipy.ndimage.zoom` this is faster, sums in a fixed order (equal results on every machine),
and a NaN reaches only the voxels that it has a weight in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["area_weights", "linear_weights", "mix", "positions", "take_nearest", "triangle_weights"]

Float = NDArray[np.float64]
Index = NDArray[np.intp]


def positions(size: int, count: int, step: float) -> Float:
    """Where `count` samples, `step` voxels apart and centred on an axis of `size` voxels, lie (in voxels)."""
    steps = np.arange(count, dtype=np.float64) - (count - 1) / 2
    return np.asarray(steps * step + (size - 1) / 2, dtype=np.float64)


@lru_cache(maxsize=128)
def linear_weights(size: int, count: int, step: float) -> csr_array[Any]:
    """Weights of linear interpolation at `positions`; beyond the outer centres the edge voxel is repeated."""
    at = np.clip(positions(size, count, step), 0, size - 1)
    first = np.minimum(np.floor(at), max(size - 2, 0)).astype(np.intp)
    share = at - first
    columns = np.stack([first, np.minimum(first + 1, size - 1)], axis=1)
    return _matrix(size, columns.ravel(), np.stack([1 - share, share], axis=1).ravel(), np.full(count, 2))


@lru_cache(maxsize=128)
def triangle_weights(size: int, count: int) -> csr_array[Any]:
    """Weights of `size` -> `count` voxels over the same extent: a triangle as wide as two output voxels.

    Growing, this is linear interpolation; shrinking, the triangle widens with the factor and so averages
    what a sample would skip (the usual anti-aliased linear resize of picture libraries).
    """
    factor = size / count
    reach = max(factor, 1.0)

    def weight(column: Float, row: Float) -> Float:
        apart = np.abs(column + 0.5 - (row + 0.5) * factor)
        return np.asarray(np.maximum(0.0, 1 - apart / reach))

    centres = (np.arange(count) + 0.5) * factor
    return _window(size, np.floor(centres - reach), np.ceil(centres + reach), weight)


@lru_cache(maxsize=128)
def area_weights(size: int, count: int) -> csr_array[Any]:
    """Weights of `size` -> `count` voxels over the same extent: the mean of what each output voxel covers."""
    factor = size / count

    def weight(column: Float, row: Float) -> Float:
        covered = np.minimum(column + 1, (row + 1) * factor) - np.maximum(column, row * factor)
        return np.asarray(np.maximum(0.0, covered))

    edges = np.arange(count + 1) * factor
    return _window(size, np.floor(edges[:-1]), np.ceil(edges[1:]), weight)


def mix(data: NDArray[np.float32], weights: Sequence[csr_array[Any] | None]) -> NDArray[np.float32]:
    """Apply one weight matrix per axis; None leaves an axis alone.

    Parameters
    ----------
    data : array of float32
        (slices, rows, columns) or (slices, rows, columns, channels).
    weights : sequence of three matrices or None
        For the slice, row and column axis, (output voxels, input voxels), rows summing to 1.

    Returns
    -------
    array of float32
        Within the range of the finite input values of each channel, so a constant stays exactly constant.
    """
    used = [(axis, matrix) for axis, matrix in enumerate(weights) if matrix is not None]
    if not used:
        return data
    out = data
    # The axis that shrinks most goes first: the others then have less to do.
    for axis, matrix in sorted(used, key=lambda pair: pair[1].shape[0] / pair[1].shape[1]):
        front = np.moveaxis(out, axis, 0)
        flat = matrix @ np.ascontiguousarray(front.reshape(front.shape[0], -1))
        out = np.moveaxis(flat.reshape(flat.shape[0], *front.shape[1:]), 0, axis)
    result = np.ascontiguousarray(out)
    return np.clip(result, _per_channel(np.fmin, data), _per_channel(np.fmax, data), out=result)


def take_nearest(data: NDArray[Any], at: Sequence[Float]) -> NDArray[Any]:
    """The voxel nearest to each position along each axis; values and type are kept."""
    out = data
    for axis, where in enumerate(at):
        index = np.clip(np.floor(where + 0.5), 0, data.shape[axis] - 1).astype(np.intp)
        if not np.array_equal(index, np.arange(data.shape[axis])):
            out = np.take(out, index, axis=axis)
    return out


def _per_channel(reduce_by: np.ufunc, data: NDArray[np.float32]) -> Any:
    if data.ndim == 3:
        return reduce_by.reduce(data, axis=None)
    # Lines first: reducing all but a last axis of 3 in one go takes 50 times as long.
    line = reduce_by.reduce(data.reshape(-1, data.shape[2] * 3), axis=0)
    return reduce_by.reduce(line.reshape(-1, 3), axis=0)


def _window(size: int, start: Float, stop: Float, weight: Callable[[Float, Float], Float]) -> csr_array[Any]:
    first = np.maximum(start, 0).astype(np.intp)
    counts: Index = np.minimum(stop, size).astype(np.intp) - first
    rows = np.repeat(np.arange(len(first)), counts)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    values = weight(columns.astype(np.float64), rows.astype(np.float64))
    values /= np.bincount(rows, weights=values)[rows]
    return _matrix(size, columns, values, counts)


def _matrix(size: int, columns: Index, values: Float, counts: Index) -> csr_array[Any]:
    # Start-up: reading a plan must not load SciPy.
    from scipy.sparse import csr_array

    ends = np.concatenate([[0], np.cumsum(counts)])
    matrix = csr_array((values.astype(np.float32), columns, ends), shape=(len(counts), size))
    matrix.sum_duplicates()
    # A stored weight of 0 would still multiply a NaN.
    matrix.eliminate_zeros()
    return matrix
