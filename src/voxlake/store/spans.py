"""Which requests fetch many ranges of one object: near ones together, long ones in parts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

__all__ = ["cut", "spans"]

# What lies between two ranges costs less to fetch than another request does.
_GAP = 256 << 10
_LONGEST = 16 << 20

Range = tuple[int, int]


def spans(ranges: Sequence[Range]) -> list[Range]:
    """(offset, length) of the requests, in order and without overlap, that together hold all ranges."""
    joined: list[Range] = []
    for offset, length in sorted(one for one in ranges if one[1] > 0):
        if joined:
            first, size = joined[-1]
            end = first + size
            if offset <= end + (_GAP if size < _LONGEST else 0):
                joined[-1] = (first, max(end, offset + length) - first)
                continue
        joined.append((offset, length))
    return [
        (first + begin, min(_LONGEST, size - begin))
        for first, size in joined
        for begin in range(0, size, _LONGEST)
    ]


def cut(ranges: Sequence[Range], fetched: Sequence[Range], parts: Sequence[bytes]) -> list[bytes]:
    """The bytes of each range out of those of the spans."""
    starts = [offset for offset, _ in fetched]
    return [_one(offset, length, starts, parts) for offset, length in ranges]


def _one(offset: int, length: int, starts: Sequence[int], parts: Sequence[bytes]) -> bytes:
    if not length:
        return b""
    number = bisect_right(starts, offset) - 1
    pieces = []
    while length > 0:
        begin = offset - starts[number]
        piece = parts[number][begin : begin + length]
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
        number += 1
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
