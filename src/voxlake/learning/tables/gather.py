"""From a lake and a task to a table, with an account of what could not be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from voxlake.core.digest import digest_json, short
from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.gather_rows import outside_rows
from voxlake.learning.tables.inputs import (
    EmbeddingInput,
    FeatureInput,
    FileInput,
    HeaderInput,
    Input,
    LabelInput,
    SqlInput,
)
from voxlake.learning.tables.outside import cells_by_subject, read_outside
from voxlake.learning.tables.sources import (
    Found,
    column_of,
    feature_values,
    header_values,
    label_columns,
    sql_values,
    wanted,
)
from voxlake.learning.tables.subjects import Subjects, find_subjects
from voxlake.learning.tables.table import Column, FeatureTable, Left
from voxlake.learning.tables.vectors import vector_columns

__all__ = ["gather_table", "table_identifier"]

# A column with more categories than this is a name or a date, from which nothing can be learned.
_MOST_CATEGORIES = 100


@dataclass
class _Gathering:
    """What is found on the way."""

    lake: Lake
    task: MiningTask
    categories: frozenset[str]
    columns: dict[str, Column] = field(default_factory=dict)
    conflicts: dict[str, set[str]] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)

    @property
    def apart(self) -> set[str]:
        """Columns that a source gives whether they are included or not."""
        names = (self.task.target, self.task.group, self.task.study, *self.task.carried)
        return {name for name in names if name is not None}

    def add(self, column: Column) -> None:
        """Keep a column."""
        if column.name in self.columns:
            raise UsageError(
                f"two inputs have a column '{column.name}'; set 'prefix' or 'exclude' in one of them"
            )
        self.columns[column.name] = column

    def takes(self, name: str, one: Input) -> bool:
        """Whether a column of an input is wanted."""
        return f"{one.prefix}{name}" in self.apart or wanted(name, one.include, one.exclude)


def gather_table(
    lake: Lake,
    task: MiningTask,
    cohort: Cohort | None,
    *,
    variables: Sequence[Mapping[str, Any]] = (),
) -> FeatureTable:
    """Bring together the columns of a task.

    Parameters
    ----------
    lake : Lake
        The lake.
    task : MiningTask
        Inputs, level and target.
    cohort : Cohort or None
        Whose subjects; None for rows of a table from outside.
    variables : sequence of mapping, optional
        Name and kind of the columns of a model that is to speak about the table: they get these kinds, and a
        row needs no target.

    Raises
    ------
    NotFoundError
        An input has nothing, or there is no such target or column; a near miss is named.
    UsageError
        Inputs do not fit together.
    """
    if not task.inputs:
        raise UsageError('the task has no [[inputs]]; name one or more, for example source = "features"')
    known = {str(one["name"]): one["kind"] for one in variables}
    forced = {name for name, kind in known.items() if kind == "category"}
    work = _Gathering(lake, task, frozenset({*task.categories, *forced}))
    if cohort is None:
        subjects, given = outside_rows(lake, task, work.categories)
        for column in given:
            work.add(column)
        work.sources.extend(dict(one) for one in subjects.origins)
        rows: Subjects = subjects.rows
    else:
        plans = [one.plan_digest for one in task.inputs if isinstance(one, FeatureInput | EmbeddingInput)]
        rows = find_subjects(cohort, task.level, plan_digest=next((one for one in plans if one), None))
        for one in task.inputs:
            _take(work, one, rows)
        _complete(work, rows, _required(task, bool(known)))
    return _table(work, rows, known)


def _take(work: _Gathering, one: Input, rows: Subjects) -> None:
    """Add the columns of one input."""
    lake, task = work.lake, work.task
    if isinstance(one, LabelInput):
        names = _label_names(lake, one)
        columns, conflicts = label_columns(
            lake, names, rows, combine=task.combine, categories=work.categories
        )
        for name, column in columns.items():
            work.add(_renamed(column, one.prefix))
            work.conflicts[f"{one.prefix}{name}"] = conflicts[name]
        work.sources.append({"source": "labels", "columns": len(columns)})
        return
    if isinstance(one, EmbeddingInput):
        _take_vectors(work, one, rows)
        return
    found = _found(work, one, rows)
    keys = [row[found.level] for row in rows.within]
    taken = [name for name in found.columns if work.takes(name, one)]
    for name in taken:
        column = column_of(
            f"{one.prefix}{name}",
            found.columns[name],
            keys,
            source=found.source,
            combine=task.combine,
            category=f"{one.prefix}{name}" in work.categories,
        )
        work.add(column)
    _need(one, taken, found.columns)
    if not isinstance(one, FileInput):
        work.sources.append({"source": one.source, "columns": len(taken)})


def _take_vectors(work: _Gathering, one: EmbeddingInput, rows: Subjects) -> None:
    """Add the coordinates of vectors."""
    found = vector_columns(work.lake, one, rows, combine=work.task.combine)
    taken = [column for column in found if work.takes(column.name, one)]
    for column in taken:
        renamed = _renamed(column, one.prefix)
        work.add(renamed.as_category() if renamed.name in work.categories else renamed)
    _need(one, taken, [column.name for column in found])
    work.sources.append({"source": one.source, "columns": len(taken)})


def _need(one: Input, taken: Sequence[object], known: Iterable[str]) -> None:
    if not taken:
        raise NotFoundError(
            f"input '{one.source}' gives no column named {list(one.include)}{hint(one.include[0], known)}"
        )


def _found(work: _Gathering, one: Input, rows: Subjects) -> Found:
    match one:
        case FeatureInput():
            return feature_values(work.lake, one, rows)
        case HeaderInput():
            return header_values(work.lake, one, rows)
        case SqlInput():
            return sql_values(work.lake, one)
        case FileInput():
            return _file_values(work, one)
    raise UsageError(f"an input of source '{one.source}' cannot be taken for subjects of a cohort")


def _file_values(work: _Gathering, one: FileInput) -> Found:
    """Cells of a table from outside by the identifiers of the lake."""
    if one.level == "row":
        raise UsageError("a table that goes with a cohort needs a 'level': what its subject column names")
    outside = read_outside(work.lake, one)
    columns = cells_by_subject(outside, one.prefix, work.categories)
    work.sources.append({"source": "file", "sha256": outside.digest, "rows": len(outside.subjects)})
    return Found(one.level, "file", columns)


def _label_names(lake: Lake, one: LabelInput) -> list[str]:
    known = [str(row[0]) for row in lake.sql("select distinct name from labels order by 1").rows()]
    for name in one.include:
        if not set(name) & {"*", "?", "["} and name not in known:
            raise NotFoundError(f"no label '{name}'{hint(name, known)}")
    return [name for name in known if wanted(name, one.include, one.exclude)]


def _required(task: MiningTask, speaks: bool) -> set[str]:
    """Columns without which nothing can be done: for a model that speaks, those of ComBat alone."""
    harmonise = task.prepare.harmonise
    combat = set() if harmonise is None else {harmonise.batch, *harmonise.covariates}
    if speaks:
        return combat
    return {*combat, *task.carried, *(() if task.target is None else (task.target,))}


def _complete(work: _Gathering, rows: Subjects, required: set[str]) -> None:
    """Look for the target and the columns that are carried along among headers and labels."""
    series = work.lake.sql("select * from series limit 0").columns
    labels = [str(row[0]) for row in work.lake.sql("select distinct name from labels").rows()]
    for name in sorted(work.apart - set(work.columns)):
        if name in labels:
            try:
                columns, conflicts = label_columns(
                    work.lake, [name], rows, combine=work.task.combine, categories=_as_classes(work)
                )
            except NotFoundError:
                # A cohort that is predicted need not have the label.
                if name in required:
                    raise
                continue
            work.add(columns[name])
            work.conflicts[name] = conflicts[name]
        elif name in series:
            _take(work, HeaderInput(source="headers", include=(name,)), rows)
        elif name in required:
            raise NotFoundError(f"no input, label or header has '{name}'{hint(name, [*labels, *series])}")


def _as_classes(work: _Gathering) -> set[str]:
    target = {work.task.target} if work.task.kind == "classification" else set()
    return {name for name in (*work.categories, *target) if name is not None}


def _table(work: _Gathering, rows: Subjects, known: Mapping[str, str]) -> FeatureTable:
    task = work.task
    for name in sorted(_required(task, bool(known)) - set(work.columns)):
        raise NotFoundError(f"the table has no column '{name}'{hint(name, work.columns)}")
    target = work.columns.get(task.target) if task.target is not None else None
    if target is not None and task.kind == "classification":
        target = target.as_category()
    inputs = [column for name, column in work.columns.items() if name not in work.apart]
    if known:
        inputs = [column for column in inputs if column.name in known]
    else:
        _refuse_names(inputs)
    table = FeatureTable(
        level=rows.level,
        subjects=rows.names,
        patients=rows.patients,
        studies=rows.studies,
        groups=rows.groups,
        grouped_by=rows.grouped_by,
        contents=rows.contents,
        inputs=tuple(_typed(column, known.get(column.name)) for column in inputs),
        target=target,
        asides={name: work.columns[name] for name in task.carried if name in work.columns},
        left=rows.left,
        sources={"inputs": work.sources, "combine": task.combine},
    )
    return table if known else _usable(table, work)


def _typed(column: Column, kind: str | None) -> Column:
    """A column without any value is of the kind that is wanted."""
    if kind == "number" and column.kind == "category" and column.missing.all():
        return Column(column.name, "number", np.full(len(column), np.nan), column.source)
    return column.as_category() if kind == "category" else column


def _refuse_names(inputs: Sequence[Column]) -> None:
    for column in inputs:
        if column.kind == "category" and len(set(column.values)) > _MOST_CATEGORIES:
            raise UsageError(
                f"column '{column.name}' has {len(set(column.values))} different values and looks like a "
                "name or a date; exclude it"
            )


def _usable(table: FeatureTable, work: _Gathering) -> FeatureTable:
    """Leave out rows without a target, or, for survival, without a time or event."""
    needed = [table.target] if table.target is not None else []
    if work.task.kind == "survival":
        needed += [table.asides[str(work.task.options[name])] for name in ("time", "event")]
    missing = [column.missing for column in needed]
    conflicts = work.conflicts.get(work.task.target or "", set())
    left, kept = list(table.left), []
    for place, subject in enumerate(table.subjects):
        if subject in conflicts:
            left.append(Left(subject, "label_conflict", "labels of the target disagree"))
        elif any(one[place] for one in missing):
            left.append(Left(subject, "no_label", "no value of the target"))
        elif _other_class(table, work.task, place):
            left.append(Left(subject, "other_class", "the target is none of the classes"))
        else:
            kept.append(place)
    if not kept:
        raise UsageError(f"no row of the table can be used: {len(left)} were left out")
    short_table = table.take(kept)
    return FeatureTable(**{**vars(short_table), "left": tuple(left)})


def _other_class(table: FeatureTable, task: MiningTask, place: int) -> bool:
    classes = task.classes
    return classes is not None and table.target is not None and table.target.values[place] not in classes


def _renamed(column: Column, prefix: str) -> Column:
    return Column(f"{prefix}{column.name}", column.kind, column.values, column.source)


def table_identifier(table: FeatureTable) -> str:
    """Stands for the cohort of a table from outside: equal rows, equal identifier."""
    return f"table-{short(digest_json(sorted(table.subjects)), 26)}"
