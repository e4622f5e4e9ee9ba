"""Caps on archives."""

from __future__ import annotations

from pydantic import PositiveInt

from voxlake.core.settings import Settings

__all__ = ["HARMLESS", "ArchiveLimits"]

HARMLESS = 64 << 20
"""Below this total the ratio says nothing: an archive of a few blank images is no attack."""


class ArchiveLimits(Settings):
    """Caps on one archive.

    Parameters
    ----------
    members : int
        Most members.
    total_bytes : int
        Most bytes of all members together, unpacked.
    ratio : int
        Most unpacked bytes for each byte of the archive; asked of archives over 64 MiB unpacked. Label maps
        reach 200, deflate alone ends at 1,032, archives whose members overlap go beyond it.
    member_bytes : int
        Largest member of a stream; a larger one is passed over and fails. Members that can be seeked are
        judged where they are read.
    """

    members: PositiveInt = 500_000
    total_bytes: PositiveInt = 1 << 40
    ratio: PositiveInt = 400
    member_bytes: PositiveInt = 8 << 30
