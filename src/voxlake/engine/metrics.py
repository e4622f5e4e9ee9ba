"""How a run goes, for Prometheus: a text file that the textfile collector of node_exporter picks up."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from voxlake.core.errors import UsageError
from voxlake.core.run import OUTCOMES

__all__ = ["RunFacts", "metrics_file"]

_SECONDS_BETWEEN_WRITES = 5.0
_RATE_SECONDS = 60.0
_SUCCESS = "voxlake_run_last_success_timestamp_seconds"
_FIRST_WORDS = "# HELP voxlake_"


@dataclass
class RunFacts:
    """What is known of a run while it goes; whoever does the work keeps it up to date.

    Parameters
    ----------
    verb : str
        ``"ingest"``, ``"prepare"``, ...
    counts : mapping of str to int
        ``seen`` and the outcomes of `voxlake.core.run.OUTCOMES`; the live counts, not a copy.
    run_id : str
        Identifier of the run.
    lake : str
        Identifier of the lake; empty where there is none.
    workers : int
        How many items are worked on at the same time.
    bytes : int
        Size of the items that came back, as far as their source tells it.
    """

    verb: str
    counts: Mapping[str, int]
    run_id: str
    lake: str = ""
    workers: int = 0
    bytes: int = field(default=0)


@contextmanager
def metrics_file(
    path: str | Path | None, facts: RunFacts, *, every: float = _SECONDS_BETWEEN_WRITES
) -> Iterator[None]:
    """Write the facts of a run to a file every few seconds, and once more when the run has ended.

    Each time a new file takes the place of the old one, so that a reader never meets half of it. The time of
    the last run that succeeded is taken over from the file that was there. A file that cannot be written
    later on does not stop the run; that its age grows is what tells.

    Parameters
    ----------
    path : str, Path or None
        The file; with None nothing is written.
    facts : RunFacts
        Read whenever the file is written.
    every : float
        Seconds between two writes.

    Raises
    ------
    UsageError
        If the file cannot be written at the start, or is there and was not written by voxlake.
    """
    if path is None:
        yield
        return
    writer = _Writer(Path(path), facts)
    writer.first()
    over = threading.Event()
    clerk = threading.Thread(target=writer.keep_writing, args=(over, every), daemon=True)
    clerk.start()
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        over.set()
        clerk.join()
        writer.last(succeeded=succeeded)


class _Writer:
    """Knows the file, the clock and what was done when."""

    def __init__(self, path: Path, facts: RunFacts) -> None:
        self._path = path
        self._facts = facts
        self._labels = {"lake": facts.lake, "verb": facts.verb}
        self._started_at = time.time()
        self._clock = time.monotonic()
        self._samples: deque[tuple[float, int]] = deque([(self._clock, 0)])
        self._success: float | None = None
        self._active, self._failed = 1, 0

    def first(self) -> None:
        """Write the file for the first time: what stands in the way is said now."""
        try:
            before = self._path.read_text("utf-8", "replace") if self._path.exists() else ""
            if before and not before.startswith(_FIRST_WORDS):
                raise UsageError(
                    f"metrics file '{self._path}' is there and was not written by voxlake; name another one"
                )
            self._success = self._success_in(before)
            self._write()
        except OSError as error:
            raise UsageError(
                f"metrics file '{self._path}' cannot be written ({error.strerror}); "
                "its folder must exist and be yours to write to"
            ) from None

    def keep_writing(self, over: threading.Event, every: float) -> None:
        """Write until the run is over."""
        while not over.wait(every):
            with suppress(OSError):
                self._write()

    def last(self, *, succeeded: bool) -> None:
        """Write how it ended."""
        self._active, self._failed = 0, 0 if succeeded else 1
        if succeeded:
            self._success = time.time()
        with suppress(OSError):
            self._write()

    def _write(self) -> None:
        # A dot in front and another ending: no collector takes it for a file of its own.
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            draft.write_text(self._text(), "utf-8")
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)

    def _text(self) -> str:
        facts, counts = self._facts, dict(self._facts.counts)
        outcomes = {name: counts.get(name, 0) for name in OUTCOMES}
        done = sum(outcomes.values())
        now = time.monotonic()
        info = {"run_id": facts.run_id, "version": version("voxlake")}
        lines = [
            *self._metric(
                "voxlake_items_seen_total", "Items that the run has come across.", counts.get("seen", 0)
            ),
            *_head("voxlake_items_total", "Items that the run is done with, by what became of them."),
            *(
                self._sample("voxlake_items_total", count, {"outcome": name})
                for name, count in outcomes.items()
            ),
            *self._metric("voxlake_bytes_total", "Size of the items that were worked on.", facts.bytes),
            *self._metric("voxlake_run_seconds_total", "Time since the run began.", now - self._clock),
            *self._metric("voxlake_workers", "Items worked on at the same time.", facts.workers),
            *self._metric("voxlake_items_per_second", "Rate over the last minute.", self._rate(now, done)),
            *self._metric("voxlake_run_active", "1 while the run goes on.", self._active),
            *self._metric("voxlake_run_failed", "1 if the run ended with an error.", self._failed),
            *self._metric(
                "voxlake_run_start_timestamp_seconds", "When the run began (Unix time).", self._started_at
            ),
            *(
                []
                if self._success is None
                else self._metric(_SUCCESS, "When a run last succeeded (Unix time).", self._success)
            ),
            *_head("voxlake_run_info", "Identifier of the run and version of voxlake."),
            self._sample("voxlake_run_info", 1, info),
        ]
        return "\n".join(lines) + "\n"

    def _rate(self, now: float, done: int) -> float:
        samples = self._samples
        samples.append((now, done))
        while len(samples) > 2 and now - samples[1][0] >= _RATE_SECONDS:
            samples.popleft()
        since, before = samples[0]
        return (done - before) / (now - since) if now > since else 0.0

    def _metric(self, name: str, about: str, value: float) -> Iterator[str]:
        yield from _head(name, about)
        yield self._sample(name, value)

    def _sample(self, name: str, value: float, more: Mapping[str, str] | None = None) -> str:
        labels = ",".join(
            f'{key}="{_escaped(text)}"' for key, text in {**self._labels, **(more or {})}.items()
        )
        return f"{name}{{{labels}}} {value:.15g}"

    def _success_in(self, before: str) -> float | None:
        begin = re.escape(self._sample(_SUCCESS, 0).rpartition(" ")[0])
        found = re.search(rf"(?m)^{begin} ([0-9.e+]+)$", before)
        return float(found[1]) if found else None


def _head(name: str, about: str) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
