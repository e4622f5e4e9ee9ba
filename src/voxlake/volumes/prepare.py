"""The verb prepare: a cohort becomes analysis-ready arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from voxlake.core.digest import short
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
from voxlake.volumes.masks import prepare_masks
from voxlake.volumes.preparation import Preparation, Prepared
from voxlake.volumes.units import Unit, units

__all__ = ["prepare"]

# So many flat images share one stacked array.
_STACK = 256
_WINDOW_GROUPS_PER_WORKER = 4


def prepare(  # noqa: PLR0913 - each option of the command is a parameter
    cohort: Cohort,
    *,
    plan: str | Path | Plan,
    masks: bool = False,
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 600.0,
    memory: int = 8 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Turn the series of a cohort into volumes of a standard form.

    Every stack of a series (see the table `stacks`: echoes, time points, b-values, orientations) with a
    regular geometry becomes one volume; flat images (X-rays, photographs) become one volume each and share
    stored arrays. A stack whose geometry does not allow a volume is a failed item with the reason, unless
    the plan says in its table ``[geometry]`` how to mend it. Only what is missing is done.

    Parameters
    ----------
    cohort : Cohort
        What to prepare.
    plan : str, path or Plan
        Name of a plan that comes with voxlake (``"xray-64"``), a TOML file, or a plan.
    masks : bool
        Also make masks, on the grids of the volumes, of the segmentations (SEG) and structure sets (RTSTRUCT)
        of the lake that were drawn on these series; each object on each volume is an item of its own.
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
        The plan has an unknown step or key.

    Examples
    --------
    >>> prepare(brains, plan="mr.toml")  # doctest: +SKIP
    """
    steps = plan if isinstance(plan, Plan) else load_plan(plan)
    lake, digest = cohort.lake, steps.digest()
    arguments = {
        "cohort": f"{cohort.name}@{cohort.version}",
        "cohort_id": cohort.cohort_id,
        "plan": steps.to_tables(),
        "plan_digest": digest,
    }
    with start_run(lake, "prepare", arguments, metrics=metrics) as recorder:
        recorder.input_digest = cohort.cohort_id
        account_withdrawn(cohort, recorder)
        done = {
            row[0]
            for row in lake.sql(
                "select volume_id from volumes where plan_digest = $plan", {"plan": digest}
            ).rows()
        }
        work = Preparation(lake.reference, steps)
        shapes: Counter[str] = Counter()
        # How many volumes there will be is not known before, but how many series there are.
        place = {member.series_instance_uid: number for number, member in enumerate(cohort.members(), 1)}
        with (
            using_engine(engine, workers) as pool,
            progress_bar("prepare", len(place), enabled=progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            missing = _missing(units(cohort, digest), done, recorder)
            for window in _windows(missing, pool.workers):
                results = map_groups(pool, work, window, timeout=timeout, memory=memory)
                for unit, one in zip(chain(*window), chain(*results), strict=True):
                    shapes.update(_settle(recorder, unit, one))
                    recorder.facts.bytes += sum(row["length"] for row in unit.rows)
                recorder.commit_if_due()
                bar.reach(max(place[unit.series_instance_uid] for unit in chain(*window)))
            if masks:
                made = prepare_masks(
                    cohort, digest, steps.geometry, recorder, pool, timeout=timeout, memory=memory
                )
                recorder.result["masks"] = made
        recorder.result |= {"plan_digest": short(digest), "shapes": dict(shapes.most_common(10))}
    return recorder.run


def _settle(recorder: Recorder, unit: Unit, one: Prepared | Lost) -> list[str]:
    """Record what became of a unit; returns the shape of the volume that was made, if any."""
    if isinstance(one, Lost):
        recorder.outcome(
            unit.volume_id,
            "failed",
            reason=one.failure.reason,
            detail=one.failure.message,
            attempts=one.attempts,
        )
        return []
    if one.row is None:
        recorder.outcome(unit.volume_id, "failed", reason=one.reason, detail=one.detail)
        return []
    recorder.add("volumes", [one.row])
    recorder.outcome(unit.volume_id, "stored")
    return ["x".join(map(str, one.row["shape"]))]


def _missing(work: Iterable[Unit], done: set[str], recorder: Recorder) -> Iterator[Unit]:
    for unit in work:
        recorder.saw()
        if unit.volume_id in done:
            recorder.outcome(unit.volume_id, "already")
        else:
            yield unit


def _windows(work: Iterable[Unit], workers: int) -> Iterator[list[tuple[Unit, ...]]]:
    groups = _groups(work)
    while window := list(islice(groups, _WINDOW_GROUPS_PER_WORKER * workers)):
        yield window


def _groups(work: Iterable[Unit]) -> Iterator[tuple[Unit, ...]]:
    flat: list[Unit] = []
    for unit in work:
        if not unit.flat:
            yield (unit,)
            continue
        flat.append(unit)
        if len(flat) == _STACK:
            yield tuple(flat)
            flat = []
    if flat:
        yield tuple(flat)
