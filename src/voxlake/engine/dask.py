"""The engine that spreads work over a Dask cluster."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from voxlake.core.errors import EngineError, SettingsError
from voxlake.engine.child import Order
from voxlake.engine.contract import Outcome, check_limits
from voxlake.engine.ledger import pickle_function

if TYPE_CHECKING:
    from voxlake.engine.dask_cluster import DaskCluster

__all__ = ["DaskEngine"]

Item = TypeVar("Item")
Value = TypeVar("Value")

_SCHEMES = {"dask": "tcp", "tcp": "tcp", "tls": "tls"}


class DaskEngine:
    """Works in child processes of the workers of a Dask cluster, one for each of their threads.

    The cluster is there before and stays after. Scheduler and workers need voxlake in the version of the
    driver. A Dask worker that is lost costs each item it had an attempt. Certificates for ``tls://`` come
    from Dask's own configuration, `distributed.comm.tls`.

    Parameters
    ----------
    url : str
        ``dask://host:port`` (``tcp://`` is the same) or ``tls://host:port``, of the scheduler.

    Raises
    ------
    SettingsError
        If the URL has no host or no port.
    EngineError
        If `distributed` is not installed, the scheduler cannot be reached, the cluster has no workers, or
        runs other versions.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        address = _address(url)
        try:
            # Takes half a second to import, and most never need it.
            from voxlake.engine.dask_cluster import DaskCluster
        except ModuleNotFoundError as error:
            raise EngineError(
                f"engine '{url}' needs the module {error.name}: pip install 'voxlake[dask]'"
            ) from None
        self._driver = uuid.uuid4().hex
        self._cluster: DaskCluster | None = DaskCluster(address)
        self._workers = sum(self._cluster.threads().values())
        self._mapping = False

    @property
    def workers(self) -> int:
        """How many threads the workers of the cluster have now, but at least 1."""
        if self._cluster is not None:
            self._workers = sum(self._cluster.threads().values())
        return max(1, self._workers)

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

        Time limits are kept by the workers, whether outcomes are consumed or not. Memory caps need workers
        on Linux.
        """
        check_limits(batch, timeout, memory, retries)
        self._free_cluster()
        order = Order.here(self._driver, uuid.uuid4().hex[:12], timeout, memory)
        return self._outcomes(order, pickle_function(function), items, batch, retries)

    def _outcomes(
        self, order: Order, function: bytes, items: Iterable[Item], batch: int, retries: int
    ) -> Generator[Outcome[Item, Value], None, None]:
        # Imports distributed, as above.
        from voxlake.engine.dask_mapping import DaskMapping

        cluster = self._free_cluster()
        self._mapping = True
        try:
            yield from DaskMapping(cluster, order, function, items, batch=batch, retries=retries).outcomes()
        finally:
            self._mapping = False

    def _free_cluster(self) -> DaskCluster:
        if self._cluster is None:
            raise EngineError("the engine is closed; open another one")
        if self._mapping:
            raise EngineError("the engine runs one map at a time; finish or close that map, or open another")
        return self._cluster

    def close(self) -> None:
        """Let the children at the workers go and hang up; the cluster itself stays."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.dismiss(self._driver)
            cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _address(url: str) -> str:
    scheme, _, place = url.partition("://")
    host, _, port = place.rstrip("/").rpartition(":")
    if scheme not in _SCHEMES or not host or not (port.isascii() and port.isdigit()):
        raise SettingsError(
            f"engine '{url}': expected the scheduler's host and port, as in 'dask://host:8786'"
        )
    return f"{_SCHEMES[scheme]}://{host}:{port}"
