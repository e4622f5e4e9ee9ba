"""The engine that spreads work over processes of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from voxlake.core.errors import EngineError, UsageError
from voxlake.engine.contract import Outcome, check_limits
from voxlake.engine.ledger import pickle_function
from voxlake.engine.limits import can_cap_memory
from voxlake.engine.mapping import Limits, Mapping
from voxlake.engine.pool import Pool
from voxlake.engine.threads import usable_cores

__all__ = ["ProcessesEngine"]

Item = TypeVar("Item")
Value = TypeVar("Value")


class ProcessesEngine:
    """Works in a pool of processes that may die, hang or run out of memory without harm to the run.

    Workers start with the first map, are kept for later ones, ignore Ctrl-C and leave when the driver is
    gone. They do not import the main module unless the function or an item comes from it, so that scripts
    without ``if __name__ == "__main__"`` work. A worker cannot have workers of its own. Libraries that work
    in several threads use in each worker its share of the cores; see `voxlake.engine.threads`.

    Parameters
    ----------
    workers : int, optional
        How many; as many as there are usable cores if left out.

    Raises
    ------
    UsageError
        If there is to be less than one.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = usable_cores() if workers is None else workers
        if self.workers < 1:
            raise UsageError(f"an engine needs at least 1 worker, got {self.workers}")
        self.url = f"processes:{self.workers}"
        self._pool = Pool(self.workers)
        self._mapping = False

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
        """Apply the function to each item; see `voxlake.engine.contract.Engine.map`.

        The memory cap is RLIMIT_DATA and needs Linux. Time limits are looked at while outcomes are consumed.
        """
        check_limits(batch, timeout, memory, retries)
        self._check_free()
        if memory is not None and not can_cap_memory():
            raise EngineError("this system cannot cap the memory of a worker; leave the memory limit out")
        if multiprocessing.current_process().daemon:
            raise EngineError(
                "a worker cannot start workers; if the function is in the script that is run, call the "
                "engine under if __name__ == '__main__' or move the function to a module"
            )
        payload = pickle_function(function)
        return self._outcomes(function, payload, items, Limits(batch, timeout, memory, retries))

    def _outcomes(
        self, function: Callable[[Item], Value], payload: bytes, items: Iterable[Item], limits: Limits
    ) -> Generator[Outcome[Item, Value], None, None]:
        self._check_free()
        self._mapping = True
        try:
            self._pool.preload(_modules_of(function))
            yield from Mapping(self._pool, payload, items, limits).outcomes()
        finally:
            self._mapping = False

    def _check_free(self) -> None:
        if self._pool.closed:
            raise EngineError("the engine is closed; open another one")
        if self._mapping:
            raise EngineError("the engine runs one map at a time; finish or close that map, or open another")

    def close(self) -> None:
        """Let idle workers leave and kill the others."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _modules_of(function: Callable[[Any], Any]) -> list[str]:
    """Modules that the fork server should import once, so that no worker has to.

    Only our own: they start no threads and open nothing at import, which would not survive the fork.
    """
    while isinstance(function, partial):
        function = function.func
    module = getattr(function, "__module__", None) or type(function).__module__
    return [module] if module.startswith(f"{__name__.partition('.')[0]}.") else []
