"""Objects that no row names: what a killed run leaves behind, and what a compaction replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from voxlake.core.errors import NotFoundError
from voxlake.lake.erase_plan import reference_columns, referenced
from voxlake.lake.lake import Lake
from voxlake.store.compaction import read_file, recently_removed, table_files
from voxlake.store.delta_log import DeltaLog, LogFile
from voxlake.store.objects import Objects
from voxlake.store.schema import TABLES

__all__ = ["Orphan", "find_orphans", "leftovers"]

# What the store writes before it gives a file its name.
_LEFTOVER = re.compile(r".+#\d+")
# Folder of objects, and how many parts of a path make up what a row names.
_DEPTHS = {"packs": 3, "arrays": 2, "quarantine": 2, "models": 2, "reports": 2}
# Other names of objects in rows: table, column, folder.
_IDENTIFIERS = (
    ("quarantine", "quarantine_id", "quarantine"),
    ("models", "model_id", "models"),
    ("runs", "run_id", "reports"),
)


class Orphan(NamedTuple):
    """What no row names: a pack, an array, a sealed item, the files of a model or report.

    Parameters
    ----------
    name : str
        Path; of an array or model, its folder.
    paths : tuple of str
        Its objects.
    size : int
        Bytes.
    """

    name: str
    paths: tuple[str, ...]
    size: int


def find_orphans(lake: Lake, *, before: datetime | None = None) -> Iterator[Orphan]:
    """Iterate over what no row names.

    Rows of files that were taken out of a table since `before` count as well: readers may still have them.

    Parameters
    ----------
    before : datetime, optional
        Only what was last written before; by default everything, also what a run just wrote and is going to
        commit.

    Raises
    ------
    IntegrityError
        A table cannot be read, so that nobody can say what is named.
    """
    # Objects are listed first, rows read later: what was committed in between is named.
    found = [orphan for folder in _DEPTHS for orphan in _listed(lake.objects, folder, before)]
    if found:
        named = _named(lake, before)
        yield from (orphan for orphan in found if not named.holds(orphan.name))


def leftovers(objects: Objects, before: datetime) -> Iterator[Path]:
    """Files of a local lake that never got their name, because their writer was killed."""
    root = objects.local_path("")
    if root is None:
        return
    for path in root.rglob("*#*"):
        if _LEFTOVER.fullmatch(path.name) and path.stat().st_mtime < before.timestamp():
            yield path


class _Names:
    """A set of names in eight bytes each; of two that collide, both count as being in it."""

    def __init__(self) -> None:
        self._waiting: set[int] = set()
        self._known = np.empty(0, np.uint64)

    def add(self, names: Iterable[str]) -> None:
        self._waiting.update(map(_number, names))
        if len(self._waiting) > 1_000_000:
            self._settle()

    def holds(self, name: str) -> bool:
        self._settle()
        wanted = np.uint64(_number(name))
        place = int(np.searchsorted(self._known, wanted))
        return place < len(self._known) and self._known[place] == wanted

    def _settle(self) -> None:
        if self._waiting:
            fresh = np.fromiter(self._waiting, np.uint64, len(self._waiting))
            self._known = np.union1d(self._known, fresh)
            self._waiting.clear()


def _number(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big")


def _listed(objects: Objects, folder: str, before: datetime | None) -> Iterator[Orphan]:
    """What lies in a folder; each could be an orphan."""
    depth = _DEPTHS[folder]
    together: dict[str, list[tuple[str, int, datetime]]] = {}
    for entry in objects.entries(folder):
        name = "/".join(entry.path.split("/")[:depth])
        together.setdefault(name, []).append(entry)
    for name, entries in together.items():
        if before is None or max(modified for _, _, modified in entries) < before:
            yield Orphan(name, tuple(path for path, _, _ in entries), sum(size for _, size, _ in entries))


def _named(lake: Lake, before: datetime | None) -> _Names:
    named = _Names()
    for table in TABLES:
        columns = reference_columns(table)
        if columns:
            for file in _files(lake, table, before):
                named.add(referenced(table, read_file(lake.tables, table, file, columns)))
    for table, column, folder in _IDENTIFIERS:
        for file in table_files(lake.tables, table)[1]:
            values = read_file(lake.tables, table, file, [column])[column].to_pylist()
            named.add(f"{folder}/{value}" for value in values)
    return named


def _files(lake: Lake, table: str, before: datetime | None) -> Iterator[LogFile]:
    _, files = table_files(lake.tables, table)
    yield from files
    if before is None or not files:
        return
    log = DeltaLog(lake.objects, table)
    commits, _ = log.versions()
    for path, version in recently_removed(log, commits, before.timestamp()):
        file = LogFile(path, 0, None, version)
        try:
            lake.objects.size(f"tables/{table}/{path}")
        except NotFoundError:
            continue
        yield file
