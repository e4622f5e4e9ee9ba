"""Sliding windows: a network over a volume of any size, in bounded memory.

Tiles overlap and are blended with weights. Rows of tiles go along the slice axis; as soon as no tile to come
reaches a slice, it is given out and its place in the buffer is used again, so that the outputs of the whole
volume are never held.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from voxlake.core.settings import Settings
from voxlake.core.volume import ArrayLike3D
from voxlake.networks.inference_runtime import Precision, inference, precision_of

__all__ = ["Tiling", "iter_tiled", "tiled_labels"]

_LAST = torch.channels_last_3d
# Standard deviation of the blending weights, in lengths of a tile (Isensee et al., 2021, nnU-Net).
_SIGMA = 1 / 8


class Tiling(Settings):
    """How a volume is cut into tiles.

    Parameters
    ----------
    tile : three int
        Voxels of a tile, (slices, rows, columns); smaller where the volume is smaller.
    overlap : float
        Share of a tile, without its margin, that it has in common with the next one.
    weights : {"gaussian", "constant"}
        What the outputs of overlapping tiles are blended with: a Gaussian about the middle of the tile, with
        an eighth of its length as standard deviation, or all alike.
    margin : int
        Voxels at the faces of a tile that do not count, except at the faces of the volume. If the margin is
        at least as far as the network looks, the result is that of the whole volume at once.
    """

    tile: tuple[PositiveInt, PositiveInt, PositiveInt] = (96, 96, 96)
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    weights: Literal["gaussian", "constant"] = "gaussian"
    margin: NonNegativeInt = 0

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if min(self.tile) <= 2 * self.margin:
            raise ValueError(f"tiles of {self.tile} have nothing left inside a margin of {self.margin}")
        return self

    def starts(self, axis: int, size: int) -> tuple[int, ...]:
        """First voxels of the tiles along an axis of a volume; the last tile ends with the volume."""
        tile = self.tile[axis]
        if size <= tile:
            return (0,)
        step = max(1, round((tile - 2 * self.margin) * (1 - self.overlap)))
        return (*range(0, size - tile, step), size - tile)

    def counts(self, axis: int, start: int, size: int) -> slice:
        """The voxels of a tile that count, from its first one."""
        tile = min(self.tile[axis], size)
        return slice(self.margin if start > 0 else 0, tile - (self.margin if start + tile < size else 0))

    def blend(self, axis: int, size: int) -> NDArray[np.float32]:
        """Weights along an axis of a tile."""
        tile = min(self.tile[axis], size)
        if self.weights == "constant":
            return np.ones(tile, dtype=np.float32)
        places = (np.arange(tile) - (tile - 1) / 2) / (tile * _SIGMA)
        weights: NDArray[np.float32] = np.exp(-0.5 * places**2).astype(np.float32)
        return weights


def iter_tiled(
    network: nn.Module,
    values: ArrayLike3D,
    tiling: Tiling,
    *,
    precision: Precision = "auto",
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Run a network over a volume and give out slabs as they become complete.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (1, 1, D, H, W) to (1, K, D, H, W) for any extent up to that of a tile; in evaluation mode.
    values : array
        (slices, rows, columns), scaled as the network expects. It may be lazy: only tiles are read.
    tiling : Tiling
        How to cut.
    precision : {"auto", "float32"}
        ``"auto"`` computes in bfloat16 where the processor has it.

    Yields
    ------
    (int, ndarray of float32)
        First slice, and the blended outputs (K, slices of the slab, rows, columns); slabs come in order and
        without gaps.
    """
    first, rows, columns = (tiling.starts(axis, size) for axis, size in enumerate(values.shape))
    buffer: _Buffer | None = None
    for number, start in enumerate(first):
        for row, column in product(rows, columns):
            corner = (start, row, column)
            output = _run(network, values, tiling, corner, precision)
            if buffer is None:
                buffer = _Buffer(output.shape[1], tuple(values.shape), tiling)
            buffer.add(output, corner)
        if buffer is not None:
            last = number + 1 == len(first)
            end = values.shape[0] if last else first[number + 1] + tiling.margin
            yield buffer.begin, buffer.take(end)


def tiled_labels(
    network: nn.Module, values: ArrayLike3D, tiling: Tiling, *, precision: Precision = "auto"
) -> NDArray[np.uint8]:
    """The class with the largest output, for every voxel; see `iter_tiled`. At most 256 classes.

    Returns
    -------
    ndarray of uint8
        (slices, rows, columns); where classes are level, the first of them.
    """
    labels = np.empty(values.shape, dtype=np.uint8)
    for start, outputs in iter_tiled(network, values, tiling, precision=precision):
        # A slice at a time: NumPy makes a copy to look along the first axis.
        for place in range(outputs.shape[1]):
            labels[start + place] = outputs[:, place].argmax(axis=0)
    return labels


class _Buffer:
    """Weighted outputs of those slices that tiles still add to."""

    def __init__(self, classes: int, shape: tuple[int, ...], tiling: Tiling) -> None:
        self.tiling = tiling
        self.shape = shape
        self.begin = 0
        depth = min(tiling.tile[0], shape[0])
        self._sums = np.zeros((classes, depth, *shape[1:]), dtype=np.float32)
        self._weights = np.zeros((depth, *shape[1:]), dtype=np.float32)
        self._blend = [tiling.blend(axis, size) for axis, size in enumerate(shape)]

    def add(self, output: Tensor, corner: tuple[int, int, int]) -> None:
        """Add the output of a tile, (1, K, D, H, W), whose first voxel is `corner`."""
        inside = [self.tiling.counts(axis, start, self.shape[axis]) for axis, start in enumerate(corner)]
        depth, row, column = (each[part] for each, part in zip(self._blend, inside, strict=True))
        weights = depth[:, None, None] * row[None, :, None] * column[None, None, :]
        origin = (corner[0] - self.begin, *corner[1:])
        target = tuple(
            slice(start + part.start, start + part.stop) for start, part in zip(origin, inside, strict=True)
        )
        counted = output[0, :, inside[0], inside[1], inside[2]].float().numpy()
        for sums, one in zip(self._sums, counted, strict=True):
            sums[target] += one * weights
        self._weights[target] += weights

    def take(self, end: int) -> NDArray[np.float32]:
        """The slices up to `end`, which are complete, and room for those that follow."""
        count = end - self.begin
        done = self._sums[:, :count] / self._weights[:count]
        kept = self._weights.shape[0] - count
        for store in (*self._sums, self._weights):
            store[:kept] = store[count:].copy()
            store[kept:] = 0
        self.begin = end
        return done


def _run(
    network: nn.Module,
    values: ArrayLike3D,
    tiling: Tiling,
    corner: tuple[int, int, int],
    precision: Precision,
) -> Tensor:
    box = tuple(slice(start, start + size) for start, size in zip(corner, tiling.tile, strict=True))
    tile = np.ascontiguousarray(values[box], dtype=np.float32)
    with inference():
        x = torch.from_numpy(tile)[None, None].contiguous(memory_format=_LAST)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision_of(precision) is torch.bfloat16):
            output: Tensor = network(x)
    return output
