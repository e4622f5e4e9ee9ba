"""One plain file to its row: meta information, walk, columns, JSON, and a check of the pixels' length."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from voxlake.core.errors import ItemError
from voxlake.dicom.fast_columns import columns_of
from voxlake.dicom.fast_json import JsonWriter, level_charset
from voxlake.dicom.fast_plain import Plain, pydicom_view
from voxlake.dicom.fast_values import DEFAULT_CHARSET
from voxlake.dicom.fast_walk import PIXELS, Level, RangeReader, ShortOfBytesError, Walk
from voxlake.dicom.guard import quiet
from voxlake.dicom.layout import check_pixels, read_layout
from voxlake.dicom.nodes import is_uid
from voxlake.dicom.parse_bytes import DEFLATED, OddFileError
from voxlake.dicom.read import INFLATED_LIMIT

__all__ = ["META_START", "NATIVE", "PIXEL_VRS", "Opened", "Rowed", "enough", "place_pixels", "read_row"]

META_START = 132
"""Where the meta information begins, behind preamble and magic word (PS3.10 section 7.1)."""
PIXEL_VRS = frozenset({"OB", "OW", "OF", "OD", "OB or OW"})
"""VRs of pixel data that the fast path speaks about."""

_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_BIG_ENDIAN, _DEFLATE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
NATIVE = frozenset({_IMPLICIT, _EXPLICIT, _BIG_ENDIAN, _DEFLATE})
"""Transfer syntaxes whose pixels are not compressed by themselves."""
_INDEX = b"1.2.840.10008.1.3.10"
_SYNTAX, _CLASS = 0x00020010, 0x00020002
_SAMPLES = MappingProxyType({"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3})
_WHOLE_BYTES = (8, 16, 32)


class Opened(NamedTuple):
    """A file of which some bytes are at hand.

    Parameters
    ----------
    data : bytes
        Its beginning.
    size : int
        Bytes of the whole file.
    read : callable
        Reads more.
    whole : bool
        Whether `data` is all, and the pixel data are to be looked into.
    """

    data: bytes
    size: int
    read: RangeReader
    whole: bool


class Rowed(NamedTuple):
    """A plain file with its row, and what was found on the way.

    Parameters
    ----------
    row : dict
        As `voxlake.dicom.scan.scan`.
    plain : Plain
        The data set.
    walk : Walk
        The walk over it.
    meta : Level
        File meta information.
    start : int
        Where the data set begins; 0 for a deflated one.
    texts : list of str, optional
        JSON of each element, as ``"tag":{...}``.
    """

    row: dict[str, Any]
    plain: Plain
    walk: Walk
    meta: Level
    start: int
    texts: list[str] | None


def read_row(opened: Opened, *, tags: bool) -> Rowed:
    """Read the row of a file.

    Raises
    ------
    OddFileError
        The file is one for pydicom, sound or not.
    ShortOfBytesError
        More of the file is needed.
    """
    data, size, read, whole = opened
    meta, syntax, start = _meta(data, size, read)
    if syntax in DEFLATED:
        data = _inflated(data if len(data) == size else read(0, size), start)
        start, size, read, whole = 0, len(data), lambda at, length: data[at : at + length], True
    walk = Walk(data, size, read, implicit=syntax == _IMPLICIT, little=syntax != _BIG_ENDIAN, deep=tags)
    level = walk.run(start)
    _check_beginning(walk, next(iter(level), 0), start)
    charset = level_charset(level, walk.data, DEFAULT_CHARSET)
    plain = Plain(level, walk.data, walk.pixels, charset, walk.implicit, walk.little, syntax)
    row = columns_of(plain)
    if walk.pixels is not None and level[walk.pixels.tag][0] not in PIXEL_VRS:
        raise OddFileError
    place_pixels(plain, row, whole=whole)
    texts = JsonWriter(walk).elements(level) if tags else None
    row["tags"] = None if texts is None else "{" + ",".join(texts) + "}"
    return Rowed(row, plain, walk, meta, start, texts)


def place_pixels(plain: Plain, row: dict[str, Any], *, whole: bool) -> None:
    """Fill in where the pixel data lie, after a check that there are as many as the header says.

    Parameters
    ----------
    plain : Plain
        The file.
    row : dict
        Its columns; ``pixel_offset`` and ``pixel_length`` are added.
    whole : bool
        Whether the pixel data are at hand.

    Raises
    ------
    OddFileError
        They are fewer.
    """
    row["pixel_offset"], row["pixel_length"] = None, None
    pixels = plain.pixels
    if pixels is None:
        return
    if not (plain.syntax in NATIVE and pixels.tag == PIXELS[0] and enough(row, pixels.length)):
        _check_pixels(plain, pixels.length, whole=whole)
    if pixels.length and plain.syntax not in DEFLATED:
        row["pixel_offset"] = pixels.start
        row["pixel_length"] = None if pixels.undefined else pixels.length


def enough(row: Mapping[str, Any], length: int) -> bool:
    """Whether native pixels are of whole bytes and all there; says no where it is not sure."""
    allocated, stored, samples = row["bits_allocated"], row["bits_stored"], row["samples_per_pixel"]
    if allocated not in _WHOLE_BYTES or not row["rows"] or not row["columns"]:
        return False
    if samples is None or _SAMPLES.get(row["photometric_interpretation"]) != samples:
        return False
    if stored is None or not 1 <= stored <= allocated or row["rows"] < 1 or row["columns"] < 1:
        return False
    needed = row["number_of_frames"] * row["rows"] * row["columns"] * samples * (allocated // 8)
    return bool(needed <= length)


def _meta(data: bytes, size: int, read: RangeReader) -> tuple[Level, str, int]:
    """Meta information, transfer syntax, and where the data set begins."""
    if data[128 : META_START + 8] != b"DICM\x02\0\0\0UL\x04\0":
        raise OddFileError
    start = META_START + 12 + int.from_bytes(data[META_START + 8 : META_START + 12], "little")
    if start > len(data):
        raise ShortOfBytesError(start)
    level = Walk(data, size, read, implicit=False, little=True).meta(META_START, start)
    stated = level.get(_SYNTAX)
    if stated is None or stated[0] != "UI" or next(reversed(level)) >> 16 != 2:
        raise OddFileError
    syntax = data[stated[1] : stated[2]].decode("latin-1").rstrip("\0 ")
    kind = level.get(_CLASS, ("UI", 0, 0))
    if not is_uid(syntax) or kind[0] != "UI" or data[kind[1] : kind[2]].strip(b"\0 ") == _INDEX:
        raise OddFileError
    return level, syntax, start


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


def _check_pixels(plain: Plain, length: int, *, whole: bool) -> None:
    """Refuse pixel data that are fewer than the header says, as `read_dataset` does."""
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
    if plain.syntax in NATIVE and layout.native_bytes > length:
        raise OddFileError
