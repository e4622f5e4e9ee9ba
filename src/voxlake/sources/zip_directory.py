"""The central directory of a zip file (PKWARE APPNOTE 6.3.10, 4.3.12 to 4.3.16)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from voxlake.core.errors import ItemError

__all__ = ["Member", "members"]

_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_COMMENT = 0xFFFF
# Whoever lists an archive holds all names in memory; half a million members with ordinary names have 90 MB.
_LONGEST_DIRECTORY = 1 << 28
_IN_EXTRA = 0xFFFFFFFF
_UTF8 = 0x0800


@dataclass(frozen=True, slots=True)
class Member:
    """What the directory says about one member; none of it is to be trusted.

    `size` is unpacked, `packed` as stored, `offset` that of the local header in the file.
    """

    name: str = field(repr=False)
    offset: int
    packed: int
    size: int
    crc: int
    method: int
    flags: int


def members(file: BinaryIO) -> Iterator[Member]:
    """Walk the directory entry by entry; folders are left out.

    Raises
    ------
    ItemError
        ``archive_member``: no directory, or one that breaks its own structure; ``archive_limit``: a directory
        of more than 256 MiB.
    OSError
        The file cannot be read.
    """
    start, length, shift = _find(file)
    if length > _LONGEST_DIRECTORY:
        raise ItemError(
            "archive_limit", f"a directory of {length:,} bytes; the limit is {_LONGEST_DIRECTORY:,}"
        )
    file.seek(start)
    while length > 0:
        fixed = file.read(_ENTRY.size)
        if len(fixed) < _ENTRY.size or not fixed.startswith(b"PK\x01\x02"):
            raise _broken("its directory is damaged")
        member, used = _entry(file, fixed, shift)
        length -= used
        if member.size or not member.name.endswith("/"):
            yield member


def _find(file: BinaryIO) -> tuple[int, int, int]:
    """Start and length of the directory, and how far all offsets are shifted by bytes in front."""
    size = file.seek(0, 2)
    tail_start = max(0, size - _END.size - _COMMENT)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise _broken("it has no directory: not a zip file, or cut off")
    _, disk, first_disk, _, _, length, offset, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    wide = _wide(file, end)
    if wide is not None:
        end, disk, first_disk, length, offset = wide
    if disk or first_disk:
        raise _broken("it is one part of several; join the parts first")
    shift = end - length - offset
    if shift < 0:
        raise _broken("its directory does not lie where it says")
    return end - length, length, shift


def _wide(file: BinaryIO, end: int) -> tuple[int, int, int, int, int] | None:
    """The zip64 record in front of the end record, if there is one."""
    at = end - _LOCATOR.size - _END64.size
    if at < 0:
        return None
    file.seek(at)
    block = file.read(_LOCATOR.size + _END64.size)
    if not block.startswith(b"PK\x06\x06") or not block[_END64.size :].startswith(b"PK\x06\x07"):
        return None
    _, _, _, _, disk, first_disk, _, _, length, offset = _END64.unpack_from(block)
    return at, disk, first_disk, length, offset


def _entry(file: BinaryIO, fixed: bytes, shift: int) -> tuple[Member, int]:
    values = _ENTRY.unpack(fixed)
    flags, method = values[3], values[4]
    crc, packed, size, name_length, extra_length, comment_length = values[7:13]
    variable = file.read(name_length + extra_length + comment_length)
    if len(variable) < name_length + extra_length + comment_length:
        raise _broken("its directory is cut off")
    extra = variable[name_length : name_length + extra_length]
    size, packed, offset = _widened(extra, (size, packed, values[16]))
    raw = variable[:name_length]
    # Archives without the flag are in the code page of the first PCs; every byte is a character there.
    name = raw.decode("utf-8", "backslashreplace") if flags & _UTF8 else raw.decode("cp437")
    member = Member(name.replace("\\", "/"), offset + shift, packed, size, crc, method, flags)
    return member, len(fixed) + len(variable)


def _widened(extra: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Size, packed size and offset, taken from the zip64 field where they do not fit 32 bits."""
    if _IN_EXTRA not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            return _from_field(extra[at + 4 : at + 4 + length], values)
        at += 4 + length
    return values


def _from_field(block: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    found = list(values)
    at = 0
    for place, value in enumerate(values):
        if value == _IN_EXTRA:
            if at + 8 > len(block):
                raise _broken("a zip64 field in its directory is cut off")
            found[place] = int.from_bytes(block[at : at + 8], "little")
            at += 8
    return found[0], found[1], found[2]


def _broken(what: str) -> ItemError:
    return ItemError("archive_member", f"the archive cannot be listed: {what}")
