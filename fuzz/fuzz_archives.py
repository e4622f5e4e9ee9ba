"""Bytes as a zip archive: listing, and reading of every member."""

from __future__ import annotations

import tempfile
from pathlib import Path

import atheris
from common import expect, fuzz

with atheris.instrument_imports(include=["voxlake"]):
    from voxlake.core.errors import ItemError
    from voxlake.core.reasons import REASONS
    from voxlake.sources.archive import ArchiveLimits
    from voxlake.sources.open import open_source

_LIMIT = 2**24
_FILE = Path(tempfile.mkdtemp(prefix="fuzz-archives-")) / "a.zip"


def target(data: bytes) -> None:
    """Members of at most the size that is announced, or a known reason."""
    _FILE.write_bytes(data)
    for item in open_source(_FILE, limits=ArchiveLimits(members=100, total_bytes=2**26)):
        item.name.encode()
        try:
            expect(len(item.read(_LIMIT)) == item.size <= _LIMIT, "size")
        except ItemError as error:
            expect(error.reason in REASONS, error.reason)


if __name__ == "__main__":
    fuzz(target)
