"""Tar files that can be seeked: listed once, members read by range in workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from voxlake.core.errors import ItemError
from voxlake.sources.archive_limits import ArchiveLimits
from voxlake.sources.ignore import SYSTEM_FILE, is_system_file
from voxlake.sources.item import NO_HINTS, BrokenItem, Hints, Item
from voxlake.sources.members import MemberNames, Unpacker, refusal
from voxlake.sources.regular import open_regular, system_says
from voxlake.sources.stream import ByteStream
from voxlake.sources.tar_headers import tar_members

__all__ = ["TarItem", "listed_tar", "streamed_tar"]


@dataclass(frozen=True, slots=True)
class TarItem:
    """One member of a tar file that is not compressed."""

    name: str = field(repr=False)
    path: str = field(repr=False)
    offset: int
    size: int
    hints: Hints = NO_HINTS
    ignored: str | None = None

    def read(self, limit: int) -> bytes:
        """The bytes; see `voxlake.sources.item.Item.read`."""
        if self.size > limit:
            raise ItemError("too_large", f"{self.size:,} bytes, the limit is {limit:,}")
        if self.size == 0:
            raise ItemError("empty_file", "0 bytes")
        try:
            with open_regular(self.path) as file:
                # Asking for more than the file has would reserve the memory all the same.
                room = file.seek(0, 2) - self.offset
                file.seek(self.offset)
                data = file.read(min(self.size, max(0, room)))
        except OSError as error:
            raise ItemError("unreadable_source", system_says(error)) from None
        if len(data) != self.size:
            raise ItemError("truncated", f"{self.size:,} bytes announced, {len(data):,} found")
        return data


class _SeekForward:
    """A file that is read forwards and skips by seeking."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        file.seek(0)
        self.position = 0

    def read(self, count: int) -> bytes:
        """The next bytes."""
        data = self._file.read(min(count, self._size - self.position))
        self.position += len(data)
        return data

    def skip(self, count: int) -> None:
        """Leave bytes out."""
        self.position = self._file.seek(min(self._size, self.position + count))


def listed_tar(name: str, path: str, size: int, limits: ArchiveLimits) -> Iterator[Item]:
    """List the members of a tar file in the order in which they lie there; none is read.

    A file whose headers cannot be followed to the end gives the members up to there and then one item that
    fails for the rest.

    Parameters
    ----------
    name : str
        Name of the file in its source.
    path : str
        The file.
    size : int
        Its bytes.
    limits : ArchiveLimits
        Caps. Nothing unpacks here, but headers may announce more than there is.
    """
    names = MemberNames(name, limits)
    try:
        with open_regular(path) as file:
            for member in tar_members(_SeekForward(file)):
                full = names.full(member.name)
                if member.kind != "file":
                    yield refusal(full, member.kind)
                else:
                    ignored = SYSTEM_FILE if is_system_file(full) else None
                    yield TarItem(full, path, member.offset, member.size, ignored=ignored)
    except OSError as error:
        yield BrokenItem(name, "unreadable_source", system_says(error), size)
    except ItemError as error:
        yield BrokenItem(name, error.reason, error.message, size)


def streamed_tar(stream: ByteStream, unpacker: Unpacker) -> Iterator[Item]:
    """Members of a tar file that comes by; see `voxlake.sources.streamed.streamed_items`."""
    for member in tar_members(stream):
        full = unpacker.names.full(member.name)
        if member.kind == "file":
            yield unpacker.keep(full, stream.pieces(member.size), member.size)
        else:
            yield refusal(full, member.kind)
    stream.drain()
