"""Zip files that come by once, by their local headers (PKWARE APPNOTE 6.3.10, 4.3.7 to 4.3.9).

Writers that cannot go back leave the sizes open (bit 3) and state them behind the data. Deflated data say
themselves where they end; stored data do not, and are refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from voxlake.core.errors import ItemError
from voxlake.sources.item import BrokenItem, Item
from voxlake.sources.members import Unpacker
from voxlake.sources.stream import Budget, ByteStream

__all__ = ["streamed_zip"]

_LOCAL = struct.Struct("<5H3I2H")
_MEMBER, _DESCRIPTOR = b"PK\x03\x04", b"PK\x07\x08"
# The directory, its signature and its end: behind these there are no members.
_BEHIND = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08")
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_SIZES_BEHIND, _UTF8 = 0x0008, 0x0800
_STORED, _DEFLATED = 0, 8
_IN_EXTRA = 0xFFFFFFFF
_PIECE = 1 << 20
_OPEN_END = "the stream does not say where it ends, nor what follows; save the archive as a file first"


@dataclass(frozen=True, slots=True)
class _Local:
    """A local header; sizes and checksum are None if they stand behind the data."""

    name: str = field(repr=False)
    flags: int
    method: int
    crc: int | None
    packed: int | None
    size: int | None


class _Tally:
    """What went by: bytes in and out, and their checksum."""

    def __init__(self) -> None:
        self.packed = self.size = self.crc = 0
        self.damaged = False

    def out(self, piece: bytes) -> bytes:
        self.size += len(piece)
        self.crc = zlib.crc32(piece, self.crc)
        return piece


def streamed_zip(stream: ByteStream, unpacker: Unpacker, budget: Budget) -> Iterator[Item]:
    """Members of a zip file that comes by; see `voxlake.sources.streamed.streamed_items`."""
    while (mark := stream.read(4)) == _MEMBER:
        local = _local(stream)
        folder = local.name.endswith("/")
        if folder and local.size == 0:
            stream.skip(local.packed or 0)
            continue
        item = _item(stream, local, unpacker, budget)
        if item is not None:
            yield item
    if mark not in _BEHIND:
        reason, what = ("truncated", "ends early") if len(mark) < 4 else ("archive_member", "is damaged")
        raise ItemError(reason, f"the zip stream {what}; members may be missing")
    stream.drain()


def _item(stream: ByteStream, local: _Local, unpacker: Unpacker, budget: Budget) -> Item | None:
    if local.packed is None and _empty(stream, local):
        return (
            None if local.name.endswith("/") else unpacker.keep(unpacker.names.full(local.name), iter(()), 0)
        )
    full = unpacker.names.full(local.name)
    refused = _refused(local)
    if refused is not None:
        if local.packed is None:
            raise ItemError("archive_member", f"a member that is {refused.split(';')[0]}: {_OPEN_END}")
        stream.skip(local.packed)
        return BrokenItem(full, "archive_member", refused, local.size)
    if local.method == _STORED and local.packed is None:
        raise ItemError("archive_member", f"a stored member without a size: {_OPEN_END}")
    start = stream.position
    tally = _Tally()
    pieces = _inflated(stream, local, tally) if local.method == _DEFLATED else _copied(stream, local, tally)
    kept = unpacker.keep(full, budget.spent(pieces), local.size)
    if local.packed is not None:
        stream.skip(start + local.packed - stream.position)
        if not tally.damaged and local.crc == tally.crc and local.size == tally.size:
            return kept
        return unpacker.discard(kept, "archive_member", "damaged: its checksum or size is another one")
    if tally.damaged or not _described(stream, tally):
        unpacker.discard(kept, "archive_member", "")
        raise ItemError("archive_member", f"a damaged member without a size: {_OPEN_END}")
    return kept


def _refused(local: _Local) -> str | None:
    if local.flags & _ENCRYPTED:
        return "encrypted; unpack the archive with its password first"
    if local.method not in (_STORED, _DEFLATED):
        return f"packed by method {local.method}; only stored (0) and deflate (8) are read"
    return None


def _local(stream: ByteStream) -> _Local:
    fixed = stream.read(_LOCAL.size)
    if len(fixed) < _LOCAL.size:
        raise ItemError("truncated", "the zip stream ends within a header; members may be missing")
    _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(fixed)
    raw, extra = stream.read(name_length), stream.read(extra_length)
    name = (raw.decode("utf-8", "backslashreplace") if flags & _UTF8 else raw.decode("cp437")).replace(
        "\\", "/"
    )
    if _IN_EXTRA in (packed, size):
        packed, size = _wide(extra)
    if flags & _SIZES_BEHIND and not (packed or size):
        return _Local(name, flags, method, None, None, None)
    return _Local(name, flags, method, crc, packed, size)


def _wide(extra: bytes) -> tuple[int, int]:
    """Sizes of the zip64 field (4.5.3); in a local header it holds both."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and length >= 16 and at + 20 <= len(extra):
            wide_size, wide_packed = struct.unpack_from("<2Q", extra, at + 4)
            return wide_packed, wide_size
        at += 4 + length
    raise ItemError("archive_member", "a zip64 field of the zip stream is missing; members may be missing")


def _copied(stream: ByteStream, local: _Local, tally: _Tally) -> Iterator[bytes]:
    for piece in stream.pieces(local.packed or 0):
        yield tally.out(piece)


def _inflated(stream: ByteStream, local: _Local, tally: _Tally) -> Iterator[bytes]:
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    left = local.packed
    while not decoder.eof and left != 0:
        chunk = next(stream.pieces(left), b"") if left is not None else stream.some()
        if not chunk:
            tally.damaged = True
            return
        left = None if left is None else left - len(chunk)
        tally.packed += len(chunk)
        while chunk and not decoder.eof:
            try:
                piece = decoder.decompress(chunk, _PIECE)
            except zlib.error:
                tally.damaged = True
                return
            chunk = decoder.unconsumed_tail
            yield tally.out(piece)
    # The end mark may wait behind a full piece, with no byte left to feed.
    yield tally.out(decoder.decompress(b"", _PIECE))
    tally.damaged = not decoder.eof
    stream.push_back(decoder.unused_data)
    tally.packed -= len(decoder.unused_data)


def _empty(stream: ByteStream, local: _Local) -> bool:
    """Whether a stored member without a size is followed at once by the description of an empty one."""
    if local.method != _STORED:
        return False
    return _described(stream, _Tally())


def _described(stream: ByteStream, tally: _Tally) -> bool:
    """Take the descriptor behind the data (4.3.9), which may have a mark and sizes of 4 or 8 bytes."""
    ahead = stream.peek(24)
    for start in (4, 0) if ahead.startswith(_DESCRIPTOR) else (0,):
        for form in ("<I2I", "<I2Q"):
            end = start + struct.calcsize(form)
            if len(ahead) < end:
                continue
            if struct.unpack(form, ahead[start:end]) == (tally.crc, tally.packed, tally.size):
                stream.read(end)
                return True
    return False
