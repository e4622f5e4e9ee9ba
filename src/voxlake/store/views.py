"""Views that show the first committed row of every key.

The straightforward way, a window over the whole table in every view, is what must not be done: it takes
1.5 s on a million rows where the bare scan takes 0.04 s, because it keeps every filter from reaching the
files. Rows of a key that was there before are rare (two writers at the same moment), so they are looked for
once for each version of a table, over a hash of the key alone (0.5 s on a million rows), and remembered;
the view is then the bare scan, minus those few rows where there are any.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from voxlake.store.schema import TABLES, arrow_schema
from voxlake.store.tables import Tables

__all__ = ["create_view", "literal", "quoted"]

_REPEATED = pa.schema([("filename", pa.string()), ("file_row_number", pa.int64())])
_TYPES = {
    pa.string(): "VARCHAR",
    pa.float64(): "DOUBLE",
    pa.int64(): "BIGINT",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}


def create_view(
    connection: duckdb.DuckDBPyConnection, tables: Tables, name: str, files: Sequence[str], cache: Path | None
) -> None:
    """Create the view of one table.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        May read the files.
    name : str
        One of `schema.TABLES`.
    files : sequence of str
        Its Parquet files; without any, the view is empty and has the right types.
    cache : pathlib.Path or None
        Folder outside the lake in which to remember, between processes, which rows repeat a key.
    """
    view = f"CREATE VIEW {quoted(name)} AS SELECT {_columns(tables, name, files)}"
    if not files:
        connection.execute(f"{view} WHERE false")
        return
    by_name = tables.evolved(name)
    repeated = _repeated_rows(connection, tables, name, files, cache)
    if not repeated.num_rows:
        connection.execute(f"{view} FROM {_scan(files, by_name=by_name)}")
        return
    # In a schema of its own, so that it is not listed among the tables.
    left_out = f"repeated.{quoted(name)}"
    connection.register("repeated_rows", repeated)
    connection.execute("CREATE SCHEMA IF NOT EXISTS repeated")
    connection.execute(f"CREATE TABLE {left_out} AS SELECT * FROM repeated_rows")
    connection.unregister("repeated_rows")
    connection.execute(
        f"{view} FROM {_scan(files, by_name=by_name, places=True)} "
        f"ANTI JOIN {left_out} USING (filename, file_row_number)"
    )


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _scan(files: Sequence[str], *, by_name: bool, places: bool = False) -> str:
    # By name costs a look into every file (0.9 s for 1,000 wide files), so only where files differ.
    options = ", union_by_name=true" if by_name else ""
    if places:
        options += ", filename=true, file_row_number=true"
    return f"read_parquet([{', '.join(map(literal, files))}]{options})"


def _columns(tables: Tables, name: str, files: Sequence[str]) -> str:
    stored = tables.stored_schema(name) if files else None
    wanted = arrow_schema(name)
    parts = [
        f"CAST({quoted(field.name) if stored is not None and field.name in stored.names else 'NULL'} "
        f"AS {_sql_type(field.type)}) AS {quoted(field.name)}"
        for field in wanted
    ]
    if stored is not None:
        parts += [quoted(field.name) for field in stored if field.name not in wanted.names]
    return ", ".join(parts)


def _sql_type(arrow_type: pa.DataType) -> str:
    return f"{_TYPES[arrow_type.value_type]}[]" if pa.types.is_list(arrow_type) else _TYPES[arrow_type]


def _repeated_rows(
    connection: duckdb.DuckDBPyConnection, tables: Tables, name: str, files: Sequence[str], cache: Path | None
) -> pa.Table:
    state = frozenset(files)
    known = tables.repeated_rows.get(name)
    if known is not None and known[0] == state:
        return known[1]
    file = None
    if cache is not None:
        file = cache / f"repeated-{name}-{tables.identity(name)}-{tables.version(name)}.parquet"
    rows = _read(file)
    if rows is None:
        rows = _find_repeated(connection, name, files, by_name=tables.evolved(name))
        _write(file, rows, name)
    tables.repeated_rows[name] = (state, rows)
    return rows


def _find_repeated(
    connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[str], *, by_name: bool
) -> pa.Table:
    key = ", ".join(quoted(column) for column in TABLES[name].key)
    way = "DESC" if TABLES[name].keep == "last" else "ASC"
    scan = _scan(files, by_name=by_name, places=True)
    # The hash treats null as a value, as a key does; rows whose hashes only collide are told apart below.
    several = (
        f"SELECT hash({key}) AS place FROM {_scan(files, by_name=by_name)} GROUP BY place HAVING count(*) > 1"
    )
    hashes = connection.sql(several).to_arrow_table()
    if not hashes.num_rows:
        return _REPEATED.empty_table()
    connection.register("repeated_hashes", hashes)
    found = connection.sql(
        f"SELECT filename, file_row_number FROM (SELECT filename, file_row_number, row_number() OVER "
        f"(PARTITION BY {key} ORDER BY committed_at {way}, filename, file_row_number) AS position "
        f"FROM {scan} WHERE hash({key}) IN (SELECT place FROM repeated_hashes)) WHERE position > 1"
    ).to_arrow_table()
    connection.unregister("repeated_hashes")
    return found.cast(_REPEATED)


def _read(file: Path | None) -> pa.Table | None:
    if file is None:
        return None
    try:
        return pq.read_table(file, schema=_REPEATED)
    except (OSError, pa.ArrowException):
        return None


def _write(file: Path | None, rows: pa.Table, name: str) -> None:
    if file is None:
        return
    # A cache that cannot be written costs time, never the query.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        for old in file.parent.glob(f"repeated-{name}-*"):
            old.unlink(missing_ok=True)
        draft = file.with_name(f"{file.name}.{uuid4().hex}")
        pq.write_table(rows, draft)
        draft.replace(file)
