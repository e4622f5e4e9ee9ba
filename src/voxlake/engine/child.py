"""Children of a cluster's worker: one batch of items under caps, in a process that may be lost.

A worker of a cluster (of Dask or Ray) must outlive what its items do, so it runs none of them itself. It
keeps one `Children` for as long as it lives and calls `Children.run` in each task, from as many threads as it
runs tasks at a time::

    children = Children()                                       # once per worker process of the cluster
    replies = children.run(order, function, payloads)           # in a task, in the cluster
    settle(ledger, tasks, replies)                              # at the driver, see voxlake.engine.cluster

``order`` is an `Order`, the same for all tasks of a map; ``function`` is what
`voxlake.engine.ledger.pickle_function` made, and ``payloads`` are the pickles that `Ledger.batch` or
`Ledger.retry_batch` gave (``fresh=True`` for the latter). The function goes to a child when it first serves a
map, so it may keep state on itself; children are kept between tasks and maps.

The children are started by `subprocess`, not by `multiprocessing`: the workers of Dask are daemonic, and
those may not use the latter. They leave when their worker is gone, however it went, and when they have had
nothing to do for a while.
"""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection

from voxlake.core.errors import EngineError
from voxlake.engine.answers import cause_of_exit, check_loaded, out_of_memory, overdue, worker_death
from voxlake.engine.contract import Failure
from voxlake.engine.line import Line
from voxlake.engine.main_module import MainModule
from voxlake.engine.pool import START_SECONDS
from voxlake.engine.worker import OUT_OF_MEMORY

__all__ = ["Children", "Lost", "Order", "Reply"]

# How soon a child is killed that works for a driver which has gone.
_TICK_SECONDS = 0.25
_LEAVE_SECONDS = 2.0
_STALLS = 10
# Dask makes its workers give memory back after every array. Those that come volume by volume would then be
# paged in anew each time, which took a third of the time of a `prepare`; a child leaves when it is idle.
_TRIM = "MALLOC_TRIM_THRESHOLD_"
_SCRIPT = (
    "import sys; sys.path[:] = {path!r}\n"
    "from voxlake.engine.worker import serve_cluster\n"
    "serve_cluster({descriptor}, {name!r}, {file!r})"
)


@dataclass(frozen=True, slots=True)
class Order:
    """What all tasks of one map have in common.

    Parameters
    ----------
    driver : str
        A name that no other driver has: a child never serves two of them, whose modules may differ.
    map : str
        A name that no other map has.
    main_name, main_path : str or None
        The driver's `voxlake.engine.main_module.MainModule`.
    timeout : float or None
        Seconds per item.
    memory : int or None
        Bytes that a child may use beyond what it holds once the function is loaded.
    """

    driver: str
    map: str
    main_name: str | None = None
    main_path: str | None = None
    timeout: float | None = None
    memory: int | None = None

    @classmethod
    def here(cls, driver: str, name: str, timeout: float | None, memory: int | None) -> Order:
        """The order of a map whose driver is this process."""
        main = MainModule.here()
        return cls(driver, name, main.name, main.path, timeout, memory)


@dataclass(frozen=True, slots=True)
class Lost:
    """Says of one item that a child was lost over it: it may be tried again.

    Parameters
    ----------
    failure : Failure
        With the reason ``"timeout"``, ``"memory"`` or ``"worker_died"``.
    seconds : float
        How long the child had been at it.
    """

    failure: Failure
    seconds: float


#: Of one item: what `voxlake.engine.answers.read_answer` reads, or that a child was lost over it.
Reply = bytes | Lost


class _GivenUpError(Exception):
    """Nobody waits for the replies any more."""


class _LateError(Exception):
    """A child did not answer in time."""


class _Child(Line):
    """One child and our end of its connection."""

    def __init__(self, order: Order) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                script = _SCRIPT.format(
                    path=sys.path, descriptor=theirs.fileno(), name=order.main_name, file=order.main_path
                )
                # Its standard input tells it that we are gone. Ctrl-C at a worker's terminal is not for it.
                self.process = subprocess.Popen(
                    [sys.executable, "-c", script],
                    stdin=subprocess.PIPE,
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                    env={name: value for name, value in os.environ.items() if name != _TRIM},
                )
        except BaseException:
            ours.close()
            raise
        ours.settimeout(START_SECONDS)
        super().__init__(ours)
        self.driver = order.driver
        self.serves: str | None = None
        self.fresh = True

    def load(self, order: Order, function: bytes, wanted: Callable[[], bool]) -> None:
        """Have it load the function of a map, if it has not."""
        if self.serves == order.map:
            return
        self.send(function, order.memory)
        messages: list[bytes] = []
        while not messages:
            # The first word of a new child is empty.
            messages = [message for message in self.listen(START_SECONDS, wanted) if message]
        check_loaded(messages[0])
        self.serves = order.map

    def work(
        self, payloads: list[bytes], timeout: float | None, replies: list[Reply], wanted: Callable[[], bool]
    ) -> None:
        """Have it work on items and collect its answers."""
        expected = len(replies) + len(payloads)
        self.send(payloads)
        self.fresh = False
        while len(replies) < expected:
            replies += self.listen(math.inf if timeout is None else timeout, wanted)

    def listen(self, seconds: float, wanted: Callable[[], bool]) -> list[bytes]:
        """Wait for words, until so long after the last ones."""
        while True:
            left = self.since + seconds - time.monotonic()
            if connection.wait([self.connection], max(0.0, min(left, _TICK_SECONDS))):
                return self.receive()
            if left <= 0:
                raise _LateError
            if self.process.poll() is not None:
                # A process that it started may hold its end of the connection open.
                raise EOFError
            if not wanted():
                raise _GivenUpError

    def drop(self) -> tuple[list[bytes], int | None]:
        """Kill it; what it had said and nobody had read, and how it ended."""
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_LEAVE_SECONDS)
        messages = self.drain()
        self.hang_up()
        if self.process.stdin is not None:
            self.process.stdin.close()
        return messages, self.process.returncode


class Children:
    """The children of one worker process of a cluster: one for each task that it runs at a time."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(
        self,
        order: Order,
        function: bytes,
        payloads: Sequence[bytes],
        *,
        fresh: bool = False,
        wanted: Callable[[], bool] = lambda: True,
    ) -> list[Reply]:
        """Work on a batch of items; may be called from several threads.

        Parameters
        ----------
        order : Order
            Of the map.
        function : bytes
            The pickled function.
        payloads : sequence of bytes
            The pickled items.
        fresh : bool
            Whether to use a child that has not worked on any item yet.
        wanted : callable
            Asked a few times a second; once it says no, the child is killed and the call ends.

        Returns
        -------
        list of Reply
            One per item, in order; fewer if it was not wanted any more.

        Raises
        ------
        EngineError
            If the function cannot be loaded, or children die before they are ready, or this is closed.
        """
        replies: list[Reply] = []
        stalls = 0
        while len(replies) < len(payloads):
            before = len(replies)
            child = self._take(order, fresh)
            try:
                child.load(order, function, wanted)
                child.work(list(payloads[before:]), order.timeout, replies, wanted)
            except _GivenUpError:
                self._drop(child)
                return replies
            except (EOFError, _LateError) as error:
                exit_code = self._mourn(child, order, replies, late=isinstance(error, _LateError))
                stalls = 0 if len(replies) > before else stalls + 1
                if stalls >= _STALLS:
                    raise EngineError(
                        f"{stalls} children in a row died before they were ready, the last one of "
                        f"{cause_of_exit(exit_code)}; try the engine 'serial' to see why"
                    ) from None
            except BaseException:
                self._drop(child)
                raise
            else:
                self._put_back(child)
        return replies[: len(payloads)]

    def _mourn(self, child: _Child, order: Order, replies: list[Reply], *, late: bool) -> int | None:
        """Note what became of the item at which a child was lost, if there was one."""
        working, seconds = child.serves == order.map and not child.fresh, time.monotonic() - child.since
        messages, exit_code = self._drop(child)
        if not working:
            if late:
                raise EngineError(
                    f"a worker was not ready after {START_SECONDS:g} s; look for an import that does not end"
                )
            return exit_code
        replies += messages
        failure = _guilt(child, order, exit_code, late=late, answered=bool(messages))
        if failure is not None:
            replies.append(Lost(failure, seconds))
        return exit_code

    def _take(self, order: Order, fresh: bool) -> _Child:
        with self._lock:
            if self._closed:
                raise EngineError("the worker of the cluster is leaving")
            ours = [child for child in self._idle if child.driver == order.driver]
            # The one that serves this map already, before one that has yet to load the function.
            child = max(ours, key=lambda one: one.serves == order.map, default=None)
            if child is not None:
                self._idle.remove(child)
        if child is not None:
            if child.process.poll() is None and (child.fresh or not fresh):
                return child
            self._drop(child)
        try:
            child = _Child(order)
        except OSError as error:
            raise EngineError(f"a worker cannot start a child process ({error.strerror or error})") from None
        with self._lock:
            self._all.add(child)
        return child

    def _put_back(self, child: _Child) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(child)
                return
        self._drop(child)

    def _drop(self, child: _Child) -> tuple[list[bytes], int | None]:
        with self._lock:
            self._all.discard(child)
        return child.drop()

    def dismiss(self, driver: str) -> None:
        """Kill the idle children that serve a driver who needs them no more."""
        with self._lock:
            leaving = [child for child in self._idle if child.driver == driver]
            self._idle = [child for child in self._idle if child.driver != driver]
        for child in leaving:
            self._drop(child)

    def close(self) -> None:
        """Kill all children, also those at work; a second call does nothing."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
        for child in idle:
            self._drop(child)
        for child in busy:
            # Whoever runs it hears of its end and drops it.
            child.process.kill()


def _guilt(
    child: _Child, order: Order, exit_code: int | None, *, late: bool, answered: bool
) -> Failure | None:
    """What the item in flight is charged with; None if it was not at work."""
    if late and order.timeout is not None:
        # It answered at the last moment: the item that was late is done, and the next has hardly begun.
        return None if answered else overdue(order.timeout)
    if exit_code == OUT_OF_MEMORY:
        return out_of_memory(order.memory)
    return None if child.died_unread else worker_death(exit_code, order.memory)
