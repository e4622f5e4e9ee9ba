"""Point look-ups: whether a file came in before, whether a UID is taken.

A local SQLite file outside the lake. It is a cache: it can be deleted at any time, also while others use
it, and is brought up to date from the files of the tables. Finding one UID in 20 million rows by SQL takes
0.9 s; here it takes less than a millisecond.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from voxlake.core.errors import LakeError, UsageError
from voxlake.store.copies import reading
from voxlake.store.tables import Tables

__all__ = ["Lookup"]

_BATCH = 500
_ROWS_AT_ONCE = 1_000_000
_LOCK_SECONDS = 120
_LOCK_PAUSE = 0.02
_COLUMNS = {
    "instances": ("source_mac", "policy_digest", "sop_instance_uid"),
    "quarantine": ("quarantine_id",),
}
_SCHEMA = """
create table if not exists synced (name text primary key, identity text, version integer) without rowid;
create table if not exists policies (id integer primary key, digest text unique);
create table if not exists known (mac text, policy integer, primary key (mac, policy)) without rowid;
create table if not exists uids (uid text, mac text, primary key (uid, mac)) without rowid;
create table if not exists quarantined (id text primary key) without rowid;
"""
_CLEARED = {
    "instances": ("known", "uids", "policies"),
    "quarantine": ("quarantined",),
}


class Lookup:
    """Index of the rows of one lake. May be shared by threads, and by processes through its file.

    Parameters
    ----------
    cache : str or Path
        Folder for caches on this machine, outside the lake.
    lake_id : str
        Identifier of the lake; each lake has its own file.
    """

    def __init__(self, cache: str | Path, lake_id: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", lake_id):
            raise UsageError(f"'{lake_id}' is no lake identifier: expected letters, digits, _ and -")
        self.path = Path(cache).expanduser() / lake_id / "lookup-1.sqlite"
        self._tables: Tables | None = None

    def sync(self, tables: Tables) -> int:
        """Take in the rows that were committed since the last time.

        Returns
        -------
        int
            Number of rows read.
        """
        self._tables = tables
        try:
            return reading(tables, lambda: self._sync(tables))
        except (sqlite3.OperationalError, OSError) as error:
            raise LakeError(f"the look-up cache '{self.path}' cannot be used: {error}") from error
        except sqlite3.DatabaseError:
            # A damaged cache is made anew.
            self.path.unlink(missing_ok=True)
            return reading(tables, lambda: self._sync(tables))

    def known(self, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which (source_mac, policy_digest) pairs have a row in `instances`."""
        wanted = set(pairs)
        found: set[tuple[str, str]] = set()
        with self._reading() as connection:
            policies = dict(connection.execute("select id, digest from policies"))
            for batch in _batches(sorted({mac for mac, _ in wanted})):
                rows = connection.execute(
                    f"select mac, policy from known where mac in ({_marks(batch)})", batch
                )
                found.update((mac, policies[policy]) for mac, policy in rows)
        return wanted & found

    def conflicts(self, uids: Collection[str]) -> dict[str, set[str]]:
        """Under which source_mac each SOPInstanceUID is stored; UIDs that are not stored are left out.

        Whoever brings other content (another source_mac) under such a UID is in conflict.
        """
        found: dict[str, set[str]] = {}
        with self._reading() as connection:
            for batch in _batches(sorted(set(uids))):
                rows = connection.execute(f"select uid, mac from uids where uid in ({_marks(batch)})", batch)
                for uid, mac in rows:
                    found.setdefault(uid, set()).add(mac)
        return found

    def quarantined(self, identifiers: Collection[str]) -> set[str]:
        """Which of these identifiers have a row in `quarantine`."""
        found: set[str] = set()
        with self._reading() as connection:
            for batch in _batches(sorted(set(identifiers))):
                query = f"select id from quarantined where id in ({_marks(batch)})"
                found.update(row[0] for row in connection.execute(query, batch))
        return found

    def _sync(self, tables: Tables) -> int:
        rows = 0
        with self._connected() as connection:
            for name in _COLUMNS:
                # One writer at a time: the others wait, then find nothing left to do.
                connection.execute("begin immediate")
                rows += _take_in(connection, tables, name)
                connection.execute("commit")
        return rows

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self._tables is None:
            raise UsageError("call sync first: the look-up cache does not know the lake's tables yet")
        if not self.path.exists():
            self.sync(self._tables)
        try:
            with self._connected() as connection:
                yield connection
        except sqlite3.Error as error:
            raise LakeError(f"the look-up cache '{self.path}' cannot be read: {error}; delete it") from error

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
            _write_ahead(connection)
            connection.execute("pragma synchronous = normal")
            # 64 MiB instead of 2: new keys fall anywhere into a large index.
            connection.execute("pragma cache_size = -65536")
            connection.executescript(_SCHEMA)
            # Leaving an open transaction by an error takes it back when the connection closes.
            yield connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a log that readers and one writer share.

    Two processes that make the cache at the same time both switch, and for this lock SQLite does not wait.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOCK_PAUSE)
        else:
            return


def _take_in(connection: sqlite3.Connection, tables: Tables, name: str) -> int:
    row = connection.execute("select identity, version from synced where name = ?", [name]).fetchone()
    identity = tables.identity(name)
    after = row[1] if row is not None and row[0] == identity else None
    changes = tables.changes(name, after)
    if changes.rewritten or (row is not None and after is None):
        for table in _CLEARED[name]:
            connection.execute(f"delete from {table}")
    read = 0
    for part in _parts(changes.added, _COLUMNS[name]):
        read += part.num_rows
        _INSERT[name](connection, part)
    connection.execute("replace into synced values (?, ?, ?)", [name, identity, changes.version])
    return read


def _parts(files: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    # As many files at once as memory takes easily: rows that go in sorted are written once and in order.
    waiting: list[pa.Table] = []
    for file in files:
        part = pq.read_table(file, columns=list(columns))
        # Files that a clean-up rewrote hold another kind of string.
        waiting.append(part.cast(pa.schema([(name, pa.string()) for name in columns])))
        if sum(part.num_rows for part in waiting) >= _ROWS_AT_ONCE:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _insert_instances(connection: sqlite3.Connection, part: pa.Table) -> None:
    digests = [digest.as_py() or "" for digest in part.column("policy_digest").unique()]
    connection.executemany(
        "insert or ignore into policies (digest) values (?)", [(d,) for d in sorted(digests)]
    )
    numbers = {digest: number for number, digest in connection.execute("select id, digest from policies")}
    macs = part.filter(pc.is_valid(part.column("source_mac"))).sort_by("source_mac")
    connection.executemany(
        "insert or ignore into known values (?, ?)",
        (
            (mac, numbers[digest or ""])
            for mac, digest in zip(*_values(macs, "source_mac", "policy_digest"), strict=True)
        ),
    )
    uids = macs.filter(pc.is_valid(macs.column("sop_instance_uid"))).sort_by("sop_instance_uid")
    connection.executemany(
        "insert or ignore into uids values (?, ?)",
        zip(*_values(uids, "sop_instance_uid", "source_mac"), strict=True),
    )


def _insert_quarantine(connection: sqlite3.Connection, part: pa.Table) -> None:
    rows = part.filter(pc.is_valid(part.column("quarantine_id"))).sort_by("quarantine_id")
    connection.executemany(
        "insert or ignore into quarantined values (?)", zip(*_values(rows, "quarantine_id"), strict=True)
    )


def _values(rows: pa.Table, *names: str) -> tuple[list[str | None], ...]:
    return tuple(rows.column(name).to_pylist() for name in names)


_INSERT = {"instances": _insert_instances, "quarantine": _insert_quarantine}


def _batches(values: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), _BATCH):
        yield list(values[start : start + _BATCH])


def _marks(batch: Sequence[str]) -> str:
    return ", ".join("?" * len(batch))
