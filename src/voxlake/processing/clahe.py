"""Contrast-limited adaptive histogram equalisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.engine.threads import allowed_threads
from voxlake.processing.filtering import Extent, refuse_colour, without_holes
from voxlake.processing.values import finite_range

__all__ = ["Clahe", "limited", "tile_maps"]

Float = NDArray[np.float32]
Levels = NDArray[np.uint16]

# Grey levels that values are told apart by: more than a display shows, few enough for the processor's cache.
_LEVELS = 4096
_ALL = 1 << 16
_BYTE = 1 << 8
# Pixels of an image from which on threads are worth their start.
_LARGE = 1 << 20
# Rows that are scaled at a time, so that all that belongs to them stays in the cache.
_STRIP = 64
# Rows that are mapped at a time: fewer calls weigh more there.
_BAND = 256


class Clahe(Step):
    """Equalise the histogram of each tile, with a limit on how much contrast may rise (CLAHE).

    Zuiderveld, Contrast limited adaptive histogram equalization, Graphics Gems IV, 1994: the histogram of
    each tile is clipped, what was above is spread evenly over the other bins (here to the end, so that no
    bin is above the limit), and its running sum maps the values; between the centres of tiles, maps are
    interpolated linearly. Within a bin the map is linear, so that 16-bit images keep their fine steps (4,096
    grey levels between the smallest and the largest finite value of the volume). The image is mirrored where
    it does not fill its last tiles. Values are float32 from 0 to 1 and the unit is "normalised" afterwards;
    the grid stays. A constant volume becomes zeros. RGB is refused: equalised channels get new colours. NaN
    and infinities stay where they are; the nearest finite voxel stands in for them.

    Parameters
    ----------
    clip : float
        Highest bin that a histogram may have, in multiples of a flat one: the factor by which contrast may
        rise. 1 changes nothing but the range.
    tiles : int
        Number of tiles along rows and columns, and along slices with ``extent = "volume"``.
    bins : int
        Bins of a histogram, a power of two.
    extent : str
        ``"slice"`` for each slice apart (over the range of the volume), ``"volume"`` for tiles of several
        slices, with maps interpolated between slices too.

    Raises
    ------
    ItemError
        ``step_failed``: RGB, or no voxel is finite.
    """

    name: ClassVar[str] = "clahe"
    version: ClassVar[int] = 1

    clip: Annotated[float, Field(ge=1, le=4096)] = 2.5
    tiles: Annotated[int, Field(ge=1, le=256)] = 8
    bins: Literal[32, 64, 128, 256, 512, 1024] = 256
    extent: Extent = "slice"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        refuse_colour(volume, self.name, "equalised channels get new colours")
        data, holes = without_holes(volume.numpy(), self.name)
        out = np.zeros(data.shape, np.float32)
        low, high = (float(value) for value in finite_range(data, self.name))
        if high > low:
            levels = [_levels(plane, low, high) for plane in data]
            if self.extent == "volume":
                self._equalise(np.stack(levels), out)
            else:
                for plane, mapped in zip(levels, out, strict=True):
                    self._equalise(plane[np.newaxis], mapped[np.newaxis])
        if holes is not None:
            out[holes] = volume.numpy()[holes]
        return volume.with_data(out, step=self.tag, unit="normalised")

    def _equalise(self, levels: Levels, out: Float) -> None:
        sides = [-(-size // self.tiles) for size in levels.shape]
        maps = tile_maps(levels, sides, self.bins, self.clip)
        depth = _between(levels.shape[0], sides[0])
        for number, (plane, mapped) in enumerate(zip(levels, out, strict=True)):
            before, share = int(depth[0][number]), depth[1][number]
            first, second = (maps[min(max(tile, 0), len(maps) - 1)] for tile in (before, before + 1))
            _map_plane(
                plane, first if first is second else first + share * (second - first), sides[1:], mapped
            )


def _levels(plane: NDArray[Any], low: float, high: float) -> Levels:
    # Halves first where the range itself is beyond float64.
    scale = _LEVELS / 2 / (high / 2 - low / 2)
    if plane.dtype in (np.uint16, np.int16):
        # Start-up: reading a plan must not load OpenCV.
        from cv2 import LUT

        # The table starts with the numbers from 0 on; negative ones, read as unsigned, are its second half.
        numbers = np.arange(_ALL, dtype=np.uint16).view(plane.dtype)
        return np.asarray(LUT(plane.view(np.uint16), _scaled(numbers, low, scale)))
    out = np.empty(plane.shape, np.uint16)
    for first in range(0, len(plane), _STRIP):
        out[first : first + _STRIP] = _scaled(plane[first : first + _STRIP], low, scale)
    return out


def _scaled(values: NDArray[Any], low: float, scale: float) -> Levels:
    levels = values.astype(np.float64)
    levels -= low
    levels *= scale
    return np.clip(levels, 0, _LEVELS - 1, out=levels).astype(np.uint16)


def tile_maps(levels: Levels, sides: Sequence[int], bins: int, clip: float) -> Float:
    """The map of every tile.

    Parameters
    ----------
    levels : array of uint16
        (slices, rows, columns), 0 to 4095.
    sides : sequence of three ints
        Size of a tile.

    Returns
    -------
    array of float32
        (tiles, tiles, tiles, 4096): level -> 0..1, rising.
    """
    counts = [-(-size // side) for size, side in zip(levels.shape, sides, strict=True)]
    missing = [n * side - size for n, side, size in zip(counts, sides, levels.shape, strict=True)]
    place = _bins(levels, bins)
    whole = np.pad(place, [(0, more) for more in missing], mode="reflect") if any(missing) else place
    histogram = np.empty((*counts, bins))
    for tile in np.ndindex(*counts):
        box = tuple(slice(at * side, (at + 1) * side) for at, side in zip(tile, sides, strict=True))
        histogram[tile] = _histogram(whole[box].reshape(-1, sides[2]), bins)
    voxels = sides[0] * sides[1] * sides[2]
    heights = limited(histogram.reshape(-1, bins), clip * voxels / bins) / voxels
    return _rising(heights).reshape(*counts, _LEVELS)


def _bins(levels: Levels, bins: int) -> NDArray[np.uint8] | Levels:
    """The bin of every level; as bytes where they hold it, which OpenCV counts several times as fast."""
    place: NDArray[np.uint8] | Levels = np.empty(levels.shape, np.uint8 if bins <= _BYTE else np.uint16)
    return np.right_shift(levels, (_LEVELS // bins).bit_length() - 1, out=place, casting="unsafe")


def _histogram(part: NDArray[Any], bins: int) -> NDArray[Any]:
    if part.dtype != np.uint8:
        return np.bincount(part.ravel(), minlength=bins)
    # Start-up: reading a plan must not load OpenCV.
    from cv2 import calcHist

    return calcHist([part], [0], None, [bins], [0, bins]).ravel()


def limited(histograms: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Cut histograms (number, bins) at a limit and spread what was cut evenly, up to the limit."""
    room = np.sort(np.maximum(limit - histograms, 0), axis=1)
    excess = np.maximum(histograms - limit, 0).sum(axis=1, keepdims=True)
    bins = room.shape[1]
    filled = np.cumsum(room, axis=1)
    # What all bins take together when each is raised by the room of one of them.
    taken = filled + room * np.arange(bins - 1, -1, -1)
    full = (taken < excess).sum(axis=1, keepdims=True)
    used = np.where(full > 0, np.take_along_axis(filled, np.maximum(full - 1, 0), axis=1), 0)
    raised = (excess - used) / np.maximum(bins - full, 1)
    return np.asarray(np.minimum(np.minimum(histograms, limit) + raised, limit))


def _rising(heights: NDArray[np.float64]) -> Float:
    """Running sums at the middle of every level; linear within a bin."""
    per_bin = _LEVELS // heights.shape[1]
    within = (np.arange(per_bin) + 0.5) / per_bin
    before = np.cumsum(heights, axis=1) - heights
    maps = before[:, :, np.newaxis] + heights[:, :, np.newaxis] * within
    return np.asarray(np.clip(maps.reshape(len(heights), _LEVELS), 0, 1), dtype=np.float32)


def _between(size: int, side: int) -> tuple[NDArray[np.intp], Float]:
    """For each voxel the tile whose centre is before it (-1 before the first), and the share of the next."""
    at = (np.arange(size) + 0.5) / side - 0.5
    before = np.floor(at).astype(np.intp)
    return before, (at - before).astype(np.float32)


def _runs(before: NDArray[np.intp], longest: int) -> Iterator[tuple[slice, int]]:
    edges = [0, *(np.flatnonzero(np.diff(before)) + 1).tolist(), len(before)]
    for start, stop in pairwise(edges):
        for first in range(start, stop, longest):
            yield slice(first, min(first + longest, stop)), int(before[start])


def _map_plane(levels: Levels, maps: Float, sides: Sequence[int], out: Float) -> None:
    # Start-up: reading a plan must not load OpenCV.
    from cv2 import LUT

    down, along = _between(levels.shape[0], sides[0]), _between(levels.shape[1], sides[1])
    last = maps.shape[0] - 1, maps.shape[1] - 1
    # OpenCV wants an entry for each number of 16 bits: the maps of later tiles, never reached, fill the room.
    line = np.zeros(maps.size + _ALL - _LEVELS, np.float32)
    line[: maps.size] = maps.ravel()
    tables = np.lib.stride_tricks.sliding_window_view(line, _ALL)[::_LEVELS].reshape(*maps.shape[:2], _ALL)

    def one_band(band: tuple[slice, int]) -> None:
        rows, upper = band
        above, below = tables[max(upper, 0)], tables[min(upper + 1, last[0])]
        low = down[1][rows, np.newaxis]
        for columns, before in _runs(along[0], len(along[0])):
            left, right = max(before, 0), min(before + 1, last[1])
            part, share = levels[rows, columns], along[1][columns]
            top = _blend(LUT(part, above[left]), LUT(part, above[right]), share)
            bottom = _blend(LUT(part, below[left]), LUT(part, below[right]), share)
            bottom -= top
            bottom *= low
            np.add(top, bottom, out=out[rows, columns])

    if levels.size < _LARGE:
        for band in _runs(down[0], _BAND):
            one_band(band)
    else:
        # A radiograph comes alone; its bands do not touch each other, and all that takes time runs unlocked.
        with ThreadPoolExecutor(min(allowed_threads(), 8)) as pool:
            list(pool.map(one_band, _runs(down[0], _BAND)))


def _blend(one: Any, other: Any, share: Float) -> Any:
    other -= one
    other *= share
    one += other
    return one
