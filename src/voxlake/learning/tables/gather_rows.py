"""Rows of a table from outside, or of a statement, that are nothing in the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxlake.core.errors import ItemError, NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.lake.lake import Lake
from voxlake.lake.splits import join_groups
from voxlake.lake.withdrawals import refuse_withdrawn, withdrawn_macs
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.joined import files_of, join_table
from voxlake.learning.tables.make import column_from
from voxlake.learning.tables.outside import as_number, read_outside
from voxlake.learning.tables.sources import wanted
from voxlake.learning.tables.subjects import Subjects
from voxlake.learning.tables.table import Column, Left

__all__ = ["OutsideRows", "outside_rows"]


@dataclass(frozen=True, eq=False)
class OutsideRows:
    """Rows of a table from outside, and which tables they and their columns are from."""

    rows: Subjects
    origins: tuple[Mapping[str, Any], ...]


def outside_rows(
    lake: Lake, task: MiningTask, categories: frozenset[str]
) -> tuple[OutsideRows, list[Column]]:
    """Rows of the first table of a task without a cohort, and columns of it and of those joined to it.

    Raises
    ------
    UsageError
        An input needs a cohort, or the tables cannot be joined.
    NotFoundError
        The columns of patients or studies are not there.
    """
    one = files_of(task)[0]
    patients = () if task.group is None else (task.group,)
    outside = read_outside(lake, one, patients=patients)
    names = [f"{one.prefix}{name}" for name in outside.columns]
    for name in (task.group, task.study):
        if name is not None and name not in outside.columns:
            raise NotFoundError(f"the table has no column '{name}'{hint(name, outside.columns)}")
    if len(set(outside.subjects)) != len(outside.subjects) or "" in outside.subjects:
        raise UsageError("the subject column of the table must have a different value in every row")
    owners = outside.columns[task.group] if task.group else (None,) * len(outside.subjects)
    kept, left = _not_withdrawn(lake, outside.subjects, owners)
    subjects = tuple(outside.subjects[place] for place in kept)
    contents = tuple((outside.contents[place],) if one.subject is None else () for place in kept)
    known = tuple(owners[place] for place in kept)
    studies = outside.columns[task.study] if task.study else (None,) * len(outside.subjects)
    within = tuple({"row": [subject]} for subject in subjects)
    groups = join_groups(
        [owner or subject for owner, subject in zip(known, subjects, strict=True)],
        [
            (*made_from, *([] if studies[place] is None else [f"study {studies[place]}"]))
            for place, made_from in zip(kept, contents, strict=True)
        ],
    )
    rows = Subjects(
        level="row",
        names=subjects,
        patients=known,
        studies=tuple(studies[place] for place in kept),
        groups=tuple(groups),
        grouped_by="patient" if task.group else "study" if task.study else "row",
        contents=contents,
        within=within,
        left=tuple(left),
    )
    apart = {task.target, *task.carried}
    columns = [
        _column(name, [cells[place] for place in kept], name in categories)
        for name, cells in zip(names, outside.columns.values(), strict=True)
        if name not in {task.group, task.study}
        and (name in apart or wanted(name.removeprefix(one.prefix), one.include, one.exclude))
    ]
    # The columns of patients and studies are carried along where the task asks for them by name.
    columns += [
        _column(name, [outside.columns[name][place] for place in kept], True)
        for name in {task.group, task.study} & set(task.carried)
        if name is not None
    ]
    origins = [{"source": "file", "sha256": outside.digest, "rows": len(kept)}]
    for number in range(1, len(task.inputs)):
        joined, origin = join_table(lake, task, number, _told(task, rows), categories)
        columns += joined
        origins.append(origin)
    return OutsideRows(rows, tuple(origins)), columns


def _told(task: MiningTask, rows: Subjects) -> dict[str, dict[str, str | None]]:
    """What the first table says of patient and study of each row."""
    return {
        name: {key: value for key, value in ((task.group, patient), (task.study, study)) if key is not None}
        for name, patient, study in zip(rows.names, rows.patients, rows.studies, strict=True)
    }


def _column(name: str, cells: Sequence[str | None], category: bool) -> Column:
    numbers = [as_number(cell) for cell in cells]
    numeric = not category and all(
        (number is None) == (cell is None) for number, cell in zip(numbers, cells, strict=True)
    )
    values: Sequence[Any] = numbers if numeric else cells
    return column_from(name, _objects(values), category=not numeric, source="file")


def _objects(values: Sequence[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = list(values)
    return array


def _not_withdrawn(
    lake: Lake, subjects: Sequence[str], owners: Sequence[str | None]
) -> tuple[list[int], list[Left]]:
    """Positions of rows whose patients have not withdrawn."""
    withdrawn = withdrawn_macs(lake)
    kept, left = [], []
    for place, (subject, owner) in enumerate(zip(subjects, owners, strict=True)):
        try:
            if owner is not None:
                refuse_withdrawn(lake, withdrawn, owner)
        except ItemError as error:
            left.append(Left(subject, error.reason, "the patient has withdrawn"))
        else:
            kept.append(place)
    return kept, left
