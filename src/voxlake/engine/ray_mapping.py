"""One map over the actors of a Ray cluster."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from voxlake.core.errors import EngineError
from voxlake.engine.child import Order
from voxlake.engine.cluster import check_versions, settle
from voxlake.engine.contract import Failure, Outcome
from voxlake.engine.ledger import Ledger, Task
from voxlake.engine.pool import START_SECONDS
from voxlake.engine.ray_worker import RayWorker

__all__ = ["Crew", "RayMapping"]

_LOST_IN_A_ROW = 10


@dataclass
class Hand:
    """An actor, and what is awaited from it.

    Attributes
    ----------
    reply : object or None
        Reference to what it will return; None if it has nothing to do.
    ready : bool
        Whether it has said its versions.
    tasks : list of Task
        What it works on; empty while it starts, or finishes for a map that has ended.
    since : float
        When it was given that (monotonic seconds).
    """

    actor: Any
    reply: Any
    ready: bool = False
    tasks: list[Task] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)


class Crew:
    """Up to `size` actors, started when there is work for them."""

    def __init__(self, ray: ModuleType, size: int) -> None:
        # Two threads: one works, the other can be told to stop. A lost actor is replaced here, not by Ray,
        # so that what it was at is known.
        self._make = ray.remote(num_cpus=1, max_concurrency=2, max_restarts=0, max_task_retries=0)(RayWorker)
        self._ray = ray
        self.size = size
        self.hands: list[Hand] = []

    def hire(self) -> None:
        """Start one more actor; Ray finds a place for it."""
        actor = self._make.remote()
        self.hands.append(Hand(actor, actor.versions.remote()))

    def drop(self, hand: Hand) -> None:
        """Kill an actor; its children leave with it."""
        self.hands.remove(hand)
        # Where the whole cluster is gone, so is the actor.
        with suppress(ConnectionError, self._ray.exceptions.RayError):
            self._ray.kill(hand.actor)

    def close(self) -> None:
        """Kill all actors."""
        for hand in list(self.hands):
            self.drop(hand)


class RayMapping:
    """The state of one map.

    Parameters
    ----------
    ray : module
        Ray, connected.
    crew : Crew
        Whose actors are used.
    driver : str
        A name of the engine.
    function : bytes
        The pickled function.
    ledger : Ledger
        The books.
    batch, timeout, memory
        As given to `map`.
    """

    def __init__(
        self,
        ray: ModuleType,
        crew: Crew,
        driver: str,
        function: bytes,
        ledger: Ledger,
        *,
        batch: int,
        timeout: float | None,
        memory: int | None,
    ) -> None:
        self._ray = ray
        self._crew = crew
        self._ledger = ledger
        self._batch = batch
        self._order = Order.here(driver, uuid.uuid4().hex, timeout, memory)
        # It travels to each machine once.
        self._function = ray.put(function)
        self._lost_in_a_row = 0

    def outcomes(self) -> Generator[Outcome[Any, Any], None, None]:
        """Work until every item has its outcome."""
        done = self._ledger.done
        try:
            while self._unfinished():
                self._staff()
                self._feed()
                if not done:
                    self._listen()
                while done:
                    yield done.popleft()
        finally:
            self._abandon()

    def _unfinished(self) -> bool:
        ledger = self._ledger
        if ledger.done or ledger.retries or any(hand.tasks for hand in self._crew.hands):
            return True
        ledger.pull(1)
        return ledger.waiting > 0

    def _staff(self) -> None:
        crew, ledger = self._crew, self._ledger
        vacant = crew.size - len(crew.hands)
        if not vacant:
            return
        ledger.pull(crew.size)
        free = sum(not hand.tasks for hand in crew.hands)
        for _ in range(min(ledger.retries + ledger.waiting - free, vacant)):
            crew.hire()

    def _feed(self) -> None:
        ledger = self._ledger
        for hand in [one for one in self._crew.hands if one.reply is None]:
            tasks, payloads = ledger.retry_batch()
            fresh = bool(tasks)
            if not tasks:
                tasks, payloads = ledger.batch(self._batch)
            if not tasks:
                return
            hand.tasks, hand.since = tasks, time.monotonic()
            hand.reply = hand.actor.run.remote(self._order, self._function, payloads, fresh=fresh)

    def _listen(self) -> None:
        awaited = {hand.reply: hand for hand in self._crew.hands if hand.reply is not None}
        if not awaited:
            return
        # Whoever works takes as long as it takes: time limits are the children's matter.
        working = any(hand.tasks for hand in awaited.values())
        try:
            ready, _ = self._ray.wait(
                list(awaited), num_returns=1, timeout=None if working else START_SECONDS
            )
        except (ConnectionError, self._ray.exceptions.RayError) as error:
            raise EngineError(
                f"the connection to the Ray cluster was lost ({type(error).__name__}); run the same command "
                "again when the cluster is back, and it goes on where it was"
            ) from None
        if not ready:
            raise EngineError(
                f"Ray gave no worker within {START_SECONDS:g} s; see with `ray status` whether the cluster "
                "has free CPUs, or ask for fewer workers"
            )
        for reference in ready:
            self._hear(awaited[reference])

    def _hear(self, hand: Hand) -> None:
        errors = self._ray.exceptions
        reference, hand.reply = hand.reply, None
        try:
            said = self._ray.get(reference)
        except errors.RayTaskError as error:
            self._crew.drop(hand)
            if isinstance(error.cause, EngineError):
                raise EngineError(str(error.cause)) from None
            raise EngineError(f"a worker of the Ray cluster raised {type(error.cause).__name__}") from None
        except errors.RayError as error:
            self._lose(hand, type(error).__name__)
            return
        self._lost_in_a_row = 0
        if not hand.ready:
            check_versions({"a worker of the Ray cluster": said})
            hand.ready = True
        elif hand.tasks:
            tasks, hand.tasks = hand.tasks, []
            settle(self._ledger, tasks, said)

    def _lose(self, hand: Hand, cause: str) -> None:
        """Give up an actor whose process or machine was lost: what it was at has cost one attempt."""
        tasks, seconds = hand.tasks, time.monotonic() - hand.since
        hand.tasks = []
        self._crew.drop(hand)
        failure = Failure("worker_died", f"the worker of the Ray cluster was lost ({cause})")
        for task in tasks:
            self._ledger.charge(task, failure, seconds)
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= _LOST_IN_A_ROW:
            raise EngineError(
                f"{self._lost_in_a_row} workers of the Ray cluster in a row were lost, the last one of "
                f"{cause}; look into the logs of Ray (usually /tmp/ray/session_latest/logs)"
            )

    def _abandon(self) -> None:
        """Have nobody work on for a map that has ended; they are free again when they have noticed."""
        for hand in self._crew.hands:
            if hand.tasks:
                hand.tasks = []
                hand.actor.stop.remote(self._order.map)
