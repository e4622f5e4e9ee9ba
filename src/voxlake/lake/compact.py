"""The verb compact: fewer and larger files and packs, and nothing that nobody names."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.limits import can_cap_memory
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.lake.compact_packs import MergePacks, PackPlan, plan_packs
from voxlake.lake.lake import Lake
from voxlake.lake.orphans import find_orphans, leftovers
from voxlake.lake.recorder import Recorder, start_run
from voxlake.store.compaction import Compacted, Member, compact_table, expired_files, table_files
from voxlake.store.duplicate_rows import find_repeated
from voxlake.store.schema import TABLES

__all__ = ["compact"]

_GRACE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")
_UNITS = {
    "": 0, "s": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400,
    "week": 604800,
}  # fmt: skip
_MEMBERS_AT_ONCE = 200_000


def compact(
    lake: Lake,
    *,
    grace: str = "1 day",
    packs: bool = True,
    engine: str | Engine | None = None,
    workers: int | None = None,
    memory: int = 4 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Put small files and small packs together, drop duplicate rows, remove what no row names.

    Views show the same before and after, and every stored byte stays. Others may read and write meanwhile:
    what is replaced stays until the time of grace is over. It may be stopped at any moment; the next one
    finishes.

    Parameters
    ----------
    lake : Lake
        The lake; no key is needed.
    grace : str
        How long what was replaced or never named stays, for example ``"1 day"`` or ``"12 h"``. Longer than
        any query, and than any run takes from writing a pack to committing its rows. ``"0"`` only while
        nobody else uses the lake.
    packs : bool
        Whether to put small packs together as well.
    engine : str, optional
        Where packs are put together; by default a process of its own.
    workers : int, optional
        How many processes the default engine has.
    memory : int
        Bytes that one worker may take.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run
        Items are tables and groups of small packs. ``result`` says what became less, and what was removed.

    Raises
    ------
    UsageError
        The time of grace is no time.

    Examples
    --------
    >>> compact(lake)  # doctest: +SKIP
    """
    time_of_grace = _duration(grace)
    with start_run(lake, "compact", {"grace": grace, "packs": packs}, metrics=metrics) as recorder:
        work = _Compaction(lake, recorder, memory)
        with (
            using_engine(engine, 1 if engine is None and workers is None else workers) as pool,
            progress_bar("compact", enabled=progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            for table in TABLES:
                if lake.tables.version(table) is not None:
                    work.table(table, pool if packs and table == "instances" else None)
                    bar.advance(note=table)
        removed = _remove(lake, datetime.now(UTC) - time_of_grace)
        recorder.result |= {**work.total, "removed": removed}
    return recorder.run


class _Compaction:
    """Compacts table after table and adds up."""

    def __init__(self, lake: Lake, recorder: Recorder, memory: int) -> None:
        self.lake, self.recorder = lake, recorder
        self.memory = memory if can_cap_memory() else None
        self.total = {
            "files": 0, "into_files": 0, "packs": 0, "into_packs": 0, "duplicates": 0, "moved": 0
        }  # fmt: skip

    def table(self, name: str, workers: Engine | None) -> None:
        """Compact one table; with workers, also the packs that it names."""
        self.recorder.saw()
        try:
            done = self._instances(workers) if workers is not None else compact_table(self.lake.tables, name)
        except IntegrityError as error:
            self.recorder.outcome(name, "failed", reason="object_damaged", detail=str(error))
            return
        self._add(done)
        if done.overtaken:
            about = "files were taken out by another process at the same time; run compact again"
            self.recorder.outcome(name, "failed", reason="overtaken", detail=about)
        else:
            self.recorder.outcome(name, "stored" if done.files_before else "already")

    def _instances(self, workers: Engine) -> Compacted:
        tables = self.lake.tables
        while True:
            _, files = table_files(tables, "instances")
            repeated = find_repeated(tables, "instances")
            plan = plan_packs(self.lake, files, repeated, _MEMBERS_AT_ONCE)
            moves = self._merge(plan, workers)
            gone = plan.unnamed | {pack for pack, _ in moves}
            done = compact_table(tables, "instances", moves=moves, repeated=repeated, gone=gone)
            if done.overtaken or sum(map(len, plan.groups)) < _MEMBERS_AT_ONCE or not moves:
                return done
            self._add(done)

    def _merge(self, plan: PackPlan, workers: Engine) -> Mapping[Member, Member]:
        moves: dict[Member, Member] = {}
        for outcome in workers.map(MergePacks(self.lake.reference), plan.groups, memory=self.memory):
            self.recorder.saw()
            old = {piece.pack for piece in outcome.item}
            if outcome.failure is None and outcome.value is not None:
                moves |= outcome.value
                new = next(iter(outcome.value.values()))[0]
                self.recorder.outcome(new, "stored")
                self.total["packs"] += len(old)
                self.total["into_packs"] += 1
            else:
                reason = outcome.failure.reason if outcome.failure is not None else "error"
                detail = outcome.failure.message if outcome.failure is not None else None
                self.recorder.outcome(min(old), "failed", reason=reason, detail=detail)
        # A pack that is its own successor has not moved.
        return {old: new for old, new in moves.items() if old != new}

    def _add(self, done: Compacted) -> None:
        self.total["files"] += done.files_before
        self.total["into_files"] += done.files_after
        self.total["duplicates"] += done.duplicates
        self.total["moved"] += done.moved


def _remove(lake: Lake, before: datetime) -> dict[str, int]:
    """Delete what nobody needs any more; returns how many objects of what, and their bytes."""
    removed: Counter[str] = Counter()
    pinned = _pinned(lake)
    for table in TABLES:
        if lake.tables.version(table) is None:
            continue
        lake.tables.checkpoint(table)
        lake.tables.forget_copies(table)
        for path in expired_files(lake.tables, table, before.timestamp(), pinned.get(table, ())):
            removed["files"] += _delete(lake, path)
    for orphan in list(find_orphans(lake, before=before)):
        if any(_written(lake, path) >= before for path in orphan.paths):
            # A writer has just taken it up.
            continue
        removed[orphan.name.partition("/")[0]] += 1
        removed["bytes"] += orphan.size
        for path in orphan.paths:
            _delete(lake, path)
    for leftover in leftovers(lake.objects, before):
        leftover.unlink(missing_ok=True)
        removed["leftovers"] += 1
    return dict(removed)


def _written(lake: Lake, path: str) -> datetime:
    try:
        return lake.objects.head(path).modified
    except NotFoundError:
        return datetime.min.replace(tzinfo=UTC)


def _delete(lake: Lake, path: str) -> int:
    try:
        lake.objects.delete(path)
    except NotFoundError:
        # Another compaction was faster.
        return 0
    return 1


def _pinned(lake: Lake) -> dict[str, set[int]]:
    """Versions of tables that cohorts name."""
    found: dict[str, set[int]] = {}
    for (text,) in lake.sql("select distinct table_versions from cohorts").rows():
        for table, version in json.loads(text or "{}").items():
            found.setdefault(table, set()).add(int(version))
    return found


def _duration(text: str) -> timedelta:
    match = _GRACE.fullmatch(text.lower())
    unit = None if match is None else match[2] if match[2] in _UNITS else match[2].removesuffix("s")
    if match is None or unit not in _UNITS or (not unit and float(match[1])):
        raise UsageError(f"grace '{text}' is no time; write for example '1 day', '12 h' or '0'")
    return timedelta(seconds=float(match[1]) * _UNITS[unit])
