"""The verb verify: everything is read again and compared with what the tables say."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from voxlake.core.errors import IntegrityError, LakeError, NotFoundError, UsageError
from voxlake.core.run import Run
from voxlake.engine.contract import Engine, Outcome
from voxlake.engine.limits import can_cap_memory
from voxlake.engine.open import using_engine
from voxlake.engine.progress import ProgressBar, progress_bar
from voxlake.lake.lake import Lake
from voxlake.lake.orphans import find_orphans
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.verify_objects import Checker, Result, Task
from voxlake.lake.verify_tasks import LEDGER, Ledger, file_tasks, log_tasks, object_tasks
from voxlake.store.objects import Objects
from voxlake.store.ranges import in_place
from voxlake.store.schema import TABLES

__all__ = ["verify"]

_NAMING = ("instances", "volumes", "masks", "quarantine", "models", "withdrawals", "runs")
_LISTED = 1_000
# The run itself is recorded in these.
_NEEDED = ("runs", "items")


def verify(
    lake: Lake,
    *,
    repair_from: str | None = None,
    sample: float = 1.0,
    engine: str | Engine | None = None,
    workers: int | None = None,
    memory: int = 4 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Read everything again and compare it with what the tables say; repair it from a copy.

    Packs are hashed member by member, files registered in place as well; arrays are decoded and their values
    hashed; sealed items are opened where the key is at hand; of the tables, the logs and all files are read.
    What no table describes (reports, model cards, files of tables) is compared with what it was when it was
    first verified. The command exits with 1 where anything is wrong and was not repaired.

    Parameters
    ----------
    lake : Lake
        The lake.
    repair_from : str, optional
        Where a copy of this lake lies (folder or URL). What is missing or damaged is taken from there, once
        it was verified there.
    sample : float
        Share of the packs, arrays and sealed items that is read, chosen at random; 1 for all.
    engine : str, optional
        Where objects are read; by default a process for each core.
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
        Items are objects: already there (right), stored (repaired), failed (wrong), ignored (named by no
        row). Only what is not right has rows in `items`. ``result["faults"]`` lists what was found.

    Raises
    ------
    UsageError
        The copy is the lake itself or a copy of another one, or `sample` is no share.
    IntegrityError
        Tables are so damaged that not even this run could be recorded.

    Examples
    --------
    >>> verify(lake)  # doctest: +SKIP
    >>> verify(lake, repair_from="/backup/lake")  # doctest: +SKIP
    """
    if not 0 < sample <= 1:
        raise UsageError(f"sample is a share above 0 and up to 1, got {sample:g}")
    _check_copy(lake, repair_from)
    arguments = {"repair": repair_from is not None, "sample": sample}
    with using_engine(engine, workers) as pool, progress_bar("verify", enabled=progress) as bar:
        work = _Verification(lake, Checker(lake.reference, repair_from), pool, bar, memory)
        work.tables()
        with start_run(lake, "verify", arguments, metrics=metrics) as recorder:
            recorder.facts.workers = pool.workers
            work.record(recorder)
            work.objects(sample)
            work.orphans()
            work.finish()
    return recorder.run


class _Verification:
    """Verifies tables, then what they name, and adds up."""

    def __init__(self, lake: Lake, checker: Checker, workers: Engine, bar: ProgressBar, memory: int) -> None:
        self._lake, self._checker, self._workers, self._bar = lake, checker, workers, bar
        self._memory = memory if can_cap_memory() else None
        self._recorder: Recorder | None = None
        self._waiting: list[Outcome[Task, Result]] = []
        self._faults: list[dict[str, Any]] = []
        self._broken: set[str] = set()
        self._ledger = _read_ledger(lake.objects)
        self._orphans = {"objects": 0, "bytes": 0}
        self._unknown: list[str] = []

    def tables(self) -> None:
        """Read logs, then files; without the first nobody knows the second."""
        self._run(log_tasks(self._lake, self._ledger))
        # What was repaired is seen by who opens the lake anew.
        self._fresh = self._lake.reference.open()
        for name in TABLES:
            self._try(name, file_tasks(self._fresh, name, self._ledger))
        broken = sorted(self._broken & set(_NEEDED))
        if broken:
            faults = "; ".join(f"{one['object']} {one['fault']}" for one in self._faults)
            raise IntegrityError(
                f"tables {', '.join(broken)} are damaged ({faults}); restore them from a copy, "
                "for example with --repair-from"
            )

    def record(self, recorder: Recorder) -> None:
        """From now on outcomes are recorded; first those of the tables."""
        self._recorder = recorder
        for outcome in self._waiting:
            self._settle(outcome)
        self._waiting.clear()

    def objects(self, sample: float) -> None:
        """Read what the tables name."""
        chance = random.Random()  # noqa: S311 - a sample, no secret
        for name in _NAMING:
            if name in self._broken:
                self._unknown.append(name)
                continue
            chosen = (
                task
                for task in object_tasks(self._fresh, name, self._ledger)
                if task.kind == "plain" or sample == 1 or chance.random() < sample
            )
            self._try(name, chosen)

    def orphans(self) -> None:
        """Count what no row names."""
        if self._broken:
            return
        for orphan in find_orphans(self._fresh):
            self._orphans["objects"] += 1
            self._orphans["bytes"] += orphan.size
            if self._recorder is not None:
                self._recorder.saw()
                self._recorder.outcome(orphan.name, "ignored", reason="orphan", detail=f"{orphan.size} bytes")
            self._list(orphan.name, "orphan", f"{orphan.size} bytes", repaired=False)

    def finish(self) -> None:
        """Say what was found, and remember what no table describes."""
        if self._recorder is not None:
            self._recorder.result |= {"orphans": self._orphans, "faults": self._faults}
            if self._unknown:
                self._recorder.result["not_verified"] = self._unknown
        text = json.dumps({path: list(known) for path, known in sorted(self._ledger.items())})
        self._lake.objects.put(LEDGER, text.encode())

    def _run(self, tasks: Iterable[Task]) -> None:
        for outcome in self._workers.map(self._checker, tasks, memory=self._memory):
            self._bar.advance()
            if self._recorder is None:
                self._waiting.append(outcome)
                self._note(outcome)
            else:
                self._note(outcome)
                self._settle(outcome)
                self._recorder.commit_if_due()

    def _try(self, name: str, tasks: Iterable[Task]) -> None:
        try:
            self._run(tasks)
        except (LakeError, NotFoundError):
            self._broken.add(name)

    def _note(self, outcome: Outcome[Task, Result]) -> None:
        task, result = outcome.item, outcome.value
        whole = result is not None and (not result.faults or result.repaired)
        if whole and result is not None and result.size is not None and result.sha256 is not None:
            self._ledger[task.path] = (result.size, result.sha256)
        if not whole and task.path.startswith("tables/"):
            self._broken.add(task.path.split("/")[1])
        for fault in () if result is None else result.faults:
            detail = fault.detail if not result or not result.note else f"{fault.detail}; {result.note}"
            self._list(_named(task), fault.fault, detail, repaired=result is not None and result.repaired)
        if result is None and outcome.failure is not None:
            self._list(_named(task), "damaged", outcome.failure.message, repaired=False)

    def _settle(self, outcome: Outcome[Task, Result]) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        recorder.saw()
        result = outcome.value
        if result is not None and not result.faults:
            # Millions of lines that say that all is well help nobody.
            recorder.counts["already"] += 1
            return
        reason, detail = "error", None
        if result is not None:
            reason = f"object_{result.faults[0].fault}"
            detail = "; ".join(fault.detail for fault in result.faults[:3])
        elif outcome.failure is not None:
            reason, detail = outcome.failure.reason, outcome.failure.message
        repaired = result is not None and result.repaired
        recorder.outcome(
            _named(outcome.item), "stored" if repaired else "failed", reason=reason, detail=detail
        )

    def _list(self, name: str, fault: str, detail: str, *, repaired: bool) -> None:
        if len(self._faults) < _LISTED:
            self._faults.append({"object": name, "fault": fault, "repaired": repaired, "detail": detail})


def _named(task: Task) -> str:
    """What an object is called in rows: where a file registered in place lies is its owner's business."""
    return f"in-place:{task.pieces[0].sha256}" if in_place(task.path) else task.path


def _read_ledger(objects: Objects) -> Ledger:
    try:
        found = json.loads(objects.get(LEDGER))
        return {str(path): (int(size), str(digest)) for path, (size, digest) in found.items()}
    except NotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        # Without it the first verification begins anew.
        return {}


def _check_copy(lake: Lake, copy: str | None) -> None:
    if copy is None:
        return
    objects = Objects.open(copy, create=False)
    if objects == lake.objects:
        raise UsageError("a lake cannot be repaired from itself; name a copy of it")
    try:
        identity = tomllib.loads(objects.get("lake.toml").decode()).get("lake_id")
    except (NotFoundError, ValueError):
        raise UsageError("there is no lake to repair from; name a copy of this one") from None
    if identity != lake.settings.lake_id:
        raise UsageError(f"what is named to repair from is lake {str(identity)[:8]}, no copy of this one")
