"""An archive that somebody pipes in: ``curl ... | voxlake ingest -``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from voxlake.core.errors import UsageError
from voxlake.sources.archive_limits import ArchiveLimits
from voxlake.sources.item import Item
from voxlake.sources.stream import chunks_of
from voxlake.sources.streamed import streamed_items

__all__ = ["StandardInput"]


@dataclass(frozen=True)
class StandardInput:
    """The members of a zip or tar archive that comes in by a pipe; it can be iterated once.

    Members are named ``-/member``, and a mapping sees them under these names.

    Parameters
    ----------
    limits : ArchiveLimits
        Caps.
    file : file, optional
        What to read, by default the standard input of the process.

    Raises
    ------
    UsageError
        On iteration: nothing is piped in.
    """

    limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    file: BinaryIO | None = field(default=None, repr=False)
    labels_digest: str | None = None

    def __iter__(self) -> Iterator[Item]:
        file = self.file
        if file is None:
            if sys.stdin is None or sys.stdin.isatty():
                raise UsageError("'-' reads an archive from a pipe, and nothing is piped in")
            file = sys.stdin.buffer
        yield from streamed_items("-", chunks_of(file), self.limits)
