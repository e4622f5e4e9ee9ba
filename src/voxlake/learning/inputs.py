"""Inputs of networks from prepared volumes: images, sequences, and rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxlake.core.errors import UsageError
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.gather import gather_table
from voxlake.learning.tables.inputs import LabelInput
from voxlake.learning.tables.table import FeatureTable
from voxlake.learning.task import Task
from voxlake.learning.units import Unit
from voxlake.volumes.read import read_values

__all__ = ["image_inputs", "table_of"]


def image_inputs(lake: Lake, task: Task, units: Sequence[Unit]) -> tuple[Tensor, ...]:
    """What a network is called with, but for its table.

    Returns
    -------
    tuple of torch.Tensor
        Images float32 (N, C, [D,] H, W); sequences float32 (N, T, C, [D,] H, W), zero beyond their end, and
        their lengths int64 (N,); nothing for a network that takes a table alone.

    Raises
    ------
    UsageError
        Single images are wanted, but the volumes have several slices.
    """
    if task.takes == "table":
        return ()
    if task.takes != "sequence":
        rows = [row for unit in units for row in unit.rows]
        return (torch.from_numpy(np.stack([_image(one, task) for one in read_values(lake, rows)])),)
    slices = task.sequence.of == "slices"
    made = [
        _slices(lake, unit, task.sequence.longest) if slices else _visits(lake, unit, task) for unit in units
    ]
    lengths = [len(steps) for steps in made]
    padded = np.zeros((len(made), max(lengths), *made[0].shape[1:]), dtype=np.float32)
    for place, steps in enumerate(made):
        padded[place, : len(steps)] = steps
    return torch.from_numpy(padded), torch.tensor(lengths, dtype=torch.int64)


def table_of(
    cohort: Cohort, task: Task, units: Sequence[Unit], *, variables: Sequence[Mapping[str, Any]] = ()
) -> FeatureTable:
    """A row of the table of a task for each unit.

    Parameters
    ----------
    cohort : Cohort
        Whose.
    task : Task
        Names the columns.
    units : sequence of Unit
        In the order of the rows.
    variables : sequence of mapping, optional
        Name and kind of the columns of a model that is to speak about them.

    Raises
    ------
    NotFoundError
        There is no such column; a near miss is named.
    """
    mining = MiningTask(
        name=task.name,
        kind="clustering",
        cohort=task.cohort,
        level="patient" if task.level == "patient" else "series",
        inputs=task.inputs,
        prepare=task.prepare,
    )
    table = gather_table(cohort.lake, mining, cohort, variables=variables)
    return _one_each(table, units, _answers(task))


def _answers(task: Task) -> set[str]:
    """Columns that would tell what is to be learned, taken by a pattern for example."""
    prefixes = {one.prefix for one in task.inputs if isinstance(one, LabelInput)}
    return {f"{prefix}{name}" for prefix in prefixes for name in (*task.targets, task.target)}


def _one_each(table: FeatureTable, units: Sequence[Unit], answers: set[str]) -> FeatureTable:
    """Rows in the order of the units; several volumes of one series share its row."""
    place = {subject: number for number, subject in enumerate(table.subjects)}
    chosen = [place[unit.table_key] for unit in units]
    return FeatureTable(
        level=table.level,
        subjects=tuple(unit.subject for unit in units),
        patients=tuple(table.patients[one] for one in chosen),
        studies=tuple(table.studies[one] for one in chosen),
        groups=tuple(table.groups[one] for one in chosen),
        grouped_by=table.grouped_by,
        contents=tuple(table.contents[one] for one in chosen),
        inputs=tuple(column.take(chosen) for column in table.inputs if column.name not in answers),
        sources=table.sources,
    )


def _image(values: NDArray[Any], task: Task) -> NDArray[np.float32]:
    """One volume, (slice, row, column[, channel]), as (C, [D,] H, W)."""
    image = _channels_first(values)
    if task.dimensions == 3:
        return image
    if image.shape[1] != 1:
        raise UsageError(
            f"the network takes single images (dimensions = 2), but volumes have {image.shape[1]} "
            "slices; set dimensions = 3 or prepare single slices"
        )
    return image[:, 0]


def _slices(lake: Lake, unit: Unit, longest: int | None) -> NDArray[np.float32]:
    """Slices of a volume as steps, (T, C, H, W)."""
    (values,) = read_values(lake, list(unit.rows))
    steps = np.moveaxis(_channels_first(values), 1, 0)
    if longest is None or len(steps) <= longest:
        return steps
    return steps[np.linspace(0, len(steps) - 1, longest).round().astype(np.int64)]


def _visits(lake: Lake, unit: Unit, task: Task) -> NDArray[np.float32]:
    """Volumes of a patient as steps, (T, C, [D,] H, W)."""
    rows = list(unit.rows if task.sequence.longest is None else unit.rows[-task.sequence.longest :])
    return np.stack([_image(one, task) for one in read_values(lake, rows)])


def _channels_first(values: NDArray[Any]) -> NDArray[np.float32]:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim == 3:
        array = array[..., None]
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))
