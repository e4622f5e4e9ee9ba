"""The engine that spreads work over a Ray cluster."""

from __future__ import annotations

import os
import re
import socket
import sys
import uuid
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar

from voxlake.core.errors import EngineError, SettingsError
from voxlake.engine.contract import Outcome, check_limits
from voxlake.engine.ledger import Ledger, pickle_function
from voxlake.engine.ray_mapping import Crew, RayMapping
from voxlake.engine.threads import usable_cores

__all__ = ["RayEngine"]

Item = TypeVar("Item")
Value = TypeVar("Value")

_LOCAL = "local"
# Ray replaces 127.0.0.1 by an address that others can reach, where there may be others: on Linux.
_LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
_REACH_SECONDS = 10.0
_NO_USAGE_STATISTICS = "RAY_USAGE_STATS_ENABLED"
_URL = re.compile(r"ray://(?P<place>local|[^/?#@\s]+:\d+)/?(?:\?workers=(?P<workers>[1-9]\d*))?")


class RayEngine:
    """Works in the actors of a Ray cluster: one for each worker, each with one CPU and child processes.

    An actor runs no item itself, so that an item that dies, hangs or runs out of memory costs a child; an
    actor or a machine that is lost costs the items it was at an attempt. Nothing but the function and the
    items travels: workers open lakes themselves and read keys and credentials where they run.

    Parameters
    ----------
    url : str
        ``"ray://host:10001"`` is the client port of a cluster; ``"ray://local"`` starts Ray on this machine
        for as long as the engine is open. Both take ``?workers=N``; otherwise there are as many workers as
        the cluster has CPUs when the engine is opened. Where this process is connected to Ray already, that
        connection is used and left as it is.

    Raises
    ------
    SettingsError
        If the URL is another one.
    EngineError
        If Ray is not installed, or the cluster cannot be reached or runs other versions.
    """

    def __init__(self, url: str = "ray://local") -> None:
        match = _URL.fullmatch(url)
        if match is None:
            raise SettingsError(
                f"engine '{url}': expected ray://host:10001 or ray://local, and perhaps ?workers=8 behind it"
            )
        asked = int(match["workers"]) if match["workers"] else None
        self._ray = _load_ray(url)
        self._ours = not self._ray.is_initialized()
        if self._ours:
            _connect(self._ray, match["place"], asked)
        self.workers = asked or max(1, int(self._ray.cluster_resources().get("CPU", 0)))
        self.url = f"ray://{match['place']}?workers={self.workers}"
        self._crew: Crew | None = Crew(self._ray, self.workers)
        self._driver = uuid.uuid4().hex
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

        The memory cap needs Linux on the machines of the cluster and is left out on others.
        """
        check_limits(batch, timeout, memory, retries)
        self._free_crew()
        payload = pickle_function(function)
        return self._outcomes(payload, Ledger(items, retries), batch, timeout, memory)

    def _outcomes(
        self, function: bytes, ledger: Ledger, batch: int, timeout: float | None, memory: int | None
    ) -> Generator[Outcome[Item, Value], None, None]:
        crew = self._free_crew()
        self._mapping = True
        try:
            mapping = RayMapping(
                self._ray, crew, self._driver, function, ledger, batch=batch, timeout=timeout, memory=memory
            )
            yield from mapping.outcomes()
        finally:
            self._mapping = False

    def _free_crew(self) -> Crew:
        if self._crew is None:
            raise EngineError("the engine is closed; open another one")
        if self._mapping:
            raise EngineError("the engine runs one map at a time; finish or close that map, or open another")
        return self._crew

    def close(self) -> None:
        """Kill the workers, and leave the cluster if it was joined here."""
        crew, self._crew = self._crew, None
        if crew is None:
            return
        crew.close()
        if self._ours:
            self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _load_ray(url: str) -> ModuleType:
    # A second of imports, and an extra that few have: only for those who name it.
    try:
        return import_module("ray")
    except ModuleNotFoundError as error:
        raise EngineError(
            f"engine '{url}' needs the module {error.name}: pip install 'voxlake[ray]'"
        ) from None


def _connect(ray: ModuleType, place: str, workers: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        with warnings.catch_warnings():
            # What Ray warns of is what Ray is to become; what is wrong here and now, it raises.
            warnings.simplefilter("ignore")
            _init(ray, place, workers, quiet)
    except Exception as error:  # noqa: BLE001 - Ray raises bare exceptions, also where a start took too long
        raise EngineError(
            f"the Ray cluster at {place} cannot be reached or started ({type(error).__name__}); check the "
            "address, and that both ends have the same versions of Python and Ray"
        ) from None


def _init(ray: ModuleType, place: str, workers: int | None, quiet: Mapping[str, Any]) -> None:
    if place == _LOCAL:
        with _usage_statistics_off():
            # Ray asks nobody for a password: nobody but this machine may reach it.
            ray.init(
                address=_LOCAL,
                num_cpus=workers or usable_cores(),
                include_dashboard=False,
                _node_ip_address=_LOOPBACK,
                **quiet,
            )
        return
    host, _, port = place.rpartition(":")
    # Ray itself would try for a minute.
    with socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS):
        pass
    ray.init(address=f"ray://{place}", **quiet)


@contextmanager
def _usage_statistics_off() -> Iterator[None]:
    """Ray reports its usage over the network unless this variable is set when its processes start."""
    before = os.environ.get(_NO_USAGE_STATISTICS)
    os.environ[_NO_USAGE_STATISTICS] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NO_USAGE_STATISTICS]
        else:
            os.environ[_NO_USAGE_STATISTICS] = before
