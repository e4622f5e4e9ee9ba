"""Where the drivers and workers of the crash campaign are, and how to reach them with a signal."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from voxlake.engine.contract import Engine
from voxlake.engine.dask import DaskEngine
from voxlake.engine.processes import ProcessesEngine
from voxlake.testing.crash_driver import Driver, cluster_children, is_alive, pool_workers
from voxlake.testing.dask_cluster import TestCluster

__all__ = ["DaskSite", "ProcessesSite", "Site"]

_CLUSTER_SECONDS = 180.0


class Site(Protocol):
    """An engine whose processes can be killed.

    Attributes
    ----------
    url : str
        Names the engine to a driver.
    engine : Engine
        The same, opened here.
    targets : tuple of str
        What is killed, in turns.
    """

    url: str
    engine: Engine
    targets: tuple[str, ...]

    def ready(self) -> None:
        """Wait until all workers are there."""

    def alive(self, driver: Driver, target: str) -> list[int]:
        """Processes of a kind that can be killed now."""

    def helpers(self, driver: Driver) -> list[int]:
        """Processes that must leave when their driver is gone."""

    def killed(self, pid: int) -> None:
        """Replace what was killed, where nobody else does."""


class ProcessesSite:
    """The engine ``processes``: workers belong to their driver, which starts others in their place."""

    url = "processes:2"
    targets: tuple[str, ...] = ("driver", "worker")

    def __init__(self) -> None:
        self.engine: Engine = ProcessesEngine(2)

    def ready(self) -> None:
        """Nothing to wait for: workers start with each run."""

    def alive(self, driver: Driver, target: str) -> list[int]:
        """The driver, or its workers."""
        return _living([driver.pid] if target == "driver" else pool_workers(driver.pid))

    def helpers(self, driver: Driver) -> list[int]:
        """Its workers."""
        return pool_workers(driver.pid)

    def killed(self, pid: int) -> None:
        """Nothing to do."""


class DaskSite:
    """The engine ``dask``: two workers that stay, each with a child for a driver that does the work.

    Parameters
    ----------
    cluster : TestCluster
        Without workers; they are started here, and again when they were killed.
    """

    targets: tuple[str, ...] = ("driver", "worker", "driver", "child")

    def __init__(self, cluster: TestCluster) -> None:
        self.url = f"dask://127.0.0.1:{cluster.port}"
        self._cluster = cluster
        self._workers = {self._start() for _ in range(2)}
        self.engine: Engine = DaskEngine(self.url)

    def _start(self) -> int:
        return self._cluster.start_worker("--no-nanny").pid

    def ready(self) -> None:
        """Wait until the scheduler knows both workers."""
        until = time.monotonic() + _CLUSTER_SECONDS
        while self.engine.workers < len(self._workers):
            if time.monotonic() > until:
                raise TimeoutError("a worker of the cluster did not come up")
            time.sleep(0.1)

    def alive(self, driver: Driver, target: str) -> list[int]:
        """The driver, the Dask workers, or their children."""
        if target == "driver":
            return _living([driver.pid])
        if target == "worker":
            return _living(self._workers)
        return _living(child for worker in self._workers for child in cluster_children(worker))

    def helpers(self, driver: Driver) -> list[int]:  # noqa: ARG002 - the workers stay
        """None: workers serve other drivers, and their children leave after a while."""
        return []

    def killed(self, pid: int) -> None:
        """Start another worker in the place of one that was killed."""
        if pid in self._workers:
            self._workers.remove(pid)
            self._workers.add(self._start())


def _living(pids: Iterable[int]) -> list[int]:
    return sorted(pid for pid in pids if is_alive(pid))
