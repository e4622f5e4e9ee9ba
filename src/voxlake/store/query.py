"""SQL over the tables of a lake, and over nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from voxlake.core.errors import QueryError
from voxlake.core.hints import hint
from voxlake.store.copies import fetched, missing_copies
from voxlake.store.narrow import narrowed
from voxlake.store.result import Result
from voxlake.store.schema import TABLES
from voxlake.store.sql_guard import Statement, parse
from voxlake.store.sql_text import literal, quoted
from voxlake.store.tables import Tables
from voxlake.store.views import Shown, create_view, narrow_statement

__all__ = ["Result", "run_sql"]

# Queries for UIDs need few of the files of this table.
_NARROWED = "instances"
Files = Mapping[str, Sequence[str]]
# Of files that somebody deletes while they are read.
_TRIES = 10


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
    extra = dict(views or {})
    for left in reversed(range(_TRIES)):
        files: dict[str, Sequence[str]] = {}
        few: Files = {}
        try:
            read, wanted = _judged(tables, statement, extra, memory_limit)
            chosen = {name: sql for name, sql in extra.items() if name in wanted}
            if not chosen and _NARROWED in wanted and missing_copies(tables, _NARROWED):
                found, few = _fetch_few(tables, read, parameters, cache)
                files |= found
            files |= {name: tables.files(name) for name in TABLES if name in wanted and name not in files}
            connection, shown = _session(tables, (files, few), chosen, memory_limit, cache)
            with connection:
                asked = statement
                if not chosen and not few and _NARROWED in files:
                    left_over = narrowed(tables, files[_NARROWED], read.tree, parameters, cache)
                    if left_over is not None:
                        asked = narrow_statement(
                            connection, _NARROWED, shown[_NARROWED], left_over, statement
                        )
                try:
                    return _run(connection, asked, parameters, time_limit)
                except duckdb.Error as error:
                    known = _columns(connection, wanted)
                    message = _explained(error, time_limit, [*TABLES, *extra], known)
                    raise QueryError(message) from None
        except QueryError:
            # Local copies of a remote lake may be deleted at any time, and are then fetched again.
            if not (left and tables.places.remote and _lost({**files, **few})):
                raise
            tables.sessions.forget()
    raise QueryError("SQL: the local copies of the tables are deleted faster than they are read")


def _judged(
    tables: Tables, statement: str, views: Mapping[str, str], memory_limit: str
) -> tuple[Statement, set[str]]:
    """The statement, and the tables and views that it reads."""
    key = (statement, *views.items())
    return tables.sessions.remembered(key, lambda: _read(tables, statement, views, memory_limit))


def _read(
    tables: Tables, statement: str, views: Mapping[str, str], memory_limit: str
) -> tuple[Statement, set[str]]:
    try:
        connection = tables.sessions.parser(memory_limit)
    except duckdb.Error as error:
        raise QueryError(f"SQL cannot start: {_cleaned(error)}") from None
    with connection:
        read = parse(connection, statement)
        wanted = {*TABLES, *views} if read.catalogue else _reachable(connection, read.tables, views)
    return read, wanted


def _fetch_few(
    tables: Tables, read: Statement, parameters: Sequence[Any] | Mapping[str, Any] | None, cache: Path | None
) -> tuple[Files, Files]:
    """All files of the table, and those that the statement needs, by its name; nothing where it needs all.

    Only the latter are fetched.
    """
    every = tables.files(_NARROWED, fetch=False)
    found = narrowed(tables, every, read.tree, parameters, cache)
    if found is None:
        return {}, {}
    return {_NARROWED: every}, {_NARROWED: fetched(tables, _NARROWED, found)}


def _lost(files: Mapping[str, Sequence[str]]) -> bool:
    return not all(Path(file).is_file() for paths in files.values() for file in paths)


def _session(
    tables: Tables,
    files: tuple[Files, Files],
    views: Mapping[str, str],
    memory_limit: str,
    cache: Path | None,
) -> tuple[duckdb.DuckDBPyConnection, Mapping[str, Shown]]:
    """A cursor; `files` are all of each table, and those of which alone rows are shown."""
    named = (tuple((name, tuple(paths)) for name, paths in some.items()) for some in files)
    key = (cache, *named, tuple(views.items()))
    try:
        return tables.sessions.cursor(
            key, memory_limit, lambda connection: _prepare(connection, tables, files, views, cache)
        )
    except duckdb.Error as error:
        raise QueryError(f"SQL cannot start: {_cleaned(error)}") from None


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
    files: tuple[Files, Files],
    views: Mapping[str, str],
    cache: Path | None,
) -> dict[str, Shown]:
    shown: dict[str, Shown] = {}
    every, few = files
    allowed = ", ".join(literal(file) for paths in every.values() for file in paths)
    try:
        connection.execute(f"SET allowed_paths = [{allowed}]")
        connection.execute("SET enable_external_access = false")
        for name, paths in every.items():
            shown[name] = create_view(connection, tables, name, paths, cache, few.get(name))
        for name, sql in views.items():
            connection.execute(f"CREATE VIEW {quoted(name)} AS {sql}")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        raise QueryError(f"the tables of the lake cannot be read: {_cleaned(error)}") from None
    return shown


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
