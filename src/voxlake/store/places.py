"""Where the frames of every instance lie: a look-up that a process of a single read can afford.

A local SQLite file outside the lake, made from the `instances` table; it can be deleted at any time. Reading
it loads neither DuckDB nor Arrow nor Delta Lake: whether it is up to date is seen from the names in the log
of the table. Bringing it up to date loads them.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxlake.core.errors import LakeError
from voxlake.store.copies import reading
from voxlake.store.place_file import (
    LAYOUT_COLUMNS,
    Place,
    place_of_values,
    snapshot_state,
    write_snapshot,
)

if TYPE_CHECKING:
    from voxlake.store.tables import Tables

__all__ = ["Place", "Places"]

_FILE = "places-2.sqlite"
_LOCK_SECONDS = 120
_ROWS_AT_ONCE = 10_000
_TABLE = "instances"
_OWN_COLUMNS = (
    "sop_instance_uid", "pack", "offset", "length", "sha256", "pixel_offset", "pixel_length", "frame_offsets",
    "frame_lengths",
)  # fmt: skip
_SCHEMA = """
create table if not exists synced (name text primary key, identity text, version integer) without rowid;
create table if not exists packs (id integer primary key, name text unique);
create table if not exists layouts (id integer primary key, layout text unique);
create table if not exists places (
    uid text primary key, pack integer, first integer, length integer, sha256 blob, pixels integer,
    pixel_length integer, layout integer, ranges blob, committed integer
) without rowid;
"""
# Of the same object under several policies the one that came in last stays.
_INSERT = """
insert into places values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (uid) do update set
    pack = excluded.pack, first = excluded.first, length = excluded.length, sha256 = excluded.sha256,
    pixels = excluded.pixels, pixel_length = excluded.pixel_length, layout = excluded.layout,
    ranges = excluded.ranges, committed = excluded.committed
where excluded.committed > committed
"""
_FIND = """
select packs.name, first, length, sha256, pixels, pixel_length, layouts.layout, ranges
from places join packs on packs.id = pack join layouts on layouts.id = places.layout where uid = ?
"""
_ALL = """
select uid, packs.name, first, length, sha256, pixels, pixel_length, layouts.layout, ranges
from places join packs on packs.id = pack join layouts on layouts.id = places.layout order by uid
"""
# Up to so many pages of 4 KiB (some 150,000 instances) the snapshot is written after every change, above when
# there are so much more.
_SMALL = 8192
_GROWTH = 1.125


class Places:
    """The look-up of one lake. May be used by several processes at the same time.

    Parameters
    ----------
    cache : str or Path
        Folder for caches of this lake on this machine.
    """

    def __init__(self, cache: str | Path) -> None:
        self.path = Path(cache).expanduser() / _FILE

    def find(self, uid: str, *, log: Path | None = None) -> Place | None:
        """Where the instance of a SOPInstanceUID lies; None if this look-up does not know it.

        Parameters
        ----------
        uid : str
            Under several policies the instance that came in last is found.
        log : Path, optional
            As in `fresh`; None is returned if something was committed since `sync`.
        """
        try:
            with closing(self._connect(write=False)) as connection:
                if log is not None and not _is_fresh(connection, log):
                    return None
                found = connection.execute(_FIND, [uid]).fetchone()
        except sqlite3.DatabaseError:
            return None
        return None if found is None else _place(found)

    def fresh(self, log: Path) -> bool:
        """Whether nothing was committed since `sync`, by the names in the log of the table alone.

        Parameters
        ----------
        log : Path
            Folder ``_delta_log`` of the table `instances`.
        """
        try:
            with closing(self._connect(write=False)) as connection:
                return _is_fresh(connection, log)
        except sqlite3.DatabaseError:
            return False

    def sync(self, tables: Tables) -> int:
        """Take in the rows that were committed since the last time; gives how many.

        Raises
        ------
        LakeError
            The file cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return reading(tables, lambda: self._sync(tables))
        except (sqlite3.OperationalError, OSError) as error:
            raise LakeError(f"the look-up cache '{self.path}' cannot be used: {error}") from error
        except sqlite3.DatabaseError:
            # A damaged cache is made anew.
            self.path.unlink(missing_ok=True)
            return reading(tables, lambda: self._sync(tables))

    def _sync(self, tables: Tables) -> int:
        with closing(self._connect(write=True)) as connection:
            connection.executescript(_SCHEMA)
            # One writer at a time: the others wait, then find nothing left to do.
            connection.execute("begin immediate")
            rows = _take_in(connection, tables)
            _snapshot(connection, self.path.parent)
            connection.execute("commit")
        return rows

    def _connect(self, *, write: bool) -> sqlite3.Connection:
        mode = "rwc" if write else "ro"
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}", uri=True, timeout=_LOCK_SECONDS, isolation_level=None
        )


def _is_fresh(connection: sqlite3.Connection, log: Path) -> bool:
    row = connection.execute("select version from synced where name = ?", [_TABLE]).fetchone()
    if row is None or row[0] is None or row[0] < 0:
        return False
    return (log / f"{row[0]:020}.json").exists() and not (log / f"{row[0] + 1:020}.json").exists()


def _place(values: tuple[Any, ...]) -> Place:
    return place_of_values((*values[:6], json.loads(values[6]), values[7]))


def _snapshot(connection: sqlite3.Connection, folder: Path) -> None:
    version = connection.execute("select version from synced where name = ?", [_TABLE]).fetchone()[0]
    known, before = snapshot_state(folder)
    if version is None or version < 0 or version == known:
        return
    (size,) = connection.execute("pragma page_count").fetchone()
    # It is written as a whole, so a large one only when it grew: until then frames are found here.
    if size > _SMALL and size < _GROWTH * before:
        return
    (count,) = connection.execute("select count(*) from places").fetchone()
    layouts = {text: json.loads(text) for (text,) in connection.execute("select layout from layouts")}
    rows = ((row[0], (*row[1:7], layouts[row[7]], row[8])) for row in connection.execute(_ALL))
    write_snapshot(folder, rows, count=count, version=version, size=size)


def _take_in(connection: sqlite3.Connection, tables: Tables) -> int:
    row = connection.execute("select identity, version from synced where name = ?", [_TABLE]).fetchone()
    identity = tables.identity(_TABLE)
    after = row[1] if row is not None and row[0] == identity else None
    changes = tables.changes(_TABLE, after)
    if changes.rewritten or (row is not None and after is None):
        for table in ("places", "packs", "layouts"):
            connection.execute(f"delete from {table}")
    _forget(connection, changes.gone)
    read = sum(_insert(connection, file) for file in (*changes.added, *changes.moved))
    connection.execute("replace into synced values (?, ?, ?)", [_TABLE, identity, changes.version])
    return read


def _forget(connection: sqlite3.Connection, gone: Sequence[str]) -> None:
    """Drop what lies in packs that no row names any more; the rows come again with their new places."""
    if gone:
        connection.execute("create temp table if not exists gone (name text primary key) without rowid")
        connection.executemany("insert or ignore into gone values (?)", ((name,) for name in gone))
        connection.execute(
            "delete from places where pack in (select id from packs join gone on gone.name = packs.name)"
        )
        connection.execute("delete from gone")


def _insert(connection: sqlite3.Connection, file: str) -> int:
    # Arrow is what a process that finds everything up to date does without.
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        names = [*_OWN_COLUMNS, *LAYOUT_COLUMNS, "committed_at"]
        colour = parquet.read(columns=["samples_per_pixel"]).column(0)
        if any((number or 1) > 1 for number in colour.unique().to_pylist()):
            # How colours are interleaved has no column.
            names.append("tags")
        there = set(parquet.schema_arrow.names)
        read = 0
        for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=[name for name in names if name in there]):
            rows = batch.to_pylist()
            connection.executemany(_INSERT, (_values(connection, row) for row in rows))
            read += len(rows)
    return read


def _values(connection: sqlite3.Connection, row: Mapping[str, Any]) -> tuple[Any, ...]:
    layout: dict[str, Any] = {name: row.get(name) for name in LAYOUT_COLUMNS}
    if (row["samples_per_pixel"] or 1) > 1:
        planar = json.loads(row["tags"] or "{}").get("00280006", {}).get("Value") or [0]
        layout["planar_configuration"] = planar[0]
    ranges = None
    # Of one frame, or of equal ones without compression, the layout says enough.
    offsets, lengths = row.get("frame_offsets"), row.get("frame_lengths")
    if row["pixel_length"] is None and offsets:
        ranges = array("q", [*offsets, *(lengths or ())]).tobytes()
    return (
        row["sop_instance_uid"],
        _number(connection, "packs", "name", row["pack"]),
        row["offset"],
        row["length"],
        bytes.fromhex(row["sha256"]),
        row["pixel_offset"],
        row["pixel_length"],
        _number(connection, "layouts", "layout", json.dumps(layout, sort_keys=True)),
        ranges,
        None if row["committed_at"] is None else int(row["committed_at"].timestamp() * 1e6),
    )


def _number(connection: sqlite3.Connection, table: str, column: str, value: str) -> int:
    found = connection.execute(f"select id from {table} where {column} = ?", [value]).fetchone()
    if found is not None:
        return int(found[0])
    added = connection.execute(f"insert into {table} ({column}) values (?) returning id", [value])
    return int(added.fetchone()[0])
