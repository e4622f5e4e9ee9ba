"""Where each frame lies in the pixel data, so that any of them is one range read.

Encapsulated pixel data (PS3.5 section A.4) are items: first the basic offset table, then the fragments. A
frame of one fragment is the value of that item. A frame of several is everything from the header of its
first item to the end of its last one; `strip_items` takes the headers between out again.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["EXPLICIT_BIG", "IMPLICIT_LITTLE", "NATIVE_SYNTAXES", "frame_bytes", "frame_ranges", "strip_items"]

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE_SYNTAXES = frozenset({IMPLICIT_LITTLE, _EXPLICIT_LITTLE, EXPLICIT_BIG})

_ITEM = b"\xfe\xff\x00\xe0"
_DELIMITER = b"\xfe\xff\xdd\xe0"
_HEADER = 8
# First bytes of a JPEG or JPEG-LS, and of a JPEG 2000 codestream. RLE has no such mark; its frames have one
# fragment each (PS3.5 section A.4.2).
_STARTS = (b"\xff\xd8", b"\xff\x4f")

Bytes = bytes | bytearray | memoryview
Ranges = tuple[list[int], list[int]]


def frame_bytes(row: Mapping[str, Any]) -> int | None:
    """Bytes of one uncompressed frame.

    Parameters
    ----------
    row : mapping
        Row of `instances`: ``rows``, ``columns``, ``samples_per_pixel``, ``bits_allocated``,
        ``photometric_interpretation``.

    Returns
    -------
    int or None
        None if the sizes are not known, or if frames do not end at whole bytes.
    """
    sizes = (row["rows"], row["columns"], row["samples_per_pixel"] or 1, row["bits_allocated"])
    if not all(size is not None and size > 0 for size in sizes):
        return None
    bits = sizes[0] * sizes[1] * sizes[2] * sizes[3]
    if row["photometric_interpretation"] == "YBR_FULL_422":
        # Two pixels share their colour: four samples for six (PS3.3 section C.7.6.3.1.2).
        bits = bits // 3 * 2
    if bits % 8 and (row["number_of_frames"] or 1) > 1:
        return None
    return int(bits + 7) // 8


def frame_ranges(data: Bytes, row: Mapping[str, Any]) -> tuple[list[int] | None, list[int] | None]:
    """Find the range of every frame.

    Parameters
    ----------
    data : bytes
        The stored file, or as much of it as holds the pixel data.
    row : mapping
        Its row of `instances`: ``pixel_offset``, ``pixel_length``, ``transfer_syntax_uid`` and the columns
        of the Image Pixel module.

    Returns
    -------
    offsets : list of int or None
        First byte of every frame, from ``pixel_offset`` on. None where it cannot be told: deflated objects,
        single bits whose frames do not end at whole bytes, pixel data that hold another number of frames than
        the header says.
    lengths : list of int or None
        Bytes of every frame; a single number if all are equal.
    """
    start, count = row["pixel_offset"], row["number_of_frames"]
    syntax = row["transfer_syntax_uid"]
    if start is None or not count or syntax is None or syntax == _DEFLATED:
        return None, None
    native = syntax in NATIVE_SYNTAXES
    found = _native(row, count) if native else _encapsulated(memoryview(data), start, count)
    if found is None:
        return None, None
    offsets, lengths = found
    return offsets, lengths[:1] if all(length == lengths[0] for length in lengths) else lengths


def strip_items(frame: bytes) -> bytes:
    """The codestream of a frame that was read by its range: item headers between fragments are taken out.

    Raises
    ------
    ValueError
        The fragments do not fill the range.
    """
    if not frame.startswith(_ITEM):
        return frame
    parts, position = [], 0
    while position < len(frame):
        end = _item_end(memoryview(frame), position)
        if end is None:
            raise ValueError("the fragments of a frame do not fill its range")
        parts.append(frame[position + _HEADER : end])
        position = end
    return b"".join(parts)


def _native(row: Mapping[str, Any], count: int) -> Ranges | None:
    size, there = frame_bytes(row), row["pixel_length"]
    if size is None or there is None or there < size * count:
        return None
    return [size * index for index in range(count)], [size]


def _encapsulated(data: memoryview, start: int, count: int) -> Ranges | None:
    items = _items(data, start)
    if items is None or len(items) < 2:
        return None
    (table_start, table_end), *fragments = items
    table = data[table_start + _HEADER : table_end]
    if len(fragments) == count:
        firsts: Sequence[int] | None = range(count)
    else:
        firsts = _by_table(table, fragments, count) or _by_marks(data, fragments, count)
    if firsts is None or (count == 1 and _several(data, fragments, table)):
        return None
    offsets, lengths = [], []
    for first, following in pairwise([*firsts, len(fragments)]):
        begin, end = fragments[first][0], fragments[following - 1][1]
        # Of several fragments the first header is kept: it tells the reader that there are more.
        begin += _HEADER if following - first == 1 else 0
        offsets.append(begin - start)
        lengths.append(end - begin)
    return offsets, lengths


def _items(data: memoryview, start: int) -> list[tuple[int, int]] | None:
    """Beginning (of the header) and end of every item up to the delimiter; None if one is not well formed."""
    items, position = [], start
    while (end := _item_end(data, position)) is not None:
        items.append((position, end))
        position = end
    return items if data[position : position + 4] in (_DELIMITER, b"") else None


def _item_end(data: memoryview, position: int) -> int | None:
    if data[position : position + 4] != _ITEM or position + _HEADER > len(data):
        return None
    (length,) = struct.unpack_from("<I", data, position + 4)
    end = position + _HEADER + int(length)
    return end if end <= len(data) else None


def _by_table(table: memoryview, fragments: Sequence[tuple[int, int]], count: int) -> list[int] | None:
    """Index of the first fragment of every frame, by the basic offset table."""
    if len(table) != 4 * count:
        return None
    numbers = {begin - fragments[0][0]: index for index, (begin, _) in enumerate(fragments)}
    firsts = [numbers.get(offset, -1) for offset in struct.unpack(f"<{count}I", table)]
    rising = all(before < after for before, after in pairwise(firsts))
    return firsts if firsts[0] == 0 and rising else None


def _by_marks(data: memoryview, fragments: Sequence[tuple[int, int]], count: int) -> list[int] | None:
    """The same by what codestreams begin with; a single frame takes all fragments."""
    if count == 1:
        return [0]
    firsts = [index for index, fragment in enumerate(fragments) if _starts(data, fragment)]
    return firsts if len(firsts) == count and firsts[0] == 0 else None


def _several(data: memoryview, fragments: Sequence[tuple[int, int]], table: memoryview) -> bool:
    """Whether what the header calls one frame holds several codestreams."""
    return not len(table) and sum(_starts(data, fragment) for fragment in fragments) > 1


def _starts(data: memoryview, fragment: tuple[int, int]) -> bool:
    return data[fragment[0] + _HEADER : fragment[0] + _HEADER + 2] in _STARTS
