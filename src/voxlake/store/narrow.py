"""Which files a query by UID has to look into.

``select ... from instances where series_instance_uid = ?`` needs a few files of thousands. The condition is
read from the syntax tree; files are left out only where none of their rows can come into the
result, and the query itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from voxlake.store.tables import Tables
from voxlake.store.uid_index import UID_COLUMNS, UidIndex

__all__ = ["asked_uids", "narrowed"]

_TABLE = "instances"
# Fewer files are read as quickly as the index is.
_LEAST_FILES = 16
_MOST_UIDS = 10_000

Parameters = Sequence[Any] | Mapping[str, Any] | None
Tree = Mapping[str, Any]


def narrowed(
    tables: Tables, files: Sequence[str], tree: Tree, parameters: Parameters, cache: Path | None
) -> list[str] | None:
    """The files of `instances` that a statement needs; None for all.

    Parameters
    ----------
    tables : Tables
        Tables of the lake.
    files : sequence of str
        All files of the table.
    tree : mapping
        Syntax tree of the statement, none of whose views reads `instances`.
    parameters : sequence or mapping, optional
        Values for ``?`` or ``$name``.
    cache : pathlib.Path or None
        Folder of the index; without it, no file is left out.
    """
    if cache is None or len(files) < _LEAST_FILES:
        return None
    asked = asked_uids(tree, parameters)
    if not asked:
        return None
    index = tables.uid_indexes.setdefault(cache, UidIndex(cache))
    index.sync(tables)
    left = list(files)
    for column, uids in asked.items():
        holding, indexed = index.files(column, uids)
        # Files that came in since the index was made are looked into.
        left = [file for file in left if file in holding or file not in indexed]
    # A view over no file at all would need no reader; the first file has the columns.
    return left or list(files[:1])


def asked_uids(tree: Tree, parameters: Parameters) -> dict[str, set[str]]:
    """Columns of `instances` and the UIDs that every row of it which counts has one of; empty if none.

    Only a table that is read once in the whole statement, alone in its FROM, is looked at.
    """
    places = [node for node in _nodes(tree) if _reads_instances(node)]
    if len(places) != 1:
        return {}
    table = places[0]
    select = next((node for node in _nodes(tree) if node.get("from_table") is table), None)
    if select is None or select.get("type") != "SELECT_NODE" or not _is_plain(select, table):
        return {}
    name = str(table["alias"] or table["table_name"]).lower()
    asked: dict[str, set[str]] = {}
    for condition in _conditions(select.get("where_clause")):
        column, uids = _condition(condition, name, parameters)
        if column is not None and uids is not None and len(uids) <= _MOST_UIDS:
            asked[column] = asked[column] & uids if column in asked else uids
    return asked


def _nodes(tree: Any) -> Iterator[Tree]:
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _reads_instances(node: Tree) -> bool:
    return node.get("type") == "BASE_TABLE" and str(node["table_name"]).lower() == _TABLE


def _is_plain(select: Tree, table: Tree) -> bool:
    # A sample is drawn before the condition; other names for the columns could hide another column.
    strange = (
        table["sample"],
        select["sample"],
        table["column_name_alias"],
        table["at_clause"],
        table["schema_name"],
        table["catalog_name"],
    )
    return not any(strange)


def _conditions(clause: Any) -> Iterator[Tree]:
    waiting = [clause] if isinstance(clause, dict) else []
    while waiting:
        node = waiting.pop()
        if node.get("type") == "CONJUNCTION_AND":
            waiting.extend(node["children"])
        else:
            yield node


def _condition(node: Tree, table: str, parameters: Parameters) -> tuple[str | None, set[str] | None]:
    match node.get("type"):
        case "COMPARE_EQUAL":
            for side, other in (("left", "right"), ("right", "left")):
                column = _column(node[side], table)
                if column is not None:
                    return column, _texts([node[other]], parameters)
        case "COMPARE_IN":
            column, *values = node["children"]
            return _column(column, table), _texts(values, parameters)
        case "SUBQUERY" if node["subquery_type"] == "ANY" and node["comparison_type"] == "COMPARE_EQUAL":
            return _column(node["child"], table), _listed(node["subquery"]["node"], parameters)
    return None, None


def _column(node: Tree, table: str) -> str | None:
    if node.get("type") != "COLUMN_REF":
        return None
    *of, column = [str(name).lower() for name in node["column_names"]]
    return column if column in UID_COLUMNS and of in ([], [table]) else None


def _texts(values: Sequence[Tree], parameters: Parameters) -> set[str] | None:
    found = [_value(value, parameters) for value in values]
    return {text for text in found if isinstance(text, str)} if _all_texts(found) else None


def _listed(select: Tree, parameters: Parameters) -> set[str] | None:
    """Of ``in (select unnest($uids))`` and ``= any($uids)``."""
    expected = {"from_table": "EMPTY", "where_clause": None, "having": None, "qualify": None, "sample": None}
    for name, value in expected.items():
        part = select.get(name)
        if (part.get("type") if isinstance(part, dict) else part) != value:
            return None
    listed = select["select_list"]
    if len(listed) != 1 or str(listed[0].get("function_name", "")).lower() != "unnest":
        return None
    arguments = [argument["expression"] for argument in listed[0]["arguments"]]
    found = _value(arguments[0], parameters) if len(arguments) == 1 else None
    return set(found) if isinstance(found, list | tuple) and _all_texts(found) else None


def _value(node: Tree, parameters: Parameters) -> Any:
    if node.get("type") == "VALUE_PARAMETER":
        name = str(node["identifier"])
        if isinstance(parameters, Mapping):
            return parameters.get(name)
        place = int(name) - 1 if name.isdecimal() else -1
        return parameters[place] if parameters is not None and 0 <= place < len(parameters) else None
    literal = node.get("literal") if node.get("type") == "VALUE_CONSTANT" else None
    return literal["text"] if isinstance(literal, dict) and literal.get("kind") == "STRING" else None


def _all_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
