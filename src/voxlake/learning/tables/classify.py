"""Classification of the rows of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from voxlake.core.errors import UsageError
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.kinds import Tick
from voxlake.learning.tables.result import Mined
from voxlake.learning.tables.supervised import mine_supervised, speak
from voxlake.learning.tables.table import FeatureTable

__all__ = ["classes_of", "mine_classification", "speak"]


def mine_classification(table: FeatureTable, task: MiningTask, tick: Tick) -> Mined:
    """Learn the class of a row; see `voxlake.learning.tables.supervised.mine_supervised`.

    Raises
    ------
    UsageError
        The table has no target, a row without a class, or too few patients of a class.
    """
    if table.target is None:
        raise UsageError("classification needs a table with a target")
    target = table.target.as_category()
    classes = classes_of(table, task)
    places = {name: place for place, name in enumerate(classes)}
    other = Counter(value for value in target.values if value not in places)
    if other:
        shown = "no value" if None in other else f"'{min(map(str, other))}'"
        raise UsageError(f"{other.total()} rows of the table have {shown} as '{target.name}'; leave them out")
    numbers = np.array([places[value] for value in target.values], dtype=np.int64)
    return mine_supervised(table.with_target(target), task, numbers, classes, tick)


def classes_of(table: FeatureTable, task: MiningTask) -> Sequence[str]:
    """Classes in the order of the outputs.

    Raises
    ------
    UsageError
        Fewer than two, or the positive one is none of them.
    """
    if table.target is None:
        return ()
    found = sorted({str(value) for value in table.target.as_category().values if value is not None})
    classes = list(task.classes) if task.classes is not None else found
    if len(classes) < 2:
        raise UsageError(f"the table has {len(classes)} class of '{table.target.name}'; two are needed")
    if task.positive is not None and task.positive not in classes:
        raise UsageError(f"positive = '{task.positive}' is none of the classes {classes}")
    return classes
