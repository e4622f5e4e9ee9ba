"""From a prepared, labelled cohort to samples, and an account of what could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from voxlake.core.digest import digest_json
from voxlake.core.errors import NotFoundError, UsageError
from voxlake.lake.cohorts import Cohort
from voxlake.lake.leakage import near_tokens
from voxlake.lake.splits import join_groups
from voxlake.learning.data import Samples
from voxlake.learning.inputs import image_inputs, table_of
from voxlake.learning.parts import find_parts
from voxlake.learning.tables.prepare import Preparation, fit_preparation
from voxlake.learning.tables.table import FeatureTable
from voxlake.learning.targets import Truth, find_truths, tensor_of
from voxlake.learning.task import Task
from voxlake.learning.units import Left, Unit, find_units, fitting_units, group_of
from voxlake.volumes.read import volume_rows

__all__ = ["Gathered", "Left", "gather", "group_of"]


@dataclass(frozen=True)
class Gathered:
    """What can be learned from.

    Parameters
    ----------
    task : Task
        What is learned.
    units : tuple of Unit
        What each sample was made from, sorted by series and instance, or by patient.
    groups : tuple of str
        Patients (the study where no patient is known), joined where they share content or, as far as `check`
        has measured it, look the same.
    truths : tuple
        Class, number or labels of each sample; see `Truths`.
    classes : tuple of str
        In the order of the outputs.
    images : tuple of torch.Tensor
        Inputs of the network but for the table.
    table : FeatureTable or None
        A row for each sample, for networks that take one.
    left : tuple of Left
        What was left out.
    parts : tuple of str
        Value of the label that decides who is tested, for each sample; empty where no label does.
    """

    task: Task
    units: tuple[Unit, ...]
    groups: tuple[str, ...]
    truths: tuple[Truth, ...]
    classes: tuple[str, ...]
    images: tuple[Tensor, ...]
    table: FeatureTable | None
    left: tuple[Left, ...]
    parts: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Subject of each sample."""
        return tuple(unit.subject for unit in self.units)

    @property
    def contents(self) -> list[tuple[str, ...]]:
        """Digests of what each sample was made from."""
        return [unit.contents for unit in self.units]

    def prepare(self, train: Sequence[int]) -> Preparation | None:
        """How the table becomes numbers, fitted on some of the samples; None where there is no table."""
        if self.table is None:
            return None
        return fit_preparation(self.table.take(list(train)), self.task.prepare)

    def samples(self, positions: Sequence[int], preparation: Preparation | None) -> Samples:
        """Some of the samples, their table prepared."""
        index = torch.tensor(list(positions), dtype=torch.int64)
        inputs = tuple(tensor[index] for tensor in self.images)
        if self.table is not None and preparation is not None:
            values = preparation.apply(self.table.take(list(positions)))
            inputs = (*inputs, torch.from_numpy(values).float())
        chosen = [self.truths[position] for position in positions]
        return Samples(
            inputs=inputs,
            targets=tensor_of(self.task, chosen, self.classes),
            classes=self.classes,
            groups=tuple(self.groups[position] for position in positions),
            ids=tuple(self.units[position].subject for position in positions),
            takes=self.task.takes,
        )

    def labels_digest(self) -> str:
        """SHA-256 over what labels say of each sample."""
        said = [[one, _plain(truth)] for one, truth in zip(self.ids, self.truths, strict=True)]
        if self.parts:
            said = [[*pair, part] for pair, part in zip(said, self.parts, strict=True)]
        return digest_json(sorted(said, key=lambda row: str(row[0])))

    def digest(self) -> str:
        """SHA-256 over everything that is learned from."""
        table = "" if self.table is None else self.table.digest()
        truths = [_plain(one) for one in self.truths]
        values = [[row["volume_id"], row["sha256"]] for unit in self.units for row in unit.rows]
        return digest_json([self.ids, self.groups, truths, self.classes, table, values])


def gather(cohort: Cohort, plan_digest: str, task: Task) -> Gathered:
    """Bring together volumes, tables and labels of a cohort.

    Parameters
    ----------
    cohort : Cohort
        A prepared cohort.
    plan_digest : str
        Under which plan.
    task : Task
        What is learned, and from what.

    Raises
    ------
    NotFoundError
        Nothing is prepared under the plan, or nothing has such a label.
    UsageError
        Fewer than two classes are left, or nothing at all.
    """
    rows = volume_rows(cohort, plan_digest)
    if not rows:
        raise NotFoundError(
            f"cohort '{cohort.name}' has no volume under the plan of the task; run "
            f"`voxlake prepare {cohort.name} --plan ...` with the same plan first"
        )
    everyone, left = find_units(cohort, task, rows)
    truths = find_truths(cohort, task, everyone, classes=task.classes)
    # Without a label nothing is learned of a class, but an image can be given back.
    problems = () if task.kind == "reconstruction" else truths.problems
    parts, apart = find_parts(cohort, task.split, {unit.subject: unit.series for unit in everyone})
    named = {problem.item for problem in problems}
    problems = (*problems, *(one for one in apart if one.item not in named))
    unknown = {problem.item for problem in problems}
    units, misfits, _ = fitting_units((one for one in everyone if one.subject not in unknown), task, None)
    left += [*problems, *misfits]
    chosen = [truths.values[unit.subject] for unit in units]
    _check(cohort, task, chosen, len(left))
    near = near_tokens(cohort.lake, {series for unit in units for series in unit.series})
    contents = [
        [*unit.contents, *(token for series in unit.series for token in near.get(series, ()))]
        for unit in units
    ]
    return Gathered(
        task=task,
        units=tuple(units),
        groups=tuple(join_groups([unit.group for unit in units], contents)),
        truths=tuple(chosen),
        classes=truths.classes,
        images=image_inputs(cohort.lake, task, units),
        table=table_of(cohort, task, units) if task.inputs else None,
        left=tuple(left),
        parts=tuple(parts[unit.subject] for unit in units) if task.split.labelled else (),
    )


def _plain(truth: Truth) -> object:
    return list(truth) if isinstance(truth, tuple) else truth


def _check(cohort: Cohort, task: Task, truths: Sequence[Truth], left: int) -> None:
    if not truths:
        raise UsageError(
            f"cohort '{cohort.name}' has no usable volume of '{task.target_name}' ({left} left out)"
        )
    if task.kind in ("classification", "ordinal") and len(set(truths)) < 2:
        raise UsageError(
            f"cohort '{cohort.name}' has usable volumes of {len(set(truths))} class of '{task.target_name}'; "
            f"two are needed ({left} were left out)"
        )
