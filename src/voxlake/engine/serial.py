"""The engine that does everything in this process: for debugging and trusted input."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Self, TypeVar

from voxlake.core.errors import EngineError
from voxlake.engine.attempt import attempt
from voxlake.engine.contract import Outcome, check_limits

__all__ = ["SerialEngine"]

Item = TypeVar("Item")
Value = TypeVar("Value")


class SerialEngine:
    """Works on one item after the other, here and now.

    A process cannot limit itself without dying, so `timeout` and `memory` are accepted and not enforced, and
    an item that kills its process kills this one: only for input that is trusted. Nothing is pickled.
    """

    url = "serial"
    workers = 1

    def __init__(self) -> None:
        self._closed = False

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
        """Apply the function to each item; see `voxlake.engine.contract.Engine.map`."""
        check_limits(batch, timeout, memory, retries)
        self._check_open()
        return self._outcomes(function, items)

    def _outcomes(
        self, function: Callable[[Item], Value], items: Iterable[Item]
    ) -> Generator[Outcome[Item, Value], None, None]:
        for index, item in enumerate(items):
            self._check_open()
            started = time.perf_counter()
            value, failure = attempt(function, item)
            yield Outcome(index, item, value, failure, 1, time.perf_counter() - started)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the engine is closed; open another one")

    def close(self) -> None:
        """Refuse further maps."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
