"""The run harness: rows in micro-batches, an outcome for every item, a balance at the end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from voxlake.core.run import OUTCOMES, Run, check_balance
from voxlake.engine.metrics import RunFacts, metrics_file
from voxlake.lake.lake import Lake
from voxlake.store.schema import TABLES

__all__ = ["Recorder", "start_run"]

# A killed run loses at most what it did since the last commit; the next run redoes it.
_SECONDS_BETWEEN_COMMITS = 5.0
_ROWS_PER_COMMIT = 20_000


class Recorder:
    """Collects what a run does; made by `start_run`.

    Rows are committed table by table in the order in which tables were first used, `instances` after what
    is said of them, the table of outcomes last: an item is only said to be done when its rows are there.
    """

    def __init__(self, lake: Lake, verb: str, arguments: Mapping[str, Any]) -> None:
        self.lake = lake
        self.verb = verb
        self.arguments = dict(arguments)
        self.started = datetime.now(UTC)
        self.run_id = f"{self.started:%Y%m%dT%H%M%S%f}-{uuid4().hex[:6]}"
        self.counts: Counter[str] = Counter(seen=0)
        self.facts = RunFacts(verb, self.counts, self.run_id, lake.settings.lake_id)
        self.reasons: Counter[str] = Counter()
        self.result: dict[str, Any] = {}
        self.input_digest: str | None = None
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._outcomes: list[dict[str, Any]] = []
        self._number = 0
        self._clock = time.monotonic()
        self._committed = time.monotonic()
        self._finished: Run | None = None

    @property
    def run(self) -> Run:
        """The finished run."""
        if self._finished is None:
            raise RuntimeError("the run is not finished: read it after the with block")
        return self._finished

    @property
    def settled(self) -> int:
        """How many items have their outcome."""
        return sum(self.counts[name] for name in OUTCOMES)

    def saw(self, count: int = 1) -> None:
        """Count items as they come in, before anything can happen to them."""
        self.counts["seen"] += count

    def add(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows to a table; they are committed with the next micro-batch."""
        kept = self._rows.setdefault(table, [])
        kept.extend({**row, "run_id": self.run_id} for row in rows)

    def add_missing(self, table: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add those rows about a `subject` whose key is neither committed nor waiting; returns how many."""
        if not rows:
            return 0
        key = TABLES[table].key
        subjects = sorted({row["subject"] for row in rows})
        known = set(
            self.lake.sql(
                f"select {', '.join(key)} from {table} where subject in (select unnest($subjects))",
                {"subjects": subjects},
            ).rows()
        )
        known.update(tuple(row.get(name) for name in key) for row in self._rows.get(table, ()))
        missing = {tuple(row.get(name) for name in key): row for row in rows}
        new = [row for name, row in missing.items() if name not in known]
        self.add(table, new)
        return len(new)

    def outcome(
        self,
        item: str,
        outcome: str,
        *,
        reason: str | None = None,
        detail: str | None = None,
        attempts: int = 1,
        seconds: float = 0.0,
    ) -> None:
        """Say what became of an item: one of `voxlake.core.run.OUTCOMES`."""
        self.counts[outcome] += 1
        self._number += 1
        if reason is not None:
            self.reasons[reason] += 1
        self._outcomes.append(
            {
                "run_id": self.run_id,
                "number": self._number,
                "item": item,
                "outcome": outcome,
                "reason": reason,
                "detail": detail,
                "attempts": attempts,
                "seconds": seconds,
            }
        )

    def commit_if_due(self) -> bool:
        """Commit when enough time has gone by or enough rows are waiting."""
        waiting = len(self._outcomes) + sum(map(len, self._rows.values()))
        due = time.monotonic() - self._committed > _SECONDS_BETWEEN_COMMITS
        if waiting and (due or waiting >= _ROWS_PER_COMMIT):
            self.commit()
            return True
        return False

    def commit(self) -> None:
        """Commit all waiting rows."""
        # Of an instance that is there already the next run says nothing any more; what was said of one that
        # is not there yet is said again, and kept once.
        for table, rows in sorted(self._rows.items(), key=lambda one: one[0] == "instances"):
            if rows:
                self.lake.tables.append(table, rows)
                rows.clear()
        if self._outcomes:
            self.lake.tables.append("items", self._outcomes)
            self._outcomes.clear()
        self._committed = time.monotonic()

    def finish(self, error: BaseException | None) -> None:
        """Commit what is left, write the row of the run and check the balance."""
        self.commit()
        self._finished = Run(
            run_id=self.run_id,
            verb=self.verb,
            arguments=self.arguments,
            outcome="done" if error is None else "failed",
            counts=dict(self.counts),
            reasons=dict(self.reasons.most_common()),
            result=self.result,
            seconds=round(time.monotonic() - self._clock, 3),
            started_at=self.started.isoformat(timespec="milliseconds"),
            code_version=version("voxlake"),
            input_digest=self.input_digest,
            error=None if error is None else type(error).__name__,
        )
        self.lake.tables.append("runs", [self._row(self._finished)])
        if error is None:
            check_balance(self.counts)

    def _row(self, run: Run) -> dict[str, Any]:
        row = run.to_dict()
        for name in ("arguments", "counts", "reasons", "result"):
            row[name] = json.dumps(row[name], sort_keys=True)
        row["started_at"] = self.started
        return row


@contextmanager
def start_run(
    lake: Lake, verb: str, arguments: Mapping[str, Any], *, metrics: str | Path | None = None
) -> Iterator[Recorder]:
    """Record one execution of a verb.

    Whatever happens inside, the rows that are complete are committed and the run gets its row; an
    exception, Ctrl-C included, makes its outcome ``failed`` and goes on upwards.

    Parameters
    ----------
    metrics : str or Path, optional
        File that says how the run goes, for Prometheus; see `voxlake.engine.metrics.metrics_file`.

    Raises
    ------
    BalanceError
        An item that was seen has no outcome, or more than one.
    UsageError
        The metrics file cannot be written.
    """
    recorder = Recorder(lake, verb, arguments)
    with metrics_file(metrics, recorder.facts):
        try:
            yield recorder
        except BaseException as error:
            recorder.finish(error)
            raise
        recorder.finish(None)
