"""The books of one map: which items wait, which get a second chance, which are done."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from voxlake.core.errors import EngineError
from voxlake.engine.attempt import attempt
from voxlake.engine.contract import Failure, Outcome

__all__ = ["PICKLE_PROTOCOL", "Ledger", "Task", "pickle_function"]

PICKLE_PROTOCOL = 5
# A batch of large items is cut here, so that what is in flight stays small.
_BATCH_BYTES = 4 << 20

_dump = partial(pickle.dumps, protocol=PICKLE_PROTOCOL)


def pickle_function(function: Callable[[Any], Any]) -> bytes:
    """Pickle what is to be mapped.

    Raises
    ------
    EngineError
        If it cannot be pickled.
    """
    payload, failure = attempt(_dump, function)
    if payload is None:
        words = failure.message if failure is not None else "no reason given"
        raise EngineError(
            f"the function cannot be sent to workers ({words}); define it at the top level of a module"
        )
    return payload


@dataclass(slots=True)
class Task:
    """One item on its way."""

    index: int
    item: Any
    attempts: int = 0


class Ledger:
    """Every item pulled is in exactly one place: waiting, to be retried, with a worker, or done.

    Parameters
    ----------
    items : iterable
        Pulled one by one, when asked.
    retries : int
        How often an item is tried again over which a worker was lost.
    """

    def __init__(self, items: Iterable[Any], retries: int) -> None:
        self._attempts = 1 + retries
        self._source: Iterator[Task] | None = (Task(index, item) for index, item in enumerate(items))
        self._waiting: deque[Task] = deque()
        self._retries: deque[Task] = deque()
        self.done: deque[Outcome[Any, Any]] = deque()

    @property
    def waiting(self) -> int:
        """Items that were pulled and wait for any worker."""
        return len(self._waiting)

    @property
    def retries(self) -> int:
        """Items that wait for a fresh worker."""
        return len(self._retries)

    def pull(self, count: int) -> None:
        """Have so many items wait, if there are so many."""
        while self._source is not None and len(self._waiting) < count:
            task = next(self._source, None)
            if task is None:
                self._source = None
            else:
                self._waiting.append(task)

    def retry_batch(self) -> tuple[list[Task], list[bytes]]:
        """One item that had bad luck, alone: no other item shall be drawn into it again."""
        return self._pack(self._retries, 1) if self._retries else ([], [])

    def batch(self, count: int) -> tuple[list[Task], list[bytes]]:
        """Up to so many items and their pickles; less for large ones.

        Items that cannot be pickled fail on the spot.
        """
        self.pull(count)
        return self._pack(self._waiting, count)

    def _pack(self, queue: deque[Task], count: int) -> tuple[list[Task], list[bytes]]:
        tasks: list[Task] = []
        payloads: list[bytes] = []
        size = 0
        while queue and count > 0 and size < _BATCH_BYTES:
            count -= 1
            task = queue.popleft()
            payload, failure = attempt(_dump, task.item)
            if payload is None:
                words = failure.message if failure is not None else "no reason given"
                self.finish(task, None, Failure("error", f"the item cannot be pickled: {words}"), 0.0)
                continue
            tasks.append(task)
            payloads.append(payload)
            size += len(payload)
        return tasks, payloads

    def finish(self, task: Task, value: Any, failure: Failure | None, seconds: float) -> None:
        """Note the outcome of an item."""
        self.done.append(Outcome(task.index, task.item, value, failure, task.attempts, seconds))

    def charge(self, task: Task, failure: Failure, seconds: float) -> None:
        """Note that a worker was lost over this item: it is tried again, or has failed."""
        task.attempts += 1
        if task.attempts < self._attempts:
            self._retries.append(task)
            return
        if task.attempts > 1:
            failure = replace(failure, message=f"{failure.message}, in each of {task.attempts} attempts")
        self.finish(task, None, failure, seconds)

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Have items wait again, in front, that a worker was lost without having started."""
        for task in reversed(list(tasks)):
            # A retry keeps its privilege; it was the only one of its batch.
            queue = self._retries if task.attempts else self._waiting
            queue.appendleft(task)
