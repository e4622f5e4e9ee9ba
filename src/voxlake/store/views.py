"""Views that show the first committed row of every key.

The straightforward way, a window over the whole table in every view, is what must not be done: it takes
1.5 s on a million rows where the bare scan takes 0.04 s, because it keeps every filter from reaching the
files. Rows of a key that was there before are rare (two writers at the same moment), so they are looked for
once for each file that comes in (see `key_hashes`) and remembered; the view is then the bare scan, minus
those few rows where there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from voxlake.store.key_hashes import repeated_rows
from voxlake.store.schema import arrow_schema
from voxlake.store.sql_text import literal, quoted, scan
from voxlake.store.tables import Tables

__all__ = ["Shown", "create_view", "literal", "narrow_statement", "quoted"]

_TYPES = {
    pa.string(): "VARCHAR",
    pa.float64(): "DOUBLE",
    pa.float32(): "FLOAT",
    pa.int64(): "BIGINT",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}


@dataclass(frozen=True)
class Shown:
    """How the view of a table was made.

    Parameters
    ----------
    columns : str
        What it selects.
    by_name : bool
        Whether columns of its files go by name.
    repeated : bool
        Whether rows that repeat a key are left out.
    """

    columns: str
    by_name: bool = False
    repeated: bool = False


def create_view(
    connection: duckdb.DuckDBPyConnection,
    tables: Tables,
    name: str,
    files: Sequence[str],
    cache: Path | None,
    few: Sequence[str] | None = None,
) -> Shown:
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
    few : sequence of str, optional
        Show only the rows of these files, for which the others need not be here.
    """
    columns = _columns(tables, name, bool(files))
    view = f"CREATE VIEW {quoted(name)} AS SELECT {columns}"
    if not files:
        connection.execute(f"{view} WHERE false")
        return Shown(columns)
    by_name = tables.evolved(name)
    repeated = repeated_rows(connection, tables, name, files, cache)
    files = files if few is None else few
    if not repeated.num_rows:
        connection.execute(f"{view} FROM {scan(files, by_name=by_name)}")
        # To name a hundred columns takes longer than to read the rows of one series.
        return Shown("*" if not by_name and _is_current(tables, name) else columns, by_name)
    left_out = _left_out(name)
    connection.register("repeated_rows", repeated)
    connection.execute("CREATE SCHEMA IF NOT EXISTS repeated")
    connection.execute(f"CREATE TABLE {left_out} AS SELECT * FROM repeated_rows")
    connection.unregister("repeated_rows")
    connection.execute(
        f"{view} FROM {scan(files, by_name=by_name, places=True)} "
        f"ANTI JOIN {left_out} USING (filename, file_row_number)"
    )
    return Shown(columns, by_name, repeated=True)


def narrow_statement(
    connection: duckdb.DuckDBPyConnection, name: str, shown: Shown, files: Sequence[str], statement: str
) -> str:
    """Let a statement see only the rows of some of the files of a table that has its view.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A session's cursor: what is made here is seen by no other.
    name : str
        One of `schema.TABLES`.
    shown : Shown
        How its view was made.
    files : sequence of str
        Some of its Parquet files.
    statement : str
        One SELECT that was judged.

    Returns
    -------
    str
        The statement to run instead.
    """
    source = scan(files, by_name=shown.by_name, places=shown.repeated)
    if shown.repeated:
        source += f" ANTI JOIN {_left_out(name)} USING (filename, file_row_number)"
    view = f"SELECT {shown.columns} FROM {source}"
    if statement.lstrip()[:7].lower().rstrip() == "select":
        # A view would be bound twice, and a hundred columns take longer to bind than a series to read.
        return f"WITH {quoted(name)} AS NOT MATERIALIZED ({view}) {statement}"
    connection.execute(f"CREATE TEMP VIEW {quoted(name)} AS {view}")
    return statement


def _left_out(name: str) -> str:
    # In a schema of its own, so that it is not listed among the tables.
    return f"repeated.{quoted(name)}"


def _is_current(tables: Tables, name: str) -> bool:
    """Whether the files have the columns of this version, in this order."""
    stored, wanted = tables.stored_schema(name), arrow_schema(name)
    # Delta names the field of a list "element", Arrow "item".
    return stored is not None and [(field.name, _plain(field.type)) for field in stored] == [
        (field.name, _plain(field.type)) for field in wanted
    ]


def _plain(arrow_type: pa.DataType) -> tuple[bool, pa.DataType]:
    listed = pa.types.is_list(arrow_type)
    return listed, arrow_type.value_type if listed else arrow_type


def _columns(tables: Tables, name: str, stored: bool) -> str:
    there = tables.stored_schema(name) if stored else None
    wanted = arrow_schema(name)
    parts = [
        f"CAST({quoted(field.name) if there is not None and field.name in there.names else 'NULL'} "
        f"AS {_sql_type(field.type)}) AS {quoted(field.name)}"
        for field in wanted
    ]
    if there is not None:
        parts += [quoted(field.name) for field in there if field.name not in wanted.names]
    return ", ".join(parts)


def _sql_type(arrow_type: pa.DataType) -> str:
    return f"{_TYPES[arrow_type.value_type]}[]" if pa.types.is_list(arrow_type) else _TYPES[arrow_type]
