"""Encapsulated pixel data to the codestreams of their frames (PS3.5 annex A.4)."""

from __future__ import annotations

import struct

from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets

from voxlake.core.errors import ItemError

__all__ = ["encapsulate_frames", "split_frames"]

_ITEM = b"\xfe\xff\x00\xe0"
# First bytes of a JPEG or JPEG-LS and of a JPEG 2000 codestream.
_STARTS = (b"\xff\xd8", b"\xff\x4f")


def split_frames(data: bytes, count: int, extended: tuple[bytes, bytes] | None = None) -> list[bytes]:
    """Return the codestream of every frame.

    Parameters
    ----------
    data : bytes
        Value of the pixel data: items, the offset table first.
    count : int
        Frames that the header announces.
    extended : tuple of bytes, optional
        ExtendedOffsetTable and ExtendedOffsetTableLengths.

    Raises
    ------
    ItemError
        ``decode_error``: another number of frames than announced.
    ValueError
        The items are not what they should be.
    """
    frames = _one_fragment_each(data, count) if extended is None else None
    if frames is not None:
        return frames
    frames = list(generate_frames(data, number_of_frames=count, extended_offsets=extended))
    found = len(frames)
    if count == 1 and extended is None and not parse_basic_offsets(data):
        # Without offsets pydicom joins all fragments of what it is told is one frame.
        starts = sum(fragment.startswith(_STARTS) for fragment in generate_fragments(data[_skip(data) :]))
        found = max(found, starts)
    if found != count:
        raise ItemError("decode_error", f"the header announces {count} frames, the pixel data hold {found}")
    return frames


def encapsulate_frames(frames: list[bytes]) -> bytes:
    """Put each frame into one fragment of even length, behind a basic offset table.

    Offsets of 32 bits are enough for whatever is smaller than native pixel data, whose length has 32 bits.
    """
    offsets, position = [], 0
    items = []
    for frame in frames:
        padded = frame + b"\0" * (len(frame) % 2)
        offsets.append(position)
        items.append(_ITEM + struct.pack("<I", len(padded)) + padded)
        position += 8 + len(padded)
    table = struct.pack(f"<{len(offsets)}I", *offsets)
    return b"".join((_ITEM, struct.pack("<I", len(table)), table, *items))


def _one_fragment_each(data: bytes, count: int) -> list[bytes] | None:
    """The plain case without pydicom: one fragment for each frame, and offsets, if any, that say the same."""
    places: list[tuple[int, int]] = []
    position, size = 0, len(data)
    while position + 8 <= size and data[position : position + 4] == _ITEM:
        start = position + 8
        position = start + int.from_bytes(data[position + 4 : start], "little")
        places.append((start, position))
    if position != size or len(places) != count + 1:
        return None
    (start, end), *fragments = places
    if end > start:
        stated = data[start:end]
        if stated != struct.pack(f"<{count}I", *(begin - 8 - end for begin, _ in fragments)):
            return None
    return [data[begin:stop] for begin, stop in fragments]


def _skip(data: bytes) -> int:
    # The item of the basic offset table: tag, length, offsets.
    return 8 + int.from_bytes(data[4:8], "little")
