"""How the subjects of a prediction are spread over the workers of an engine. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from voxlake.engine.contract import Engine
from voxlake.lake.grouped import Lost, stream_groups

__all__ = ["Spreading", "in_groups"]

Item = TypeVar("Item")
Value = TypeVar("Value")

_WINDOW_GROUPS_PER_WORKER = 4


@dataclass(frozen=True)
class Spreading:
    """Where a prediction is computed, and what a worker may take.

    Parameters
    ----------
    engine : str or Engine
        As for `voxlake.engine.open.open_engine`.
    timeout : float
        Seconds for one subject.
    memory : int
        Bytes for one worker.
    progress : bool, optional
        Whether to show a progress bar.
    """

    engine: str | Engine = "serial"
    timeout: float = 600.0
    memory: int = 8 * 2**30
    progress: bool | None = None

    def results(
        self,
        pool: Engine,
        function: Callable[[Sequence[Item]], Sequence[Value]],
        groups: Iterator[Sequence[Item]],
    ) -> Iterator[tuple[Item, Value | Lost, bool]]:
        """Each item with what became of it, in order, and whether its group is done with it."""
        done = stream_groups(
            pool,
            function,
            groups,
            window=_WINDOW_GROUPS_PER_WORKER * pool.workers,
            timeout=self.timeout,
            memory=self.memory,
        )
        for group, results in done:
            for place, (item, result) in enumerate(zip(group, results, strict=True), 1):
                yield item, result, place == len(group)


def in_groups(
    items: Iterable[Item], voxels: Callable[[Item], int], *, most: int, limit: int
) -> Iterator[tuple[Item, ...]]:
    """Items that a worker gets together: some, and not too many voxels.

    Parameters
    ----------
    items : iterable
        What is to be done.
    voxels : callable
        How many an item has.
    most, limit : int
        Items and voxels of a group; an item that is larger is alone.
    """
    group: list[Item] = []
    size = 0
    for item in items:
        its = voxels(item)
        if group and (len(group) == most or size + its > limit):
            yield tuple(group)
            group, size = [], 0
        group.append(item)
        size += its
    if group:
        yield tuple(group)
