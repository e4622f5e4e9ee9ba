"""Cubic B-spline interpolation along one axis after the other.

The coefficients of the spline through the voxels are a recursive filter of them (Unser, IEEE Signal
Processing Magazine 1999; the pole is sqrt(3) - 2). Its response fades by 0.27 a voxel, so filter and
interpolation together are a matrix with a narrow band, and a band is a row of small dense blocks: all the
arithmetic is products of such blocks. Edges are mirrored about the outermost voxel centres, as SimpleITK and
``scipy.ndimage`` do it (``mode="mirror"``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.processing.separable import Float, positions, smoothed, sparse_rows
from voxlake.processing.slabs import each_slab

__all__ = ["Band", "mix_splines", "spline_at", "spline_weights"]

_POLE = math.sqrt(3) - 2
# 0.27 to the 16th is 7e-10: below what float32 holds.
_REACH = 16
# Rows of a block: fewer make products too small to be fast, more carry more zeros.
_ROWS = 32
_COLUMNS = 4096
# Multiplications in one product: above some half a million OpenBLAS starts threads that wait for each other
# longer than they work, more so beside other processes.
_SMALL = 300_000


@dataclass(frozen=True)
class Band:
    """A matrix (output voxels, input voxels) as dense blocks: rows ``low:high`` need ``start:stop`` only."""

    shape: tuple[int, int]
    blocks: tuple[tuple[slice, slice, NDArray[np.float32]], ...]

    def front(self, data: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the product with `data` (input voxels, others) into `out` (output voxels, others)."""
        for rows, columns, block in self.blocks:
            for part in _parts(data.shape[1], block.size):
                np.matmul(block, data[columns, part], out=out[rows, part])

    def back(self, data: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the product along the last axis of `data` (others, input voxels) into `out`."""
        for rows, columns, block in self.blocks:
            for part in _parts(data.shape[0], block.size):
                np.matmul(data[part, columns], block.T, out=out[part, rows])


def _parts(count: int, size: int) -> list[slice]:
    step = max(16, _SMALL // size)
    return [slice(low, min(low + step, count)) for low in range(0, count, step)]


@lru_cache(maxsize=64)
def spline_weights(size: int, count: int, step: float, width: float = 0.0) -> Band:
    """`spline_at` for the samples at `positions`."""
    return spline_at(positions(size, count, step), size, width)


def spline_at(at: Float, size: int, width: float = 0.0) -> Band:
    """Weights of cubic B-spline interpolation at places (in voxels).

    Places beyond the outermost voxel centres see the mirror image. With a `width`, a Gaussian of that
    standard deviation (in voxels) acts first.
    """
    inside = _fold(at, size)
    first = np.floor(inside).astype(np.intp)
    share = (inside - first)[:, np.newaxis]
    taps = np.hstack(
        [(1 - share) ** 3, 4 - 6 * share**2 + 3 * share**3, 4 - 6 * (1 - share) ** 2 + 3 * (1 - share) ** 3]
    )
    taps = np.hstack([taps, share**3]) / 6
    # The inverse of (1, 4, 1) / 6 on an endless axis, and there the mirror image goes on for ever.
    kernel = math.sqrt(3) * _POLE ** np.abs(np.arange(-_REACH, _REACH + 1))
    values = np.zeros((len(at), len(kernel) + 3))
    for place in range(4):
        values[:, place : place + len(kernel)] += taps[:, place, np.newaxis] * kernel
    columns = first[:, np.newaxis] - 1 - _REACH + np.arange(values.shape[1])
    matrix = smoothed(sparse_rows(_fold(columns, size), values, size), width)
    blocks = []
    for low in range(0, len(at), _ROWS):
        part = matrix[low : low + _ROWS]
        start, stop = int(part.indices.min()), int(part.indices.max()) + 1
        dense = np.asarray(part[:, start:stop].toarray(), dtype=np.float32)
        blocks.append((slice(low, low + len(dense)), slice(start, stop), dense))
    return Band((len(at), size), tuple(blocks))


def mix_splines(data: NDArray[Any], weights: Sequence[Band | None]) -> NDArray[np.float32]:
    """Apply one band per axis; None leaves an axis alone.

    Parameters
    ----------
    data : array
        (slices, rows, columns) or (slices, rows, columns, channels), of integers or float32, all finite.
    weights : sequence of three bands or None
        For the slice, row and column axis.

    Returns
    -------
    array of float32
        Sums are those of the matrix products of this machine: equal on others up to rounding.
    """
    if data.ndim == 4:
        return np.stack([mix_splines(data[..., c], weights) for c in range(data.shape[3])], axis=-1)
    across, down, along = weights
    shrinks = across is not None and across.shape[0] < across.shape[1]
    out = np.asarray(data)
    if across is not None and shrinks:
        out = _across(across, out)
    if down is not None or along is not None:
        out = _within(down, along, out)
    if across is not None and not shrinks:
        out = _across(across, out)
    return np.asarray(out, dtype=np.float32)


def _across(band: Band, data: NDArray[Any]) -> NDArray[np.float32]:
    out = np.empty((band.shape[0], *data.shape[1:]), dtype=np.float32)
    flat, made = data.reshape(len(data), -1), out.reshape(len(out), -1)

    def fill(low: int, high: int) -> None:
        for first in range(low, high, _COLUMNS):
            columns = slice(first, min(first + _COLUMNS, high))
            band.front(np.asarray(flat[:, columns], dtype=np.float32), made[:, columns])

    each_slab(fill, flat.shape[1], out.size * 4)
    return out


def _within(down: Band | None, along: Band | None, data: NDArray[Any]) -> NDArray[np.float32]:
    count, rows, columns = data.shape
    rows = rows if down is None else down.shape[0]
    columns = columns if along is None else along.shape[0]
    out = np.empty((count, rows, columns), dtype=np.float32)

    def fill(low: int, high: int) -> None:
        for number in range(low, high):
            plane = np.asarray(data[number], dtype=np.float32)
            if down is not None and along is not None:
                made = np.empty((rows, plane.shape[1]), dtype=np.float32)
                down.front(plane, made)
                along.back(made, out[number])
            elif down is not None:
                down.front(plane, out[number])
            elif along is not None:
                along.back(plane, out[number])

    each_slab(fill, count, out.size * 4)
    return out


def _fold(at: NDArray[Any], size: int) -> NDArray[Any]:
    """Bring places onto an axis that goes on as its mirror image at both ends."""
    period = max(2 * (size - 1), 1)
    folded = np.mod(at, period)
    return np.asarray(np.where(folded > size - 1, period - folded, folded)) if size > 1 else at * 0
