"""zlib, gzip and bzip2 streams inside image files: where they end, what they hide, made anew without it.

Everything runs in pieces, so that a stream which unpacks to a thousand times its size costs time up to the
announced length, but no memory.
"""

from __future__ import annotations

import bz2
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from voxlake.core.errors import ItemError

__all__ = ["MAX_BYTES", "Extent", "Packing", "check_announced", "clean", "measure", "pack", "unpack"]

Packing = Literal["zlib", "gzip", "bzip2"]

# Unpacked values of one file, as where images are read; a 0.5 mm brain in double precision has 0.5 GB.
MAX_BYTES = 4 << 30

_FEED = 1 << 15
_PIECE = 1 << 20
# Deflate makes at most 1,032 bytes out of one.
_DEFLATE_RATIO = 1100
# How far a stream is read on behind the announced bytes to compare its checksum.
_SURPLUS = 1 << 24
# Method deflate, no flags, no time, no hint of the packer, unknown system.
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_GZIP_CHECKSUM, _GZIP_EXTRA, _GZIP_NAME, _GZIP_COMMENT = 2, 4, 8, 16


@dataclass(frozen=True)
class Extent:
    """What `measure` found.

    Attributes
    ----------
    used : int
        Bytes that the stream, with all of its members, takes of the packed bytes; the rest is a tail.
    members : int
        Streams that stand one behind the other.
    surplus : bool
        Whether more unpacks than was announced.
    """

    used: int
    members: int
    surplus: bool


def check_announced(length: int, packed: int | None = None) -> None:
    """Refuse a length that is over the cap, or that so many packed bytes cannot hold.

    Parameters
    ----------
    length : int
        Bytes that a header announces.
    packed : int or None
        Bytes that deflate is said to have made of them.

    Raises
    ------
    ItemError
        ``too_large`` or ``truncated``.
    """
    if length > MAX_BYTES:
        message = f"{length:,} bytes of values announced; the limit is {MAX_BYTES:,} in one file"
        raise ItemError("too_large", message)
    if packed is not None and length > _DEFLATE_RATIO * packed:
        raise ItemError("truncated", f"{packed:,} packed bytes cannot hold the {length:,} announced")


def unpack(packed: bytes, packing: Packing) -> Iterator[bytes]:
    """Unpack a stream in pieces of at most 1 MiB, following members of gzip and bzip2 to the last.

    Raises
    ------
    ItemError
        ``truncated`` or ``deidentify_failed``: the stream ends early or is damaged.
    """
    for piece, _, _ in _walk(packed, packing):
        yield piece


def measure(packed: bytes, packing: Packing, length: int) -> Extent:
    """Read a stream to its end and compare its checksum; nothing is kept.

    Parameters
    ----------
    packed : bytes
        The stream, perhaps with a tail.
    packing : {"zlib", "gzip", "bzip2"}
        How it is packed.
    length : int
        Bytes that it must hold.

    Raises
    ------
    ItemError
        ``truncated``: ends early or holds less; ``too_large``: much more than was announced;
        ``deidentify_failed``: damaged.
    """
    check_announced(length, None if packing == "bzip2" else len(packed))
    total = used = 0
    members = 1
    for piece, used, members in _walk(packed, packing):  # noqa: B007 - the last values are the result
        total += len(piece)
        if total > length + _SURPLUS:
            message = f"the stream holds more than {_SURPLUS:,} bytes behind the {length:,} announced"
            raise ItemError("too_large", message)
    if total < length:
        raise ItemError("truncated", f"the stream holds {total:,} bytes, {length:,} are announced")
    return Extent(used, members, total > length)


def pack(pieces: Iterator[bytes], packing: Packing, length: int) -> bytes:
    """Pack the first bytes of some pieces; equal pieces give equal bytes, without name or time.

    Parameters
    ----------
    pieces : iterator of bytes
        The values.
    packing : {"zlib", "gzip", "bzip2"}
        How to pack them.
    length : int
        Bytes to take.
    """
    packer = bz2.BZ2Compressor() if packing == "bzip2" else _deflater(packing)
    # Written out because the header that the gzip module makes differs between Python versions.
    parts = [_GZIP_HEADER] if packing == "gzip" else []
    checksum, left = 0, length
    for piece in pieces:
        taken = piece[:left]
        left -= len(taken)
        if packing == "gzip":
            checksum = zlib.crc32(taken, checksum)
        parts.append(packer.compress(taken))
        if not left:
            break
    parts.append(packer.flush())
    if packing == "gzip":
        parts.append(struct.pack("<II", checksum, length & 0xFFFFFFFF))
    return b"".join(parts)


def clean(packed: bytes, packing: Packing, length: int) -> bytes:
    """Return a stream that holds its announced bytes and nothing else.

    A stream of one member without surplus is copied bit for bit; names, comments and times in the header of
    gzip, and whatever follows the stream, are left behind. Any other stream is packed anew.

    Raises
    ------
    ItemError
        As `measure`.
    """
    extent = measure(packed, packing, length)
    if extent.members > 1 or extent.surplus:
        return pack(unpack(packed, packing), packing, length)
    if packing == "gzip":
        return _GZIP_HEADER + packed[_gzip_body(packed) : extent.used]
    return packed[: extent.used]


def _deflater(packing: Packing) -> zlib._Compress:
    bits = -zlib.MAX_WBITS if packing == "gzip" else zlib.MAX_WBITS
    # Level 4 is a third faster and makes label maps a quarter larger.
    return zlib.compressobj(6, zlib.DEFLATED, bits)


def _walk(packed: bytes, packing: Packing) -> Iterator[tuple[bytes, int, int]]:
    """Pieces, with the bytes used up and the members begun so far."""
    view = memoryview(packed)
    start, members = 0, 1
    while True:
        used = start
        member = _bzip2_member(view, start) if packing == "bzip2" else _zlib_member(view, start, packing)
        for piece, used in member:
            yield piece, used, members
        if not _another(packed[used : used + 3], packing):
            return
        start, members = used, members + 1


def _another(head: bytes, packing: Packing) -> bool:
    if packing == "gzip":
        return head == _GZIP_HEADER[:3]
    return packing == "bzip2" and head == b"BZh"


def _zlib_member(view: memoryview, at: int, packing: Packing) -> Iterator[tuple[bytes, int]]:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS + 16 if packing == "gzip" else zlib.MAX_WBITS)
    try:
        while not unpacker.eof:
            if at >= len(view):
                raise ItemError("truncated", f"the {packing} stream ends early")
            fed = view[at : at + _FEED]
            piece = unpacker.decompress(fed, _PIECE)
            # At the end of the stream zlib may name the same bytes in both.
            at += len(fed) - len(unpacker.unused_data or unpacker.unconsumed_tail)
            yield piece, at
    except zlib.error:
        raise ItemError("deidentify_failed", f"the {packing} stream is damaged") from None


def _bzip2_member(view: memoryview, at: int) -> Iterator[tuple[bytes, int]]:
    unpacker = bz2.BZ2Decompressor()
    try:
        while not unpacker.eof:
            if unpacker.needs_input and at >= len(view):
                raise ItemError("truncated", "the bzip2 stream ends early")
            fed = view[at : at + _FEED] if unpacker.needs_input else view[:0]
            piece = unpacker.decompress(fed, _PIECE)
            at += len(fed) - len(unpacker.unused_data)
            yield piece, at
    except (OSError, ValueError):
        raise ItemError("deidentify_failed", "the bzip2 stream is damaged") from None


def _gzip_body(packed: bytes) -> int:
    """Where the header of a member that has been unpacked before ends (RFC 1952, 2.3)."""
    flags, at = packed[3], len(_GZIP_HEADER)
    if flags & _GZIP_EXTRA:
        at += 2 + int.from_bytes(packed[at : at + 2], "little")
    for flag in (_GZIP_NAME, _GZIP_COMMENT):
        if flags & flag:
            at = packed.index(b"\0", at) + 1
    return at + (2 if flags & _GZIP_CHECKSUM else 0)
