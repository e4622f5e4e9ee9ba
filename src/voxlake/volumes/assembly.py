"""An uncompressed series to a volume by range reads alone.

`voxlake.dicom.volume.assemble` parses whole files and decodes whatever is in them. Here the catalogue says
where the pixels lie, so each slice is one read, straight to its place in the result. The header before the
pixels is compared with the catalogue; whatever is out of the ordinary is left to the general path, and
`assemble_stored` gives None.

A range read cannot compare the SHA-256 of a file: `prepare` asks for that as well (``verified``), which
reads the whole files a second time, from the memory of the system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import IntegrityError
from voxlake.core.volume import Lineage, Volume
from voxlake.dicom.geometry import Verdict
from voxlake.dicom.stacks import split
from voxlake.dicom.suv import as_measured
from voxlake.engine.threads import allowed_threads
from voxlake.store.objects import Objects
from voxlake.store.packs import open_anywhere
from voxlake.store.ranges import read_into, read_range
from voxlake.volumes.stored_pixels import StoredPixels, agrees, stored_pixels

__all__ = ["assemble_stored"]

Row = Mapping[str, Any]
Array = NDArray[Any]

_WORTH_THREADS = 16 * 2**20
_MOST_THREADS = 4
_LEAST, _GREATEST = np.iinfo(np.int16).min, np.iinfo(np.int16).max


def assemble_stored(
    objects: Objects, rows: Sequence[Row], verdict: Verdict | None = None, *, verified: bool = False
) -> Volume | None:
    """Read the pixels of a series, in slice order, and rescale them.

    Parameters
    ----------
    objects : Objects
        Where the lake lies.
    rows : sequence of mapping
        Rows of `instances` of one series, with the columns that `voxlake.volumes.units` lists.
    verdict : Verdict, optional
        Which slices, and where they lie; by default those of the only stack.
    verified : bool
        Also compare the SHA-256 of every file.

    Returns
    -------
    Volume or None
        What `voxlake.dicom.volume.assemble` gives, in values, type, unit, grid and lineage. None where only
        that can tell: compressed or deflated pixels, colour, palettes, a Modality LUT, an inverted scale,
        frames that are rescaled differently, mosaics, pixels that are no integers of 8 or 16 bits, a bad
        verdict, several stacks.

    Raises
    ------
    IntegrityError
        A pack is gone or too short; a file is not what it was.
    """
    found = _only(rows) if verdict is None else verdict
    if found is None or found.grid is None:
        return None
    pixels = _pixels(rows, found)
    if pixels is None:
        return None
    with _files(objects, [rows[number] for number in pixels]) as files:
        if not all(agrees(rows[number], files.header(rows[number])) for number in pixels):
            return None
        places = [_Place(files.of(rows[number]), pixels[number], frame) for number, frame in found.order]
        if verified:
            for number in pixels:
                files.verify(rows[number])
        values = _read(places, found.grid.shape)
    units = {place.pixels.unit for place in places}
    volume = Volume(
        values,
        found.grid,
        unit=units.pop() if len(units) == 1 else "arbitrary",
        modality=rows[found.order[0][0]].get("modality"),
        lineage=Lineage(tuple(dict.fromkeys(str(rows[number]["sha256"]) for number, _ in found.order))),
    )
    return as_measured(volume, [rows[number] for number in pixels])


def _only(rows: Sequence[Row]) -> Verdict | None:
    stacks = split(rows)
    return stacks[0].verdict if len(stacks) == 1 else None


def _pixels(rows: Sequence[Row], verdict: Verdict) -> dict[int, StoredPixels] | None:
    """What is stored under each row of a verdict; None if one is no plain image, or they differ in type."""
    pixels: dict[int, StoredPixels] = {}
    for number, frame in verdict.order:
        one = pixels.get(number) or stored_pixels(rows[number])
        if one is None or frame >= one.frames:
            return None
        pixels[number] = one
    types = {one.dtype for one in pixels.values()}
    return pixels if len(types) == 1 else None


class _Place:
    """One slice: an open file, and a frame of the pixels in it."""

    def __init__(self, descriptor: int, pixels: StoredPixels, frame: int) -> None:
        self.pixels = pixels
        self._descriptor = descriptor
        self._offset = pixels.start + frame * pixels.size

    def read(self, values: Array) -> tuple[int, int]:
        """Fill a slice with stored values in native byte order; gives the least and the greatest."""
        read_into(self._descriptor, self._offset, [values.reshape(-1).view(np.uint8).data])
        if not self.pixels.dtype.isnative:
            values.byteswap(inplace=True)
        return self.pixels.clean(values)


class _Files:
    """Packs that are open; of a remote lake, local copies of what is needed of them."""

    def __init__(self, objects: Objects, rows: Sequence[Row]) -> None:
        self._objects = objects
        self._rows = rows
        self._open: dict[str, int] = {}
        # One buffer for all files stays in the processor's cache, and the system need not clear a new one.
        self._buffer = bytearray()

    def of(self, row: Row) -> int:
        """Descriptor of the pack of a row."""
        pack = str(row["pack"])
        if pack not in self._open:
            ranges = [(one["offset"], one["length"]) for one in self._rows if one["pack"] == pack]
            self._open[pack] = open_anywhere(self._objects, pack, ranges, size=row["length"])
        return self._open[pack]

    def header(self, row: Row) -> bytes:
        """The stored file up to its pixels."""
        return read_range(self.of(row), row["offset"], row["pixel_offset"])

    def verify(self, row: Row) -> None:
        """Compare a file with its digest."""
        length = row["length"]
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
        data = memoryview(self._buffer)[:length]
        read_into(self.of(row), row["offset"], [data])
        if sha256(data).hexdigest() != row["sha256"]:
            raise IntegrityError(
                "a stored file does not have the SHA-256 that the catalogue states; its bytes are damaged or "
                "were changed: restore them from a copy"
            )

    def close(self) -> None:
        """Close all of them."""
        for descriptor in self._open.values():
            os.close(descriptor)


@contextmanager
def _files(objects: Objects, rows: Sequence[Row]) -> Iterator[_Files]:
    files = _Files(objects, rows)
    try:
        yield files
    finally:
        files.close()


def _read(places: Sequence[_Place], shape: tuple[int, int, int]) -> Array:
    if all(place.pixels.whole for place in places):
        exact = _read_exact(places, shape)
        if exact is not None:
            return exact
    return _read_rescaled(places, shape)


def _read_exact(places: Sequence[_Place], shape: tuple[int, int, int]) -> Array | None:
    """Slices as int16; None if one has a value that does not fit."""
    result = np.empty(shape, dtype=np.int16)
    fits = _each(lambda number: _fill_exact(result[number], places[number]), len(places), result.nbytes)
    return result if fits else None


def _fill_exact(values: Array, place: _Place) -> bool:
    dtype = place.pixels.dtype.newbyteorder("=")
    if dtype.itemsize == 1:
        stored = np.empty(values.shape, dtype=dtype)
        ends = place.read(stored)
        values[...] = stored
    else:
        # Pixels of 16 bits are read to where they stay, whatever their sign.
        ends = place.read(values.view(dtype))
    slope, intercept = int(place.pixels.slope), int(place.pixels.intercept)
    least, greatest = sorted(end * slope + intercept for end in ends)
    # What comes out fits into 16 bits, so it is the same modulo 2**16, however large it is between.
    bits = values.view(np.uint16)
    if slope != 1:
        bits *= np.uint16(slope & 0xFFFF)
    if intercept:
        bits += np.uint16(intercept & 0xFFFF)
    return least >= _LEAST and greatest <= _GREATEST


def _read_rescaled(places: Sequence[_Place], shape: tuple[int, int, int]) -> Array:
    result = np.empty(shape, dtype=np.float32)
    _each(lambda number: _fill_rescaled(result[number], places[number]), len(places), result.nbytes)
    return result


def _fill_rescaled(values: Array, place: _Place) -> bool:
    stored = np.empty(values.shape, dtype=place.pixels.dtype.newbyteorder("="))
    place.read(stored)
    # In float64, so that the only rounding is the one into float32.
    wide = np.multiply(stored, place.pixels.slope, dtype=np.float64)
    np.add(wide, place.pixels.intercept, out=wide)
    values[...] = wide
    return True


def _each(function: Callable[[int], bool], count: int, size: int) -> bool:
    """Call a function for every slice, until it says False; large volumes by several threads.

    Reading and NumPy's arithmetic leave other threads alone, and so does the system that hands out memory.
    """
    if size < _WORTH_THREADS:
        return all(function(number) for number in range(count))
    with ThreadPoolExecutor(min(_MOST_THREADS, allowed_threads())) as pool:
        return all(pool.map(function, range(count)))
