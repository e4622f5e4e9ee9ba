"""How a volume is cut into tiles, and what each tile counts for. Plain numbers, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from voxlake.core.settings import Settings

__all__ = ["Part", "Tiling"]

# Standard deviation of the blending weights, in lengths of a tile (Isensee et al., 2021, nnU-Net).
_SIGMA = 1 / 8


@dataclass(frozen=True, eq=False)
class Part:
    """A tile along one axis.

    Parameters
    ----------
    start, length : int
        Where it begins in the volume (below 0 where the volume is padded), and how long it is.
    inside : slice
        The voxels of the tile that count.
    place : slice
        Where they lie in the volume.
    share : ndarray of float32
        What each of them counts for: the shares of all tiles add up to 1 at every voxel of the volume.
    """

    start: int
    length: int
    inside: slice
    place: slice
    share: NDArray[np.float32]


class Tiling(Settings):
    """How a volume is cut into tiles.

    Parameters
    ----------
    tile : two or three int
        Voxels of a tile, (slices, rows, columns), for a network of volumes; (rows, columns) for a network of
        images, which is run over all slices. Smaller where the volume is smaller.
    overlap : float
        Share of a tile, without its margin, that it has in common with the next one.
    weights : {"gaussian", "constant"}
        What the outputs of overlapping tiles are blended with: a Gaussian about the middle of the tile, with
        an eighth of its length as standard deviation, or all alike.
    margin : int
        Voxels at the faces of a tile that do not count, except at the faces of the volume. If the margin is
        at least as far as the network looks, the result is that of the whole volume at once.
    batch : int
        Tiles, or slices of a network of images, that go through the network together. Changes time and
        memory, not the result.
    fill : float, optional
        A volume that is smaller than a tile is padded with this value on both sides, for networks that take
        one extent only. Without it the tile is as small as the volume.
    empty : float, optional
        Tiles without any value above this one are not computed: they get what the network says of a tile
        that holds this value and nothing else. Exact where such tiles do; without it every tile is computed.
    """

    tile: tuple[PositiveInt, PositiveInt] | tuple[PositiveInt, PositiveInt, PositiveInt] = (96, 96, 96)
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    weights: Literal["gaussian", "constant"] = "gaussian"
    margin: NonNegativeInt = 0
    batch: PositiveInt = 1
    fill: float | None = None
    empty: float | None = None

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if min(self.tile) <= 2 * self.margin:
            raise ValueError(f"tiles of {self.tile} have nothing left inside a margin of {self.margin}")
        return self

    @property
    def flat(self) -> bool:
        """Whether the tiles are of single slices."""
        return len(self.tile) == 2

    def parts(self, axis: int, size: int) -> tuple[Part, ...]:
        """The tiles along an axis of a volume, in order.

        Parameters
        ----------
        axis : int
            0: slices, 1: rows, 2: columns.
        size : int
            Extent of the volume along it.
        """
        if self.flat and axis == 0:
            return tuple(
                _slices(start, min(self.batch, size - start)) for start in range(0, size, self.batch)
            )
        tile = self.tile[axis - 3 + len(self.tile)]
        if size <= tile:
            length = tile if self.fill is not None else size
            before = (length - size) // 2
            inside = slice(before, before + size)
            return (Part(-before, length, inside, slice(0, size), np.ones(size, dtype=np.float32)),)
        step = max(1, round((tile - 2 * self.margin) * (1 - self.overlap)))
        starts = (*range(0, size - tile, step), size - tile)
        counted = [
            slice(self.margin if start > 0 else 0, tile - (self.margin if start + tile < size else 0))
            for start in starts
        ]
        blend = self._blend(tile)
        total = np.zeros(size)
        for start, part in zip(starts, counted, strict=True):
            total[start + part.start : start + part.stop] += blend[part]
        return tuple(
            _part(start, tile, part, blend, total) for start, part in zip(starts, counted, strict=True)
        )

    def _blend(self, tile: int) -> NDArray[np.float64]:
        if self.weights == "constant":
            return np.ones(tile)
        places = (np.arange(tile) - (tile - 1) / 2) / (tile * _SIGMA)
        return np.asarray(np.exp(-0.5 * places**2))


def _slices(start: int, count: int) -> Part:
    return Part(start, count, slice(0, count), slice(start, start + count), np.ones(count, dtype=np.float32))


def _part(
    start: int, tile: int, inside: slice, blend: NDArray[np.float64], total: NDArray[np.float64]
) -> Part:
    place = slice(start + inside.start, start + inside.stop)
    return Part(start, tile, inside, place, (blend[inside] / total[place]).astype(np.float32))
