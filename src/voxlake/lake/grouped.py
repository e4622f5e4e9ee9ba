"""Mapping over groups of items such that a bad item costs itself and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from voxlake.engine.contract import Engine, Failure
from voxlake.engine.limits import can_cap_memory

__all__ = ["Lost", "map_groups", "stream_groups"]

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
    done = stream_groups(
        engine, function, iter(groups), window=len(groups) + 1, timeout=timeout, memory=memory
    )
    return [results for _, results in done]


def stream_groups(
    engine: Engine,
    function: Callable[[Sequence[Item]], Sequence[Value]],
    groups: Iterator[Sequence[Item]],
    *,
    window: int,
    timeout: float,
    memory: int | None,
) -> Iterator[tuple[Sequence[Item], list[Value | Lost]]]:
    """Call `function` on groups as they come; give each group with its results, in the order of the groups.

    The workers go on while the caller deals with what it was given. A group that fails as a whole is not
    tried again as a whole: its items are, one by one, when the window before it is full or the groups end.

    Parameters
    ----------
    engine, function, timeout, memory
        As in `map_groups`.
    groups : iterator of sequence
        What is to be done; pulled as workers become free.
    window : int
        How many groups are in memory at most: at work, or done and waiting for one that came before them.
    """
    cap = memory if can_cap_memory() else None
    ended = False
    while not ended:
        ahead: _Ahead[Item, Value] = _Ahead(groups, max(window, 1))
        for outcome in engine.map(
            function, ahead.feed(), timeout=timeout * _GROUP_TIMEOUT, memory=cap, retries=0
        ):
            whole = outcome.failure is None and outcome.value is not None
            ahead.results[outcome.index] = list(outcome.value or ()) if whole else None
            yield from ahead.ready()
        _one_by_one(engine, function, ahead, timeout=timeout, cap=cap)
        yield from ahead.ready()
        ended = ahead.ended


class _Ahead(Generic[Item, Value]):
    """What was handed out and not given back yet; the results of a broken group are None."""

    def __init__(self, groups: Iterator[Sequence[Item]], window: int) -> None:
        self.results: dict[int, list[Value | Lost] | None] = {}
        self.handed: dict[int, Sequence[Item]] = {}
        self.ended = False
        self._groups = groups
        self._window = window
        self._next = 0

    def feed(self) -> Iterator[Sequence[Item]]:
        """Hand out groups until there are no more, or too many wait for one that came before them."""
        number = 0
        while len(self.handed) < self._window:
            group = next(self._groups, None)
            if group is None:
                self.ended = True
                return
            self.handed[number] = group
            number += 1
            yield group

    def ready(self) -> Iterator[tuple[Sequence[Item], list[Value | Lost]]]:
        """Give back what is done and in its turn."""
        while (results := self.results.get(self._next)) is not None:
            del self.results[self._next]
            group = self.handed.pop(self._next)
            self._next += 1
            yield group, results


def _one_by_one(
    engine: Engine,
    function: Callable[[Sequence[Item]], Sequence[Value]],
    ahead: _Ahead[Item, Value],
    *,
    timeout: float,
    cap: int | None,
) -> None:
    """Try the items of broken groups alone."""
    broken = sorted(index for index, results in ahead.results.items() if results is None)
    if not broken:
        return
    alone: list[Sequence[Item]] = [(item,) for index in broken for item in ahead.handed[index]]
    found: dict[int, Value | Lost] = {}
    for outcome in engine.map(function, alone, timeout=timeout, memory=cap):
        if outcome.failure is None and outcome.value is not None:
            found[outcome.index] = outcome.value[0]
        else:
            found[outcome.index] = Lost(outcome.failure or _NO_RESULT, outcome.attempts)
    results = iter([found[number] for number in range(len(alone))])
    for index in broken:
        ahead.results[index] = [next(results) for _ in ahead.handed[index]]
