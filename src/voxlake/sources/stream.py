"""Bytes that come once, one after another: from a pipe, a bucket, a packed file."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from voxlake.core.errors import ItemError
from voxlake.sources.archive_limits import HARMLESS, ArchiveLimits
from voxlake.sources.regular import system_says
from voxlake.sources.zstd import unpacked_zstd

__all__ = ["Budget", "ByteStream", "chunks_of", "unpacked"]

_CHUNK = 1 << 18
_PIECE = 1 << 20
# The strongest preset of xz needs 65 MiB; a header can ask for 4 GiB.
_XZ_MEMORY = 256 << 20
_DAMAGED = "damaged: the compressed data cannot be unpacked"


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """Chunks of a file that is open for reading, as they come; a pipe is not waited for to fill one."""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    try:
        while chunk := read(_CHUNK):
            yield chunk
    except OSError as error:
        raise ItemError("unreadable_source", system_says(error)) from None


class Budget:
    """What one streamed archive may still cost; counts the bytes that came in and those they unpacked to.

    Raises
    ------
    ItemError
        ``archive_limit``, from `spend`.
    """

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._came = 0
        self._unpacked = 0

    def counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Count what comes in."""
        for chunk in chunks:
            self._came += len(chunk)
            yield chunk

    def spent(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Count what came out of it."""
        for piece in pieces:
            self.spend(len(piece))
            yield piece

    def spend(self, count: int) -> None:
        """Count unpacked bytes."""
        self._unpacked += count
        if self._unpacked > self._limits.total_bytes:
            raise ItemError("archive_limit", f"over {self._limits.total_bytes:,} bytes unpacked")
        if self._unpacked > HARMLESS and self._unpacked > self._limits.ratio * self._came:
            message = f"unpacks to over {self._limits.ratio} times its size; what came before was read"
            raise ItemError("archive_limit", message)


class ByteStream:
    """Reads exactly, looks ahead, and knows where it is."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""
        self._at = 0
        self.position = 0

    def peek(self, count: int) -> bytes:
        """The next bytes without taking them; fewer only at the end."""
        while len(self._held) - self._at < count:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._held = self._held[self._at :] + chunk
            self._at = 0
        return self._held[self._at : self._at + count]

    def read(self, count: int) -> bytes:
        """The next bytes; fewer only at the end. For headers: all of it is in memory."""
        data = self.peek(count)
        self._take(len(data))
        return data

    def some(self) -> bytes:
        """Whatever comes next, at least a byte; ``b""`` at the end."""
        data = self._held[self._at :] if self._at < len(self._held) else next(self._chunks, b"")
        self._held, self._at = b"", 0
        self.position += len(data)
        return data

    def push_back(self, data: bytes) -> None:
        """Give back bytes that were taken last."""
        self._held = data + self._held[self._at :]
        self._at = 0
        self.position -= len(data)

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes piece by piece; fewer only at the end."""
        while count > 0 and (piece := self.some()):
            if len(piece) > count:
                self.push_back(piece[count:])
                piece = piece[:count]
            count -= len(piece)
            yield piece

    def skip(self, count: int) -> None:
        """Leave bytes out."""
        for _ in self.pieces(count):
            continue

    def drain(self) -> None:
        """Read to the end, so that whoever writes into the pipe is not cut off."""
        while self.some():
            continue

    def _take(self, count: int) -> None:
        self._at += count
        self.position += count


def unpacked(stream: ByteStream) -> Iterator[bytes] | None:
    """What a packed stream holds, in pieces of at most 1 MiB or so; None if it is not packed.

    gzip, bzip2, xz and Zstandard are told by their first bytes; members that follow one another are read as
    one stream, as their own tools do.
    """
    for magic, unpack in _PACKINGS:
        if stream.peek(len(magic)) == magic:
            return unpack(iter(stream.some, b""))
    return None


def _gzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    return _members(chunks, _Gzip, "gzip")


class _Gzip:
    """The inflater of zlib with the manners of the other two."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, most)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, most: int, /) -> bytes: ...


def _members(chunks: Iterator[bytes], make: Callable[[], _Decompressor], name: str) -> Iterator[bytes]:
    unpacker: _Decompressor | None = None
    for chunk in chunks:
        waiting = chunk
        while waiting or (unpacker is not None and not unpacker.needs_input):
            if unpacker is None:
                # Tape blocks fill up with zeros behind the last member.
                waiting = waiting.lstrip(b"\0")
                if not waiting:
                    break
                unpacker = make()
            try:
                piece = unpacker.decompress(waiting, _PIECE)
            except (OSError, ValueError, EOFError, lzma.LZMAError, zlib.error):
                raise ItemError("archive_member", _DAMAGED) from None
            if piece:
                yield piece
            waiting = b""
            if unpacker.eof:
                waiting, unpacker = unpacker.unused_data, None
    if unpacker is not None:
        raise ItemError("truncated", f"the {name} stream ends early")


def _bzip2(chunks: Iterator[bytes]) -> Iterator[bytes]:
    return _members(chunks, bz2.BZ2Decompressor, "bzip2")


def _xz(chunks: Iterator[bytes]) -> Iterator[bytes]:
    return _members(chunks, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), "xz")


_PACKINGS: tuple[tuple[bytes, Callable[[Iterator[bytes]], Iterator[bytes]]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"BZh", _bzip2),
    (b"\xfd7zXZ\0", _xz),
    (b"\x28\xb5\x2f\xfd", unpacked_zstd),
)
