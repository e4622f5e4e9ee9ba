"""The number of workers, given beside the name of an engine."""

from __future__ import annotations

from voxlake.core.errors import UsageError
from voxlake.engine.contract import Engine

__all__ = ["engine_with_workers"]


def engine_with_workers(engine: str | Engine | None, workers: int | None) -> str | Engine | None:
    """The engine that has so many workers.

    Parameters
    ----------
    engine : str or Engine, optional
        As for `voxlake.engine.open.open_engine`.
    workers : int, optional
        How many processes the default engine is to have; None leaves the engine as it is.

    Returns
    -------
    str, Engine or None
        What to open: ``"processes:N"`` where no engine, or `processes` without a number, is named.

    Raises
    ------
    UsageError
        If there is to be less than one worker, or the engine has another number of them.
    """
    if workers is None:
        return engine
    if workers < 1:
        raise UsageError(f"an engine needs at least 1 worker, got {workers}")
    wanted = f"processes:{workers}"
    if engine is None or engine in ("processes", wanted):
        return wanted
    has = 1 if engine == "serial" else None if isinstance(engine, str) else engine.workers
    if has == workers:
        return engine
    name = engine if isinstance(engine, str) else engine.url
    raise UsageError(
        f"workers {workers} is for the engine 'processes', and engine '{name}' has a number of its own; "
        "leave one of the two out"
    )
