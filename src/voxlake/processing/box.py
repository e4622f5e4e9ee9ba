"""Cutting and padding arrays about their centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import GeometryError, ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.processing.values import finite_range

__all__ = ["crop_centre", "cut", "fill_value", "grid_of", "need_match", "pad_centre", "put_back"]

Index = NDArray[np.int_]


def cut(
    data: NDArray[Any], grid: Grid, start: Sequence[int], stop: Sequence[int]
) -> tuple[NDArray[Any], Grid]:
    """Cut a box out of an array; what is kept no longer holds the rest in memory."""
    if tuple(start) == (0, 0, 0) and tuple(stop) == grid.shape:
        return data, grid
    box = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
    return data[box].copy(), grid.crop(start, stop)


def crop_centre(data: NDArray[Any], grid: Grid, shape: Sequence[int]) -> tuple[NDArray[Any], Grid]:
    """Cut each axis that is longer than `shape`; an odd voxel goes from the far end."""
    sizes = [min(have, want) for have, want in zip(grid.shape, shape, strict=True)]
    start = [(have - size) // 2 for have, size in zip(grid.shape, sizes, strict=True)]
    return cut(data, grid, start, [low + size for low, size in zip(start, sizes, strict=True)])


def pad_centre(
    data: NDArray[Any], grid: Grid, shape: Sequence[int], fill: float | str, *, given: NDArray[Any], step: str
) -> tuple[NDArray[Any], Grid]:
    """Fill up each axis that is shorter than `shape`; an odd voxel is added at the far end.

    `given` is the array before anything was cut or interpolated; the fill ``"minimum"`` is its smallest
    finite value.

    Raises
    ------
    ItemError
        ``step_failed`` if the fill value cannot be held by the array, or ``"minimum"`` is asked of
        a volume without a finite value.
    """
    missing = [max(0, want - have) for have, want in zip(grid.shape, shape, strict=True)]
    if not any(missing):
        return data, grid
    before = [count // 2 for count in missing]
    after = [count - front for count, front in zip(missing, before, strict=True)]
    larger = grid.pad(before, after)
    out = np.full(
        (*larger.shape, *data.shape[3:]), fill_value(data.dtype, fill, given, step), dtype=data.dtype
    )
    box = tuple(slice(front, front + have) for front, have in zip(before, grid.shape, strict=True))
    out[box] = data
    return out, larger


def grid_of(before: Volume | Grid) -> Grid:
    """The grid of what a step was given."""
    return before if isinstance(before, Grid) else before.grid


def need_match(have: Grid, want: Grid, step: str) -> None:
    """Refuse to take a step back onto a grid that it did not come from.

    Raises
    ------
    GeometryError
        The two have other voxels.
    """
    if not have.matches(want):
        raise GeometryError(f"undo {step}: the volume does not lie where the step puts the grid before it")


def put_back(volume: Volume, before: Volume | Grid, *, step: str) -> Volume:
    """Take back any cropping and padding: put the voxels where they lie on the grid before.

    Voxels of `before` that `volume` does not cover are those of `before`, or 0 where it is a grid; voxels of
    `volume` beyond it are dropped.

    Raises
    ------
    GeometryError
        The voxels of the two do not coincide.
    """
    grid = grid_of(before)
    offset = np.rint(grid.world_to_index(volume.grid.origin)).astype(int)
    low, high = np.maximum(offset, 0), np.minimum(offset + volume.grid.shape, grid.shape)
    if (low >= high).any() or not _same_voxels(volume.grid, grid, low, high, offset):
        raise GeometryError(f"undo {step}: the volume's voxels are not voxels of the grid before the step")
    channels = volume.shape[3:]
    if isinstance(before, Volume) and before.shape[3:] == channels:
        out = before.numpy().astype(np.promote_types(before.dtype, volume.dtype))
    else:
        out = np.zeros((*grid.shape, *channels), dtype=volume.dtype)
    inner = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    own = tuple(slice(a, b) for a, b in zip(low - offset, high - offset, strict=True))
    out[inner] = volume.numpy()[own]
    return volume.with_data(out, step=f"undo {step}", grid=grid)


def _same_voxels(own: Grid, grid: Grid, low: Index, high: Index, offset: Index) -> bool:
    inner = own.crop((low - offset).tolist(), (high - offset).tolist())
    return inner.matches(grid.crop(low.tolist(), high.tolist()))


def fill_value(dtype: np.dtype[Any], fill: float | str, given: NDArray[Any], step: str) -> Any:
    """A fill value in the type of an array; see `pad_centre`."""
    if isinstance(fill, str):
        return finite_range(given, step)[0]
    if dtype.kind == "f":
        fits = abs(fill) <= float(np.finfo(dtype).max)
    else:
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        fits = fill == int(fill) and low <= fill <= high
    if not fits:
        raise ItemError(
            "step_failed", f"{step}: the fill value {fill} does not fit {dtype}; choose another or cast first"
        )
    return dtype.type(fill)
