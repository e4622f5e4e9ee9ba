"""One map over a Dask cluster: who works on what, and what happens when a worker is lost."""

from __future__ import annotations

import pickle
import queue
import time
import warnings
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distributed import Future, KilledWorker

from voxlake.core.errors import EngineError
from voxlake.engine.answers import worker_death
from voxlake.engine.attempt import describe
from voxlake.engine.child import Lost, Order
from voxlake.engine.cluster import settle
from voxlake.engine.contract import Outcome
from voxlake.engine.dask_cluster import DaskCluster
from voxlake.engine.dask_worker import pack, work
from voxlake.engine.ledger import Ledger, Task

__all__ = ["DaskMapping"]

_LOOK_SECONDS = 0.5
_NO_WORKER_SECONDS = 300.0
# Batches that take less have a second one wait at the worker, so that no thread waits for the network.
_QUICK_SECONDS = 0.5


@dataclass(slots=True)
class _Flight:
    """A batch on its way."""

    future: Future[Any]
    worker: str
    tasks: list[Task]
    since: float
    patience: float = 2.0


class DaskMapping:
    """The state of one map, from the first item to the last outcome.

    Each batch is given to a certain worker. Dask would start a batch again by itself when its worker dies,
    as often as the scheduler was told; so the driver takes care of that, and counts the attempts.

    Parameters
    ----------
    cluster : DaskCluster
        Whose workers are used.
    order : Order
        Goes with each batch.
    function : bytes
        The pickled function.
    items : iterable
        Pulled as workers become free.
    batch : int
        Items per message.
    retries : int
        Further attempts per item.
    """

    def __init__(
        self,
        cluster: DaskCluster,
        order: Order,
        function: bytes,
        items: Iterable[Any],
        *,
        batch: int,
        retries: int,
    ) -> None:
        self._cluster = cluster
        self._order = order
        self._function = function
        self._batch = batch
        self._ledger = Ledger(items, retries)
        self._flights: dict[str, _Flight] = {}
        self._landed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads: dict[str, int] = {}
        self._load: Counter[str] = Counter()
        self._depth = 1
        self._sent = 0
        self._looked = 0.0
        self._had_worker = time.monotonic()

    def outcomes(self) -> Generator[Outcome[Any, Any], None, None]:
        """Work until every item has its outcome."""
        done = self._ledger.done
        try:
            while self._unfinished():
                self._look()
                self._feed()
                if not done:
                    self._listen()
                else:
                    # Only now, when the workers have their next batches, the consumer gets the word.
                    while done:
                        yield done.popleft()
        finally:
            self._abandon()

    def _unfinished(self) -> bool:
        ledger = self._ledger
        if ledger.done or ledger.retries or self._flights:
            return True
        ledger.pull(1)
        return ledger.waiting > 0

    def _look(self) -> None:
        """See who has come and who has gone, now and then."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        threads = self._cluster.threads()
        self._looked = time.monotonic()
        for worker in [worker for worker in self._threads if worker not in threads]:
            self._lose_worker(worker)
        new = [worker for worker in threads if worker not in self._threads]
        taught = self._cluster.teach(self._order.map, self._function, new) if new else set()
        self._threads = {
            one: count for one, count in threads.items() if one in taught or one in self._threads
        }
        if self._threads:
            self._had_worker = now
        elif now - self._had_worker > _NO_WORKER_SECONDS:
            raise EngineError(
                f"the Dask cluster at {self._cluster.address} has had no worker for {_NO_WORKER_SECONDS:g} s"
            )

    def _feed(self) -> None:
        ledger = self._ledger
        while (worker := self._vacant()) is not None:
            tasks, payloads = ledger.retry_batch()
            fresh = bool(tasks)
            if not tasks:
                tasks, payloads = ledger.batch(self._batch)
            if tasks:
                self._send(worker, tasks, payloads, fresh)
            elif not (ledger.waiting or ledger.retries):
                return

    def _vacant(self) -> str | None:
        """The worker with the least to do, if it may have more."""
        load, threads = self._load, self._threads
        worker = min(threads, key=lambda one: load[one] / threads[one], default=None)
        if worker is None or load[worker] >= threads[worker] * self._depth:
            return None
        return worker

    def _send(self, worker: str, tasks: list[Task], payloads: list[bytes], fresh: bool) -> None:
        key = f"voxlake-{self._order.map}-{self._sent}"
        self._sent += 1
        with warnings.catch_warnings():
            # Whoever maps large items has no other way to send them.
            warnings.filterwarnings("ignore", message="Sending large graph")
            future = self._cluster.client.submit(
                work, pack(self._order, payloads, fresh), key=key, workers=[worker], pure=False
            )
        self._flights[key] = _Flight(future, worker, tasks, time.monotonic())
        self._load[worker] += 1
        future.add_done_callback(lambda landed: self._landed.put(landed.key))

    def _listen(self) -> None:
        landed = set()
        with suppress(queue.Empty):
            landed.add(self._landed.get(timeout=_LOOK_SECONDS))
            while True:
                landed.add(self._landed.get_nowait())
        finished = []
        for key in landed.intersection(self._flights):
            if self._flights[key].future.status == "finished":
                finished.append(key)
            else:
                self._take_failed(key)
        if finished:
            self._collect(finished)

    def _take_failed(self, key: str) -> None:
        future = self._flights[key].future
        if future.status == "cancelled":
            # Not by us: somebody restarted the cluster, or the scheduler is gone.
            self._looked = 0.0
            self._look()
        else:
            error = future.exception()
            if isinstance(error, EngineError):
                raise error
            if not isinstance(error, KilledWorker):
                raise EngineError(f"a task failed at the Dask cluster: {describe(error).message}")
        if key in self._flights:
            self._lose(key)

    def _collect(self, keys: list[str]) -> None:
        flights = [self._flights[key] for key in keys]
        try:
            found = self._cluster.gather(
                [flight.future for flight in flights], max(flight.patience for flight in flights)
            )
        except (TimeoutError, KilledWorker):
            # Slow, or a worker has died since: whoever looks will know.
            for key, flight in zip(keys, flights, strict=True):
                flight.patience *= 2
                self._landed.put(key)
            return
        self._depth = 2 if time.monotonic() - flights[-1].since < _QUICK_SECONDS else 1
        for key, flight, replies in zip(keys, flights, found, strict=True):
            self._close(key)
            if replies is not None:
                settle(self._ledger, flight.tasks, pickle.loads(replies))  # noqa: S301 - from our workers
                continue
            # A new worker at the address of an old one, or too many maps: it is to be taught again.
            self._threads.pop(flight.worker, None)
            self._looked = 0.0
            self._ledger.put_back(flight.tasks)

    def _lose_worker(self, worker: str) -> None:
        """Charge what it was at, which is the oldest; put back what waited there."""
        keys = [key for key, flight in self._flights.items() if flight.worker == worker]
        at_work = self._threads.pop(worker)
        for key in keys[:at_work]:
            self._lose(key)
        for key in keys[at_work:]:
            self._ledger.put_back(self._close(key).tasks)

    def _lose(self, key: str) -> None:
        flight = self._close(key)
        failure = worker_death(None, self._order.memory)
        lost = Lost(failure, time.monotonic() - flight.since)
        settle(self._ledger, flight.tasks, [lost] * len(flight.tasks))

    def _close(self, key: str) -> _Flight:
        flight = self._flights.pop(key)
        self._load[flight.worker] -= 1
        flight.future.release()
        return flight

    def _abandon(self) -> None:
        """Give up what is in flight: the workers kill the children at it as soon as they hear."""
        flights, self._flights = self._flights, {}
        for flight in flights.values():
            flight.future.release()
        self._cluster.dismiss(self._order.driver, self._order.map)
