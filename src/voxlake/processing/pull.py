"""Pull the values of an array through a map of coordinates: every output voxel asks where it comes from.

The map is affine, plus a lattice of cubic B-splines, all in voxels; it is worked out block by block, so that
coordinates never fill the memory and a block stays in the cache. Blocks are the same whatever the number of
threads, and so are the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.grid import Grid
from voxlake.engine.threads import allowed_threads
from voxlake.processing.lattice import spline_weights

__all__ = ["PullMap", "pull", "pull_map"]

Float = NDArray[np.float64]
Single = NDArray[np.float32]
Block = tuple[slice, slice]
Order = Literal["linear", "nearest"]

# Points of a block: ten arrays of so many float32 lie in a second-level cache.
_BLOCK = 32768
# Beyond two, the memory is what is waited for.
_THREADS = 2


@dataclass(frozen=True, eq=False)
class PullMap:
    """Where each voxel of a grid comes from, in voxels of another.

    Parameters
    ----------
    shape : tuple of int
        Of the output.
    matrix : array
        4 x 4, index of the output -> index of the input.
    control : array or None
        Displacements of a lattice over the output, (3, slices, rows, columns) of control points, in voxels
        of the input, added to what the matrix says.
    """

    shape: tuple[int, int, int]
    matrix: Float
    control: Float | None = None

    def coordinates(self, block: Block) -> Single:
        """Coordinates in the input, (3, slices, rows, columns) of a block of slices and rows."""
        slices, rows = (np.arange(part.start, part.stop) for part in block)
        linear, offset = self.matrix[:3, :3], self.matrix[:3, 3]
        lines = linear[:, 0, None, None] * slices[:, None] + linear[:, 1, None, None] * rows
        lines += offset[:, None, None]
        columns = linear[:, 2, None] * np.arange(self.shape[2])
        along = columns.astype(np.float32)[:, None, None, :]
        at: Single = lines.astype(np.float32)[..., None] + along
        if self.control is not None:
            at += self._displacements(block)
        return at

    def _displacements(self, block: Block) -> Single:
        control = self.control if self.control is not None else np.zeros((3, 1, 1, 1))
        weights = [spline_weights(n, size) for n, size in zip(control.shape[1:], self.shape, strict=True)]
        planes = np.tensordot(control, weights[0][block[0]], axes=(1, 1))
        lines = np.einsum("crsk,yr->ckys", planes, weights[1][block[1]], optimize=True)
        found: Single = np.matmul(lines.astype(np.float32), weights[2].T.astype(np.float32))
        return found


def pull_map(output: Grid, source: Grid, matrix: Float, control: Float | None) -> PullMap:
    """The map from the voxels of one grid to those of another.

    Parameters
    ----------
    output, source : Grid
        Where voxels are wanted, and where they are.
    matrix : array
        4 x 4, LPS mm of the output -> LPS mm of the source.
    control : array or None
        Displacements in mm, (slices, rows, columns, 3) of control points over `output`, added before
        the matrix: source = matrix (p + displacement(p)).
    """
    into = np.linalg.inv(source.affine) @ matrix
    voxels = None if control is None else np.einsum("ij,zyxj->izyx", into[:3, :3], control)
    return PullMap(output.shape, into @ output.affine, voxels)


def pull(
    data: NDArray[Any], through: PullMap, *, order: Order = "linear", outside: float | None = 0.0
) -> NDArray[Any]:
    """Values at the coordinates of a map.

    Parameters
    ----------
    data : array
        (slices, rows, columns) or with channels behind; float32 for linear interpolation.
    through : PullMap
        Where each output voxel comes from.
    order : str
        ``"linear"`` or ``"nearest"`` (keeps the type; halves go up).
    outside : float or None
        Value of what comes from beyond the outer faces of the voxels; None repeats the edge. Between the
        outer centres and faces the edge is repeated always, as ITK does.
    """
    if data.ndim == 4:
        channels = [pull(each, through, order=order, outside=outside) for each in np.moveaxis(data, 3, 0)]
        return np.stack(channels, axis=-1)
    out = np.empty(through.shape, dtype=data.dtype)
    work = partial(_fill_block, np.ascontiguousarray(data), through, out, order, outside)
    blocks = list(_blocks(through.shape))
    threads = min(_THREADS, len(blocks), allowed_threads())
    if threads == 1:
        for block in blocks:
            work(block)
        return out
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, blocks))
    return out


def _blocks(shape: Sequence[int]) -> Iterator[Block]:
    rows = max(1, min(shape[1], _BLOCK // shape[2]))
    slices = max(1, _BLOCK // (shape[1] * shape[2]))
    for first in range(0, shape[0], slices):
        for line in range(0, shape[1], rows):
            yield slice(first, min(first + slices, shape[0])), slice(line, min(line + rows, shape[1]))


def _fill_block(
    data: NDArray[Any], through: PullMap, out: NDArray[Any], order: Order, outside: float | None, block: Block
) -> None:
    at = through.coordinates(block)
    beyond = None if outside is None else _beyond(at, data.shape)
    for axis, size in enumerate(data.shape):
        np.clip(at[axis], 0, size - 1, out=at[axis])
    found = _linear(data, at) if order == "linear" else _nearest(data, at)
    if beyond is not None:
        found[beyond] = outside
    out[block] = found


def _beyond(at: Single, shape: Sequence[int]) -> NDArray[np.bool_] | None:
    found: NDArray[np.bool_] | None = None
    for axis, size in enumerate(shape):
        # Most blocks lie wholly inside; two minima are cheaper than two comparisons and a mask.
        if at[axis].min() < -0.5 or at[axis].max() >= size - 0.5:
            gone = (at[axis] < -0.5) | (at[axis] >= size - 0.5)
            found = gone if found is None else found | gone
    return found


def _nearest(data: NDArray[Any], at: Single) -> NDArray[Any]:
    at += np.float32(0.5)
    index = at.astype(np.intp)
    for axis, size in enumerate(data.shape):
        np.minimum(index[axis], size - 1, out=index[axis])
    found: NDArray[Any] = data[index[0], index[1], index[2]]
    return found


def _linear(data: NDArray[Any], at: Single) -> NDArray[Any]:
    flat = data.reshape(-1)
    first = np.floor(at)
    for axis, size in enumerate(data.shape):
        np.minimum(first[axis], max(size - 2, 0), out=first[axis])
    at -= first
    steps = (data.shape[1] * data.shape[2], data.shape[2], 1)
    index = first[0].astype(np.intp)
    for axis in (1, 2):
        index *= data.shape[axis]
        index += first[axis].astype(np.intp)
    # An axis of one voxel has no second neighbour.
    used = [axis for axis, size in enumerate(data.shape) if size > 1]
    return _mix(flat, index, [(steps[axis], at[axis]) for axis in used])


def _mix(
    flat: NDArray[Any], index: NDArray[np.intp], axes: Sequence[tuple[int, Single]], offset: int = 0
) -> NDArray[Any]:
    if not axes:
        # The index is within the array by construction; this mode only saves the check of every element.
        return np.take(flat[offset:], index, mode="clip")
    (step, share), rest = axes[0], axes[1:]
    low = _mix(flat, index, rest, offset)
    high = _mix(flat, index, rest, offset + step)
    high -= low
    high *= share
    high += low
    return high
