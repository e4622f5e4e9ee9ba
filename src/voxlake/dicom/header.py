"""The row of an instance from its bytes, without pydicom where the file is plain, and without its pixels.

`scan_bytes` gives what ``scan(read_dataset(data), data)`` gives, some ten times faster. `scan_file` reads no
more of a file than its header. Whatever is odd goes by way of pydicom; a differential test holds the two to
the same rows.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from voxlake.core.errors import ItemError
from voxlake.dicom.fast_columns import Plain, columns_of, pydicom_view
from voxlake.dicom.fast_json import JsonWriter, level_charset
from voxlake.dicom.fast_values import DEFAULT_CHARSET
from voxlake.dicom.fast_walk import PIXELS, ShortOfBytesError, Walk
from voxlake.dicom.guard import quiet
from voxlake.dicom.layout import check_pixels, read_layout
from voxlake.dicom.nodes import is_uid
from voxlake.dicom.parse_bytes import DEFLATED, OddFileError
from voxlake.dicom.read import INFLATED_LIMIT, read_dataset
from voxlake.dicom.scan import scan

__all__ = ["READ_AHEAD", "RangeReader", "plain_row", "scan_bytes", "scan_file"]

RangeReader: TypeAlias = Callable[[int, int], bytes]
"""``read(offset, length)`` gives that many bytes of a file or an object, fewer only at its end."""

READ_AHEAD = 16_384
"""Bytes that are read at once; most headers fit."""

_PREAMBLE = 132
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_BIG_ENDIAN, _DEFLATE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_NATIVE = frozenset({_IMPLICIT, _EXPLICIT, _BIG_ENDIAN, _DEFLATE})
_INDEX = b"1.2.840.10008.1.3.10"
_SYNTAX, _CLASS = 0x00020010, 0x00020002
_SAMPLES = MappingProxyType({"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3})
_WHOLE_BYTES = (8, 16, 32)
_PIXEL_VRS = frozenset({"OB", "OW", "OF", "OD", "OB or OW"})


def scan_bytes(data: bytes, *, tags: bool = True) -> dict[str, Any]:
    """Read the columns of one instance from the bytes of its file.

    Parameters
    ----------
    data : bytes
        The file.
    tags : bool
        Whether every element is written to ``tags``; otherwise that is None.

    Returns
    -------
    dict
        As `voxlake.dicom.scan.scan`.

    Raises
    ------
    ItemError
        As `voxlake.dicom.read.read_dataset`.
    """
    try:
        return plain_row(data, tags=tags)
    except OddFileError:
        return scan(read_dataset(data), data, tags=tags)


def scan_file(
    source: str | Path | RangeReader,
    *,
    size: int | None = None,
    tags: bool = True,
    limit: int = 2**31,
) -> dict[str, Any]:
    """Read the columns of one instance and as little of its file as that takes.

    The first `READ_AHEAD` bytes, then more until the header ends, then what lies behind the pixel data. Pixel
    data are jumped over, so that a damaged codestream goes unnoticed here, and only here. A file that is not
    plain, and a deflated one, is read whole.

    Parameters
    ----------
    source : str, Path or callable
        Path of a file, or a reader of ranges.
    size : int, optional
        Bytes of the whole object; needed with a reader.
    tags : bool
        Whether every element is written to ``tags``; otherwise that is None.
    limit : int
        Largest file in bytes that is read whole.

    Returns
    -------
    dict
        As `voxlake.dicom.scan.scan`; ``pixel_offset`` and ``pixel_length`` are places in the file.

    Raises
    ------
    ItemError
        As `voxlake.dicom.read.read_dataset`; ``too_large`` for a file over the limit that must be read whole.
    """
    if not isinstance(source, str | Path):
        if size is None:
            raise TypeError("scan_file needs the size of what a reader reads")
        return _scan_ranges(source, size, tags, limit)
    handle = os.open(source, os.O_RDONLY)
    try:
        read = _reader(handle)
        return _scan_ranges(read, os.fstat(handle).st_size, tags, limit)
    finally:
        os.close(handle)


def plain_row(data: bytes, *, tags: bool = True) -> dict[str, Any]:
    """Read the columns by the fast path alone.

    Raises
    ------
    OddFileError
        The file is one for pydicom, sound or not.
    """
    try:
        return _row(data, len(data), lambda start, length: data[start : start + length], tags)
    except ShortOfBytesError:
        raise OddFileError from None


def _reader(handle: int) -> RangeReader:
    def read(offset: int, length: int) -> bytes:
        return os.pread(handle, length, offset)

    return read


def _scan_ranges(read: RangeReader, size: int, tags: bool, limit: int) -> dict[str, Any]:
    try:
        data = read(0, min(READ_AHEAD, size))
        while True:
            try:
                return _row(data, size, read, tags)
            except ShortOfBytesError as error:
                if error.end > size or len(data) >= size:
                    raise OddFileError from None
                data += _more(read, len(data), error.end, size)
    except OddFileError:
        if size > limit:
            message = f"{size:,} bytes that must be read whole; the limit is {limit:,}"
            raise ItemError("too_large", message) from None
        whole = read(0, size)
        return scan_bytes(whole, tags=tags)


def _more(read: RangeReader, there: int, needed: int, size: int) -> bytes:
    # By half of what is there, so that a long header is not walked again for each of its pages.
    stop = min(size, max(needed, there + READ_AHEAD, there + there // 2))
    found = read(there, stop - there)
    if len(found) != stop - there:
        raise OddFileError
    return found


def _row(data: bytes, size: int, read: RangeReader, tags: bool) -> dict[str, Any]:
    syntax, start = _meta(data, size, read)
    if syntax in DEFLATED:
        data = _inflated(data if len(data) == size else read(0, size), start)
        start, size, read = 0, len(data), lambda at, length: data[at : at + length]
    walk = Walk(data, size, read, implicit=syntax == _IMPLICIT, little=syntax != _BIG_ENDIAN, deep=tags)
    level = walk.run(start)
    _check_beginning(walk, next(iter(level), 0), start)
    charset = level_charset(level, walk.data, DEFAULT_CHARSET)
    plain = Plain(level, walk.data, walk.pixels, charset, walk.implicit, walk.little, syntax)
    row = columns_of(plain)
    row["pixel_offset"], row["pixel_length"] = None, None
    pixels = walk.pixels
    if pixels is not None:
        if level[pixels.tag][0] not in _PIXEL_VRS:
            raise OddFileError
        _check_pixels(plain, row, pixels.length, whole=len(data) == size)
        if pixels.length and syntax not in DEFLATED:
            row["pixel_offset"] = pixels.start
            row["pixel_length"] = None if pixels.undefined else pixels.length
    row["tags"] = JsonWriter(walk).write(level) if tags else None
    return row


def _meta(data: bytes, size: int, read: RangeReader) -> tuple[str, int]:
    """Transfer syntax, and where the data set begins."""
    if data[128 : _PREAMBLE + 8] != b"DICM\x02\0\0\0UL\x04\0":
        raise OddFileError
    start = _PREAMBLE + 12 + int.from_bytes(data[_PREAMBLE + 8 : _PREAMBLE + 12], "little")
    if start > len(data):
        raise ShortOfBytesError(start)
    level = Walk(data, size, read, implicit=False, little=True).meta(_PREAMBLE, start)
    stated = level.get(_SYNTAX)
    if stated is None or stated[0] != "UI" or next(reversed(level)) >> 16 != 2:
        raise OddFileError
    syntax = data[stated[1] : stated[2]].decode("latin-1").rstrip("\0 ")
    kind = level.get(_CLASS, ("UI", 0, 0))
    if not is_uid(syntax) or kind[0] != "UI" or data[kind[1] : kind[2]].strip(b"\0 ") == _INDEX:
        raise OddFileError
    return syntax, start


def _inflated(data: bytes, start: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(memoryview(data)[start:], INFLATED_LIMIT)
    except zlib.error:
        raise OddFileError from None
    if not inflater.eof:
        raise OddFileError
    return inflated


def _check_beginning(walk: Walk, first: int, start: int) -> None:
    """Refuse what pydicom would take for something else than the transfer syntax says."""
    if first >> 16 < 8:
        raise OddFileError
    code = walk.data[start + 4 : start + 6]
    if walk.implicit and all(0x40 < letter < 0x5B for letter in code):
        raise OddFileError


def _check_pixels(plain: Plain, row: dict[str, Any], length: int, *, whole: bool) -> None:
    """Refuse pixel data that are fewer than the header says, as `read_dataset` does."""
    if plain.syntax in _NATIVE and _enough(plain, row, length):
        return
    with quiet():
        view = pydicom_view(plain, pixels=whole)
        try:
            if whole:
                check_pixels(view)
                return
            layout = read_layout(view)
        except ItemError as error:
            if whole or error.reason == "truncated":
                raise OddFileError from None
            return
    if plain.syntax in _NATIVE and layout.native_bytes > length:
        raise OddFileError


def _enough(plain: Plain, row: dict[str, Any], length: int) -> bool:
    """Whether this is a layout of whole bytes with all its values there; says no where it is not sure."""
    allocated, stored, samples = row["bits_allocated"], row["bits_stored"], row["samples_per_pixel"]
    if PIXELS[0] not in plain.level or allocated not in _WHOLE_BYTES or not row["rows"] or not row["columns"]:
        return False
    if samples is None or _SAMPLES.get(row["photometric_interpretation"]) != samples:
        return False
    if stored is None or not 1 <= stored <= allocated or row["rows"] < 1 or row["columns"] < 1:
        return False
    needed = row["number_of_frames"] * row["rows"] * row["columns"] * samples * (allocated // 8)
    return bool(needed <= length)
