"""How an item came back: the words of a worker that answered, and those for one that was lost."""

from __future__ import annotations

import pickle
import signal
from typing import Any

from voxlake.core.errors import EngineError
from voxlake.engine.attempt import attempt
from voxlake.engine.contract import Failure

__all__ = ["cause_of_exit", "check_loaded", "out_of_memory", "overdue", "read_answer", "worker_death"]


def read_answer(message: bytes) -> tuple[float, Failure | None, Any]:
    """Read what a worker says of one item.

    Parameters
    ----------
    message : bytes
        As `voxlake.engine.worker` wrote it.

    Returns
    -------
    seconds : float
        Duration of the attempt.
    failure : Failure or None
        Why there is no value; also if the value cannot be unpickled here.
    value : object or None
        What the function returned.
    """
    answer, failure = attempt(pickle.loads, message)
    if answer is None:
        words = failure.message if failure is not None else "no reason given"
        return 0.0, Failure("error", f"the result cannot be unpickled: {words}"), None
    seconds, failure, value = answer
    return seconds, failure, value


def check_loaded(message: bytes) -> None:
    """Read what a worker says of the function it was sent.

    Raises
    ------
    EngineError
        If it could not load it.
    """
    failure = pickle.loads(message)  # noqa: S301 - sent by a worker of ours
    if failure is not None:
        raise EngineError(
            f"a worker could not load the function: {failure.message}; define the function at the top level "
            "of a module, and if it must be in the script that is run, call the engine under "
            "if __name__ == '__main__'"
        )


def overdue(timeout: float) -> Failure:
    """What an item is charged with that was not done in time."""
    return Failure("timeout", f"no result within the time limit of {timeout:g} s")


def out_of_memory(memory: int | None) -> Failure:
    """What an item is charged with whose worker ran out of memory.

    Parameters
    ----------
    memory : int or None
        The memory cap in bytes, if there was one.
    """
    cap = "the machine has" if memory is None else f"the memory cap of {memory:,} bytes"
    return Failure("memory", f"the item needed more memory than {cap}", "MemoryError")


def worker_death(exit_code: int | None, memory: int | None) -> Failure:
    """What an item is charged with whose worker died.

    Parameters
    ----------
    exit_code : int or None
        Negative for a signal; None if it is not known.
    memory : int or None
        The memory cap in bytes, if there was one.
    """
    message = f"the worker died ({cause_of_exit(exit_code)})"
    if memory is not None and exit_code is not None and exit_code != -signal.SIGKILL:
        cap = f"{memory:,} bytes"
        message += f", perhaps of the memory cap of {cap}: some libraries abort when memory is refused"
    return Failure("worker_died", message)


def cause_of_exit(exit_code: int | None) -> str:
    """The end of a process in words."""
    if exit_code is None:
        return "an unknown cause"
    if exit_code < 0 and -exit_code in signal.valid_signals():
        return signal.Signals(-exit_code).name
    return f"exit status {exit_code}"
