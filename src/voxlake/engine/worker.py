"""The loop that runs in a worker process: load a function, take a batch, answer item by item."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from voxlake.engine.attempt import attempt
from voxlake.engine.contract import Failure
from voxlake.engine.frames import read_frame, send_frame
from voxlake.engine.ledger import PICKLE_PROTOCOL
from voxlake.engine.limits import cap_memory
from voxlake.engine.main_module import MainModule
from voxlake.engine.threads import thread_limits

__all__ = ["OUT_OF_MEMORY", "serve", "serve_cluster"]

# Exit status by which a worker says that it ran out of memory. Leaving needs no memory; a message would.
OUT_OF_MEMORY = 86
# A driver of a cluster that was killed dismisses nobody; its children leave by themselves.
_IDLE_SECONDS = 300.0

_dump = partial(pickle.dumps, protocol=PICKLE_PROTOCOL)


def serve_cluster(descriptor: int, main_name: str | None, main_path: str | None) -> None:
    """Serve one worker of a cluster, as its child (POSIX); see `voxlake.engine.child`.

    Parameters
    ----------
    descriptor : int
        Of the connection, inherited. Standard input, inherited as well, ends when the parent does.
    main_name, main_path : str or None
        Where the driver's main module is.
    """
    parent = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    connection.settimeout(_IDLE_SECONDS)
    # A cluster gives a core to each task that it runs at a time, and each of these has one child.
    environment = {**os.environ, **thread_limits(1, os.environ)}
    serve(connection, MainModule(main_name, main_path), environment, lambda: os.read(parent, 1))


def _join_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()


def serve(
    connection: socket.socket,
    main: MainModule,
    environment: Mapping[str, str],
    wait_for_end: Callable[[], object] = _join_driver,
) -> None:
    """Serve one driver until it hangs up.

    The worker speaks first (one empty message: it is up) and from then on only answers: one message to a
    function (the failure to load it, or None) and one per item of a batch. So the driver only ever sends to
    a worker that is reading, and neither can block the other.

    Parameters
    ----------
    connection : socket
        Duplex stream to the driver.
    main : MainModule
        Where the driver's main module is.
    environment : mapping of str to str
        All variables, as the driver has them now, and how many threads libraries may work in; see
        `voxlake.engine.threads`.
    wait_for_end : callable
        Returns when the driver is gone.
    """
    _ignore_interrupts()
    # Before the function is loaded, and with it libraries that read these. A fork server keeps those of the
    # first pool; credentials of a bucket, for one, may have been set since.
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    threading.Thread(target=_leave_after, args=(wait_for_end,), daemon=True).start()
    try:
        with connection, connection.makefile("rb") as stream:
            send_frame(connection, b"")
            function: Callable[[Any], Any] | None = None
            while True:
                # The driver is the only one at the other end of this socket pair.
                content, memory = pickle.loads(read_frame(stream))  # noqa: S301
                if isinstance(content, bytes):
                    function = None
                    function, failure = _load(main, content, memory)
                    send_frame(connection, _dump(failure))
                elif function is not None:
                    for payload in content:
                        send_frame(connection, _answer(main, function, payload))
    except (EOFError, OSError):
        return
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except KeyboardInterrupt:
        # Raised by the function itself, as interrupts are ignored: a traceback would say no more.
        os._exit(1)


def _ignore_interrupts() -> None:
    # Ctrl-C reaches the whole process group; the driver alone decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _leave_after(wait_for_end: Callable[[], object]) -> NoReturn:
    # A busy worker does not read its connection, and PR_SET_PDEATHSIG would follow the fork server instead.
    wait_for_end()
    os._exit(1)


def _load(
    main: MainModule, payload: bytes, memory: int | None
) -> tuple[Callable[[Any], Any] | None, Failure | None]:
    # The function and what it imports are ours, not the item's: they are loaded uncapped.
    cap_memory(None)
    function, failure = attempt(main.unpickle, payload)
    cap_memory(memory)
    return function, failure


def _answer(main: MainModule, function: Callable[[Any], Any], payload: bytes) -> bytes:
    started = time.perf_counter()
    value = None
    item, failure = attempt(main.unpickle, payload)
    if failure is not None:
        failure = _prefixed(failure, "the item cannot be unpickled")
    else:
        value, failure = attempt(function, item)
    seconds = time.perf_counter() - started
    if failure is None:
        answer, failure = attempt(_dump, (seconds, None, value))
        if answer is not None:
            return answer
        if failure is not None:
            failure = _prefixed(failure, "the result cannot be pickled")
    if failure is not None and failure.error_type == "MemoryError":
        os._exit(OUT_OF_MEMORY)
    return _dump((seconds, failure, None))


def _prefixed(failure: Failure, words: str) -> Failure:
    return replace(failure, message=f"{words}: {failure.message}")
