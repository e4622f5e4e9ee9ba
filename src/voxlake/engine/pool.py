"""Worker processes as the driver sees them: start, send, receive, drop."""

from __future__ import annotations

import enum
import multiprocessing
import os
import socket
import time
from collections import deque
from collections.abc import Iterable
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

from voxlake.core.errors import EngineError
from voxlake.engine.interrupts import interrupts_blocked, interrupts_deferred
from voxlake.engine.ledger import Task
from voxlake.engine.line import Line
from voxlake.engine.main_module import MainModule, main_hidden
from voxlake.engine.threads import share_of, thread_limits, threads_limited
from voxlake.engine.worker import serve

__all__ = ["START_SECONDS", "Pool", "State", "Worker"]

# How long a worker may take to start and to load a function; imports from a cold disk are slow.
START_SECONDS = 300.0
_LEAVE_SECONDS = 2.0


class State(enum.Enum):
    """What the driver waits for from a worker."""

    STARTING = enum.auto()
    LOADING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()


class Worker(Line):
    """One worker process and the driver's end of its connection.

    Attributes
    ----------
    state : State
        What is awaited from it.
    fresh : bool
        Whether it has not worked on any item yet.
    tasks : deque of Task
        What was sent and not answered; the first is in flight since `since`, at the latest.
    serves : object or None
        Token of the map whose function it holds.
    """

    def __init__(self, process: BaseProcess, connection: socket.socket) -> None:
        super().__init__(connection)
        self.process = process
        self.state = State.STARTING
        self.fresh = True
        self.tasks: deque[Task] = deque()
        self.serves: object | None = None


class Pool:
    """Up to `size` workers, started when there is work for them."""

    def __init__(self, size: int) -> None:
        # Not fork: a forked child hangs once object stores or other threads were used in the parent.
        self._context: ForkServerContext | SpawnContext = (
            multiprocessing.get_context("forkserver")
            if "forkserver" in multiprocessing.get_all_start_methods()
            else multiprocessing.get_context("spawn")
        )
        self.size = size
        self.workers: list[Worker] = []
        self.closed = False

    def preload(self, modules: Iterable[str]) -> None:
        """Name modules to import once for all workers; has an effect before the first worker only."""
        if self._context.get_start_method() == "forkserver":
            self._context.set_forkserver_preload([__name__, *modules])
            _start_fork_server(share_of(self.size))

    def start_worker(self) -> Worker:
        """Start one more worker."""
        with interrupts_deferred():
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    environment = {**os.environ, **thread_limits(share_of(self.size), os.environ)}
                    process = self._context.Process(
                        target=serve,
                        args=(theirs, MainModule.here(), environment),
                        name="voxlake-worker",
                        daemon=True,
                    )
                    with main_hidden():
                        process.start()
            except BaseException:
                ours.close()
                raise
            ours.settimeout(START_SECONDS)
            worker = Worker(process, ours)
            self.workers.append(worker)
        return worker

    def drop(self, worker: Worker) -> tuple[list[bytes], int | None]:
        """Kill a worker, if it still lives, and forget it.

        Returns
        -------
        messages : list of bytes
            What it had sent and nobody had read.
        exit_code : int or None
            As `multiprocessing` gives it: negative for a signal.
        """
        if worker in self.workers:
            self.workers.remove(worker)
        worker.process.kill()
        exit_code = _bury(worker, _LEAVE_SECONDS)
        messages = worker.drain()
        worker.hang_up()
        return messages, exit_code

    def drop_busy(self) -> None:
        """Kill the workers that hold items of a map that has ended."""
        for worker in [one for one in self.workers if one.state is State.BUSY]:
            self.drop(worker)

    def drop_all(self) -> None:
        """Kill all workers."""
        for worker in list(self.workers):
            self.drop(worker)

    def close(self) -> None:
        """Hang up on all workers, and kill those that do not leave."""
        self.closed = True
        self.drop_busy()
        leaving, self.workers = self.workers, []
        for worker in leaving:
            worker.hang_up()
        until = time.monotonic() + _LEAVE_SECONDS
        for worker in leaving:
            if _bury(worker, until - time.monotonic()) is None:
                worker.process.kill()
                _bury(worker, _LEAVE_SECONDS)


def _bury(worker: Worker, seconds: float) -> int | None:
    worker.process.join(max(0.0, seconds))
    exit_code = worker.process.exitcode
    if exit_code is not None:
        worker.process.close()
    return exit_code


def _start_fork_server(threads: int) -> None:
    # These modules are imported here because Windows has no fork server.
    from multiprocessing import forkserver, resource_tracker

    # Started first, because its start unblocks SIGINT.
    resource_tracker.ensure_running()
    try:
        # What the fork server has loaded has its threads set for all workers that it makes.
        with interrupts_deferred(), interrupts_blocked(), main_hidden(), threads_limited(threads):
            forkserver.ensure_running()
    except OSError as error:
        raise EngineError(
            f"worker processes cannot be started ({error.strerror or error}); their socket lies in the "
            "temporary folder: set TMPDIR to one with a short name that can be written to"
        ) from None
