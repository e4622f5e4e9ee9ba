"""From a URL to an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from voxlake.core.errors import SettingsError
from voxlake.core.hints import hint
from voxlake.engine.contract import Engine
from voxlake.engine.dask import DaskEngine
from voxlake.engine.processes import ProcessesEngine
from voxlake.engine.ray import RayEngine
from voxlake.engine.serial import SerialEngine
from voxlake.engine.workers import engine_with_workers

__all__ = ["open_engine", "using_engine"]

_KNOWN = (
    "serial",
    "processes",
    "processes:N",
    "dask://host:port",
    "tls://host:port",
    "ray://host:port",
    "ray://local",
)
_DASK = ("dask", "tls", "tcp")


def open_engine(url: str | Engine | None = None) -> Engine:
    """Open the engine that a URL names.

    Parameters
    ----------
    url : str or Engine, optional
        ``"serial"``, ``"processes"``, ``"processes:N"``, or the scheduler of a Dask cluster as
        ``"dask://host:port"`` or ``"tls://host:port"``, or a Ray cluster as ``"ray://host:port"``
        (``"ray://local"`` starts one here); an engine is returned as it is; None means processes, one for
        each usable core.

    Returns
    -------
    Engine
        To be closed by the caller.

    Raises
    ------
    SettingsError
        If the URL names no engine of this version.
    EngineError
        If a cluster cannot be used; see `voxlake.engine.dask.DaskEngine` and `voxlake.engine.ray.RayEngine`.
    """
    if url is None:
        return ProcessesEngine()
    if not isinstance(url, str):
        return url
    name, colon, rest = url.partition(":")
    if url == "serial":
        return SerialEngine()
    if name == "processes" and (not colon or (rest.isascii() and rest.isdigit() and int(rest) > 0)):
        return ProcessesEngine(int(rest) if colon else None)
    if name == "processes":
        raise SettingsError(f"engine '{url}': expected a number of processes from 1, as in 'processes:4'")
    if name in _DASK and rest.startswith("//"):
        return DaskEngine(url)
    if name == "ray" and rest.startswith("//"):
        return RayEngine(url)
    raise SettingsError(f"engine '{url}' is unknown{hint(url, _KNOWN)}")


@contextmanager
def using_engine(url: str | Engine | None = None, workers: int | None = None) -> Iterator[Engine]:
    """Use an engine for a while: one that was opened here is closed, one that was given stays open.

    Parameters
    ----------
    url : str or Engine, optional
        As for `open_engine`.
    workers : int, optional
        How many workers the default engine is to have; see `voxlake.engine.workers.engine_with_workers`.
    """
    engine = open_engine(engine_with_workers(url, workers))
    if engine is url:
        yield engine
        return
    with engine:
        yield engine
