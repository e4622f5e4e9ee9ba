"""Files that are known by their size and SHA-256, found wherever they lie and whatever they are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from voxlake.core.digest import digest_bytes

__all__ = ["known_files"]


class _KnownFile(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def sha256(self) -> str: ...


Known = TypeVar("Known", bound=_KnownFile)


def known_files(folder: Path, known: Iterable[Known]) -> Iterator[tuple[Known, Path, bytes]]:
    """Find files anywhere below a folder; only those of a size that is known are read.

    Parameters
    ----------
    folder : Path
        Where to look.
    known : iterable
        Entries with `name`, `size` in bytes and `sha256`.

    Yields
    ------
    (entry, Path, bytes)
        Sorted by path; a file that lies there twice comes twice.
    """
    by_digest = {one.sha256: one for one in known}
    sizes = {one.size for one in by_digest.values()}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size in sizes:
            data = path.read_bytes()
            entry = by_digest.get(digest_bytes(data))
            if entry is not None:
                yield entry, path, data
