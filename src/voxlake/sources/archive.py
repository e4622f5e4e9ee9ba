"""Zip archives: members become items, listed under caps and read one by one in workers.

The central directory is walked here (PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4) rather than by `zipfile`
because an item then holds the place of its member: a worker seeks and inflates without reading the
directory of a large archive again for every member, and a hostile directory is cut off at its cap before it
fills the memory. Nothing is ever written to disk, so a member's name (``../../x``) is only a name.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from voxlake.core.errors import ItemError
from voxlake.sources.archive_limits import HARMLESS, ArchiveLimits
from voxlake.sources.ignore import SYSTEM_FILE, is_system_file
from voxlake.sources.item import NO_HINTS, BrokenItem, Hints, Item
from voxlake.sources.members import MemberNames
from voxlake.sources.regular import open_regular, system_says
from voxlake.sources.zip_directory import Member, members

__all__ = ["ArchiveLimits", "ZipItem", "archive_items"]

_LOCAL = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
# Bit 0: encrypted, bit 6: strong encryption, bit 13: the directory itself is masked.
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class ZipItem:
    """One member of a zip archive."""

    name: str = field(repr=False)
    path: str = field(repr=False)
    member: Member = field(repr=False)
    hints: Hints = NO_HINTS
    ignored: str | None = None

    @property
    def size(self) -> int | None:
        """Bytes as the archive announces them."""
        return self.member.size

    def read(self, limit: int) -> bytes:
        """The bytes, unpacked and checked; see `voxlake.sources.item.Item.read`."""
        member = self.member
        if member.flags & _ENCRYPTED:
            raise ItemError("archive_member", "encrypted; unpack the archive with its password first")
        if member.method not in (_STORED, _DEFLATED):
            message = f"compression method {member.method}; only stored (0) and deflate (8) are read"
            raise ItemError("archive_member", message)
        if member.size > limit:
            raise ItemError("too_large", f"{member.size:,} bytes, the limit is {limit:,}")
        if member.size == 0:
            raise ItemError("empty_file", "0 bytes")
        with open_regular(self.path) as file:
            data = _unpack(file, member)
        if zlib.crc32(data) != member.crc:
            raise ItemError("archive_member", "damaged: the checksum is not the one in the directory")
        return data


def archive_items(name: str, path: str, size: int, limits: ArchiveLimits) -> Iterator[Item]:
    """List the members of an archive, in the order of their names, without unpacking any.

    An archive that cannot be listed or is over a cap becomes one item that fails with
    ``archive_member`` or ``archive_limit``. Archives inside are members like any other.

    Parameters
    ----------
    name : str
        Name of the archive in its source; members are named ``name/member``.
    path : str
        The file.
    size : int
        Bytes of the file.
    limits : ArchiveLimits
        Caps.
    """
    try:
        found = _listed(path, size, limits)
    except ItemError as error:
        yield BrokenItem(name, error.reason, error.message, size)
        return
    names = MemberNames(name, limits)
    for member in found:
        full = names.full(member.name)
        yield ZipItem(full, path, member, ignored=SYSTEM_FILE if is_system_file(full) else None)


def _listed(path: str, size: int, limits: ArchiveLimits) -> list[Member]:
    found: list[Member] = []
    total = 0
    try:
        with open_regular(path) as file:
            for member in members(file):
                found.append(member)
                total += member.size
                if len(found) > limits.members:
                    raise ItemError("archive_limit", f"more than {limits.members:,} members")
                if total > limits.total_bytes:
                    raise ItemError("archive_limit", f"over {limits.total_bytes:,} bytes unpacked")
    except OSError as error:
        raise ItemError("unreadable_source", system_says(error)) from None
    if total > HARMLESS and total > limits.ratio * size:
        message = f"unpacks to {total / size:,.0f} times its size, the limit is {limits.ratio}"
        raise ItemError("archive_limit", message)
    found.sort(key=lambda member: (member.name, member.offset))
    return found


def _unpack(file: BinaryIO, member: Member) -> bytes:
    try:
        file.seek(member.offset)
        header = file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
            raise ItemError("archive_member", "no member at the place that the directory names")
        *_, name_length, extra_length = _LOCAL.unpack(header)
        file.seek(name_length + extra_length, 1)
        data = _stored(file, member) if member.method == _STORED else _inflate(file, member)
    except OSError as error:
        raise ItemError("unreadable_source", system_says(error)) from None
    except OverflowError:
        raise ItemError("archive_member", "no member at the place that the directory names") from None
    except zlib.error:
        raise ItemError("archive_member", "damaged: the compressed data cannot be unpacked") from None
    if len(data) != member.size:
        message = f"{member.size:,} bytes announced, {len(data):,} or more found"
        raise ItemError("archive_member", message)
    return data


def _stored(file: BinaryIO, member: Member) -> bytes:
    # Asking for more than the file has would reserve the memory all the same.
    return file.read(min(member.size, os.fstat(file.fileno()).st_size))


def _inflate(file: BinaryIO, member: Member) -> bytes:
    # The announced size is the cap, since it may be a lie; one byte more shows that it is one.
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    parts: list[bytes] = []
    room, packed = member.size + 1, member.packed
    while room > 0 and packed > 0 and not decoder.eof:
        chunk = file.read(min(_CHUNK, packed))
        if not chunk:
            break
        packed -= len(chunk)
        while chunk and room > 0:
            part = decoder.decompress(chunk, room)
            parts.append(part)
            room -= len(part)
            chunk = decoder.unconsumed_tail
    return b"".join(parts)
