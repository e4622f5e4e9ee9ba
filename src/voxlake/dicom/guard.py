"""What stands between pydicom and the bytes of strangers: limits before it reads, silence while it does."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from pydicom.errors import BytesLengthException, InvalidDicomError

from voxlake.core.errors import ItemError
from voxlake.dicom.nodes import MAX_DEPTH, known_vr

__all__ = ["MAX_ELEMENTS", "MAX_HEADER_BYTES", "PYDICOM_ERRORS", "check_structure", "quiet"]

MAX_ELEMENTS = 500_000
"""Most elements, items and fragments of one object, at all depths together.

A multi-frame object of 10,000 frames has 300,000. pydicom needs about 0.5 kB for an element, 3 kB for an item
and 50 microseconds for either, so that an object at the limit fits the memory and the time of a worker.
"""

MAX_HEADER_BYTES = 64 * 2**20
"""Most bytes of all values together that are text or numbers.

They become one row of a table, which the driver holds, while bulk data stay with the worker. The contours of
a large radiotherapy plan have 30 MB.
"""

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TRAILING_PADDING = 0xFFFCFFFC
_UNDEFINED = 0xFFFFFFFF
_ITEM_GROUP = 0xFFFE
# VRs whose length has 32 bits after two reserved bytes (PS3.5 table 7.1-1).
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

# What pydicom and the codecs raise on damaged input. Broad on purpose: pydicom converts values when they are
# touched, so any of these may come out of any access; but listed, so that a fault outside (no memory, a
# keyboard interrupt) is never taken for a bad file.
PYDICOM_ERRORS: tuple[type[Exception], ...] = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,  # "No tag to read", of a sequence in memory that ends early
    LookupError,  # KeyError, IndexError, unknown character set
    ValueError,  # UnicodeError among them
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,  # OverflowError, decimal.InvalidOperation
    RuntimeError,  # NotImplementedError, RecursionError, errors of the codecs
    StopIteration,
    struct.error,
    zlib.error,
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings and log records to itself: they quote values, which may be a patient's.

    Warning filters and log levels belong to the process, so two threads inside this context at once may see
    each other's; workers are processes with one thread.
    """
    logger = logging.getLogger("pydicom")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Above CRITICAL, because pydicom logs the exceptions of its decoders with the values in them.
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


def check_structure(
    data: bytes, start: int, *, implicit: bool, little: bool = True, group: int | None = None
) -> int:
    """Walk all elements at all depths, without recursion and without taking a value out.

    The way is that of pydicom, its heuristics for the VR included, so that what is found here is what it
    would find: an element cut off deep inside a sequence shows here, where pydicom would hand out what is
    left of it, and the depth and number of elements are known before memory is spent on them.

    Parameters
    ----------
    data : bytes
        The file, or an inflated data set.
    start : int
        Where the elements begin.
    implicit, little : bool
        Encoding that is announced.
    group : int, optional
        Stop before the first element of another group.

    Returns
    -------
    int
        Where the walk ended.

    Raises
    ------
    ItemError
        ``truncated``: the bytes end before an element or a delimiter does; ``parse_error``: an element that
        reaches over the end of its item, something else than items in a sequence, items outside of one, more
        than `MAX_ELEMENTS`, or sequences deeper than `MAX_DEPTH`; ``too_large``: over `MAX_HEADER_BYTES`.
    """
    return _Walk(data, little=little).run(start, implicit, group)


def _fragments_end(data: bytes, start: int, end: int, *, little: bool = True) -> tuple[int, int]:
    """Walk the items of encapsulated pixel data (PS3.5 annex A.4).

    Returns
    -------
    tuple of int
        Position after the delimiter, and number of items, the offset table among them.

    Raises
    ------
    ItemError
        ``truncated``: no delimiter before `end`.
    """
    head = struct.Struct("<HHI" if little else ">HHI").unpack_from
    position, count = start, 0
    while position + 8 <= end:
        group, element, length = head(data, position)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            return position + 8, count
        if tag != _ITEM or length == _UNDEFINED:
            return _searched(data, start, end, little), count
        position += 8 + length
        count += 1
    raise ItemError("truncated", "the data end inside a value of undefined length")


def _searched(data: bytes, start: int, end: int, little: bool) -> int:
    # Some writers put other bytes than items between length and delimiter, and pydicom looks for the latter.
    delimiter = struct.pack("<HHI" if little else ">HHI", _ITEM_GROUP, 0xE0DD, 0)
    found = data.find(delimiter, start, end)
    if found < 0:
        raise ItemError("truncated", "the data end inside a value of undefined length")
    return found + 8


@dataclass(slots=True)
class _Level:
    """A data set or, if `items`, a sequence that the walk is inside of."""

    end: int
    implicit: bool
    items: bool = False
    delimited: bool = False


class _Head(NamedTuple):
    tag: int
    vr: bytes | None
    length: int
    value_at: int


class _Walk:
    def __init__(self, data: bytes, *, little: bool) -> None:
        order = "<" if little else ">"
        self._data, self._little = data, little
        self._head: Callable[[bytes, int], tuple[int, int, int]] = struct.Struct(f"{order}HHI").unpack_from
        self._short: Callable[[bytes, int], tuple[int]] = struct.Struct(f"{order}H").unpack_from
        self._long: Callable[[bytes, int], tuple[int]] = struct.Struct(f"{order}I").unpack_from
        self._levels: list[_Level] = []
        self._count = self._header = 0

    def run(self, start: int, implicit: bool, group: int | None) -> int:
        data, levels = self._data, self._levels
        levels.append(_Level(len(data), self._really_implicit(start, implicit)))
        position = start
        while levels:
            level = levels[-1]
            if position >= level.end and not level.delimited:
                levels.pop()
                continue
            if level.end - position < 8:
                if len(levels) == 1 and not any(data[position:]):
                    break
                self._cut(level.end, "an element or an item ends before its length is told")
            if group is not None and len(levels) == 1 and self._head(data, position)[0] != group:
                break
            self._add(1)
            position = self._item(level, position) if level.items else self._element(level, position)
        return position

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > MAX_ELEMENTS:
            raise ItemError("parse_error", f"more than {MAX_ELEMENTS:,} elements")

    def _really_implicit(self, position: int, stated: bool) -> bool:
        # What stands where the first VR would be decides, whatever the transfer syntax says.
        vr = self._data[position + 4 : position + 6]
        return not _letters(vr) if len(vr) == 2 else stated

    def _element(self, level: _Level, position: int) -> int:
        tag, vr, length, value_at = self._read(level, position)
        if tag >> 16 == _ITEM_GROUP:
            return self._delimiter(level, tag, position)
        if length == _UNDEFINED:
            return self._undefined(level, tag, vr, value_at)
        end = value_at + length
        if end > level.end:
            if tag == _TRAILING_PADDING:
                return level.end
            self._cut(level.end, f"element {tag:08X} announces {length} bytes, {level.end - value_at} follow")
        if length and self._is_sequence(tag, vr):
            self._enter(_Level(end, level.implicit, items=True))
            return value_at
        self._weigh(tag, vr, length)
        return end

    def _weigh(self, tag: int, vr: bytes | None, length: int) -> None:
        # A VR by the dictionary may be several: "OB or OW".
        name = (known_vr(tag) or "UN")[:2] if vr is None else vr.decode("latin-1")
        if name not in _BULK:
            self._header += length
            if self._header > MAX_HEADER_BYTES:
                raise ItemError("too_large", f"more than {MAX_HEADER_BYTES:,} bytes of text and numbers")

    def _read(self, level: _Level, position: int) -> _Head:
        data = self._data
        group, element, length = self._head(data, position)
        tag, value_at = group << 16 | element, position + 8
        if level.implicit:
            return _Head(tag, None, length, value_at)
        vr = data[position + 4 : position + 6]
        if vr in _LONG:
            if position + 12 > level.end:
                self._cut(level.end, f"element {tag:08X} ends before its length is told")
            return _Head(tag, vr, self._long(data, position + 8)[0], position + 12)
        if b"AA" <= vr <= b"ZZ":
            return _Head(tag, vr, self._short(data, position + 6)[0], value_at)
        # Some writers turn to implicit VR in the middle of a data set; item tags look the same.
        return _Head(tag, None, length, value_at)

    def _delimiter(self, level: _Level, tag: int, position: int) -> int:
        here = position + 8
        nested = len(self._levels) > 1
        if tag == _ITEM_END and nested and (level.delimited or here == level.end):
            self._levels.pop()
            return here
        raise ItemError("parse_error", "an item or a delimiter stands where an element was expected")

    def _undefined(self, level: _Level, tag: int, vr: bytes | None, value_at: int) -> int:
        if (
            vr in (b"SQ", b"UN")
            or self._is_sequence(tag, vr)
            or (vr is None and self._private_items(tag, value_at))
        ):
            self._enter(_Level(level.end, level.implicit, items=True, delimited=True))
            return value_at
        name = (known_vr(tag) or "UN")[:2] if vr is None else vr.decode("latin-1")
        if name not in _BULK:
            # pydicom would look for a delimiter anywhere, and no writer could put such a value back.
            raise ItemError("parse_error", f"element {tag:08X} of VR {name!r} has no length")
        end, count = _fragments_end(self._data, value_at, level.end, little=self._little)
        self._add(count)
        return end

    def _private_items(self, tag: int, value_at: int) -> bool:
        if known_vr(tag) is not None or value_at + 8 > len(self._data):
            return False
        group, element, _ = self._head(self._data, value_at)
        return group << 16 | element == _ITEM

    def _is_sequence(self, tag: int, vr: bytes | None) -> bool:
        return vr == b"SQ" or (vr in (None, b"UN") and known_vr(tag) == "SQ")

    def _item(self, level: _Level, position: int) -> int:
        group, element, length = self._head(self._data, position)
        tag, start = group << 16 | element, position + 8
        if tag == _SEQUENCE_END and (level.delimited or start == level.end):
            self._levels.pop()
            return start
        if tag != _ITEM:
            raise ItemError("parse_error", f"a sequence holds {tag:08X} where an item was expected")
        # Sequences may be implicit inside explicit data sets, not the other way round (PS3.5 section 6.2.2).
        implicit = level.implicit or self._really_implicit(start, False)
        if length == 0:
            return start
        if length == _UNDEFINED:
            self._enter(_Level(level.end, implicit, delimited=True))
        elif start + length > level.end:
            self._cut(level.end, f"an item announces {length} bytes, {level.end - start} follow")
        else:
            self._enter(_Level(start + length, implicit))
        return start

    def _enter(self, level: _Level) -> None:
        # A sequence and its item are two levels.
        if len(self._levels) > 2 * MAX_DEPTH:
            raise ItemError("parse_error", f"sequences are nested deeper than {MAX_DEPTH} levels")
        self._levels.append(level)

    def _cut(self, end: int, what: str) -> NoReturn:
        if end == len(self._data):
            raise ItemError("truncated", f"the file ends too early: {what}")
        raise ItemError("parse_error", f"an item or a sequence is shorter than what is in it: {what}")


def _letters(vr: bytes) -> bool:
    return 0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B
