"""What mining found, of any kind: variables, importance, associations, and its tables of results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from voxlake.evaluation.content import Cell, Guide, Plot, Section, Table, Trace
from voxlake.evaluation.speaker import Speaker
from voxlake.learning.tables.table import vector_of

__all__ = ["describe_mined"]

_MOST = 40
_SHOWN_ALREADY = frozenset({"estimates", "importance"})


def describe_mined(model: Speaker) -> tuple[Section, ...]:
    """Sections about the variables and results of a mined model, as far as its card has them."""
    results = model.card.get("results", {})
    found = [_variables(model.card.get("variables", ()))]
    if results.get("importance"):
        found.append(_importance(results["importance"]))
    found += [_associations(model), _results(results)]
    return tuple(section for section in found if section is not None)


def _variables(variables: Sequence[Mapping[str, Any]]) -> Section | None:
    if not variables:
        return None
    shown = _together(variables)
    rows = tuple(
        (str(one["name"]), str(one["kind"]), str(one["source"]), int(one.get("missing") or 0))
        for one in shown[:_MOST]
    )
    more = f"{len(shown) - _MOST:,} more are not shown." if len(shown) > _MOST else ""
    table = Table("Variables that went in", ("Variable", "Kind", "Source", "Missing"), rows, note=more)
    return Section("variables", "Variables", tables=(table,), place="data")


def _together(variables: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Variables with the coordinates of each vector as one; a vector is there or not as a whole."""
    vectors = [vector_of(str(one["name"]), str(one["source"])) for one in variables]
    lengths = Counter(vectors)
    found: dict[str, Mapping[str, Any]] = {}
    for one, vector in zip(variables, vectors, strict=True):
        if vector is None:
            found[str(one["name"])] = one
        else:
            name = f"{vector} ({lengths[vector]:,} coordinates)"
            found.setdefault(name, {**one, "name": name, "kind": "vector"})
    return list(found.values())


def _importance(found: Sequence[Mapping[str, Any]]) -> Section:
    order = sorted(found, key=lambda one: -_number(one.get("value")))[:20]
    values = np.array([[_number(one.get(key)) for key in ("value", "low", "high")] for one in order])
    return Section(
        "importance",
        "Importance of the variables",
        (
            (
                "How much worse the model gets on test parts when the values of one variable are shuffled "
                "among "
                "the "
                "samples. Variables that say the same share their importance; it tells nothing about causes."
            ),
        ),
        plots=(
            Plot(
                "importance",
                "The 20 most important" if len(found) > 20 else "Importance",
                "Lines are intervals, where there are any.",
                "loss of the figure that was searched by",
                "",
                (
                    Trace(
                        "",
                        values[:, 0],
                        np.arange(len(order), dtype=np.float64),
                        values[:, 1],
                        values[:, 2],
                        "forest",
                    ),
                ),
                guides=(Guide("", "vertical", 0.0),),
                ticks=tuple(str(one["name"]) for one in order),
                wide=True,
            ),
        ),
    )


def _associations(model: Speaker) -> Section | None:
    rows = model.lake.sql(
        "select variable, target, test, effect, value, low, high, p_value, q_value, samples, groups "
        "from associations where model_id = $model order by q_value, p_value, variable",
        {"model": model.model_id},
    ).rows()
    if not rows:
        return None
    columns = (
        "Variable", "Target", "Test", "Effect", "Value", "from", "to", "p", "q", "Samples", "Patients",
    )  # fmt: skip
    more = f"{len(rows) - _MOST:,} more stand in the table associations." if len(rows) > _MOST else ""
    return Section(
        "associations",
        "Associations",
        (
            (
                f"{len(rows):,} variables were tested. q is the share of false findings to be expected among "
                "all "
                "with a q "
                "as small as this (Benjamini and Hochberg 1995). An association is not a cause."
            ),
        ),
        tables=(Table("Associations, surest first", columns, tuple(map(_cells, rows[:_MOST])), note=more),),
    )


def _results(results: Mapping[str, Any]) -> Section | None:
    """Whatever else the kind wrote down: single values in one table, lists of flat mappings in their own."""
    single: list[tuple[Cell, ...]] = []
    tables = []
    for name, value in results.items():
        title = name.replace("_", " ").capitalize()
        if name in _SHOWN_ALREADY or value is None:
            continue
        if isinstance(value, str | int | float):
            single.append((title, _cell(value)))
        elif isinstance(value, Mapping):
            tables += _mapping(title, value)
        elif isinstance(value, Sequence) and value and all(isinstance(one, Mapping) for one in value):
            tables.append(_listed(title, value))
    if single:
        tables.insert(0, Table("Results", ("What", "Value"), tuple(single)))
    return Section("mined", "What mining found", tables=tuple(tables)) if tables else None


def _mapping(title: str, value: Mapping[str, Any]) -> list[Table]:
    rows = tuple((str(key), _cell(one)) for key, one in value.items() if _is_plain(one))
    return [Table(title, ("What", "Value"), rows)] if rows else []


def _listed(title: str, value: Sequence[Mapping[str, Any]]) -> Table:
    columns = tuple(dict.fromkeys(key for one in value for key, cell in one.items() if _is_plain(cell)))
    rows = tuple(tuple(_named(key, one.get(key)) for key in columns) for one in value[:_MOST])
    more = f"{len(value) - _MOST:,} more are not shown." if len(value) > _MOST else ""
    return Table(title, tuple(key.replace("_", " ").capitalize() for key in columns), rows, note=more)


def _named(key: str, value: Any) -> Cell:
    """Folds are counted from 1 on a page, as everywhere else on it."""
    return value + 1 if key == "fold" and isinstance(value, int) and value >= 0 else _cell(value)


def _is_plain(value: Any) -> bool:
    flat = isinstance(value, Mapping) and all(
        one is None or isinstance(one, str | int | float) for one in value.values()
    )
    return value is None or isinstance(value, str | int | float) or flat


def _cells(row: Sequence[Any]) -> tuple[Cell, ...]:
    return tuple(_cell(value) for value in row)


def _cell(value: Any) -> Cell:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items() if one is not None)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
