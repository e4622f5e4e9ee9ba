"""What is an archive by its name, and how the one at hand is opened up."""

from __future__ import annotations

from collections.abc import Iterator

from voxlake.core.errors import ItemError
from voxlake.sources.archive import archive_items
from voxlake.sources.archive_limits import ArchiveLimits
from voxlake.sources.item import BrokenItem, Item
from voxlake.sources.regular import open_regular
from voxlake.sources.stream import chunks_of
from voxlake.sources.streamed import streamed_items
from voxlake.sources.tar import listed_tar
from voxlake.sources.tar_headers import BLOCK, is_tar_header

__all__ = ["is_archive", "opened_archive"]

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_ZIP = ".zip"


def is_archive(name: str) -> bool:
    """Whether a file is opened up, by the end of its name: ``.zip``, ``.tar``, ``.tar.gz`` and so on."""
    return name.lower().endswith((_ZIP, *_TAR))


def opened_archive(name: str, path: str, size: int, limits: ArchiveLimits) -> Iterator[Item]:
    """Give the members of an archive on a disk.

    A zip file and a tar file that is not packed are listed, and their members are read in workers. A packed
    tar file cannot be entered in the middle: it is unpacked once, from its beginning.

    Parameters
    ----------
    name : str
        Name of the archive in its source.
    path : str
        The file.
    size : int
        Its bytes.
    limits : ArchiveLimits
        Caps.
    """
    if name.lower().endswith(_ZIP):
        yield from archive_items(name, path, size, limits)
        return
    try:
        with open_regular(path) as file:
            head = next(chunks_of(file), b"")[:BLOCK]
            if head == bytes(BLOCK) or is_tar_header(head):
                yield from listed_tar(name, path, size, limits)
                return
            file.seek(0)
            yield from streamed_items(name, chunks_of(file), limits)
    except ItemError as error:
        yield BrokenItem(name, error.reason, error.message, size)
