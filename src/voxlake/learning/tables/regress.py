"""Regression: a number for each row of a table."""

from __future__ import annotations

import numpy as np

from voxlake.core.errors import UsageError
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.kinds import Tick
from voxlake.learning.tables.result import Mined
from voxlake.learning.tables.supervised import mine_supervised, speak
from voxlake.learning.tables.table import FeatureTable

__all__ = ["mine_regression", "speak"]


def mine_regression(table: FeatureTable, task: MiningTask, tick: Tick) -> Mined:
    """Learn the number of a row; see `voxlake.learning.tables.supervised.mine_supervised`.

    Raises
    ------
    UsageError
        The table has no numeric target, or a row without one.
    """
    if table.target is None or table.target.kind != "number":
        what = "none" if table.target is None else "categories"
        raise UsageError(f"regression needs a table with numbers as a target, got {what}")
    missing = int(np.isnan(table.target.values).sum())
    if missing:
        raise UsageError(f"{missing} rows of the table have no '{table.target.name}'; leave them out")
    return mine_supervised(table, task, table.target.values.astype(np.float64), (), tick)
