"""Further tables from outside, joined to the rows of the first one by their subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.lake.lake import Lake
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.inputs import FileInput
from voxlake.learning.tables.outside import Outside, cells_by_subject, read_outside
from voxlake.learning.tables.sources import column_of, wanted
from voxlake.learning.tables.table import Column

__all__ = ["files_of", "join_table"]


def files_of(task: MiningTask) -> tuple[FileInput, ...]:
    """The inputs of a task without a cohort: the table whose rows are mined, then those joined to it.

    Raises
    ------
    UsageError
        An input needs a cohort, or tables cannot be joined.
    """
    files = tuple(one for one in task.inputs if isinstance(one, FileInput) and one.level == "row")
    if not files or len(files) != len(task.inputs):
        raise UsageError(
            'a task without a cohort takes inputs of source = "file" with level = "row" alone; name a cohort '
            "to bring others together"
        )
    if len(files) > 1 and any(one.subject is None for one in files):
        raise UsageError(
            f"{len(files)} tables are joined by their subjects: each needs the name of its 'subject' column"
        )
    if len({one.identifiers for one in files}) > 1:
        raise UsageError(
            "tables that are joined need the same 'identifiers': original ones do not match those of the lake"
        )
    return files


def join_table(
    lake: Lake,
    task: MiningTask,
    number: int,
    rows: Mapping[str, Mapping[str, str | None]],
    categories: frozenset[str],
) -> tuple[list[Column], dict[str, Any]]:
    """Columns of a further table for the rows of the first one.

    A row that the further table does not have has missing values; of several numbers of one row the task's
    `combine` makes one. Subjects that the first table does not have are counted and passed over.

    Parameters
    ----------
    lake : Lake
        The lake, with its key where identifiers are original ones.
    task : MiningTask
        What is asked.
    number : int
        Which table, from 1 for the first of those that are joined.
    rows : mapping of subject to mapping
        The rows of the first table in their order, each with its values of the task's columns of patients and
        studies.
    categories : frozenset of str
        Columns that are categories although they look like numbers.

    Returns
    -------
    tuple of (columns, where they are from)

    Raises
    ------
    UsageError
        No subject stands in both tables, one is empty, or the tables name different patients or studies.
    NotFoundError
        There is no such file or column.
    """
    one = files_of(task)[number]
    outside = read_outside(lake, one, patients=() if task.group is None else (task.group,))
    where = f"table {number + 1} of the task"
    matched = len(rows.keys() & set(outside.subjects))
    if "" in outside.subjects:
        raise UsageError(f"{where} has {outside.subjects.count('')} rows without a subject")
    if not matched:
        raise UsageError(
            f"no subject of {where} stands in the first table; both 'subject' columns must hold the same "
            "identifiers"
        )
    told = {name for name in (task.group, task.study) if name is not None}
    for name in told & set(outside.columns):
        _agree(name, where, outside, rows)
    columns = [
        column_of(
            f"{one.prefix}{name}",
            values,
            ([subject] for subject in rows),
            source="file",
            combine=task.combine,
            category=f"{one.prefix}{name}" in categories,
        )
        for name, values in cells_by_subject(outside, one.prefix, categories).items()
        if name not in told and _takes(task, one, name)
    ]
    if not columns:
        raise NotFoundError(
            f"{where} gives no column named {list(one.include)}{hint(one.include[0], outside.columns)}"
        )
    origin = {"source": "file", "sha256": outside.digest, "rows": len(outside.subjects), "matched": matched}
    return columns, origin


def _takes(task: MiningTask, one: FileInput, name: str) -> bool:
    apart = {task.target, *task.carried}
    return f"{one.prefix}{name}" in apart or wanted(name, one.include, one.exclude)


def _agree(name: str, where: str, outside: Outside, rows: Mapping[str, Mapping[str, str | None]]) -> None:
    """Refuse a table that gives a row to another patient or study than the first one does."""
    pairs: Sequence[tuple[str | None, str | None]] = [
        (rows[subject].get(name), value)
        for subject, value in zip(outside.subjects, outside.columns[name], strict=True)
        if subject in rows
    ]
    other = sum(first is not None and value is not None and first != value for first, value in pairs)
    if other:
        raise UsageError(f"{other} rows of {where} have another '{name}' than in the first table")
