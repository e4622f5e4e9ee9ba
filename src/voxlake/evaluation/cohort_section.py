"""Who is in the data, and the way from all that was found to what was scored."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from voxlake.core.reasons import REASONS
from voxlake.evaluation.content import Exclusion, Flow, FlowPart, FlowStep, Table
from voxlake.evaluation.scored import Scored
from voxlake.lake.lake import Lake
from voxlake.learning.model import Model, model_path

__all__ = ["describe_cohort", "describe_flow"]

_WORDS = {
    "already": "already there (same bytes)",
    "quarantined": "quarantined",
    "rejected": "rejected by policy",
    "ignored": "ignored (system files, or not in the mapping)",
}

# More boxes do not fit side by side; the table of folds has them all.
_FOLDS_SHOWN = 4


def describe_cohort(model: Model, scored: Scored) -> tuple[Table, ...]:
    """Patients, series, sex, age and scanners of those who were scored, for each class."""
    truth = dict(zip(scored.volumes, scored.truth.tolist(), strict=True))
    rows = model.lake.sql(
        "select volume_id, series.patient_id, series.study_instance_uid, series.patient_sex, "
        "series.patient_age, series.manufacturer from volumes join series using (series_instance_uid) "
        "where volume_id in (select unnest($ids))",
        {"ids": list(scored.volumes)},
    ).dicts()
    tables = [_persons(model, rows, truth)]
    if any(row["manufacturer"] for row in rows):
        tables.append(_scanners(model, rows, truth))
    return tuple(tables)


def _persons(model: Model, rows: list[dict[str, Any]], truth: dict[str, int]) -> Table:
    columns = (*model.classes, "All")
    groups = [
        [row for row in rows if truth[row["volume_id"]] == place] for place in range(len(model.classes))
    ]
    groups.append(rows)
    lines: list[tuple[Any, ...]] = [
        (
            "Patients",
            *(len({row["patient_id"] or row["study_instance_uid"] for row in group}) for group in groups),
        ),
        ("Volumes or images", *(len(group) for group in groups)),
    ]
    for sex, name in (("F", "Female"), ("M", "Male"), (None, "Sex not stated")):
        counts = [sum(row["patient_sex"] == sex for row in group) for group in groups]
        if any(counts):
            lines.append((f"{name} (images)", *counts))
    ages = [sorted(filter(None, (_years(row["patient_age"]) for row in group))) for group in groups]
    if any(ages):
        lines.append(("Median age, years", *(found[len(found) // 2] if found else None for found in ages)))
    return Table("Who was scored", ("", *columns), tuple(lines))


def _scanners(model: Model, rows: list[dict[str, Any]], truth: dict[str, int]) -> Table:
    counted = Counter((row["manufacturer"] or "not stated", truth[row["volume_id"]]) for row in rows)
    names = sorted({name for name, _ in counted})
    lines = tuple((name, *(counted[name, place] for place in range(len(model.classes)))) for name in names)
    return Table("Scanners (volumes or images)", ("Manufacturer", *model.classes), lines)


def _years(age: str | None) -> int | None:
    return int(age[:3]) if age and age.endswith("Y") and age[:3].isdigit() else None


def describe_flow(model: Model, scored: Scored) -> Flow:
    """Boxes from the files that were seen to the parts of the split, with everything that was left out."""
    lake = model.lake
    files = _files(lake, model)
    prepared = _prepared(lake, model)
    used = _used(lake, model)
    return Flow((*files, *prepared, used), _parts(scored), unit="items")


def _files(lake: Lake, model: Model) -> list[FlowStep]:
    runs = lake.sql(
        "select counts, reasons from runs where run_id in (select distinct run_id from instances "
        "semi join cohort_members on instances.series_instance_uid = cohort_members.series_instance_uid "
        "where instances.series_instance_uid in "
        "(select series_instance_uid from cohort_members where cohort_id = $cohort))",
        {"cohort": model.row["cohort_id"]},
    ).rows()
    counts: Counter[str] = Counter()
    for count, _ in runs:
        counts.update(json.loads(count))
    stored, patients = lake.sql(
        "select count(*), count(distinct patient_id) from instances where series_instance_uid in "
        "(select series_instance_uid from cohort_members where cohort_id = $cohort)",
        {"cohort": model.row["cohort_id"]},
    ).rows()[0]
    lost = [Exclusion(words, counts[name]) for name, words in _WORDS.items() if counts[name]]
    outside = counts["stored"] - int(stored)
    if outside > 0:
        lost.append(Exclusion("stored, but not selected into the cohort", outside))
    return [
        FlowStep("Files that ingest saw", counts["seen"], None, tuple(lost)),
        FlowStep("Files in the cohort", int(stored), int(patients)),
    ]


def _prepared(lake: Lake, model: Model) -> list[FlowStep]:
    failed = lake.sql(
        "select items.reason, count(distinct items.item) from items join runs using (run_id) "
        "where runs.verb = 'prepare' and items.outcome = 'failed' "
        "and runs.arguments like '%' || $plan || '%' and runs.arguments like '%' || $cohort || '%' "
        "and items.item not in (select volume_id from volumes) group by 1 order by 2 desc",
        {"plan": model.row["plan_digest"], "cohort": model.row["cohort_id"]},
    ).rows()
    made, patients = lake.sql(
        "select count(*), count(distinct patient_id) from volumes where plan_digest = $plan and "
        "series_instance_uid in (select series_instance_uid from cohort_members where cohort_id = $cohort)",
        {"plan": model.row["plan_digest"], "cohort": model.row["cohort_id"]},
    ).rows()[0]
    lost = tuple(Exclusion(REASONS.get(reason, reason), int(count)) for reason, count in failed)
    left = _left(lake, model)
    return [
        FlowStep(
            "Series and single images",
            int(made) + sum(each.count for each in lost),
            None,
            lost,
        ),
        FlowStep("Prepared volumes", int(made), int(patients), left),
    ]


def _left(lake: Lake, model: Model) -> tuple[Exclusion, ...]:
    rows = lake.sql(
        "select reason, count(*) from items where run_id = $run and outcome = 'failed' "
        "and reason <> 'no_volume' group by 1 order by 2 desc",
        {"run": model.row["run_id"]},
    ).rows()
    return tuple(Exclusion(REASONS.get(reason, reason), int(count)) for reason, count in rows)


def _used(lake: Lake, model: Model) -> FlowStep:
    split = json.loads(lake.objects.get(model_path(model.model_id, "split.json")))
    volumes = sorted({volume for fold in split["folds"] for part in fold.values() for volume in part})
    (patients,) = lake.sql(
        "select count(distinct coalesce(patient_id, study_instance_uid)) from volumes "
        "where volume_id in (select unnest($ids))",
        {"ids": volumes},
    ).rows()[0]
    return FlowStep("Labelled volumes that the task could use", len(volumes), int(patients))


def _parts(scored: Scored) -> tuple[FlowPart, ...]:
    if scored.part != "test":
        return (FlowPart("Scored in another cohort", len(scored.volumes), len(set(scored.groups))),)
    folds = sorted(set(scored.folds.tolist()))
    if len(folds) > _FOLDS_SHOWN:
        name = f"Tested once, in one of {len(folds)} folds"
        return (FlowPart(name, len(scored.volumes), len(set(scored.groups))),)
    parts = []
    for fold in folds:
        inside = [
            group for group, where in zip(scored.groups, scored.folds.tolist(), strict=True) if where == fold
        ]
        name = f"Tested in fold {fold + 1}" if len(folds) > 1 else "Tested"
        parts.append(FlowPart(name, len(inside), len(set(inside))))
    return tuple(parts)
