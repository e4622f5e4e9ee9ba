"""One map over a pool: who works on what, and what happens when a worker is lost."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from voxlake.core.errors import EngineError
from voxlake.engine.answers import (
    cause_of_exit,
    check_loaded,
    out_of_memory,
    overdue,
    read_answer,
    worker_death,
)
from voxlake.engine.contract import Failure, Outcome
from voxlake.engine.ledger import Ledger
from voxlake.engine.pool import START_SECONDS, Pool, State, Worker
from voxlake.engine.worker import OUT_OF_MEMORY

__all__ = ["Limits", "Mapping"]

_FAILED_STARTS = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Items per message, seconds per item, bytes per worker, further attempts per item."""

    batch: int
    timeout: float | None
    memory: int | None
    retries: int


class Mapping:
    """The state of one map, from the first item to the last outcome.

    Parameters
    ----------
    pool : Pool
        Whose workers are used.
    function : bytes
        The pickled function.
    items : iterable
        Pulled as workers become free.
    limits : Limits
        As given to `map`.
    """

    def __init__(self, pool: Pool, function: bytes, items: Iterable[Any], limits: Limits) -> None:
        self._pool = pool
        self._function = function
        self._limits = limits
        self._ledger = Ledger(items, limits.retries)
        self._token = object()
        self._failed_starts = 0

    def outcomes(self) -> Generator[Outcome[Any, Any], None, None]:
        """Work until every item has its outcome."""
        done = self._ledger.done
        try:
            while self._unfinished():
                if self._pool.closed:
                    raise EngineError("the engine was closed during a map; consume or close the map first")
                self._staff()
                self._feed()
                if not done:
                    self._listen()
                    self._expire()
                else:
                    # Only now, when the workers have their next batches, the consumer gets the word.
                    while done:
                        yield done.popleft()
        except KeyboardInterrupt:
            self._pool.drop_all()
            raise
        finally:
            self._pool.drop_busy()

    def _unfinished(self) -> bool:
        ledger = self._ledger
        if ledger.done or ledger.retries or any(one.state is State.BUSY for one in self._pool.workers):
            return True
        ledger.pull(1)
        return ledger.waiting > 0

    def _staff(self) -> None:
        pool, ledger = self._pool, self._ledger
        vacant = pool.size - len(pool.workers)
        if not vacant:
            return
        ledger.pull(pool.size)
        free = [one for one in pool.workers if one.state is not State.BUSY]
        fresh = sum(one.fresh for one in free)
        missing = max(ledger.retries - fresh, ledger.retries + ledger.waiting - len(free))
        for _ in range(min(missing, vacant)):
            try:
                pool.start_worker()
            except (OSError, EOFError) as error:
                # The fork server died, or the system has no process or descriptor left for now.
                self._count_failed_start(type(error).__name__)

    def _feed(self) -> None:
        ledger = self._ledger
        for worker in [one for one in self._pool.workers if one.state is State.IDLE]:
            ledger.pull(1)
            if not (ledger.waiting or ledger.retries):
                return
            if worker.serves is self._token:
                self._send_batch(worker)
            else:
                self._send(worker, State.LOADING, self._function, self._limits.memory)

    def _send_batch(self, worker: Worker) -> None:
        tasks, payloads = self._ledger.retry_batch() if worker.fresh else ([], [])
        if not tasks:
            tasks, payloads = self._ledger.batch(self._limits.batch)
        if tasks:
            worker.tasks = deque(tasks)
            worker.fresh = False
            self._send(worker, State.BUSY, payloads)

    def _send(
        self, worker: Worker, state: State, content: bytes | list[bytes], memory: int | None = None
    ) -> None:
        worker.state = state
        worker.serves = self._token
        try:
            worker.send(content, memory)
        except EOFError:
            self._lose(worker)

    def _listen(self) -> None:
        """Wait for words or deaths, at most until the next deadline."""
        workers = self._pool.workers
        if all(worker.state is State.IDLE for worker in workers):
            return
        sources: dict[Any, Worker] = {worker.connection: worker for worker in workers}
        sources |= {worker.process.sentinel: worker for worker in workers}
        deadline = min(self._deadline(worker) for worker in workers)
        pause = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
        ready = connection.wait(sources, pause)
        for worker in {sources[source] for source in ready}:
            if worker.connection in ready:
                self._hear(worker)
            else:
                self._lose(worker)

    def _hear(self, worker: Worker) -> None:
        try:
            messages = worker.receive()
        except EOFError:
            self._lose(worker)
            return
        for message in messages:
            self._take(worker, message)

    def _take(self, worker: Worker, message: bytes) -> None:
        if worker.state is State.STARTING:
            worker.state = State.IDLE
        elif worker.state is State.LOADING:
            worker.state = State.IDLE
            if worker.serves is self._token:
                check_loaded(message)
        elif worker.tasks:
            self._take_answer(worker, message)
            if not worker.tasks:
                worker.state = State.IDLE

    def _take_answer(self, worker: Worker, message: bytes) -> None:
        seconds, failure, value = read_answer(message)
        self._failed_starts = 0
        task = worker.tasks.popleft()
        task.attempts += 1
        self._ledger.finish(task, value, failure, seconds)

    def _deadline(self, worker: Worker) -> float:
        if worker.state in (State.STARTING, State.LOADING):
            return worker.since + START_SECONDS
        if worker.state is State.BUSY and self._limits.timeout is not None:
            return worker.since + self._limits.timeout
        return math.inf

    def _expire(self) -> None:
        now = time.monotonic()
        for worker in [one for one in self._pool.workers if self._deadline(one) <= now]:
            if worker.state is State.BUSY and self._limits.timeout is not None:
                self._lose(worker, late=overdue(self._limits.timeout))
            else:
                self._pool.drop(worker)
                raise EngineError(
                    f"a worker was not ready after {START_SECONDS:g} s; look for an import that does not end"
                )

    def _lose(self, worker: Worker, late: Failure | None = None) -> None:
        """Give up a worker: the item in flight gets another chance or fails, the rest of its batch waits."""
        state, seconds = worker.state, time.monotonic() - worker.since
        messages, exit_code = self._pool.drop(worker)
        if state is State.BUSY:
            for message in messages:
                self._take_answer(worker, message)
            failure = self._guilt(worker, exit_code, late, answered=bool(messages))
            if worker.tasks and failure is not None:
                self._ledger.charge(worker.tasks.popleft(), failure, seconds)
            self._ledger.put_back(worker.tasks)
        elif state is not State.IDLE and worker.fresh:
            self._count_failed_start(cause_of_exit(exit_code))

    def _guilt(
        self, worker: Worker, exit_code: int | None, late: Failure | None, *, answered: bool
    ) -> Failure | None:
        """What the item in flight is charged with; None if it was not at work."""
        if late is not None:
            # It answered at the last moment: the item that was late is done, and the next has hardly begun.
            return None if answered else late
        if exit_code == OUT_OF_MEMORY:
            return out_of_memory(self._limits.memory)
        return None if worker.died_unread else worker_death(exit_code, self._limits.memory)

    def _count_failed_start(self, cause: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            raise EngineError(
                f"{self._failed_starts} workers in a row died before they were ready, the last one of "
                f"{cause}; try the engine 'serial' to see why"
            )
