"""What every engine promises: an item fails, a run does not.

An engine maps a function over items. It knows nothing of images, and the function knows nothing of the
engine. The promises below are tested for every engine by `voxlake.testing.engines.EngineContract`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

from voxlake.core.errors import UsageError

__all__ = ["Engine", "Failure", "Outcome", "check_limits"]

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has no value.

    Parameters
    ----------
    reason : str
        ``"error"``, ``"timeout"``, ``"memory"``, ``"worker_died"``, or the reason code of an `ItemError`.
    message : str
        What happened. Never the text of a foreign exception, which may quote patient data.
    error_type : str or None
        Qualified name of the exception, if there was one.
    """

    reason: str
    message: str
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Value]):
    """What became of one item.

    Parameters
    ----------
    index : int
        Position of the item in what was mapped, from 0.
    item : object
        The item itself, not a copy that travelled.
    value : object or None
        What the function returned; None if it failed.
    failure : Failure or None
        Why it failed; None if it did not.
    attempts : int
        How often it was started.
    seconds : float
        Duration of the last attempt.
    """

    index: int
    item: Item
    value: Value | None
    failure: Failure | None
    attempts: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.failure is None


@runtime_checkable
class Engine(Protocol):
    """Spreads a function over items.

    An engine runs one map at a time, may be used for many, and is closed after use (``with``).
    """

    @property
    def url(self) -> str:
        """The name under which `voxlake.engine.open.open_engine` gives an engine like this one."""
        ...

    @property
    def workers(self) -> int:
        """How many items are worked on at the same time."""
        ...

    def map(
        self,
        function: Callable[[Item], Value],
        items: Iterable[Item],
        *,
        batch: int = 1,
        timeout: float | None = None,
        memory: int | None = None,
        retries: int = 1,
    ) -> Generator[Outcome[Item, Value], None, None]:
        """Apply the function to each item and yield one outcome per item, in order of completion.

        Items are pulled as workers become free, at most a few batches ahead, so that a generator of a
        million items stays a generator. Closing the returned generator early abandons what is in flight.

        Parameters
        ----------
        function : callable
            Takes one item. Picklable; sent to each worker once per map, so it may keep lazily built state
            on itself.
        items : iterable
            What to work on, picklable. An exception of the iterable itself ends the map.
        batch : int
            How many items travel together. Raise it for small items; results still come one by one.
        timeout : float, optional
            Seconds per item, counted while the outcomes are consumed. An item that takes longer is tried
            once more, then fails with reason ``"timeout"``.
        memory : int, optional
            Bytes that a worker may use beyond what it holds once the function is loaded. An item that
            needs more is tried once more in a fresh worker, then fails with reason ``"memory"``.
        retries : int
            How often an item is tried again whose worker died, hung or ran out of memory. 0 suits callers
            that take a failed item apart and try its parts.

        Raises
        ------
        UsageError
            If a limit is not positive.
        EngineError
            If the engine is closed or busy, cannot send the function, or cannot start workers.
        """
        ...

    def close(self) -> None:
        """Release all workers; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_limits(batch: int, timeout: float | None, memory: int | None, retries: int) -> None:
    """Refuse limits that make no sense.

    Raises
    ------
    UsageError
        If a limit is not positive, or the number of retries is negative.
    """
    if retries < 0:
        raise UsageError(f"retries must be 0 or more, got {retries}")
    for name, value in (("batch", batch), ("timeout", timeout), ("memory", memory)):
        if value is not None and not value > 0:
            raise UsageError(f"{name} must be positive, got {value}; leave it out for no limit")
