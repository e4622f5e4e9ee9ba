"""Temporary files for what a stream brings and cannot bring again.

A file lives as long as an item that lies in it: the driver lets go of its items when their window is done,
and the file goes with the last of them. So the disk holds a window or two, never the whole archive. The files
can be read by their owner only; a process that is killed leaves its last ones behind.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from voxlake.core.errors import ItemError
from voxlake.sources.item import NO_HINTS, Hints
from voxlake.sources.regular import open_regular, system_says

__all__ = ["Spool", "SpooledItem"]

_SEGMENT = 64 << 20


class Segment:
    """One temporary file; gone when nobody in the process that made it refers to it any more."""

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def new(cls) -> tuple[Segment, int]:
        """Make a file; returns it and a descriptor for writing."""
        descriptor, path = tempfile.mkstemp(prefix="voxlake-", suffix=".spool")
        segment = cls(path)
        weakref.finalize(segment, _remove, path)
        return segment, descriptor

    def __reduce__(self) -> tuple[type[Segment], tuple[str]]:
        # In a worker there is only the path: what a worker lets go of must not remove the file.
        return (type(self), (self.path,))


@dataclass(frozen=True, slots=True)
class SpooledItem:
    """One member of a streamed archive."""

    name: str = field(repr=False)
    segment: Segment = field(repr=False)
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
            with open_regular(self.segment.path) as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise ItemError("unreadable_source", system_says(error)) from None
        if len(data) != self.size:
            raise ItemError("unreadable_source", "the temporary file of the archive was cut; try again")
        return data


class Spool:
    """Takes in members one after another."""

    def __init__(self) -> None:
        self._segment: Segment | None = None
        self._descriptor = -1
        self._end = 0
        self._start = 0

    def begin(self) -> None:
        """Begin a member, in a new file if the last one is large enough."""
        try:
            if self._segment is None or self._end >= _SEGMENT:
                self.close()
                self._segment, self._descriptor = Segment.new()
                self._end = 0
        except OSError as error:
            raise ItemError("unreadable_source", f"no temporary file: {system_says(error)}") from None
        self._start = self._end

    def write(self, data: bytes) -> None:
        """Append to the member.

        Raises
        ------
        ItemError
            ``unreadable_source``: no room for temporary files.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise ItemError(
                "unreadable_source", f"the temporary file is full: {system_says(error)}"
            ) from None
        self._end += len(data)

    def drop(self) -> None:
        """Take back what was written of the member."""
        os.ftruncate(self._descriptor, self._start)
        os.lseek(self._descriptor, self._start, os.SEEK_SET)
        self._end = self._start

    def end(self, name: str) -> SpooledItem:
        """The member as an item."""
        if self._segment is None:
            raise RuntimeError("a member ends that did not begin")
        return SpooledItem(name, self._segment, self._start, self._end - self._start)

    def close(self) -> None:
        """Let go of the file that is being written; its items keep it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._segment, self._descriptor = None, -1


def _remove(path: str) -> None:
    with suppress(OSError):
        Path(path).unlink()
