"""Names and outcomes of the members of archives, the same for every kind of archive."""

from __future__ import annotations

from collections.abc import Iterator

from voxlake.core.errors import ItemError
from voxlake.sources.archive_limits import ArchiveLimits
from voxlake.sources.ignore import SYSTEM_FILE, is_system_file
from voxlake.sources.item import BrokenItem, Item
from voxlake.sources.spool import Spool, SpooledItem

__all__ = ["MemberNames", "Unpacker", "refusal"]

_MOST_NAME_BYTES = 1 << 28
_REFUSED = {
    "link": "a link; what it points to comes in under its own name, or name it as a source of its own",
    "sparse": "a sparse file; pack it again without --sparse",
    "unknown": "an entry of a kind that is not known",
}


class MemberNames:
    """Gives every member a name of its own, and counts them.

    Raises
    ------
    ItemError
        ``archive_limit``: too many members, or names that take more than 256 MiB.
    """

    def __init__(self, archive: str, limits: ArchiveLimits) -> None:
        self._archive = archive
        self._limits = limits
        self._seen: dict[str, int] = {}
        self._count = 0
        self._bytes = 0

    def full(self, member: str) -> str:
        """Name of the next member, ``archive/member``; a name that came before gets a number."""
        self._count += 1
        self._bytes += len(member)
        if self._count > self._limits.members:
            raise ItemError("archive_limit", f"more than {self._limits.members:,} members")
        if self._bytes > _MOST_NAME_BYTES:
            raise ItemError("archive_limit", f"names of more than {_MOST_NAME_BYTES:,} characters")
        times = self._seen[member] = self._seen.get(member, 0) + 1
        # An archive may hold a name twice; both are items and need names of their own.
        return f"{self._archive}/{member if times == 1 else f'{member}#{times}'}"


def refusal(name: str, kind: str) -> Item:
    """The item for a member that is no file: links and the like fail, devices are counted as ignored."""
    if kind == "device" or is_system_file(name):
        return BrokenItem(name, SYSTEM_FILE, "no file", ignored=SYSTEM_FILE)
    return BrokenItem(name, "archive_member", _REFUSED[kind])


class Unpacker:
    """Turns the bytes of members that come by into items."""

    def __init__(self, archive: str, limits: ArchiveLimits) -> None:
        self.names = MemberNames(archive, limits)
        self._limits = limits
        self._spool = Spool()

    def keep(self, name: str, pieces: Iterator[bytes], size: int | None) -> Item:
        """Put a member aside.

        Parameters
        ----------
        name : str
            Full name.
        pieces : iterator of bytes
            Its bytes; taken to the end whatever becomes of them.
        size : int or None
            How many there must be, where that is known.
        """
        ignored = is_system_file(name)
        self._spool.begin()
        length = 0
        for piece in pieces:
            length += len(piece)
            if length <= self._limits.member_bytes and not ignored:
                self._spool.write(piece)
        if ignored:
            return BrokenItem(name, SYSTEM_FILE, "not kept", length, ignored=SYSTEM_FILE)
        if length > self._limits.member_bytes:
            self._spool.drop()
            message = f"{length:,} bytes, the limit in a stream is {self._limits.member_bytes:,}"
            return BrokenItem(name, "too_large", message, length)
        if size is not None and length < size:
            self._spool.drop()
            return BrokenItem(name, "truncated", f"{length:,} bytes, {size:,} are announced", length)
        return self._spool.end(name)

    def discard(self, item: Item, reason: str, message: str) -> Item:
        """What becomes of a member that turned out to be damaged after it was kept."""
        if isinstance(item, SpooledItem):
            self._spool.drop()
            return BrokenItem(item.name, reason, message, item.size)
        return item

    def close(self) -> None:
        """Let go of the spool."""
        self._spool.close()
