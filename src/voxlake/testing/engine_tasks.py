"""Functions that engine tests map: well-behaved ones, and one for each way to misbehave.

They stand in a module because workers import what they run.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from voxlake.core.errors import ItemError
from voxlake.engine.open import open_engine

__all__ = [
    "PATIENT",
    "AwkwardError",
    "Builder",
    "Guest",
    "announce",
    "misbehave",
    "negate",
    "reverse",
    "work_in",
]

# Stands for patient data: it must never come out in a failure.
PATIENT = "Doe^Jane 1970-01-01"


def negate(item: int) -> int:
    """The smallest piece of work."""
    return -item


def reverse(item: bytes) -> bytes:
    """As much out as in."""
    return item[::-1]


def work_in(seconds: float) -> int:
    """Take a while and say where: the process id of the worker."""
    time.sleep(seconds)
    return os.getpid()


@dataclass
class Builder:
    """A function with state that is costly to build: returns how often it was built in this worker."""

    built: int = field(default=0)

    def __call__(self, _: int) -> tuple[int, int]:
        """Build the state if this is the first item; return the process id and the number of builds."""
        if not self.built:
            self.built += 1
        return os.getpid(), self.built


@dataclass(frozen=True)
class Guest:
    """An item that does something to its worker.

    Parameters
    ----------
    conduct : str
        A name in `_CONDUCT`, or ``"behave"``.
    folder : str
        Where it may leave a trace that outlives the worker.
    """

    conduct: str
    folder: str = ""


class AwkwardError(Exception):
    """Cannot be pickled: it wants two arguments and holds a lock."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second
        self.lock = threading.Lock()


def misbehave(guest: Guest) -> Any:
    """Do what the item says; return ``"fine"`` if that is nothing bad."""
    action = _CONDUCT.get(guest.conduct)
    return "fine" if action is None else action(guest)


def announce(guest: Guest) -> Any:
    """Leave the process id as a file name in the folder, then misbehave."""
    (Path(guest.folder) / str(os.getpid())).touch()
    return misbehave(guest)


def _kill(_: Guest) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _kill_once(guest: Guest) -> str:
    trace = Path(guest.folder) / "killed"
    if trace.exists():
        return "fine"
    trace.touch()
    _kill(guest)


def _hang(_: Guest) -> None:
    time.sleep(3600)


def _spin(_: Guest) -> None:
    until = time.monotonic() + 3600
    while time.monotonic() < until:
        pass


def _grab(_: Guest) -> int:
    return len(bytearray(8 << 30))


def _hoard(_: Guest) -> NoReturn:
    # Small pieces, so that not even the answer finds room.
    pieces: list[object] = []
    while True:
        pieces.append(bytearray(1 << 12))


def _raise(_: Guest) -> NoReturn:
    raise ValueError(PATIENT)


def _refuse(_: Guest) -> NoReturn:
    raise ItemError("truncated", "got 3 bytes, expected 8")


def _leave(_: Guest) -> NoReturn:
    raise SystemExit(PATIENT)


def _raise_awkwardly(_: Guest) -> NoReturn:
    raise AwkwardError(PATIENT, PATIENT)


def _return_lock(_: Guest) -> object:
    return threading.Lock()


def _recurse(_: Guest) -> int:
    with open_engine("processes:1") as engine:
        return len(list(engine.map(negate, [1])))


class _OneWay:
    """Can be pickled, but not unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (int, (PATIENT,))


def _return_one_way(_: Guest) -> object:
    return _OneWay()


_CONDUCT = {
    "kill": _kill,
    "kill once": _kill_once,
    "hang": _hang,
    "spin": _spin,
    "grab": _grab,
    "hoard": _hoard,
    "raise": _raise,
    "refuse": _refuse,
    "leave": _leave,
    "raise awkwardly": _raise_awkwardly,
    "recurse": _recurse,
    "return lock": _return_lock,
    "return one way": _return_one_way,
}
