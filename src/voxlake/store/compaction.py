"""Fewer, larger files for a table: the same rows, less those that no view shows.

One commit takes the old files out and the new ones in (``dataChange`` is false). Nothing else changes: the
order of the rows is kept, and every file says with which version each of its rows came. The old files stay
until `expired_files` names them. Writers that append meanwhile are not in the way: the commit is tried again
behind theirs. Whoever takes files out meanwhile (another compaction, an erasure) wins: this one then changes
nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from voxlake.core.errors import IntegrityError, LakeError, NotFoundError
from voxlake.store.arrow_bytes import arrow_reader
from voxlake.store.delta_log import OPTIMIZE, DeltaLog, LogFile
from voxlake.store.duplicate_rows import Place, Repeated, find_repeated
from voxlake.store.put_together import FileWriter, plain_schema
from voxlake.store.schema import TABLES
from voxlake.store.tables import Tables

__all__ = [
    "Compacted",
    "Member",
    "compact_table",
    "expired_files",
    "read_file",
    "recently_removed",
    "table_files",
]

_SMALL = 32 * 2**20
_TARGET = 128 * 2**20
_ATTEMPTS = 100
_CLOCKS = 300.0

# (pack, offset) of a member.
Member = tuple[str, int]


@dataclass(frozen=True)
class Compacted:
    """What `compact_table` did.

    Parameters
    ----------
    files_before, files_after : int
        Files that were replaced, and by how many.
    duplicates : int
        Rows that are gone because no view showed them.
    moved : int
        Rows that were pointed to another place.
    overtaken : bool
        Somebody else took files out at the same time; nothing was changed.
    """

    files_before: int = 0
    files_after: int = 0
    duplicates: int = 0
    moved: int = 0
    overtaken: bool = False


def table_files(tables: Tables, name: str) -> tuple[int, list[LogFile]]:
    """Latest version of a table and its files, oldest first; -1 where there is none."""
    version = tables.version(name)
    if version is None:
        return -1, []
    log = DeltaLog(tables.objects, name)
    return version, log.dated(log.files(version).values(), version)


def read_file(tables: Tables, name: str, file: LogFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file of a table; columns that it lacks are left out.

    Raises
    ------
    IntegrityError
        It is gone or damaged.
    """
    path = f"tables/{name}/{file.path}"
    try:
        with pq.ParquetFile(arrow_reader(tables.objects.get(path))) as opened:
            there = set(opened.schema_arrow.names)
            wanted = None if columns is None else [column for column in columns if column in there]
            return opened.read(columns=wanted)
    except (NotFoundError, pa.ArrowException, OSError) as error:
        raise IntegrityError(f"file '{path}' is gone or damaged; run `voxlake verify`") from error


def compact_table(
    tables: Tables,
    name: str,
    *,
    moves: Mapping[Member, Member] | None = None,
    repeated: Sequence[Repeated] | None = None,
    gone: Iterable[str] = (),
) -> Compacted:
    """Put the small files of a table together, drop rows that no view shows, point rows to other packs.

    Parameters
    ----------
    tables : Tables
        Tables of the lake.
    name : str
        Name of the table.
    moves : mapping, optional
        Where members of packs lie now.
    repeated : sequence of Repeated, optional
        As `find_repeated` gives them, where they are known already.
    gone : iterable of str
        Packs that no row will name any more; look-ups are told of them.

    Raises
    ------
    IntegrityError
        A file is gone or damaged; nothing was changed.
    """
    version, files = table_files(tables, name)
    if version < 0:
        return Compacted()
    groups = find_repeated(tables, name) if repeated is None else repeated
    work = _Work(tables, name, files, moves or {}, groups)
    chosen = work.choose()
    if not chosen:
        return Compacted()
    adds = list(work.write(chosen))
    removals = [{"path": file.path, "size": file.size, "partitionValues": {}} for file in chosen]
    about = {"gone": sorted(gone)}
    if not _commit(tables, name, version, (removals, adds), about):
        for add in adds:
            tables.objects.delete(f"tables/{name}/{add['path']}")
        return Compacted(overtaken=True)
    return Compacted(len(chosen), len(adds), work.dropped, work.moved)


class _Work:
    """One compaction of one table."""

    def __init__(
        self,
        tables: Tables,
        name: str,
        files: Sequence[LogFile],
        moves: Mapping[Member, Member],
        groups: Sequence[Repeated],
    ) -> None:
        self.tables, self.name, self.files, self.moves = tables, name, files, moves
        self.dropped = self.moved = 0
        self._schema = plain_schema(_stored(tables, name))
        self._packs = {pack for pack, _ in moves}
        self._versions = {file.path: _versions(file) for file in files if file.rows is not None}
        self._order = {file.path: number for number, file in enumerate(files)}
        # Rows that go, and rows that stand where another row of the same key came first.
        self._gone: dict[str, set[int]] = {}
        self._instead: dict[str, dict[int, Place]] = {}
        for group in groups:
            self._settle(group)

    def choose(self) -> list[LogFile]:
        """Files to be replaced, oldest first; none where there is nothing to gain."""
        touched = set(self._gone) | set(self._instead)
        if self._packs:
            touched |= {
                file.path for file in self.files if file.path not in touched and self._names_moved(file)
            }
        small = {file.path for file in self.files if file.size < _SMALL}
        if len(small) < 2:
            small = set()
        return [file for file in self.files if file.path in small | touched]

    def write(self, chosen: Iterable[LogFile]) -> Iterator[dict[str, Any]]:
        """Write the new files; yields their `add` actions."""
        fetched = self._fetch()
        writer: FileWriter | None = None
        folder = f"tables/{self.name}"
        for file in chosen:
            rows = self._complete(read_file(self.tables, self.name, file))
            touched = file.path in self._gone or file.path in self._instead
            rows, versions = self._edited(file, rows, fetched)
            rows, moved = _pointed(rows, self.moves) if self._packs else (rows, 0)
            self.moved += moved
            writer = writer or FileWriter(self.tables.objects, folder, self._schema)
            writer.moved = writer.moved or bool(moved) or touched
            writer.add(rows, versions)
            if writer.size >= _TARGET:
                yield writer.close()
                writer = None
        if writer is not None and writer.rows:
            yield writer.close()

    def _settle(self, group: Repeated) -> None:
        """Keep the shown row, where the key came first: a follower must not meet it a second time."""
        places = (group.shown, *group.hidden)
        if not all(file in self._versions for file, _ in places):
            # Some came in while this was read; the next compaction sees to it.
            return
        first = min(places, key=self._came)
        if TABLES[self.name].keep == "last" or first == group.shown:
            first = group.shown
        else:
            self._instead.setdefault(first[0], {})[first[1]] = group.shown
        for file, row in places:
            if (file, row) != first:
                self._gone.setdefault(file, set()).add(row)
                self.dropped += 1

    def _came(self, place: Place) -> tuple[int, int, int]:
        file, row = place
        return (int(self._versions[file][row]), self._order[file], row)

    def _names_moved(self, file: LogFile) -> bool:
        packs = read_file(self.tables, self.name, file, ["pack"])["pack"].unique().to_pylist()
        return not self._packs.isdisjoint(packs)

    def _fetch(self) -> dict[Place, pa.Table]:
        """Rows that stand elsewhere than where they were."""
        wanted: dict[str, set[int]] = {}
        for places in self._instead.values():
            for file, row in places.values():
                wanted.setdefault(file, set()).add(row)
        found: dict[Place, pa.Table] = {}
        for one in self.files:
            if one.path in wanted:
                rows = self._complete(read_file(self.tables, self.name, one))
                found |= {(one.path, row): rows.slice(row, 1) for row in wanted[one.path]}
        return found

    def _edited(
        self, file: LogFile, rows: pa.Table, fetched: Mapping[Place, pa.Table]
    ) -> tuple[pa.Table, list[tuple[int, int]]]:
        versions = self._versions.get(file.path)
        if versions is None or len(versions) != len(rows):
            versions = np.full(len(rows), file.version or 0)
        instead = self._instead.get(file.path, {})
        if instead:
            pieces, begin = [], 0
            for row in sorted(instead):
                pieces += [rows.slice(begin, row - begin), fetched[instead[row]]]
                begin = row + 1
            rows = pa.concat_tables([*pieces, rows.slice(begin)])
        gone = self._gone.get(file.path)
        if gone:
            keep = np.ones(len(rows), dtype=bool)
            keep[sorted(gone)] = False
            rows, versions = rows.filter(pa.array(keep)), versions[keep]
        return rows, _runs(versions)

    def _complete(self, rows: pa.Table) -> pa.Table:
        """All columns of the table, in its order; older files lack those that came later."""
        columns = [
            rows[one.name].cast(one.type) if one.name in rows.column_names else pa.nulls(len(rows), one.type)
            for one in self._schema
        ]
        return pa.Table.from_arrays(columns, schema=self._schema)


def _stored(tables: Tables, name: str) -> pa.Schema:
    stored = tables.stored_schema(name)
    if stored is None:
        raise LakeError(f"table '{name}' is gone while it was read")
    return stored


def _versions(file: LogFile) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Version of each row of a file."""
    segments = file.segments or ((file.version or 0, file.rows or 0),)
    return np.repeat([version for version, _ in segments], [count for _, count in segments]).astype(np.int64)


def _runs(versions: np.ndarray[Any, np.dtype[np.int64]]) -> list[tuple[int, int]]:
    if not len(versions):
        return []
    starts = np.flatnonzero(np.r_[True, versions[1:] != versions[:-1]])
    counts = np.diff(np.r_[starts, len(versions)])
    return [(int(versions[start]), int(count)) for start, count in zip(starts, counts, strict=True)]


def _pointed(rows: pa.Table, moves: Mapping[Member, Member]) -> tuple[pa.Table, int]:
    packs, offsets = rows["pack"].to_pylist(), rows["offset"].to_pylist()
    there = [moves.get((pack, offset)) for pack, offset in zip(packs, offsets, strict=True)]
    moved = sum(place is not None for place in there)
    if not moved:
        return rows, 0
    for name, number, old in (("pack", 0, packs), ("offset", 1, offsets)):
        values = [
            before if place is None else place[number] for before, place in zip(old, there, strict=True)
        ]
        place = rows.schema.get_field_index(name)
        kind = rows.schema.field(place)
        rows = rows.set_column(place, kind, pa.array(values, kind.type))
    return rows, moved


def _commit(
    tables: Tables,
    name: str,
    version: int,
    actions: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]],
    about: Mapping[str, Any],
) -> bool:
    """Commit behind whoever appended meanwhile; False if somebody took files out."""
    removals, adds = actions
    log = DeltaLog(tables.objects, name)
    taken = {removal["path"] for removal in removals}
    for number in range(version + 1, version + 1 + _ATTEMPTS):
        now = int(time.time() * 1000)
        info = {"timestamp": now, "operation": OPTIMIZE, "operationParameters": {}, "voxlake": about}
        lines: list[dict[str, Any]] = [{"commitInfo": info}]
        lines += [
            {"remove": {**one, "deletionTimestamp": now, "dataChange": False, "extendedFileMetadata": True}}
            for one in removals
        ]
        lines += [{"add": add} for add in adds]
        data = ("\n".join(map(json.dumps, lines)) + "\n").encode()
        if tables.objects.put_new(log.commit_path(number), data):
            return True
        if taken & set(log.commit(number).removed):
            return False
    raise LakeError(f"table '{name}' is written to too often to be compacted; run compact again")


def expired_files(tables: Tables, name: str, before: float, pinned: Iterable[int]) -> list[str]:
    """Objects of a table that nobody needs any more.

    Parameters
    ----------
    before : float
        Seconds since 1970. A file that was taken out, or written, since then stays: who opened the table
        before may still read it, who wrote it may be about to commit it.
    pinned : iterable of int
        Versions whose files stay.
    """
    folder = f"tables/{name}"
    entries = [
        entry
        for entry in tables.objects.entries(folder)
        if not entry.path.startswith(f"{folder}/_delta_log/") and entry.modified.timestamp() < before
    ]
    log = DeltaLog(tables.objects, name)
    commits, _ = log.versions()
    if not entries or not commits:
        return []
    latest = commits[-1]
    needed = set(log.files(latest)) | {path for path, _ in recently_removed(log, commits, before)}
    left = {entry.path: entry.path.removeprefix(f"{folder}/") for entry in entries}
    left = {path: file for path, file in left.items() if file not in needed}
    for version in sorted(set(pinned), reverse=True):
        if not left:
            return []
        try:
            held = log.files(version)
        except NotFoundError:
            # An erasure has taken the history away.
            continue
        left = {path: file for path, file in left.items() if file not in held}
    return sorted(left)


def recently_removed(log: DeltaLog, commits: Sequence[int], before: float) -> Iterator[tuple[str, int]]:
    """Files that were taken out since a time (seconds since 1970), and with which version."""
    for version in reversed(commits):
        try:
            commit = log.commit(version)
        except NotFoundError:
            return
        # Writers' clocks need not agree to the second.
        if commit.timestamp / 1000 < before - _CLOCKS:
            return
        for path, when in commit.removed.items():
            if when / 1000 >= before:
                yield path, version
