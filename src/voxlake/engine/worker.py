"""The loop that runs in a worker process: load a function, take a batch, answer item by item."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from voxlake.engine.attempt import attempt
from voxlake.engine.contract import Failure
from voxlake.engine.frames import read_frame, send_frame
from voxlake.engine.ledger import PICKLE_PROTOCOL
from voxlake.engine.limits import cap_memory
from voxlake.engine.main_module import MainModule

__all__ = ["OUT_OF_MEMORY", "serve"]

# Exit status by which a worker says that it ran out of memory. Leaving needs no memory; a message would.
OUT_OF_MEMORY = 86

_dump = partial(pickle.dumps, protocol=PICKLE_PROTOCOL)


def serve(connection: socket.socket, main: MainModule) -> None:
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
    """
    _ignore_interrupts()
    threading.Thread(target=_leave_with_driver, daemon=True).start()
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


def _leave_with_driver() -> NoReturn:
    # A busy worker does not read its connection, and PR_SET_PDEATHSIG would follow the fork server instead.
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
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
