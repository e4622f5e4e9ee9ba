"""Bytes as an archive: a zip or tar file that is listed, and the same as a stream; every member is read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import atheris
from common import expect, fuzz

with atheris.instrument_imports(include=["voxlake"]):
    from voxlake.core.errors import ItemError
    from voxlake.core.reasons import REASONS
    from voxlake.sources.archive import ArchiveLimits
    from voxlake.sources.item import Item
    from voxlake.sources.open import open_source
    from voxlake.sources.streamed import streamed_items

_LIMIT = 2**24
_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-archives-"))
_LIMITS = ArchiveLimits(members=100, total_bytes=2**26, member_bytes=2**22)
_CHUNK = 300


def target(data: bytes) -> None:
    """Members of at most the size that is announced, or a known reason."""
    for name in ("a.zip", "a.tar"):
        (_FOLDER / name).write_bytes(data)
        _read(open_source(_FOLDER / name, limits=_LIMITS))
    _read(streamed_items("s", (data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)), _LIMITS))


def _read(items: Iterable[Item]) -> None:
    for item in items:
        item.name.encode()
        try:
            expect(len(item.read(_LIMIT)) == item.size <= _LIMIT, "size")
        except ItemError as error:
            expect(error.reason in REASONS, error.reason)


if __name__ == "__main__":
    fuzz(target)
