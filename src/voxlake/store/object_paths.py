"""What every kind of object store shares: the contract, names, and words for failures."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from voxlake.core.errors import IntegrityError, LakeError, NotFoundError, UsageError

__all__ = ["PART", "Entry", "ObjectBackend", "checked", "failed", "missing", "too_short"]

# What every object store, file system and URL takes without escaping.
PART = re.compile(r"[A-Za-z0-9_.=+@-]+")


class Entry(NamedTuple):
    """An object as a listing shows it: its path, its bytes, and when it was written (UTC)."""

    path: str
    size: int
    modified: datetime


class ObjectBackend(Protocol):
    """One kind of store. Paths have been checked; see `objects.Objects` for what each call does."""

    @property
    def url(self) -> str:
        """URL of the root, by which another process opens the same store."""

    def put(self, path: str, data: bytes) -> None:
        """Store or replace."""

    def put_parts(self, path: str, parts: Sequence[bytes]) -> None:
        """Store or replace, from pieces end to end."""

    def put_new(self, path: str, data: bytes) -> bool:
        """Store unless there is one."""

    def get(self, path: str) -> bytes:
        """Read."""

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Read several (offset, length)."""

    def head(self, path: str) -> Entry:
        """Size and time of one object."""

    def delete(self, path: str) -> None:
        """Remove."""

    def list(self, folder: str | None) -> Iterator[str]:
        """Paths under a folder."""

    def entries(self, folder: str | None) -> Iterator[Entry]:
        """Objects under a folder, with size and time."""

    @property
    def root(self) -> Path | None:
        """Folder of this machine; None for a bucket."""


def checked(path: str) -> str:
    """A path of an object, refused where it could lead elsewhere or need escaping."""
    parts = path.split("/")
    if not all(PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise UsageError(
            f"'{path}' is no path of an object: expected parts of letters, digits and _ . = + @ - "
            "with '/' between them, without '..' and without a leading '/'"
        )
    return path


def missing(path: str) -> NotFoundError:
    """There is no object of that path."""
    return NotFoundError(f"there is no object '{path}'")


def too_short(path: str, length: int) -> IntegrityError:
    """An object ends before a range of which `length` bytes are not there."""
    return IntegrityError(
        f"object '{path}' ends {length} bytes before the range that was asked; "
        "it is damaged or the catalogue is wrong: restore it from a backup"
    )


def failed(verb: str, path: str, error: Exception) -> LakeError:
    """The store did not do it."""
    # The first line is the cause; the rest is the library's debug output.
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    return LakeError(f"cannot {verb} object '{path}': {cause}")
