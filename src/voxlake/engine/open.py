"""From a URL to an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from voxlake.core.errors import SettingsError
from voxlake.core.hints import hint
from voxlake.engine.contract import Engine
from voxlake.engine.processes import ProcessesEngine
from voxlake.engine.serial import SerialEngine

__all__ = ["open_engine", "using_engine"]

_KNOWN = ("serial", "processes", "processes:N")
_CLUSTERS = ("dask", "tls", "tcp", "ray")


def open_engine(url: str | Engine | None = None) -> Engine:
    """Open the engine that a URL names.

    Parameters
    ----------
    url : str or Engine, optional
        ``"serial"``, ``"processes"`` or ``"processes:N"``; an engine is returned as it is; None means
        processes, one for each usable core.

    Returns
    -------
    Engine
        To be closed by the caller.

    Raises
    ------
    SettingsError
        If the URL names no engine of this version.
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
    if name in _CLUSTERS and rest.startswith("//"):
        raise SettingsError(f"engine '{url}': this version has no cluster engines, only serial and processes")
    raise SettingsError(f"engine '{url}' is unknown{hint(url, _KNOWN)}")


@contextmanager
def using_engine(url: str | Engine | None = None) -> Iterator[Engine]:
    """Use an engine for a while: one that was opened here is closed, one that was given stays open.

    Parameters
    ----------
    url : str or Engine, optional
        As for `open_engine`.
    """
    engine = open_engine(url)
    if engine is url:
        yield engine
        return
    with engine:
        yield engine
