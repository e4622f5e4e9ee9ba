"""Mapping over groups of items such that a bad item costs itself and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from voxlake.engine.contract import Engine, Failure
from voxlake.engine.limits import can_cap_memory

__all__ = ["Lost", "map_groups"]

Item = TypeVar("Item")
Value = TypeVar("Value")

# A group gets the time of a few items: long enough for any healthy one, short enough to notice a hang.
_GROUP_TIMEOUT = 2.0
_NO_RESULT = Failure("error", "the worker gave no result", None)


@dataclass(frozen=True)
class Lost:
    """What stands for the result of an item whose worker died, hung or ran out of memory."""

    failure: Failure
    attempts: int


def map_groups(
    engine: Engine,
    function: Callable[[Sequence[Item]], Sequence[Value]],
    groups: Sequence[Sequence[Item]],
    *,
    timeout: float,
    memory: int | None,
) -> list[list[Value | Lost]]:
    """Call `function` on every group and return its results in the order of the groups.

    A group that fails as a whole is not tried again as a whole: its items are, one by one.

    Parameters
    ----------
    engine : Engine
        Where the work is done.
    function : callable
        Takes a group, returns one result for each item.
    groups : sequence of sequence
        What is to be done.
    timeout : float
        Seconds for one item.
    memory : int or None
        Bytes for one worker; not enforced on systems that cannot.
    """
    cap = memory if can_cap_memory() else None
    results: list[list[Value | Lost]] = [[] for _ in groups]
    broken: list[int] = []
    for outcome in engine.map(function, groups, timeout=timeout * _GROUP_TIMEOUT, memory=cap, retries=0):
        if outcome.failure is None and outcome.value is not None:
            results[outcome.index] = list(outcome.value)
        else:
            broken.append(outcome.index)
    broken.sort()
    singles = [(index, item) for index in broken for item in groups[index]]
    found: dict[int, Value | Lost] = {}
    alone: list[Sequence[Item]] = [(item,) for _, item in singles]
    for outcome in engine.map(function, alone, timeout=timeout, memory=cap):
        if outcome.failure is None and outcome.value is not None:
            found[outcome.index] = outcome.value[0]
        else:
            found[outcome.index] = Lost(outcome.failure or _NO_RESULT, outcome.attempts)
    for number, (index, _) in enumerate(singles):
        results[index].append(found[number])
    return results
