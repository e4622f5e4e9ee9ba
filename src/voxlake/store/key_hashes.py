"""Rows whose key another row has as well, of which a view shows only one.

Two writers that append the same key at the same moment are rare, but every row has to be compared with all
others. So the hashes of all keys are kept in a sorted array outside the lake, and only the rows of files that
came in are hashed and looked up there; rows whose hash is known are then compared exactly. Without the array,
all rows are hashed once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxlake.store.copies import fetched
from voxlake.store.schema import TABLES
from voxlake.store.sql_text import quoted, scan
from voxlake.store.tables import Tables

__all__ = ["repeated_rows"]

_SCHEMA = pa.schema([("filename", pa.string()), ("file_row_number", pa.int64())])
# Made of batches: empty_table(), or an array of a list, imports pandas: half a second of every command.
_NO_ROWS = pa.Table.from_batches([], schema=_SCHEMA)


@dataclass(frozen=True)
class _Known:
    """What is known of some files: hashes of all keys, ascending, and the rows to leave out."""

    files: tuple[str, ...]
    hashes: NDArray[np.uint64]
    rows: pa.Table


def repeated_rows(
    connection: duckdb.DuckDBPyConnection, tables: Tables, name: str, files: Sequence[str], cache: Path | None
) -> pa.Table:
    """Rows of a table that its view leaves out.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        May read the files.
    name : str
        One of `schema.TABLES`.
    files : sequence of str
        Its Parquet files.
    cache : pathlib.Path or None
        Folder outside the lake in which to remember what was found, between processes.

    Returns
    -------
    pyarrow.Table
        ``filename`` and ``file_row_number``.
    """
    state = frozenset(files)
    seen = tables.repeated_rows.get(name)
    if seen is not None and seen[0] == state:
        return seen[1]
    place = None
    if cache is not None:
        # Hashes are those of this version of DuckDB.
        place = cache / f"keys-{name}-{tables.identity(name)}-{duckdb.__version__}"
    known = _read(place)
    before = None if known is None else known.hashes
    if known is None or not state.issuperset(known.files):
        known = _Known((), np.zeros(0, np.uint64), _NO_ROWS)
    if len(state) > len(known.files):
        known = _extended(connection, tables, name, known, files)
        _write(place, known, before)
    tables.repeated_rows[name] = (state, known.rows)
    return known.rows


def _extended(
    connection: duckdb.DuckDBPyConnection, tables: Tables, name: str, known: _Known, files: Sequence[str]
) -> _Known:
    """Take in the files that are new. A row that is left out stays so: rows of its key only become more."""
    there, by_name = set(known.files), tables.evolved(name)
    added = fetched(tables, name, [file for file in files if file not in there])
    key = ", ".join(quoted(column) for column in TABLES[name].key)
    # The hash treats null as a value, as a key does; rows whose hashes only collide are told apart below.
    hashed = connection.sql(
        f"SELECT hash({key}) AS place FROM {scan(added, by_name=by_name)}"
    ).to_arrow_table()
    new = np.sort(hashed.column("place").to_numpy())
    again = new[1:][new[1:] == new[:-1]]
    if len(known.hashes) and len(new):
        at = np.minimum(np.searchsorted(known.hashes, new), len(known.hashes) - 1)
        again = np.concatenate([again, new[known.hashes[at] == new]])
    rows = known.rows
    if len(again):
        every = fetched(tables, name, files)
        rows = _exactly(connection, name, every, np.unique(again), by_name=by_name, before=rows)
    hashes = np.sort(np.concatenate([known.hashes, new]), kind="stable")
    return _Known((*known.files, *added), hashes, rows)


def _exactly(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    files: Sequence[str],
    hashes: NDArray[np.uint64],
    *,
    by_name: bool,
    before: pa.Table,
) -> pa.Table:
    key = ", ".join(quoted(column) for column in TABLES[name].key)
    way = "DESC" if TABLES[name].keep == "last" else "ASC"
    connection.register("repeated_hashes", pa.table({"place": hashes}))
    connection.register("repeated_before", before)
    found = connection.sql(
        f"SELECT filename, file_row_number FROM (SELECT filename, file_row_number, row_number() OVER "
        f"(PARTITION BY {key} ORDER BY committed_at {way}, filename, file_row_number) AS position "
        f"FROM {scan(files, by_name=by_name, places=True)} "
        f"WHERE hash({key}) IN (SELECT place FROM repeated_hashes)) WHERE position > 1 "
        f"UNION SELECT filename, file_row_number FROM repeated_before"
    ).to_arrow_table()
    connection.unregister("repeated_hashes")
    connection.unregister("repeated_before")
    return found.cast(_SCHEMA)


def _read(place: Path | None) -> _Known | None:
    if place is None:
        return None
    try:
        about = json.loads((place / "about.json").read_text())
        hashes: NDArray[np.uint64] = np.load(place / about["hashes"], mmap_mode="r")
        rows = _NO_ROWS
        if about["rows"]["filename"]:
            rows = pa.table([about["rows"]["filename"], about["rows"]["file_row_number"]], schema=_SCHEMA)
        return _Known(tuple(about["files"]), hashes, rows)
    except (OSError, ValueError, KeyError, TypeError, EOFError, pa.ArrowException):
        return None


def _write(place: Path | None, known: _Known, before: NDArray[np.uint64] | None) -> None:
    if place is None:
        return
    # A cache that cannot be written costs time, never the query.
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        hashes, draft = f"hashes-{uuid4().hex}.npy", place / f"about-{uuid4().hex}.json"
        np.save(place / hashes, known.hashes)
        about = {"files": known.files, "hashes": hashes, "rows": known.rows.to_pydict()}
        draft.write_text(json.dumps(about))
        draft.replace(place / "about.json")
        # Only what this one replaces: another process may just have written its own.
        if isinstance(before, np.memmap) and before.filename is not None:
            Path(before.filename).unlink(missing_ok=True)
