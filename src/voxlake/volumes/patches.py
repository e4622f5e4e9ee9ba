"""Patches of volumes: boxes of voxels at chosen or random places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError
from voxlake.core.volume import ArrayLike3D, Volume
from voxlake.store.arrays import StoredArray
from voxlake.volumes.cache import HotCache

__all__ = ["Patch", "random_patches", "read_patch"]

_AXES = 3


class Patch(NamedTuple):
    """A patch and where it comes from.

    Parameters
    ----------
    start : tuple of int
        First voxel, (slice, row, column).
    values : ndarray
        Shape (slices, rows, columns), or with 3 channels at the end; contiguous.
    """

    start: tuple[int, int, int]
    values: NDArray[Any]


def read_patch(
    volume: Volume | ArrayLike3D,
    start: Sequence[int],
    size: Sequence[int],
    *,
    cache: str | Path | HotCache | None = None,
) -> NDArray[Any]:
    """Read one patch.

    Parameters
    ----------
    volume : Volume or array
        For example from `voxlake.iter_volumes`. Of a stored array only the chunks that the patch touches are
        read.
    start, size : sequence of int
        First voxel and number of voxels, (slice, row, column).
    cache : path or HotCache, optional
        Folder of a hot cache: the array is copied there on first use and read from there.

    Returns
    -------
    ndarray
        Shape `size`, or with 3 channels at the end; a contiguous copy of its own.

    Raises
    ------
    UsageError
        The patch does not lie in the volume.
    IntegrityError
        The stored array is damaged; on opening, also if a shard is missing.
    """
    values = _source(volume, cache)
    first, sizes = _triple(start, "start"), _triple(size, "size")
    for begin, count, there in zip(first, sizes, values.shape, strict=False):
        if count < 1 or begin < 0 or begin + count > there:
            raise UsageError(
                f"a patch of {sizes} at {first} does not lie in a volume of {values.shape[:_AXES]}"
            )
    return _copied(values, first, sizes)


def random_patches(
    volume: Volume | ArrayLike3D,
    size: Sequence[int],
    *,
    count: int,
    seed: int,
    cache: str | Path | HotCache | None = None,
) -> Iterator[Patch]:
    """Read patches at random places, every place as likely as the others.

    Parameters
    ----------
    volume : Volume or array
        As for `read_patch`.
    size : sequence of int
        Voxels of a patch, (slice, row, column).
    count : int
        How many patches.
    seed : int
        The same seed gives the same places, whatever the cache.
    cache : path or HotCache, optional
        As for `read_patch`.

    Yields
    ------
    Patch

    Raises
    ------
    UsageError
        The volume is smaller than a patch.
    """
    values, sizes = _source(volume, cache), _triple(size, "size")
    shape = tuple(values.shape[:_AXES])
    room = [there - wanted for wanted, there in zip(sizes, shape, strict=True)]
    if min(room) < 0 or min(sizes) < 1:
        raise UsageError(f"patches of {sizes} do not fit into a volume of {shape}; pad it in the plan")
    places = np.random.default_rng(seed).integers(0, np.array(room) + 1, size=(count, _AXES)).tolist()
    return (Patch((z, y, x), _copied(values, (z, y, x), sizes)) for z, y, x in places)


def _source(volume: Volume | ArrayLike3D, cache: str | Path | HotCache | None) -> ArrayLike3D:
    values = volume.data if isinstance(volume, Volume) else volume
    if cache is None or not isinstance(values, StoredArray):
        return values
    return (cache if isinstance(cache, HotCache) else HotCache(cache)).open(values)


def _copied(values: ArrayLike3D, start: tuple[int, int, int], size: tuple[int, int, int]) -> NDArray[Any]:
    box = tuple(slice(begin, begin + count) for begin, count in zip(start, size, strict=True))
    # A view into a mapped or shared array would change with it, or keep it open.
    return np.array(values[box], order="C", copy=not isinstance(values, StoredArray) or None, subok=False)


def _triple(values: Sequence[int], name: str) -> tuple[int, int, int]:
    if len(values) != _AXES:
        raise UsageError(f"{name} needs three numbers (slice, row, column), got {len(values)}")
    z, y, x = (int(value) for value in values)
    return z, y, x
