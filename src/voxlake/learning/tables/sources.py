"""Columns of a table from the lake: features, headers, labels, SQL."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

import numpy as np

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.lake.lake import Lake
from voxlake.learning.tables.inputs import FeatureInput, HeaderInput, SqlInput
from voxlake.learning.tables.make import column_from
from voxlake.learning.tables.subjects import Subjects
from voxlake.learning.tables.table import Column

__all__ = [
    "COMBINE",
    "Found",
    "column_of",
    "feature_values",
    "header_values",
    "label_columns",
    "sql_values",
    "wanted",
]

COMBINE: Mapping[str, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"mean": statistics.fmean, "median": statistics.median, "min": min, "max": max}
)
# Which labels count: those of the row itself or of what is nearest to it.
_ORDER = MappingProxyType(
    {
        "study": ("study", "series", "instance", "patient"),
        "patient": ("patient", "study", "series", "instance"),
    }
)
_USUAL = ("instance", "series", "study", "patient")


@dataclass(frozen=True)
class Found:
    """Values of a source: for each column, values by identifier at a level."""

    level: str
    source: str
    columns: Mapping[str, Mapping[str, list[Any]]]


def wanted(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a column is taken: some pattern includes it and none excludes it."""
    return any(fnmatchcase(name, one) for one in include) and not any(
        fnmatchcase(name, one) for one in exclude
    )


def column_of(
    name: str,
    values: Mapping[str, list[Any]],
    keys: Iterable[Sequence[str]],
    *,
    source: str,
    combine: str,
    category: bool,
) -> Column:
    """One value for each row from the values of everything that belongs to it.

    Several numbers are combined; several different categories count as missing.
    """
    found = [[value for key in row for value in values.get(key, ()) if value is not None] for row in keys]
    numeric = not category and all(
        isinstance(value, int | float) and not isinstance(value, bool) for row in found for value in row
    )
    if numeric:
        numbers = [COMBINE[combine]([float(value) for value in row]) if row else None for row in found]
        return column_from(name, np.array(numbers, dtype=object), source=source)
    single = [row[0] if len({str(value) for value in row}) == 1 else None for row in found]
    return column_from(name, np.array(single, dtype=object), category=True, source=source)


def feature_values(lake: Lake, settings: FeatureInput, subjects: Subjects) -> Found:
    """Features of the volumes of the rows; a column is ``family.feature``, after the region's name if any.

    Raises
    ------
    NotFoundError
        Nothing was measured.
    UsageError
        A number was measured more than once, under different settings, plans or masks.
    """
    volumes = sorted({one for row in subjects.within for one in row["volume"]})
    rows = lake.sql(
        "select volume_id, label, label_name, family, feature, value, settings_digest, mask_id from features "
        "where volume_id in (select unnest($volumes)) and starts_with(plan_digest, $plan) order by all",
        {"volumes": volumes, "plan": settings.plan_digest or ""},
    ).dicts()
    columns: defaultdict[str, dict[str, list[Any]]] = defaultdict(dict)
    for row in rows:
        region = "whole" if row["mask_id"] is None else str(row["label_name"] or row["label"])
        if settings.families and row["family"] not in settings.families:
            continue
        if settings.regions and region not in settings.regions:
            continue
        name = f"{row['family']}.{row['feature']}"
        name = name if region == "whole" else f"{region}.{name}"
        if row["volume_id"] in columns[name]:
            raise UsageError(
                f"'{name}' of a volume was measured under several settings or masks; name 'families' or "
                "'regions', or take it with an input of source = \"sql\""
            )
        columns[name][row["volume_id"]] = [row["value"]]
    if not columns:
        raise NotFoundError("no feature of these volumes is in the lake; run `voxlake measure` first")
    return Found("volume", "features", columns)


def header_values(lake: Lake, settings: HeaderInput, subjects: Subjects) -> Found:
    """Columns of ``series`` or ``instances`` of the rows.

    Raises
    ------
    NotFoundError
        The table has no such column; a near miss is named.
    UsageError
        A column holds lists.
    """
    key, level = (
        ("series_instance_uid", "series") if settings.table == "series" else ("sop_instance_uid", "instance")
    )
    known = lake.sql(f"select * from {settings.table} limit 0").columns
    patterns = [name for name in settings.include if not set(name) & {"*", "?", "["}]
    for name in patterns:
        if name not in known:
            raise NotFoundError(f"'{settings.table}' has no column '{name}'{hint(name, known)}")
    names = [name for name in known if wanted(name, settings.include, settings.exclude) and name != key]
    quoted = ", ".join(f'"{name}"' for name in names)
    uids = sorted({one for row in subjects.within for one in row[level]})
    rows = lake.sql(
        f"select {key} as subject, {quoted} from {settings.table} where {key} in (select unnest($uids)) "
        "order by all",
        {"uids": uids},
    ).dicts()
    return Found(level, "headers", _by_subject(rows, names))


def label_columns(
    lake: Lake, names: Sequence[str], subjects: Subjects, *, combine: str, categories: Iterable[str]
) -> tuple[dict[str, Column], dict[str, set[str]]]:
    """Labels of the rows, the nearest that there are.

    Labels of an instance count before those of its series, these before the study's and the patient's; of a
    study or patient its own come first.

    Returns
    -------
    tuple of (columns by name, subjects whose nearest labels disagree by name)

    Raises
    ------
    NotFoundError
        No row has such a label; a near miss is named.
    """
    forced = set(categories)
    order = _ORDER.get(subjects.level, _USUAL)
    columns, conflicts = {}, {}
    for name in names:
        rows = lake.sql(
            "select level, subject, value, number from labels where name = $name order by all", {"name": name}
        ).rows()
        by_subject: defaultdict[tuple[str, str], list[tuple[str, float | None]]] = defaultdict(list)
        for level, subject, value, number in rows:
            by_subject[level, subject].append((value, number))
        nearest = [_nearest(row, order, by_subject) for row in subjects.within]
        if not any(nearest):
            others = [row[0] for row in lake.sql("select distinct name from labels").rows()]
            raise NotFoundError(f"no row of the table has a label '{name}'{hint(name, others)}")
        numeric = name not in forced and all(number is not None for row in nearest for _, number in row)
        values = {
            key: [number if numeric else value for value, number in row]
            for key, row in zip(subjects.names, nearest, strict=True)
        }
        columns[name] = column_of(
            name,
            values,
            ([key] for key in subjects.names),
            source="labels",
            combine=combine,
            category=not numeric,
        )
        conflicts[name] = {
            key for key, row in values.items() if not numeric and len({str(one) for one in row}) > 1
        }
    return columns, conflicts


def sql_values(lake: Lake, settings: SqlInput) -> Found:
    """Columns of a statement.

    Raises
    ------
    NotFoundError
        It has no column of that name.
    """
    result = lake.sql(settings.statement)
    if settings.subject not in result.columns:
        raise NotFoundError(
            f"the statement has no column '{settings.subject}'{hint(settings.subject, result.columns)}"
        )
    rows = [{**row, "subject": row[settings.subject]} for row in result.dicts()]
    return Found(
        settings.level, "sql", _by_subject(rows, [one for one in result.columns if one != settings.subject])
    )


def _nearest(
    row: Mapping[str, Sequence[str]],
    order: Sequence[str],
    labels: Mapping[tuple[str, str], list[tuple[str, float | None]]],
) -> list[tuple[str, float | None]]:
    for level in order:
        found = [one for key in row[level] for one in labels.get((level, key), ())]
        if found:
            return found
    return []


def _by_subject(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    columns: dict[str, dict[str, list[Any]]] = {name: defaultdict(list) for name in names}
    for row in rows:
        for name in names:
            value = row[name]
            if isinstance(value, list | dict):
                raise UsageError(f"column '{name}' holds lists; take a part of it with source = \"sql\"")
            if value is not None:
                columns[name][str(row["subject"])].append(value)
    return columns
