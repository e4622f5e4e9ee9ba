"""Keep ingesting folders: look again and again, and take in what has come and is complete.

Folders are polled, which works on every file system, network shares included. A file is taken when its size
and time did not change from one look to the next; one that is still being copied waits. Each pass with
something to do is a run of its own, committed like any other, so nothing depends on this loop: whatever it
did not see before it ended, the next ingest brings in.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from voxlake.core.errors import UsageError
from voxlake.core.run import Run
from voxlake.sources.folder import Folder
from voxlake.sources.item import Source
from voxlake.sources.open import open_source

__all__ = ["keep_ingesting"]


class _Gate:
    """Knows what was taken, what waits, and what may come in now.

    Of each file in the folders it remembers two numbers, about 150 bytes; what left the folders is forgotten.
    """

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}
        self._waiting: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._ready: dict[int, int] = {}
        self._entered: dict[int, int] = {}

    def look(self, folders: Sequence[Folder]) -> bool:
        """Walk the folders without opening a file; whether anything is ready to be taken in."""
        self._seen = {}
        for folder in folders:
            for _ in replace(folder, gate=self._note):
                continue
        self._taken = {key: mark for key, mark in self._taken.items() if key in self._seen}
        fresh = {key: mark for key, mark in self._seen.items() if self._taken.get(key) != mark}
        self._ready = {key: mark for key, mark in fresh.items() if self._waiting.get(key) == mark}
        self._waiting = fresh
        self._entered = {}
        return bool(self._ready)

    def lets_in(self, path: str, status: os.stat_result | None) -> bool:
        """Whether a file is ready and still as it was at the last look."""
        key, mark = _signature(path, status)
        if self._ready.get(key) != mark:
            return False
        self._entered[key] = mark
        return True

    def done(self) -> None:
        """Remember what came in during a pass."""
        self._taken |= self._entered

    def _note(self, path: str, status: os.stat_result | None) -> bool:
        key, mark = _signature(path, status)
        self._seen[key] = mark
        return False


def keep_ingesting(
    ingest_pass: Callable[[Sequence[Source]], Run],
    sources: Sequence[str | Path | Source],
    *,
    every: float,
    each_run: Callable[[Run], object] | None = None,
) -> Run:
    """Ingest folders until Ctrl-C.

    Parameters
    ----------
    ingest_pass : callable
        Ingests the sources that it is given.
    sources : sequence
        Folders.
    every : float
        Seconds between two looks, and how long a file must have rested.
    each_run : callable, optional
        Told of every pass that ended.

    Returns
    -------
    Run
        The sum of all passes; it is not written to the lake, each pass is.

    Raises
    ------
    UsageError
        A source that is no folder, or a time that is not above 0.
    """
    if not every > 0:
        raise UsageError(f"watching looks every so many seconds, more than 0; got {every:g}")
    folders = [_folder(source) for source in sources]
    gate, total = _Gate(), _Total(every)
    try:
        while True:
            if gate.look(folders):
                run = ingest_pass([replace(folder, gate=gate.lets_in) for folder in folders])
                gate.done()
                total.add(run)
                if each_run is not None:
                    each_run(run)
            time.sleep(every)
    except KeyboardInterrupt:
        # The way to end it. A pass that was cut short has a row of its own that says so.
        return total.run()


class _Total:
    """Adds up runs."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._counts: Counter[str] = Counter(seen=0)
        self._reasons: Counter[str] = Counter()
        self._passes = 0
        self._last = "none"

    def add(self, run: Run) -> None:
        self._counts.update(run.counts)
        self._reasons.update(run.reasons)
        self._passes += 1
        self._last = run.run_id

    def run(self) -> Run:
        return Run(
            run_id=self._last,
            verb="ingest",
            arguments={"watch": True, "every": self._every},
            outcome="done",
            counts=dict(self._counts),
            reasons=dict(self._reasons.most_common()),
            result={"passes": self._passes},
            seconds=round(time.monotonic() - self._clock, 3),
            started_at=self._started.isoformat(timespec="milliseconds"),
            code_version=version("voxlake"),
        )


def _folder(source: str | Path | Source) -> Folder:
    opened = open_source(source)
    if not isinstance(opened, Folder):
        raise UsageError("only folders can be watched; ingest other sources without it")
    return opened


def _signature(path: str, status: os.stat_result | None) -> tuple[int, int]:
    """Two numbers: one for the path, one for size and time; what cannot be looked at has no time."""
    if status is not None and stat.S_ISLNK(status.st_mode):
        try:
            status = Path(path).stat()
        except OSError:
            status = None
    return hash(path), 0 if status is None else hash((status.st_size, status.st_mtime_ns))
