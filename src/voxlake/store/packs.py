"""Packs: many files end to end in one immutable object.

A pack is the bare concatenation of its members, without a header, so that a member (or a part of one)
is one range read. Its name is a digest over the members: the same members always make the same pack.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from voxlake.core.digest import digest_bytes, digest_many
from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.store.objects import Objects
from voxlake.store.ranges import in_place, open_pack, read_range

__all__ = ["PackEntry", "open_anywhere", "pack_name", "read_member", "read_members", "write_pack"]


@dataclass(frozen=True)
class PackEntry:
    """Where a member lies.

    Parameters
    ----------
    pack : str
        Path of the pack.
    offset, length : int
        First byte and number of bytes.
    sha256 : str
        SHA-256 (hex) of the member.
    """

    pack: str
    offset: int
    length: int
    sha256: str


def pack_name(digests: Sequence[str]) -> str:
    """Path of the pack whose members have these SHA-256 digests, in this order."""
    identity = digest_many(digests)
    return f"packs/{identity[:2]}/{identity}.pack"


def write_pack(
    objects: Objects, members: Sequence[bytes], digests: Sequence[str | None] | None = None
) -> list[PackEntry]:
    """Store members in one pack; does nothing if the same pack is already there.

    Parameters
    ----------
    objects : Objects
        Where to.
    members : sequence of bytes
        What to store.
    digests : sequence of str or None, optional
        SHA-256 (hex) of the members as far as the caller has computed them.

    Returns
    -------
    list of PackEntry
        One for each member, in the same order.

    Raises
    ------
    UsageError
        There are no members.
    """
    if not members:
        raise UsageError("a pack needs at least one member")
    told = [None] * len(members) if digests is None else digests
    found = [digest or digest_bytes(member) for member, digest in zip(members, told, strict=True)]
    name = pack_name(found)
    ends = list(accumulate(len(member) for member in members))
    if not objects.holds(name, ends[-1]):
        objects.put_parts(name, members)
    return [
        PackEntry(name, end - len(member), len(member), digest)
        for member, digest, end in zip(members, found, ends, strict=True)
    ]


def read_member(objects: Objects, pack: str, offset: int, length: int, *, sha256: str | None = None) -> bytes:
    """Read one member, or a part of one.

    Parameters
    ----------
    sha256 : str, optional
        Expected SHA-256 (hex); not checked where it is not given.

    Raises
    ------
    IntegrityError
        The bytes have another digest, or the pack is too short or gone.
    """
    return read_members(objects, pack, [(offset, length)], sha256=None if sha256 is None else [sha256])[0]


def read_members(
    objects: Objects, pack: str, ranges: Sequence[tuple[int, int]], *, sha256: Sequence[str] | None = None
) -> list[bytes]:
    """Read several (offset, length) ranges of one pack; see `read_member`.

    The pack may be a file registered in place (``file://``).
    """
    members = _in_place(pack, ranges) if in_place(pack) else _in_lake(objects, pack, ranges)
    for member, expected in zip(members, sha256 or [], strict=False):
        found = digest_bytes(member)
        if found != expected:
            # Where a file registered in place lies is nobody's business but its owner's.
            named = "a file registered in place" if in_place(pack) else f"a member of pack '{pack}'"
            raise IntegrityError(
                f"{named} has SHA-256 {found}, expected {expected}; the stored bytes are damaged or were "
                "changed: restore them from a copy"
            )
    return members


def open_anywhere(
    objects: Objects, pack: str, ranges: Sequence[tuple[int, int]], *, size: int | None = None
) -> int:
    """Open a pack of any lake for reading by `ranges.read_range`; the caller closes the descriptor.

    Parameters
    ----------
    ranges : sequence of (offset, length)
        What is going to be read. Of a pack of a remote lake only this is fetched, into a file without a name;
        the rest of that file is empty.
    size : int, optional
        As for `ranges.open_pack`.

    Raises
    ------
    IntegrityError
        The pack is gone or too short.
    """
    root = objects.local_path("")
    if root is not None or in_place(pack):
        return open_pack(root or Path("/"), pack, size=size)
    parts = _in_lake(objects, pack, ranges)
    with tempfile.TemporaryFile(prefix="voxlake-pack-") as file:
        for (offset, _), part in zip(ranges, parts, strict=True):
            file.seek(offset)
            file.write(part)
        file.flush()
        return os.dup(file.fileno())


def _in_lake(objects: Objects, pack: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    try:
        return objects.get_ranges(pack, ranges)
    except NotFoundError:
        raise IntegrityError(f"pack '{pack}' is not in the lake; restore it from a backup") from None


def _in_place(pack: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    descriptor = open_pack(Path("/"), pack)
    try:
        return [read_range(descriptor, offset, length) for offset, length in ranges]
    finally:
        os.close(descriptor)
