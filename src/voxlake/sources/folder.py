"""Folders and single files on a disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from voxlake.core.errors import ItemError
from voxlake.sources.archive_limits import ArchiveLimits
from voxlake.sources.archives import is_archive, opened_archive
from voxlake.sources.ignore import SYSTEM_FILE, is_system_file
from voxlake.sources.item import NO_HINTS, BrokenItem, Hints, Item
from voxlake.sources.regular import open_regular, system_says

__all__ = ["FileItem", "Folder", "Gate", "SingleFile", "followed"]

_UNREADABLE = "unreadable_source"
Gate = Callable[[str, os.stat_result | None], bool]


@dataclass(frozen=True, slots=True)
class FileItem:
    """One file on a disk."""

    name: str = field(repr=False)
    path: str = field(repr=False)
    size: int | None = None
    hints: Hints = NO_HINTS
    ignored: str | None = None

    def read(self, limit: int) -> bytes:
        """The bytes; see `voxlake.sources.item.Item.read`."""
        with open_regular(self.path) as file:
            return _read_all(file, limit)


@dataclass(frozen=True)
class SingleFile:
    """A source of one file, or of the members of one archive."""

    path: Path = field(repr=False)
    limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    labels_digest: str | None = None

    def __iter__(self) -> Iterator[Item]:
        name = _shown(self.path.name)
        try:
            size = self.path.stat().st_size
        except OSError as error:
            yield BrokenItem(name, _UNREADABLE, system_says(error))
            return
        yield from _file_items(name, str(self.path), size, self.limits)


@dataclass(frozen=True)
class Folder:
    """A source that walks a folder.

    The entries of each folder come in the order of their names, so the order is the same every time;
    one folder's names are in memory at once, never all. Every archive (``.zip``, ``.tar``, ``.tar.gz`` and
    so on) is opened up: its members are items named ``archive.zip/member``. Links to files inside the folder
    are followed; links that leave it, that point to folders or to nothing become items that fail, as do
    folders that cannot be listed. Pipes, sockets and devices are counted as ignored and never opened.

    Parameters
    ----------
    root : Path
        The folder, resolved (no links in it).
    limits : ArchiveLimits
        Caps for the archives in it.
    gate : callable, optional
        Asked for every entry that is no folder, with its path and status (None where there is none), before
        it is opened or counted; what it turns away is no part of the source.
    """

    root: Path = field(repr=False)
    limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    labels_digest: str | None = None
    gate: Gate | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[Item]:
        # Names still to be visited, one iterator for each open folder, innermost last: recursion
        # would end at Python's limit, which a hostile tree can exceed.
        pending = [iter([""])]
        while pending:
            relative = next(pending[-1], None)
            if relative is None:
                pending.pop()
                continue
            path = str(self.root / relative)
            try:
                status = Path(path).lstat()
                if stat.S_ISDIR(status.st_mode):
                    pending.append(_children(path, relative))
                    continue
            except OSError as error:
                if self.gate is None or self.gate(path, None):
                    yield BrokenItem(_shown(relative) or ".", _UNREADABLE, system_says(error))
                continue
            if self.gate is None or self.gate(path, status):
                yield from self._leaf(relative, path, status)

    def _leaf(self, relative: str, path: str, status: os.stat_result) -> Iterator[Item]:
        name = _shown(relative)
        if is_system_file(name):
            yield FileItem(name, path, status.st_size, ignored=SYSTEM_FILE)
        elif stat.S_ISREG(status.st_mode):
            yield from _file_items(name, path, status.st_size, self.limits)
        elif stat.S_ISLNK(status.st_mode):
            yield from self._link(name, path)
        else:
            yield FileItem(name, path, None, ignored=SYSTEM_FILE)

    def _link(self, name: str, path: str) -> Iterator[Item]:
        found = followed(self.root, name, path)
        if isinstance(found, BrokenItem):
            yield found
        else:
            yield from _file_items(name, found.path, found.size or 0, self.limits)


def followed(root: Path, name: str, path: str) -> FileItem | BrokenItem:
    """The file that a path leads to, links followed, if it lies inside a folder; else an item that fails."""
    try:
        target = Path(path).resolve(strict=True)
        status = target.lstat()
    except (OSError, RuntimeError):
        return BrokenItem(name, _UNREADABLE, "a link that points to nothing or to itself")
    if not target.is_relative_to(root):
        message = "a link that leaves the source; name its target as a source of its own"
        return BrokenItem(name, _UNREADABLE, message)
    if not stat.S_ISREG(status.st_mode):
        return BrokenItem(name, _UNREADABLE, "a link to something that is not a file is not followed")
    return FileItem(name, str(target), status.st_size)


def _children(path: str, relative: str) -> Iterator[str]:
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries)
    return iter([f"{relative}/{name}" for name in names] if relative else names)


def _file_items(name: str, path: str, size: int, limits: ArchiveLimits) -> Iterator[Item]:
    if is_system_file(name):
        yield FileItem(name, path, size, ignored=SYSTEM_FILE)
    elif is_archive(name) and size > 0:
        yield from opened_archive(name, path, size, limits)
    else:
        yield FileItem(name, path, size)


def _shown(name: str) -> str:
    # Names on a disk are bytes; those that are no UTF-8 must still be text that can be hashed and compared.
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _read_all(file: BinaryIO, limit: int) -> bytes:
    try:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ItemError("too_large", f"{size:,} bytes, the limit is {limit:,}")
        # One byte more than there should be shows a file that is still being written.
        data = file.read(size + 1) if size else b""
    except OSError as error:
        raise ItemError(_UNREADABLE, system_says(error)) from None
    if not data:
        raise ItemError("empty_file", "0 bytes")
    if len(data) != size:
        raise ItemError(_UNREADABLE, "the file changed while it was read; try again when it is complete")
    return data
