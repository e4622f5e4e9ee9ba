"""Directories of TIFF files (TIFF 6.0, BigTIFF): reading under caps, and writing."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from voxlake.core.errors import ItemError

__all__ = ["Directory", "Numbers", "Reader", "Writer"]

Numbers = tuple[int | float, ...]

# struct code and bytes of the types; rationals are read as two numbers each.
_TYPES: Mapping[int, tuple[str, int, int]] = MappingProxyType(
    {
        1: ("B", 1, 1), 2: ("B", 1, 1), 3: ("H", 2, 1), 4: ("I", 4, 1), 5: ("I", 8, 2), 6: ("b", 1, 1),
        7: ("B", 1, 1), 8: ("h", 2, 1), 9: ("i", 4, 1), 10: ("i", 8, 2), 11: ("f", 4, 1), 12: ("d", 8, 1),
        13: ("I", 4, 1), 16: ("Q", 8, 1), 17: ("q", 8, 1), 18: ("Q", 8, 1),
    }
)  # fmt: skip
_MOST_DIRECTORIES = 1 << 16


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    at: int


@dataclass(frozen=True)
class Directory:
    """One directory: where the values of each tag lie; nothing is read before it is asked for."""

    entries: Mapping[int, _Entry] = field(repr=False)

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries


class Reader:
    """Reads directories of a file without trusting its offsets and counts.

    Raises
    ------
    ItemError
        ``truncated`` or ``deidentify_failed``: no TIFF, an offset outside of the file, a loop of
        directories, or values that are larger than the file.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
        version = struct.unpack(self.order + "H", data[2:4])[0] if self.order and len(data) >= 4 else 0
        if version not in (42, 43):
            raise ItemError("deidentify_failed", "expected the header of a TIFF file")
        self.big = version == 43
        if self.big and self._unpack("2H", 4) != (8, 0):
            raise ItemError("deidentify_failed", "expected BigTIFF offsets of 8 bytes")
        self._offset, self._word = ("Q", "Q") if self.big else ("I", "H")
        # Directories that share their values would make many out of a few bytes. Some are read several times.
        self._left = 4 * len(data) + (1 << 16)

    def directories(self) -> Iterator[Directory]:
        """The directories of the main chain."""
        seen: set[int] = set()
        (at,) = self._unpack(self._offset, 8 if self.big else 4)
        while at:
            if at in seen or len(seen) >= _MOST_DIRECTORIES:
                raise ItemError("deidentify_failed", "a loop of TIFF directories, or too many of them")
            seen.add(at)
            directory, at = self._directory(at)
            yield directory

    def numbers(self, directory: Directory, tag: int) -> Numbers:
        """Values of a tag; empty if it is not there or is not of numbers. Rationals are quotients."""
        entry = directory.entries.get(tag)
        if entry is None or entry.kind not in _TYPES or entry.kind in (2, 7):
            return ()
        code, size, parts = _TYPES[entry.kind]
        self._charge(size * entry.count)
        values = self._unpack(f"{entry.count * parts}{code}", entry.at)
        if parts == 1:
            return values
        pairs = zip(values[::2], values[1::2], strict=True)
        return tuple(above / below if below else 0.0 for above, below in pairs)

    def raw(self, directory: Directory, tag: int) -> bytes:
        """Bytes of a tag, whatever its type; empty if it is not there."""
        entry = directory.entries.get(tag)
        if entry is None or entry.kind not in _TYPES:
            return b""
        length = _TYPES[entry.kind][1] * entry.count
        self._charge(length)
        return self.span(entry.at, length)

    def span(self, at: int, length: int) -> bytes:
        """Bytes of the file."""
        if at < 0 or length < 0 or at + length > len(self.data):
            raise ItemError("truncated", "a TIFF offset points behind the end of the file")
        return self.data[at : at + length]

    def _charge(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise ItemError("deidentify_failed", "the TIFF directories state more values than the file has")

    def _unpack(self, code: str, at: int) -> tuple[int, ...]:
        return struct.unpack(self.order + code, self.span(at, struct.calcsize(self.order + code)))

    def _directory(self, at: int) -> tuple[Directory, int]:
        (count,) = self._unpack(self._word, at)
        at += struct.calcsize(self.order + self._word)
        size, inline = (20, 8) if self.big else (12, 4)
        self._charge(count * size)
        entries: dict[int, _Entry] = {}
        for _ in range(count):
            tag, kind, number = self._unpack("HH" + self._offset, at)
            value = at + size - inline
            if kind in _TYPES and _TYPES[kind][1] * number > inline:
                (value,) = self._unpack(self._offset, value)
            entries.setdefault(tag, _Entry(kind, number, value))
            at += size
        (following,) = self._unpack(self._offset, at)
        return Directory(entries), following


class Writer:
    """Puts a TIFF file together: of each page first the pixels, then long values, then the directory."""

    def __init__(self, order: str, *, big: bool) -> None:
        self._order, self._big = order, big
        self._offset, self._word = ("Q", "Q") if big else ("I", "H")
        mark = b"II" if order == "<" else b"MM"
        head = struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
        self._parts = [mark + head]
        self._size = len(self._parts[0])
        # Indices of the parts that hold the offset of a directory which is yet to be written.
        self._link = self._hold_link()

    def put(self, body: bytes) -> int:
        """Append bytes at an even offset and return it."""
        if self._size % 2:
            self._append(b"\0")
        at = self._size
        self._append(body)
        return at

    def page(self, tags: Mapping[int, tuple[int, bytes]]) -> None:
        """Write a directory of tags, each (type, bytes of its values in the order of the file)."""
        inline = 8 if self._big else 4
        entries = []
        for tag, (kind, body) in sorted(tags.items()):
            count = len(body) // _TYPES[kind][1]
            value = (
                body.ljust(inline, b"\0") if len(body) <= inline else self._pack(self._offset, self.put(body))
            )
            entries.append(self._pack("HH" + self._offset, tag, kind, count) + value)
        at = self.put(self._pack(self._word, len(entries)) + b"".join(entries))
        self._parts[self._link] = self._pack(self._offset, at)
        self._link = self._hold_link()

    def result(self) -> bytes:
        """The file.

        Raises
        ------
        ItemError
            ``too_large``: over 4 GiB, which only BigTIFF can hold.
        """
        if not self._big and self._size >= 1 << 32:
            raise ItemError("too_large", "the TIFF file is over 4 GiB; BigTIFF can hold that")
        return b"".join(self._parts)

    def numbers(self, code: str, values: Numbers) -> bytes:
        """Values in the order of the file."""
        return self._pack(f"{len(values)}{code}", *values)

    def _pack(self, code: str, *values: int | float) -> bytes:
        return struct.pack(self._order + code, *values)

    def _append(self, body: bytes) -> None:
        self._parts.append(body)
        self._size += len(body)

    def _hold_link(self) -> int:
        self._append(bytes(8 if self._big else 4))
        return len(self._parts) - 1
