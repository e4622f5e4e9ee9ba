"""How much a variable matters: what is lost when its values are dealt out anew among test rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxlake.learning.seeds import derived_seed
from voxlake.learning.tables.judging import better, judge
from voxlake.learning.tables.search import Problem
from voxlake.learning.tables.table import FeatureTable, vector_of

__all__ = ["importance", "mean_importance"]

Floats = NDArray[np.float64]

_REPEATS = 5


class _Says(Protocol):
    @property
    def preparation(self) -> Any: ...

    def says(self, table: FeatureTable) -> Floats: ...


def importance(
    speaker: _Says, problem: Problem, rows: Sequence[int], metric: str, *, seed: int
) -> dict[str, float]:
    """Loss of the metric for each variable that the model uses (Breiman, 2001), on rows it has not seen.

    Variables that go together stand in for one another: a small loss does not say that nothing is in one.
    The coordinates of an embedding are dealt out together, under its name: none means anything by itself.

    Returns
    -------
    dict of name to float
        Mean over 5 permutations; positive if the variable helps, whatever direction the metric has.
    """
    table = problem.table.take(rows)
    truth = problem.target[list(rows)]
    whole = judge(metric, truth, speaker.says(table), positive=problem.positive)
    sign = 1.0 if better(metric, 1.0, 0.0) else -1.0
    found = {}
    for name, places in _variables(table, speaker.preparation.names).items():
        losses = []
        for repeat in range(_REPEATS):
            order = np.random.default_rng(derived_seed(seed, "importance", name, repeat)).permutation(
                len(table)
            )
            changed = list(table.inputs)
            for place in places:
                changed[place] = replace(changed[place], values=changed[place].values[order])
            said = speaker.says(table.with_inputs(changed))
            losses.append(sign * (whole - judge(metric, truth, said, positive=problem.positive)))
        found[name] = float(np.mean(losses))
    return found


def _variables(table: FeatureTable, kept: Sequence[str]) -> dict[str, list[int]]:
    """Places of the columns of each variable of which the model uses anything."""
    used = set(kept)
    found: defaultdict[str, list[int]] = defaultdict(list)
    for place, column in enumerate(table.inputs):
        if column.kind == "number":
            uses = column.name in used or f"{column.name} is missing" in used
        else:
            uses = any(name.startswith(f"{column.name}=") for name in kept)
        if uses:
            found[vector_of(column.name, column.source) or column.name].append(place)
    return dict(found)


def mean_importance(folds: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """Mean over the outer folds, largest first; a fold that does not use a variable counts as zero."""
    names = {name for fold in folds for name in fold}
    rows = []
    for name in names:
        each = [fold.get(name, 0.0) for fold in folds]
        rows.append({"name": name, "value": float(np.mean(each)), "by_fold": each})
    return sorted(rows, key=lambda row: (-float(row["value"]), str(row["name"])))
