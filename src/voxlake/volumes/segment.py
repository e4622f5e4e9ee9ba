"""The verb segment: volumes of a cohort become masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from voxlake.core.digest import short
from voxlake.core.errors import NotFoundError
from voxlake.core.mask_plan import MaskPlan
from voxlake.core.plan import Plan
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.lake.cohorts import Cohort
from voxlake.lake.grouped import Lost, map_groups
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.processing.registry import load_plan
from voxlake.processing.segment.registry import METHODS, load_mask_plan
from voxlake.volumes.pretrained_step import PRETRAINED_METHODS, with_network
from voxlake.volumes.read import volume_rows
from voxlake.volumes.segment_work import AS_ASSEMBLED, KIND, Segmentation, Segmented, SegmentTask
from voxlake.volumes.units import units

__all__ = ["segment"]

# So many flat images share one stacked array.
_STACK = 256
_WINDOW_GROUPS_PER_WORKER = 4


def segment(  # noqa: PLR0913 - each option of the command is a parameter
    cohort: Cohort,
    *,
    plan: str | Path | MaskPlan,
    volumes: str | Path | Plan | None = None,
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 600.0,
    memory: int = 8 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Make a mask of every volume of a cohort.

    With `volumes`, of the volumes that were prepared under this plan, and on their grids; without it, of the
    series as they are assembled, on their own grids. A volume that cannot be segmented is a failed item with
    the reason. Only what is missing is done: a mask is keyed by the content of the series, the plan of the
    volumes, and the mask plan with the versions of all its parts. Masks are rows of the table `masks` of the
    kind ``PLAN``.

    Parameters
    ----------
    cohort : Cohort
        What to segment.
    plan : str, path or MaskPlan
        Name of a mask plan that comes with voxlake (``"lungs-ct"``), a TOML file, or a mask plan.
    volumes : str, path or Plan, optional
        Plan under which the cohort was prepared.
    engine : str, optional
        ``"serial"`` or ``"processes:N"``; by default a process for each core.
    workers : int, optional
        How many processes the default engine has.
    timeout : float
        Seconds that one volume may take.
    memory : int
        Bytes that one worker may take.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run

    Raises
    ------
    SettingsError
        A plan has an unknown method, edit, step or key.
    NotFoundError
        No such plan, the cohort has no volume under the plan of `volumes`, or the lake does not have the
        weights of the network that the plan names.

    Examples
    --------
    >>> segment(chests, plan="lungs-ct", volumes="ct-chest")  # doctest: +SKIP
    """
    methods = {**METHODS, **PRETRAINED_METHODS}
    mask_plan = plan if isinstance(plan, MaskPlan) else load_mask_plan(plan, methods=methods)
    prepared = None if volumes is None else volumes if isinstance(volumes, Plan) else load_plan(volumes)
    lake, digest = cohort.lake, mask_plan.digest()
    # A network that was not imported ends the run here, instead of failing every item of it.
    with_network(mask_plan, lake.objects)
    rows = None if prepared is None else _rows(cohort, prepared)
    arguments = {
        "cohort": f"{cohort.name}@{cohort.version}",
        "cohort_id": cohort.cohort_id,
        "plan": mask_plan.to_tables(),
        "plan_digest": digest,
        "volumes": None if prepared is None else prepared.to_tables(),
        "volumes_digest": None if prepared is None else prepared.digest(),
    }
    with start_run(lake, "segment", arguments, metrics=metrics) as recorder:
        recorder.input_digest = cohort.cohort_id
        account_withdrawn(cohort, recorder)
        made: Counter[str] = Counter()
        place = {member.series_instance_uid: number for number, member in enumerate(cohort.members(), 1)}
        source = AS_ASSEMBLED if prepared is None else prepared.digest()
        missing = _missing(_tasks(cohort, source, rows, digest, recorder), _done(cohort, digest), recorder)
        work = Segmentation(lake.reference, mask_plan)
        with (
            using_engine(engine, workers) as pool,
            progress_bar("segment", len(place), enabled=progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            for window in _windows(missing, pool.workers):
                results = map_groups(pool, work, window, timeout=timeout, memory=memory)
                for task, one in zip(chain(*window), chain(*results), strict=True):
                    made.update(_settle(recorder, task, one))
                recorder.commit_if_due()
                bar.reach(max(place[task.unit.series_instance_uid] for task in chain(*window)))
        recorder.result |= {"mask_plan_digest": short(digest), "shapes": dict(made.most_common(10))}
    return recorder.run


def _rows(cohort: Cohort, prepared: Plan) -> dict[str, dict[str, Any]]:
    rows = {row["volume_id"]: row for row in volume_rows(cohort, prepared.digest())}
    if not rows:
        raise NotFoundError(
            f"cohort '{cohort.name}' has no volume under this plan; run `voxlake prepare {cohort.name}` "
            "with it first, or leave out --volumes"
        )
    return rows


def _done(cohort: Cohort, digest: str) -> set[str]:
    found = cohort.lake.sql(
        "select mask_id from masks where kind = $kind and mask_plan_digest = $plan",
        {"kind": KIND, "plan": digest},
    )
    return {row[0] for row in found.rows()}


def _tasks(
    cohort: Cohort, source: str, rows: dict[str, dict[str, Any]] | None, digest: str, recorder: Recorder
) -> Iterator[SegmentTask]:
    """A task for each volume; what was not prepared is settled at once."""
    for unit in units(cohort, source):
        recorder.saw()
        row = None if rows is None else rows.get(unit.volume_id)
        task = SegmentTask(unit, row, digest)
        if rows is not None and row is None:
            recorder.outcome(
                task.mask_id,
                "failed",
                reason="no_volume",
                detail="not prepared under this plan; see why with `voxlake prepare`",
            )
        else:
            yield task


def _missing(tasks: Iterable[SegmentTask], done: set[str], recorder: Recorder) -> Iterator[SegmentTask]:
    for task in tasks:
        if task.mask_id in done:
            recorder.outcome(task.mask_id, "already")
        else:
            yield task


def _settle(recorder: Recorder, task: SegmentTask, one: Segmented | Lost) -> list[str]:
    """Record what became of a task; returns the shape of the mask that was made, if any."""
    if isinstance(one, Lost):
        recorder.outcome(
            task.mask_id,
            "failed",
            reason=one.failure.reason,
            detail=one.failure.message,
            attempts=one.attempts,
        )
        return []
    if one.row is None:
        recorder.outcome(task.mask_id, "failed", reason=one.reason, detail=one.detail)
        return []
    recorder.add("masks", [one.row])
    recorder.outcome(task.mask_id, "stored")
    return ["x".join(map(str, one.row["shape"]))]


def _windows(tasks: Iterable[SegmentTask], workers: int) -> Iterator[list[tuple[SegmentTask, ...]]]:
    groups = _groups(tasks)
    while window := list(islice(groups, _WINDOW_GROUPS_PER_WORKER * workers)):
        yield window


def _groups(tasks: Iterable[SegmentTask]) -> Iterator[tuple[SegmentTask, ...]]:
    flat: list[SegmentTask] = []
    for task in tasks:
        if not task.unit.flat:
            yield (task,)
            continue
        flat.append(task)
        if len(flat) == _STACK:
            yield tuple(flat)
            flat = []
    if flat:
        yield tuple(flat)
