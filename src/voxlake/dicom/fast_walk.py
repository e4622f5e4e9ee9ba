"""One walk over the elements of a plain DICOM file: where each value lies, and nothing more.

What is odd raises `OddFileError`, and pydicom takes over. A file is plain if its tags ascend, its VRs are
known, every length fits, and nothing needs a guess.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from voxlake.dicom.guard import MAX_ELEMENTS, MAX_HEADER_BYTES
from voxlake.dicom.nodes import LONG_VRS, MAX_DEPTH, SHORT_VRS, is_creator, known_vr
from voxlake.dicom.parse_bytes import OddFileError

__all__ = [
    "INLINE_PIXELS",
    "PIXELS",
    "Entry",
    "Level",
    "PixelPlace",
    "RangeReader",
    "ShortOfBytesError",
    "Walk",
]

Entry: TypeAlias = tuple[str, int, int]
"""VR, place of the value, and place behind it."""
Level: TypeAlias = dict[int, Entry]
"""Elements of a data set or an item by tag, in ascending order."""
RangeReader: TypeAlias = Callable[[int, int], bytes]
"""``read(offset, length)`` gives that many bytes of a file or an object, fewer only at its end."""

PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
INLINE_PIXELS = 1024
"""Pixel data up to this length stand in the JSON text, so they are read."""
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_FIRST_DELIMITER = 0xFFFE0000
_LITTLE, _BIG = (
    tuple(struct.Struct(order + layout).unpack_from for layout in ("HH2sH", "HHI", "I")) for order in "<>"
)
_short_vr = {name.encode(): name for name in SHORT_VRS}.get
_long_vr = {name.encode(): name for name in LONG_VRS}.get
_CREATOR_VRS = frozenset({"LO", "UN"})
# pydicom takes a longer value of an unknown VR for what it says it is.
_LONGEST_RESOLVED = 0xFFFF
# Commands and meta information (groups 0000 and 0002) have no place in an item.
_FIRST_OF_DATA = 0x00030000


class PixelPlace(NamedTuple):
    """Where the pixel data lie in the file, and whether they are encapsulated."""

    tag: int
    start: int
    length: int
    stop: int
    undefined: bool


class ShortOfBytesError(Exception):
    """The element goes on behind the bytes that are there.

    Parameters
    ----------
    end : int
        Where it ends.
    """

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class Walk:
    """A walk over one data set.

    Parameters
    ----------
    data : bytes
        The file, or its beginning.
    size : int
        Bytes of the whole file.
    read : callable
        Called for what lies behind the pixel data, if `data` ends before.
    implicit, little : bool
        Encoding.
    deep : bool
        Whether sequences of stated length are opened; otherwise they are stepped over.
    budget : int
        Most elements, items and fragments.
    """

    def __init__(
        self,
        data: bytes,
        size: int,
        read: RangeReader,
        *,
        implicit: bool,
        little: bool,
        deep: bool = True,
        budget: int = MAX_ELEMENTS,
    ) -> None:
        self.data, self.size = data, size
        self._whole = size
        self.pixels: PixelPlace | None = None
        self.sequences: dict[int, tuple[tuple[Level, ...], bool]] = {}
        self.implicit, self.little = implicit, little
        self._read, self._deep = read, deep
        self._short, self._head, self._number = _LITTLE if little else _BIG
        self.budget = budget
        self._elements = self._implicit_elements if implicit else self._explicit_elements

    def meta(self, start: int, end: int) -> Level:
        """Walk the file meta information, which is explicit little endian whatever the data set is."""
        level, stop = self._explicit_elements({}, start, end, 0, False)
        if stop != end:
            raise OddFileError
        return level

    def run(self, start: int) -> Level:
        """Walk the whole data set.

        Raises
        ------
        OddFileError
            The file is not plain, or over the limits of `voxlake.dicom.guard`.
        ShortOfBytesError
            `data` is too short; call again on a new walk with more.
        """
        level: Level = {}
        try:
            while True:
                # The data change where pixel data were jumped over.
                _, stop = self._elements(level, start, len(self.data), 0, False)
                if stop == self.size:
                    break
                if stop == len(self.data):
                    raise ShortOfBytesError(stop + 1)
                start = self._beyond_pixels(stop)
                if start == len(self.data):
                    break
        except struct.error:
            raise ShortOfBytesError(len(self.data) + 1) from None
        pixels = 0 if self.pixels is None else self.pixels.length
        if self._whole - pixels > MAX_HEADER_BYTES:
            raise OddFileError
        return level

    def sequence(self, tag: int, start: int, length: int) -> tuple[int, int]:
        """Read one sequence whose value begins at `start`; return the ends of its value and of its element.

        Raises
        ------
        OddFileError, ShortOfBytesError
            As `run`.
        """
        level: Level = {}
        try:
            after = self._long(level, tag, "SQ", (start, length, len(self.data), 0))
        except struct.error:
            raise ShortOfBytesError(len(self.data) + 1) from None
        return level[tag][2], after

    def _explicit_elements(
        self, level: Level, start: int, end: int, depth: int, delimited: bool
    ) -> tuple[Level, int]:
        data, unpack, short = self.data, self._short, _short_vr
        position, there, count = start, len(level), 0
        # Whether lengths fit and tags ascend is looked at once, at the end.
        for count in range(self.budget + 1):
            if position >= end:
                break
            group, element, code, length = unpack(data, position)
            vr = short(code)
            if vr:
                value_at = position + 8
                position = value_at + length
                level[group << 16 | element] = (vr, value_at, position)
                continue
            tag = group << 16 | element
            vr = _long_vr(code)
            if vr is None:
                if tag == _ITEM_END and delimited and code == b"\0\0" and not length:
                    return self._ended(level, there + count), position + 8
                raise OddFileError
            length = self._number(data, position + 8)[0]
            position = self._long(level, tag, vr, (position + 12, length, end, depth))
        if position > end and self._jumped(position):
            return self._ended(level, there + count), position
        if position != end or delimited:
            raise self._short_or_odd(position, end)
        return self._ended(level, there + count), position

    def _implicit_elements(
        self, level: Level, start: int, end: int, depth: int, delimited: bool
    ) -> tuple[Level, int]:
        data, unpack = self.data, self._head
        position, there, count = start, len(level), 0
        for count in range(self.budget + 1):
            if position >= end:
                break
            group, element, length = unpack(data, position)
            tag = group << 16 | element
            if tag == _ITEM_END and delimited and not length:
                return self._ended(level, there + count), position + 8
            vr = self._private_vr(level, tag) if group & 1 else _public_vr(tag)
            value_at = position + 8
            if length == _UNDEFINED or vr == "SQ" or tag >= PIXELS[1]:
                if vr == "UN" and length == _UNDEFINED and self._head(data, value_at)[:2] == (0xFFFE, 0xE000):
                    vr = "SQ"
                position = self._long(level, tag, vr, (value_at, length, end, depth))
            else:
                position = value_at + length
                level[tag] = (vr, value_at, position)
        if position > end and self._jumped(position):
            return self._ended(level, there + count), position
        if position != end or delimited:
            raise self._short_or_odd(position, end)
        return self._ended(level, there + count), position

    def _jumped(self, position: int) -> bool:
        """Whether the walk stands behind pixel data that go on behind the bytes at hand."""
        return self.pixels is not None and self.pixels.stop == position

    def _ended(self, level: Level, count: int) -> Level:
        self.budget -= count
        tags = list(level)
        if self.budget < 0 or len(tags) != count or tags != sorted(tags):
            raise OddFileError
        if tags and tags[-1] >= _FIRST_DELIMITER:
            raise OddFileError
        return level

    def _short_or_odd(self, position: int, end: int) -> Exception:
        if end == len(self.data) < self.size:
            return ShortOfBytesError(max(position, end + 1))
        return OddFileError()

    def _long(self, level: Level, tag: int, vr: str, place: tuple[int, int, int, int]) -> int:
        """Note an element that may be a sequence, pixel data, or of unknown VR; return its end."""
        start, length, end, depth = place
        undefined = length == _UNDEFINED
        if vr == "SQ" and (undefined or self._deep):
            items, stop, after = self._items(place)
            level[tag] = ("SQ", start, stop)
            self.sequences[start] = (items, undefined)
            return after
        if undefined:
            return self._encapsulated(level, tag, vr, (start, end, depth))
        stop = start + length
        if stop > end:
            if depth or tag not in PIXELS or length <= INLINE_PIXELS or stop > self.size:
                raise self._short_or_odd(stop, end)
            self._note_pixels(PixelPlace(tag, start, length, stop, False))
            level[tag] = (vr, start, stop)
            return stop
        if not depth and tag in PIXELS:
            self._note_pixels(PixelPlace(tag, start, length, stop, False))
        if vr == "UN" and not self.implicit:
            vr = self._private_vr(level, tag) if tag & 0x10000 else _resolved(tag, length)
        level[tag] = (vr, start, stop)
        return stop

    def _note_pixels(self, place: PixelPlace) -> None:
        if self.pixels is not None:
            raise OddFileError
        self.pixels = place

    def _beyond_pixels(self, stop: int) -> int:
        """Take the pixel data that were jumped over out of the bytes at hand; return where to go on."""
        if self.pixels is None:
            raise OddFileError
        value_at = self.pixels.start
        if self._whole - stop > MAX_HEADER_BYTES:
            raise OddFileError
        self.data = self.data[:value_at] + self._read(stop, self._whole - stop)
        self.size = len(self.data)
        return value_at

    def _encapsulated(self, level: Level, tag: int, vr: str, place: tuple[int, int, int]) -> int:
        start, end, depth = place
        if tag != PIXELS[0] or vr not in ("OB", "OW") or self.implicit or not self.little:
            raise OddFileError
        position = start
        # The items behind the bytes at hand are visited one by one: nothing but their lengths is read.
        for _ in range(self.budget):
            far = position + 8 > len(self.data)
            if far and depth:
                raise self._short_or_odd(position + 8, end)
            if position + 8 > self.size:
                raise OddFileError
            head = self._read(position, 8) if far else self.data[position : position + 8]
            self.budget -= 1
            group, element, length = self._head(head, 0)
            if (group, element) == (0xFFFE, 0xE0DD) and not length:
                if far and position - start <= INLINE_PIXELS:
                    raise ShortOfBytesError(position + 8)
                if not depth:
                    self._note_pixels(PixelPlace(tag, start, position - start, position + 8, True))
                level[tag] = (vr, start, position)
                return position + 8
            if (group, element) != (0xFFFE, 0xE000) or length == _UNDEFINED:
                break
            position += 8 + length
        raise OddFileError

    def _items(self, place: tuple[int, int, int, int]) -> tuple[tuple[Level, ...], int, int]:
        """Read the items of a sequence; return them, the end of the value, and the end of the element."""
        start, length, limit, depth = place
        undefined = length == _UNDEFINED
        end = limit if undefined else start + length
        if end > limit:
            raise self._short_or_odd(end, limit)
        if depth >= MAX_DEPTH:
            raise OddFileError
        found: list[Level] = []
        position = start
        while position < end:
            group, element, length = self._head(self.data, position)
            tag = group << 16 | element
            position += 8
            if tag == _SEQUENCE_END and undefined and not length:
                return tuple(found), position - 8, position
            if tag != _ITEM or self.budget <= 0:
                raise OddFileError
            self.budget -= 1
            delimited = length == _UNDEFINED
            stop = end if delimited else position + length
            if stop > end:
                raise self._short_or_odd(stop, end)
            item, position = self._elements({}, position, stop, depth + 1, delimited)
            if item and next(iter(item)) < _FIRST_OF_DATA:
                raise OddFileError
            found.append(item)
        if undefined or position != end:
            raise self._short_or_odd(position, end) if undefined else OddFileError
        return tuple(found), end, end

    def _private_vr(self, level: Level, tag: int) -> str:
        if is_creator(tag):
            return "LO"
        creator = level.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
        if creator is None or not tag & 0xFF00:
            return "UN"
        vr, start, end = creator
        name = self.data[start:end]
        if vr not in _CREATOR_VRS or not name.isascii() or b"\x1b" in name:
            raise OddFileError
        found = _known_private_vr(tag, name)
        if found == "SQ" and not self.implicit:
            raise OddFileError
        return found


@lru_cache(maxsize=8192)
def _public_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        if known_vr(tag) is not None:
            raise OddFileError from None
        # Group lengths are in no dictionary (PS3.5 section 7.2).
        return "UN" if tag & 0xFFFF else "UL"


def _resolved(tag: int, length: int) -> str:
    known = known_vr(tag)
    if known is None or length >= _LONGEST_RESOLVED:
        return "UN"
    if known == "SQ":
        raise OddFileError
    return _public_vr(tag)


@lru_cache(maxsize=8192)
def _known_private_vr(tag: int, creator: bytes) -> str:
    try:
        return private_dictionary_VR(tag, creator.decode("ascii").rstrip("\0 "))
    except KeyError:
        return "UN"
