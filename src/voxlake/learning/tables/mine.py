"""Mining a table, without a lake."""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.kinds import Tick
from voxlake.learning.tables.result import Mined
from voxlake.learning.tables.table import FeatureTable

__all__ = ["mine_table"]


def mine_table(table: FeatureTable, task: MiningTask, tick: Tick | None = None) -> Mined:
    """Carry out a task on a table.

    Parameters
    ----------
    table : FeatureTable
        From `voxlake.learning.tables.make`, or of a lake.
    task : MiningTask
        What is asked; where its columns come from does not matter here.
    tick : callable, optional
        Told about the progress, in words.

    Returns
    -------
    Mined

    Examples
    --------
    >>> table = table_from_frame(frame, target="diagnosis", patient="patient")  # doctest: +SKIP
    >>> mined = mine_table(table, load_mining_task("task.toml"))  # doctest: +SKIP
    """
    # One thread: the matrices are small, threads beyond the free cores cost many times the work, and results
    # do not depend on how many there are.
    carry_out = task.how.load()  # before the limit, which holds only for libraries that are loaded already
    with threadpool_limits(limits=1):
        mined: Mined = carry_out(table, task, tick if tick is not None else _quiet)
    return mined


def _quiet(note: str) -> None:
    """Nobody listens."""
