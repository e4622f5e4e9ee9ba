"""What an SQL statement may do: read the lake's tables, and nothing else.

The statement is judged by its syntax tree, as DuckDB itself parses it, and by lists of what is allowed.
Its type alone is not enough: ``with x as (copy ... to 'file') select 1`` is a SELECT that writes a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from voxlake.core.errors import QueryError

__all__ = ["Statement", "parse"]

_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_TABLE_FUNCTIONS = frozenset(
    {
        "duckdb_columns", "duckdb_functions", "duckdb_keywords", "duckdb_tables", "duckdb_types",
        "duckdb_views", "generate_series", "histogram", "histogram_values", "json_each", "json_tree",
        "pg_timezone_names",
        "pragma_table_info", "pragma_version", "range", "repeat", "repeat_row", "summary", "unnest",
    }
)  # fmt: skip
# They tell of the machine or write to it, or would run text that was not judged.
_REFUSED_FUNCTIONS = frozenset(
    {
        "current_setting", "getenv", "getvariable", "json_deserialize_sql", "json_execute_serialized_sql",
        "query", "query_table", "read_blob", "read_text", "set_config", "write_log",
    }
)  # fmt: skip
_CATALOGUE = frozenset({"information_schema", "pg_catalog", "system"})


@dataclass(frozen=True)
class Statement:
    """A statement that was found to be harmless.

    Parameters
    ----------
    tables : frozenset of str
        Lower-case names of the tables and views that it reads (names of its own subqueries included).
    catalogue : bool
        Whether it asks which tables there are.
    tree : mapping
        Its syntax tree, as DuckDB writes it.
    """

    tables: frozenset[str]
    catalogue: bool
    tree: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def parse(connection: duckdb.DuckDBPyConnection, sql: str) -> Statement:
    """Judge a statement.

    Raises
    ------
    QueryError
        It cannot be parsed, is not one single SELECT, or reads more than tables.
    """
    row = connection.execute("select json_serialize_sql(?::varchar)", [sql]).fetchone()
    try:
        tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    except RecursionError:
        raise QueryError("SQL: the statement is nested too deeply") from None
    if tree["error"]:
        raise QueryError(_reason(connection, sql, str(tree.get("error_message", ""))))
    if len(tree["statements"]) != 1:
        raise QueryError(f"expected one SQL statement, got {len(tree['statements'])}")
    tables: set[str] = set()
    catalogue = False
    for node in _nodes(tree):
        kind = str(node.get("type", ""))
        if kind.endswith("_NODE") and kind not in _NODES:
            raise QueryError(_only_select(kind.removesuffix("_QUERY_NODE")))
        if kind == "TABLE_FUNCTION":
            catalogue |= _check_table_function(node)
        elif kind == "BASE_TABLE":
            tables.add(str(node["table_name"]).lower())
            catalogue |= str(node.get("schema_name", "")).lower() in _CATALOGUE
        elif kind == "SHOW_REF":
            catalogue = True
        elif node.get("class") == "FUNCTION":
            _check_function(str(node["function_name"]).lower())
    # Views of the catalogue can also be named without their schema.
    catalogue |= any(name.startswith(("duckdb_", "pg_", "pragma_", "sqlite_")) for name in tables)
    return Statement(frozenset(tables), catalogue, tree)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    # A stack of its own: a statement may be nested deeper than Python recurses.
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_table_function(node: dict[str, Any]) -> bool:
    name = str(node["function"]["function_name"]).lower()
    if name not in _TABLE_FUNCTIONS:
        raise QueryError(
            f"the table function '{name}' is not allowed: SQL reads the lake's tables and nothing else"
        )
    return name.startswith(("duckdb_", "pragma_"))


def _check_function(name: str) -> None:
    if name in _REFUSED_FUNCTIONS:
        raise QueryError(
            f"the function '{name}' is not allowed: SQL reads the lake's tables and nothing else"
        )


def _reason(connection: duckdb.DuckDBPyConnection, sql: str, message: str) -> str:
    try:
        kinds = [statement.type.name for statement in connection.extract_statements(sql)]
    except duckdb.Error as error:
        return f"SQL: {str(error).split(chr(10), 1)[0]}"
    if not kinds:
        return "expected one SQL statement, got none"
    if kinds != ["SELECT"]:
        return _only_select(" and ".join(kinds)) if len(kinds) < 3 else "expected one SQL statement"
    return f"SQL: {message.splitlines()[0] if message else 'the statement cannot be read'}"


def _only_select(got: str) -> str:
    return (
        f"only a single SELECT statement is allowed, got {got.upper()}; the lake is changed by its verbs only"
    )
