"""Interpolation along one axis after the other, as sparse matrices.

A row of a matrix holds the weights of the few input voxels that make one output voxel. Compared with a dense
product or with `scipy.ndimage.zoom` this is faster, sums in a fixed order (equal results on every machine),
and a NaN reaches only the voxels that it has a weight in. The work goes slab by slab: what one axis makes is
still in the cache of the processor when the next one needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxlake.processing.slabs import each_slab

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "Float",
    "area_weights",
    "linear_at",
    "linear_weights",
    "mix",
    "positions",
    "smoothed",
    "sparse_rows",
    "take_nearest",
    "triangle_weights",
]

Float = NDArray[np.float64]
Index = NDArray[np.intp]


def positions(size: int, count: int, step: float) -> Float:
    """Where `count` samples, `step` voxels apart and centred on an axis of `size` voxels, lie (in voxels)."""
    steps = np.arange(count, dtype=np.float64) - (count - 1) / 2
    return np.asarray(steps * step + (size - 1) / 2, dtype=np.float64)


@lru_cache(maxsize=128)
def linear_weights(size: int, count: int, step: float, width: float = 0.0) -> csr_array[Any]:
    """`linear_at` for the samples at `positions`."""
    return linear_at(positions(size, count, step), size, width)


def linear_at(at: Float, size: int, width: float = 0.0) -> csr_array[Any]:
    """Weights of linear interpolation at places (in voxels); beyond the outer centres the edge is repeated.

    With a `width`, the weights are those of smoothing with a Gaussian of that standard deviation (in voxels)
    first and interpolating then.
    """
    inside = np.clip(at, 0, size - 1)
    first = np.minimum(np.floor(inside), max(size - 2, 0)).astype(np.intp)
    share = inside - first
    columns = np.stack([first, np.minimum(first + 1, size - 1)], axis=1)
    values = np.stack([1 - share, share], axis=1)
    return _matrix(smoothed(sparse_rows(columns, values, size), width))


def sparse_rows(columns: Index, values: Float, size: int) -> csr_array[Any]:
    """A matrix of float64 with the same number of weights in each row; weights of one place are summed."""
    # Start-up: reading a plan must not load SciPy.
    from scipy.sparse import csr_array

    count, taps = columns.shape
    ends = np.arange(count + 1) * taps
    matrix = csr_array((values.ravel(), columns.ravel(), ends), shape=(count, size))
    matrix.sum_duplicates()
    return matrix


def smoothed(matrix: csr_array[Any], width: float) -> csr_array[Any]:
    """Let a Gaussian of `width` voxels act before a matrix; it reaches 4 widths, edges are mirrored.

    Mirrored edges (d c b a | a b c d) keep the mean; repeated ones would weigh the border more than the
    inside.
    """
    if width <= 0:
        return matrix
    size = matrix.shape[1]
    reach = int(4 * width + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * np.square(offsets / width))
    kernel /= kernel.sum()
    # Only the places that have a weight: a long axis may shrink to a few voxels.
    used = np.unique(matrix.indices)
    at = (used[:, np.newaxis] + offsets) % (2 * size)
    at = np.where(at < size, at, 2 * size - 1 - at)
    weights = np.broadcast_to(kernel, at.shape)
    wide: csr_array[Any] = matrix[:, used] @ sparse_rows(at, weights, size)
    return wide


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


def mix(data: NDArray[Any], weights: Sequence[csr_array[Any] | None]) -> NDArray[np.float32]:
    """Apply one weight matrix per axis; None leaves an axis alone.

    Parameters
    ----------
    data : array
        (slices, rows, columns) or (slices, rows, columns, channels), of integers or float32.
    weights : sequence of three matrices or None
        For the slice, row and column axis, (output voxels, input voxels), rows summing to 1.

    Returns
    -------
    array of float32
        Within the range of the finite input values of each channel, so a constant stays exactly constant.
    """
    used = [(axis, matrix) for axis, matrix in enumerate(weights) if matrix is not None]
    if not used:
        return np.asarray(data, dtype=np.float32)
    low, high = (np.asarray(_per_channel(reduce_by, data), np.float32) for reduce_by in (np.fmin, np.fmax))
    # The axis that shrinks most goes first: the others then have less to do.
    used.sort(key=lambda pair: pair[1].shape[0] / pair[1].shape[1])
    out = data
    groups = list(_passes(used))
    for number, group in enumerate(groups, 1):
        # Rounding may leave the range by a hair; held once, at the end, it is the same in any order of work.
        out = _one_pass(out, group, (low, high) if number == len(groups) else None)
    return np.asarray(out)


def take_nearest(data: NDArray[Any], at: Sequence[Float]) -> NDArray[Any]:
    """The voxel nearest to each position along each axis; values and type are kept."""
    out = data
    for axis, where in enumerate(at):
        index = np.clip(np.floor(where + 0.5), 0, data.shape[axis] - 1).astype(np.intp)
        if not np.array_equal(index, np.arange(data.shape[axis])):
            out = np.take(out, index, axis=axis)
    return out


def _passes(used: list[tuple[int, csr_array[Any]]]) -> Iterator[list[tuple[int, csr_array[Any]]]]:
    """Split the axes so that none but the first of a pass is the slice axis: the others go slice by slice."""
    group: list[tuple[int, csr_array[Any]]] = []
    for axis, matrix in used:
        if axis == 0 and group:
            yield group
            group = []
        group.append((axis, matrix))
    yield group


def _one_pass(
    data: NDArray[Any], group: list[tuple[int, csr_array[Any]]], limits: tuple[Any, Any] | None
) -> NDArray[np.float32]:
    across = group[0][1] if group[0][0] == 0 else None
    within = group if across is None else group[1:]
    sizes = list(data.shape)
    for axis, matrix in group:
        sizes[axis] = matrix.shape[0]
    out = np.empty(sizes, dtype=np.float32)

    def fill(low: int, high: int) -> None:
        slab = data[low:high] if across is None else _across(across, data, low, high)
        for number, plane in enumerate(slab, low):
            done = np.asarray(plane, dtype=np.float32)
            for axis, matrix in within:
                done = _within(matrix, done, axis - 1)
            if limits is None:
                out[number] = done
            else:
                np.clip(done, *limits, out=out[number])

    each_slab(fill, sizes[0], max(data.size, out.size) * 4)
    return out


def _across(matrix: csr_array[Any], data: NDArray[Any], low: int, high: int) -> NDArray[np.float32]:
    """Slices `low` to `high` of what a matrix makes along the slice axis."""
    part = matrix[low:high]
    start, stop = part.indices.min(), part.indices.max() + 1
    near = np.asarray(data[start:stop], dtype=np.float32)
    made = part[:, start:stop] @ near.reshape(len(near), -1)
    return np.asarray(made.reshape(-1, *data.shape[1:]))


def _within(matrix: csr_array[Any], plane: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    front = np.moveaxis(plane, axis, 0)
    made = matrix @ np.ascontiguousarray(front.reshape(front.shape[0], -1))
    return np.moveaxis(made.reshape(-1, *front.shape[1:]), 0, axis)


def _per_channel(reduce_by: np.ufunc, data: NDArray[Any]) -> Any:
    if data.ndim == 3:
        return reduce_by.reduce(data, axis=None)
    # Lines first: reducing all but a last axis of 3 in one go takes 50 times as long.
    line = reduce_by.reduce(data.reshape(-1, data.shape[2] * 3), axis=0)
    return reduce_by.reduce(line.reshape(-1, 3), axis=0)


def _window(size: int, start: Float, stop: Float, weight: Callable[[Float, Float], Float]) -> csr_array[Any]:
    # Start-up: reading a plan must not load SciPy.
    from scipy.sparse import csr_array

    first = np.maximum(start, 0).astype(np.intp)
    counts: Index = np.minimum(stop, size).astype(np.intp) - first
    rows = np.repeat(np.arange(len(first)), counts)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    values = weight(columns.astype(np.float64), rows.astype(np.float64))
    values /= np.bincount(rows, weights=values)[rows]
    ends = np.concatenate([[0], np.cumsum(counts)])
    return _matrix(csr_array((values, columns, ends), shape=(len(counts), size)))


def _matrix(matrix: csr_array[Any]) -> csr_array[Any]:
    single = matrix.astype(np.float32)
    single.sum_duplicates()
    # A stored weight of 0 would still multiply a NaN.
    single.eliminate_zeros()
    return single
