"""From labels of the lake to what a network is to say of each unit."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxlake.core.errors import NotFoundError
from voxlake.lake.cohorts import Cohort
from voxlake.lake.resolve import Resolved, resolve_labels
from voxlake.learning.data import no_targets
from voxlake.learning.task import Task
from voxlake.learning.units import Left, Unit

__all__ = ["Truth", "Truths", "find_truths", "strata_of", "tensor_of"]

Truth = str | float | None | tuple[bool | None, ...]
_THERE = frozenset({"1", "true", "yes", "y", "present", "positive"})
_QUANTILES = 5


@dataclass(frozen=True)
class Truths:
    """What is known of units.

    Parameters
    ----------
    values : mapping of subject to truth
        A class; a number; for several labels whether each is there, None where it is not known; None.
    problems : tuple of Left
        Units of which it is not known, or known in several ways.
    classes : tuple of str
        Classes or labels in the order of the outputs; empty for numbers.
    """

    values: Mapping[str, Truth]
    problems: tuple[Left, ...]
    classes: tuple[str, ...]


def find_truths(
    cohort: Cohort, task: Task, units: Sequence[Unit], *, classes: Sequence[str] | None, needed: bool = True
) -> Truths:
    """Look up the target of each unit.

    Parameters
    ----------
    cohort : Cohort
        Whose labels.
    task : Task
        Kind and target.
    units : sequence of Unit
        Units.
    classes : sequence of str or None
        Classes that may occur; None for all that do.
    needed : bool
        Whether the labels must be there; a cohort that is predicted need not have them.

    Raises
    ------
    NotFoundError
        No series of the cohort has such a label.
    """
    names = task.targets or (() if task.target is None else (task.target,))
    labels = [_resolved(cohort, name, needed=needed and task.kind != "multilabel") for name in names]
    if task.kind == "multilabel":
        if needed and not any(one.values for one in labels):
            resolve_labels(cohort, names[0])
        return _several(task, units, labels)
    if not labels:
        return Truths({unit.subject: None for unit in units}, (), ())
    values: dict[str, Truth] = {}
    problems = []
    for unit in units:
        label, problem = _single(unit, labels[0])
        value: Truth = label
        if label is not None and task.kind == "regression":
            value, problem = _number(unit, label)
        elif label is not None and classes is not None and label not in classes:
            value, problem = None, _other_class(unit, label)
        values[unit.subject] = value
        if problem is not None:
            problems.append(problem)
    if task.kind in ("regression", "reconstruction"):
        return Truths(values, tuple(problems), ())
    found = sorted({value for value in values.values() if isinstance(value, str)})
    return Truths(values, tuple(problems), tuple(found if classes is None else classes))


def tensor_of(task: Task, truths: Sequence[Truth], classes: Sequence[str]) -> Tensor:
    """Targets of a network from truths; see `Samples`."""
    match task.kind:
        case "regression":
            return torch.from_numpy(np.array(truths, dtype=np.float32))
        case "multilabel":
            rows = [[math.nan if one is None else float(one) for one in _labels(row)] for row in truths]
            return torch.tensor(rows, dtype=torch.float32)
        case "reconstruction":
            return no_targets(len(truths))
    return torch.tensor([list(classes).index(str(truth)) for truth in truths], dtype=torch.int64)


def strata_of(task: Task, truths: Sequence[Truth], groups: Sequence[str], *, parts: int) -> list[str]:
    """What is spread evenly over the parts of a split: classes, fractions of a number, the rarest label.

    Classes are taken as they are: one that is too rare to be split is an error of the task. Of anything else
    what is too rare is put together.

    Parameters
    ----------
    task : Task
        Kind.
    truths, groups : sequence
        One for each sample.
    parts : int
        Parts of the split.
    """
    if task.kind in ("classification", "ordinal"):
        return [str(truth) for truth in truths]
    if task.kind == "regression":
        strata = _fractions(np.array(truths, dtype=np.float64), len(set(groups)) // (4 * parts))
    elif task.kind == "multilabel":
        strata = _rarest([_labels(truth) for truth in truths])
    else:
        strata = ["none" if truth is None else str(truth) for truth in truths]
    return _merged(strata, groups, least=2 * parts)


def _fractions(values: NDArray[np.float64], wanted: int) -> list[str]:
    """Which fraction of all numbers each belongs to; fifths at most."""
    fractions = max(1, min(_QUANTILES, wanted))
    edges = np.quantile(values, np.linspace(0, 1, fractions + 1)[1:-1])
    return [str(place) for place in np.searchsorted(edges, values, side="right")]


def _rarest(labels: Sequence[tuple[bool | None, ...]]) -> list[str]:
    """The rarest label that each sample has."""
    present = [[place for place, there in enumerate(row) if there] for row in labels]
    counts = Counter(place for places in present for place in places)
    return [str(min(places, key=lambda place: counts[place])) if places else "none" for places in present]


def _merged(strata: Sequence[str], groups: Sequence[str], *, least: int) -> list[str]:
    """One stratum for each group, its most frequent one; those of fewer groups than the least together."""
    inside: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for stratum, group in zip(strata, groups, strict=True):
        inside[group][stratum] += 1
    of_group = {group: min(found, key=lambda one: (-found[one], one)) for group, found in inside.items()}
    sizes = Counter(of_group.values())
    named = {one: one if size >= least else "rare" for one, size in sizes.items()}
    rare = sum(size for one, size in sizes.items() if named[one] == "rare")
    if 0 < rare < least:
        return ["all"] * len(groups)
    return [named[of_group[group]] for group in groups]


def _resolved(cohort: Cohort, name: str, *, needed: bool) -> Resolved:
    try:
        return resolve_labels(cohort, name)
    except NotFoundError:
        if needed:
            raise
        return Resolved({}, {})


def _single(unit: Unit, labels: Resolved) -> tuple[str | None, Left | None]:
    """The one label of a unit."""
    conflicts = [one for series in unit.series for one in labels.conflicts.get(series, ())]
    found = sorted({labels.values[series] for series in unit.series if series in labels.values})
    if conflicts or len(found) > 1:
        shown = ", ".join(sorted({*conflicts, *found}))
        return None, Left(unit.subject, "label_conflict", f"labels disagree: {shown}")
    if not found:
        return None, Left(unit.subject, "no_label", "no label at any level")
    return found[0], None


def _other_class(unit: Unit, value: str) -> Left:
    return Left(unit.subject, "other_class", f"label '{value}' is none of the task's classes")


def _labels(truth: Truth) -> tuple[bool | None, ...]:
    return truth if isinstance(truth, tuple) else ()


def _number(unit: Unit, value: str) -> tuple[float | None, Left | None]:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number, None
    return None, Left(unit.subject, "no_label", f"label '{value}' is no number")


def _several(task: Task, units: Sequence[Unit], labels: Sequence[Resolved]) -> Truths:
    values: dict[str, Truth] = {}
    problems = []
    there = _THERE if task.positive is None else frozenset({task.positive.lower()})
    for unit in units:
        found = [_single(unit, one)[0] for one in labels]
        values[unit.subject] = tuple(None if one is None else one.lower() in there for one in found)
        if not any(one is not None for one in found):
            problems.append(Left(unit.subject, "no_label", "none of the labels is known"))
    return Truths(values, tuple(problems), task.targets)
