"""The verb measure: numbers of the volumes of a cohort and of the labels of their masks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from voxlake.core.digest import short
from voxlake.core.errors import NotFoundError
from voxlake.core.hints import hint
from voxlake.core.plan import Plan
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.features.measure_work import Measured, Measurement, MeasureTask, Wanted
from voxlake.features.plan import FeaturePlan
from voxlake.features.registry import load_feature_plan
from voxlake.lake.cohorts import Cohort
from voxlake.lake.grouped import Lost, map_groups
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.views import not_withdrawn
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.volumes.read import plan_digest_of, volume_rows
from voxlake.volumes.units import units

__all__ = ["measure"]

# So many flat images, which share stored arrays, go to a worker together.
_TOGETHER = 256
_WINDOW_GROUPS_PER_WORKER = 4

_Row = Mapping[str, Any]
# Volume, mask and label (both None for the whole image), settings of a family.
_Key = tuple[str, str | None, int | None, str]


@dataclass(frozen=True)
class _There:
    """What the lake holds: volumes by identifier, masks by volume, what was measured."""

    volumes: dict[str, _Row]
    masks: dict[str, list[_Row]]
    done: set[_Key]


def measure(  # noqa: PLR0913 - each option of the command is a parameter
    cohort: Cohort,
    *,
    plan: str | Path | FeaturePlan,
    volumes: str | Path | Plan | None = None,
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 600.0,
    memory: int = 8 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Measure the volumes of a cohort and the labels of their masks.

    A feature plan says what: families of features (see the table `features`), of the whole image, of each
    label of each mask that lies on the volume, or of both. Masks are those of `prepare --masks` and of
    `segment --volumes`. What cannot be measured is a failed item with the reason. Only what is missing is
    done: a number is keyed by the volume, the mask with its label, and the settings and version of its
    family.

    Parameters
    ----------
    cohort : Cohort
        What to measure; it must have been prepared.
    plan : str, path or FeaturePlan
        Name of a feature plan that comes with voxlake (``"basic"``), a TOML file, or a feature plan.
    volumes : str, path or Plan, optional
        Plan under which the cohort was prepared; needed only if there are several.
    engine : str, optional
        ``"serial"`` or ``"processes:N"``; by default a process for each core.
    workers : int, optional
        How many processes the default engine has.
    timeout : float
        Seconds that one image or mask may take.
    memory : int
        Bytes that one worker may take.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run
        An item for each image and for each mask.

    Raises
    ------
    SettingsError
        A plan has an unknown family, step or key.
    NotFoundError
        No such plan, or the cohort has no volume; or only masks are to be measured and there is none.
    UsageError
        The cohort was prepared under several plans and none is named.

    Examples
    --------
    >>> measure(chests, plan="basic")  # doctest: +SKIP
    """
    features = plan if isinstance(plan, FeaturePlan) else load_feature_plan(plan)
    lake, prepared = cohort.lake, plan_digest_of(cohort, volumes)
    there = _there(cohort, prepared, features)
    arguments = {
        "cohort": f"{cohort.name}@{cohort.version}",
        "cohort_id": cohort.cohort_id,
        "plan": features.to_tables(),
        "plan_digest": features.digest(),
        "volumes_digest": prepared,
    }
    with start_run(lake, "measure", arguments, metrics=metrics) as recorder:
        recorder.input_digest = cohort.cohort_id
        account_withdrawn(cohort, recorder)
        numbers: Counter[str] = Counter()
        place = {member.series_instance_uid: number for number, member in enumerate(cohort.members(), 1)}
        missing = _missing(
            _tasks(cohort, prepared, features, there, recorder), there.done, features, recorder
        )
        work = Measurement(lake.reference, features.families)
        with (
            using_engine(engine, workers) as pool,
            progress_bar("measure", len(place), enabled=progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            for window in _windows(missing, pool.workers):
                results = map_groups(pool, work, window, timeout=timeout, memory=memory)
                for task, one in zip(chain(*window), chain(*results), strict=True):
                    numbers.update(_settle(recorder, task, one))
                recorder.commit_if_due()
                bar.reach(max(place[task.volume["series_instance_uid"]] for task in chain(*window)))
        recorder.result |= {
            "feature_plan_digest": short(features.digest()),
            "numbers": dict(sorted(numbers.items())),
        }
    return recorder.run


def _there(cohort: Cohort, prepared: str, features: FeaturePlan) -> _There:
    volumes: dict[str, _Row] = {row["volume_id"]: row for row in volume_rows(cohort, prepared)}
    if not volumes:
        raise NotFoundError(
            f"cohort '{cohort.name}' has no volume under this plan; run `voxlake prepare {cohort.name}` first"
        )
    masks = _masks(cohort, prepared) if "masks" in features.regions else {}
    if features.regions == ("masks",) and volumes.keys().isdisjoint(masks):
        raise NotFoundError(
            f"no mask lies on the volumes of cohort '{cohort.name}'; make some with `voxlake segment "
            f"{cohort.name} --volumes PLAN` or `voxlake prepare {cohort.name} --masks`"
        )
    _need_labels(features.labels, chain.from_iterable(masks.values()))
    done = cohort.lake.sql(
        "select distinct volume_id, mask_id, label, settings_digest from features where plan_digest = $plan",
        {"plan": prepared},
    )
    return _There(volumes, masks, {(row[0], row[1], row[2], row[3]) for row in done.rows()})


def _masks(cohort: Cohort, prepared: str) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = {}
    rows = cohort.lake.sql(
        f"select * from masks where plan_digest = $plan and volume_id is not null and {not_withdrawn()} "
        "order by volume_id, sop_instance_uid, number, mask_id",
        {"plan": prepared},
    )
    for row in rows.dicts():
        found.setdefault(row["volume_id"], []).append(row)
    return found


def _need_labels(wanted: Iterable[str], masks: Iterable[_Row]) -> None:
    known = {label["name"] for row in masks for label in json.loads(row["labels"])}
    for name in wanted:
        if known and name not in known:
            raise NotFoundError(f"no mask has a label '{name}'{hint(name, known)}")


def _tasks(
    cohort: Cohort, prepared: str, features: FeaturePlan, there: _There, recorder: Recorder
) -> Iterator[MeasureTask]:
    """A task for each image and each mask on it; what was not prepared is settled at once."""
    of_image = tuple(n for n, family in enumerate(features.families) if family.of_image)
    of_masks = tuple(range(len(features.families)))
    for unit in units(cohort, prepared):
        volume = there.volumes.get(unit.volume_id)
        if volume is None:
            recorder.saw()
            detail = "not prepared under this plan; see why with `voxlake prepare`"
            recorder.outcome(unit.volume_id, "failed", reason="no_volume", detail=detail)
            continue
        if "image" in features.regions and of_image:
            yield MeasureTask(volume, None, (Wanted(None, None, of_image),), unit.flat)
        for mask in there.masks.get(unit.volume_id, ()):
            wanted = tuple(
                Wanted(label["value"], label["name"], of_masks)
                for label in json.loads(mask["labels"])
                if not features.labels or label["name"] in features.labels
            )
            if wanted:
                yield MeasureTask(volume, mask, wanted, unit.flat)


def _missing(
    tasks: Iterable[MeasureTask], done: set[_Key], features: FeaturePlan, recorder: Recorder
) -> Iterator[MeasureTask]:
    """What of the tasks was not done; a task of which nothing is left is settled at once."""
    settings = [family.settings_digest() for family in features.families]
    for task in tasks:
        recorder.saw()
        volume, mask = task.volume["volume_id"], None if task.mask is None else task.mask["mask_id"]
        left = [
            replace(
                one,
                families=tuple(n for n in one.families if (volume, mask, one.label, settings[n]) not in done),
            )
            for one in task.wanted
        ]
        wanted = tuple(one for one in left if one.families)
        if wanted:
            yield replace(task, wanted=wanted)
        else:
            recorder.outcome(task.item, "already")


def _settle(recorder: Recorder, task: MeasureTask, one: Measured | Lost) -> Counter[str]:
    """Record what became of a task; returns how many numbers there are of each family."""
    if isinstance(one, Lost):
        failure = one.failure
        recorder.outcome(
            task.item, "failed", reason=failure.reason, detail=failure.message, attempts=one.attempts
        )
        return Counter()
    if one.reason is not None:
        recorder.outcome(task.item, "failed", reason=one.reason, detail=one.detail)
        return Counter()
    recorder.add("features", one.rows)
    recorder.outcome(task.item, "stored")
    return Counter(row["family"] for row in one.rows)


def _windows(tasks: Iterable[MeasureTask], workers: int) -> Iterator[list[tuple[MeasureTask, ...]]]:
    groups = _groups(tasks)
    while window := list(islice(groups, _WINDOW_GROUPS_PER_WORKER * workers)):
        yield window


def _groups(tasks: Iterable[MeasureTask]) -> Iterator[tuple[MeasureTask, ...]]:
    """The tasks of a volume together, and those of many flat images."""
    group: list[MeasureTask] = []
    for task in tasks:
        if group and not _together(group, task):
            yield tuple(group)
            group = []
        group.append(task)
    if group:
        yield tuple(group)


def _together(group: list[MeasureTask], task: MeasureTask) -> bool:
    if task.volume["volume_id"] == group[0].volume["volume_id"]:
        return True
    return task.flat and group[0].flat and len(group) < _TOGETHER
