"""SQL over the tables of a lake, and over nothing else."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from voxlake.core.errors import QueryError
from voxlake.core.hints import hint
from voxlake.store.result import Result
from voxlake.store.schema import TABLES
from voxlake.store.sql_guard import parse
from voxlake.store.tables import Tables
from voxlake.store.views import create_view, literal, quoted

__all__ = ["Result", "run_sql"]

_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    # Extensions would be downloaded while a query runs; everything that is needed is built in.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    # Names of Python variables of the caller are no tables.
    "python_enable_replacements": False,
}


def run_sql(
    tables: Tables,
    statement: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    views: Mapping[str, str] | None = None,
    memory_limit: str = "4GB",
    time_limit: float | None = None,
    cache: Path | None = None,
) -> Result:
    """Run one SELECT over the tables of a lake.

    Every table shows one row of each key (the first committed, or the last where a row describes what grows)
    and is empty where nothing was appended yet.
    Files other than the lake's tables, settings and the environment are out of reach.

    Parameters
    ----------
    tables : Tables
        Tables of the lake.
    statement : str
        One SELECT (also SHOW, DESCRIBE, SUMMARIZE), in DuckDB's dialect.
    parameters : sequence or mapping, optional
        Values for ``?`` or ``$name``.
    views : mapping of str to str, optional
        More views, name to SELECT, each of which may read those before it. They come from the program,
        never from a user.
    memory_limit : str
        For example ``"4GB"``; larger sorts and joins go to a temporary folder.
    time_limit : float, optional
        Seconds after which the query is stopped.
    cache : pathlib.Path, optional
        Folder outside the lake for what may be remembered between processes.

    Raises
    ------
    QueryError
        The statement is not allowed or fails; near misses of table and column names are named.
    """
    with (
        tempfile.TemporaryDirectory(prefix="voxlake-sql-", ignore_cleanup_errors=True) as folder,
        _connect(folder, memory_limit) as connection,
    ):
        read = parse(connection, statement)
        extra = dict(views or {})
        names = [*TABLES, *extra]
        wanted = set(names) if read.catalogue else _reachable(connection, read.tables, extra)
        _prepare(connection, tables, wanted, extra, cache)
        try:
            return _run(connection, statement, parameters, time_limit)
        except duckdb.Error as error:
            known = _columns(connection, wanted)
            raise QueryError(_explained(error, time_limit, names, known)) from None


def _connect(folder: str, memory_limit: str) -> duckdb.DuckDBPyConnection:
    configuration = {**_CONFIGURATION, "memory_limit": memory_limit, "temp_directory": folder}
    try:
        connection = duckdb.connect(":memory:", config=configuration)
        connection.execute("SET TimeZone = 'UTC'")
    except duckdb.Error as error:
        raise QueryError(f"SQL cannot start: {_cleaned(error)}") from None
    return connection


def _reachable(
    connection: duckdb.DuckDBPyConnection, names: frozenset[str], views: Mapping[str, str]
) -> set[str]:
    # Opening a table costs a look at its log and its files, and a wide view some ten milliseconds, so only
    # what is read is made.
    lowered = {name.lower(): sql for name, sql in views.items()}
    waiting, seen = list(names), set(names)
    while waiting:
        sql = lowered.get(waiting.pop())
        if sql is not None:
            found = parse(connection, sql).tables - seen
            seen |= found
            waiting.extend(found)
    return {name for name in (*TABLES, *views) if name.lower() in seen}


def _prepare(
    connection: duckdb.DuckDBPyConnection,
    tables: Tables,
    wanted: set[str],
    views: Mapping[str, str],
    cache: Path | None,
) -> None:
    files = {name: tables.files(name) for name in TABLES if name in wanted}
    allowed = ", ".join(literal(file) for paths in files.values() for file in paths)
    try:
        connection.execute(f"SET allowed_paths = [{allowed}]")
        connection.execute("SET enable_external_access = false")
        for name, paths in files.items():
            create_view(connection, tables, name, paths, cache)
        for name, sql in views.items():
            if name not in wanted:
                continue
            connection.execute(f"CREATE VIEW {quoted(name)} AS {sql}")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        raise QueryError(f"the tables of the lake cannot be read: {_cleaned(error)}") from None


def _run(
    connection: duckdb.DuckDBPyConnection,
    statement: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None,
    time_limit: float | None,
) -> Result:
    timer = threading.Timer(time_limit, connection.interrupt) if time_limit is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        # An empty sequence is no parameters: DuckDB takes it for a count of 0 that must match.
        relation = connection.sql(statement, params=parameters or None)
        return Result(relation.to_arrow_table())
    finally:
        if timer is not None:
            timer.cancel()


def _columns(connection: duckdb.DuckDBPyConnection, names: set[str]) -> list[str]:
    try:
        rows = connection.execute(
            "SELECT DISTINCT column_name FROM duckdb_columns() WHERE list_contains(?, table_name)",
            [sorted(names)],
        ).fetchall()
    except duckdb.Error:
        return []
    return [str(row[0]) for row in rows]


def _explained(
    error: duckdb.Error, time_limit: float | None, tables: Sequence[str], columns: Sequence[str]
) -> str:
    text = _cleaned(error)
    if isinstance(error, duckdb.InterruptException):
        return f"SQL: the query took longer than {time_limit:g} s and was stopped; ask for less"
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"SQL: {text}; ask for less, or raise memory_limit"
    table = re.search(r"Table with name \"?(.+?)\"? does not exist", text)
    if table:
        return f"SQL: there is no table '{table[1]}'{hint(table[1], tables)}"
    column = re.search(r"Referenced column \"(.+?)\" not found", text)
    column = column or re.search(r"does not have a column named \"(.+?)\"", text)
    if column:
        return f"SQL: there is no column '{column[1]}'{hint(column[1], columns)}"
    return f"SQL: {text}"


def _cleaned(error: duckdb.Error) -> str:
    # Behind the empty line comes the statement again; "Did you mean" names DuckDB's own tables.
    lines = str(error).split("\n\n", 1)[0].splitlines()
    kept = [line.strip() for line in lines if line.strip() and not line.startswith("Did you mean")]
    return " ".join(kept)
