"""Who is in the data, and the way from all that was found to what was scored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxlake.core.reasons import REASONS
from voxlake.evaluation.content import Cell, Exclusion, Flow, FlowPart, FlowStep, Table
from voxlake.evaluation.judged import AnyScored, Judged
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.speaker import Speaker
from voxlake.evaluation.subjects import behind, header_values
from voxlake.lake.lake import Lake

__all__ = ["describe_cohort", "describe_flow"]

_WORDS = {
    "already": "already there (same bytes)",
    "quarantined": "quarantined",
    "rejected": "rejected by policy",
    "ignored": "ignored (system files, or not in the mapping)",
}

# More boxes do not fit side by side; the table of folds has them all.
_FOLDS_SHOWN = 4


def describe_cohort(judged: Judged) -> tuple[Table, ...]:
    """Patients, series, sex, age and scanners of those who were scored, for each class."""
    scored, model = judged.scored, judged.model
    if scored is None or model.level == "row":
        return _counted(judged)
    truth = (
        dict(zip(scored.subjects, scored.truth.tolist(), strict=True)) if isinstance(scored, Scored) else {}
    )
    stored = behind(model.lake, model.level, scored.subjects)
    facts = {
        name: header_values(model.lake, stored, name)
        for name in ("patient_sex", "patient_age", "manufacturer", "modality")
    }
    persons = {one.subject: one.patient or one.study for one in stored}
    rows = [
        _Person(
            subject,
            persons.get(subject, subject),
            sex=facts["patient_sex"].get(subject),
            age=facts["patient_age"].get(subject),
            manufacturer=facts["manufacturer"].get(subject),
            modality=facts["modality"].get(subject),
            truth=truth.get(subject, 0),
        )
        for subject in scored.subjects
    ]
    classes = model.classes if isinstance(scored, Scored) else ()
    tables = [_persons(model, rows, classes)]
    for name, caption, heading in (
        ("manufacturer", f"Scanners ({model.unit})", "Manufacturer"),
        ("modality", f"Modalities ({model.unit})", "Modality"),
    ):
        if any(getattr(row, name) for row in rows):
            tables.append(_by(rows, classes, name, caption, heading))
    return tuple(tables)


@dataclass(frozen=True)
class _Person:
    subject: str
    person: str
    sex: str | None
    age: str | None
    manufacturer: str | None
    modality: str | None
    truth: int


def _counted(judged: Judged) -> tuple[Table, ...]:
    """Of rows from outside the lake knows how many they are, and of which class."""
    scored, model = judged.scored, judged.model
    if scored is None:
        table = model.card.get("table", {})
        rows: tuple[tuple[Cell, ...], ...] = (
            (model.unit.capitalize(), int(table.get("rows", 0))),
            ("Groups", int(table.get("groups", 0))),
            ("Patients", table.get("patients")),
        )
        return (Table("Size of the table", ("What", "Number"), rows),)
    lines: list[tuple[Cell, ...]] = [(model.unit.capitalize(), len(scored.subjects))]
    if scored.unit != model.unit:
        lines.append((scored.unit.capitalize(), len(set(scored.groups))))
    if isinstance(scored, Scored):
        counts = np.bincount(scored.truth, minlength=len(model.classes))
        lines += [(f"Truly {name}", int(count)) for name, count in zip(model.classes, counts, strict=True)]
    return (Table("Who was scored", ("What", "Number"), tuple(lines)),)


def _persons(model: Speaker, rows: Sequence[_Person], classes: Sequence[str]) -> Table:
    groups = [[row for row in rows if row.truth == place] for place in range(len(classes))]
    groups.append(list(rows))
    lines: list[tuple[Cell, ...]] = [
        ("Patients", *(len({row.person for row in group}) for group in groups)),
        (model.unit.capitalize(), *(len(group) for group in groups)),
    ]
    for sex, name in (("F", "Female"), ("M", "Male"), (None, "Sex not stated")):
        counts = [sum(row.sex == sex for row in group) for group in groups]
        if any(counts):
            lines.append((f"{name} ({model.unit})", *counts))
    ages = [sorted(filter(None, (_years(row.age) for row in group))) for group in groups]
    if any(ages):
        lines.append(("Median age, years", *(found[len(found) // 2] if found else None for found in ages)))
    return Table("Who was scored", ("", *classes, "All"), tuple(lines))


def _by(rows: Sequence[_Person], classes: Sequence[str], attribute: str, caption: str, heading: str) -> Table:
    counted = Counter((getattr(row, attribute) or "not stated", row.truth) for row in rows)
    names = sorted({name for name, _ in counted})
    places = range(len(classes) or 1)
    lines = tuple((name, *(counted[name, place] for place in places)) for name in names)
    return Table(caption, (heading, *(classes or ("All",))), lines)


def _years(age: str | None) -> int | None:
    return int(age[:3]) if age and age.endswith("Y") and age[:3].isdigit() else None


def describe_flow(judged: Judged) -> Flow:
    """Boxes from the files that were seen to the parts of the split, with everything that was left out."""
    model, scored = judged.model, judged.scored
    lake = model.lake
    files = _files(lake, model)
    middle = _table_rows(model) if model.is_table else [*_prepared(lake, model), _used(lake, model)]
    return Flow((*files, *middle), () if scored is None else _parts(judged, scored), unit="items")


def _table_rows(model: Speaker) -> list[FlowStep]:
    table = model.card["table"]
    used, left = int(table["rows"]), {str(reason): int(count) for reason, count in table["left"].items()}
    lost = tuple(Exclusion(REASONS.get(reason, reason), count) for reason, count in left.items())
    steps = [FlowStep("Rows of the table", used + sum(left.values()), None, lost, unit=model.unit)]
    if lost:
        steps.append(FlowStep("Rows that the task could use", used, table.get("patients"), unit=model.unit))
    return steps


def _files(lake: Lake, model: Speaker) -> list[FlowStep]:
    members = "select count(*) from cohort_members where cohort_id = $cohort"
    if not lake.sql(members, {"cohort": model.row["cohort_id"]}).rows()[0][0]:
        return []
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


def _prepared(lake: Lake, model: Speaker) -> list[FlowStep]:
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


def _left(lake: Lake, model: Speaker) -> tuple[Exclusion, ...]:
    rows = lake.sql(
        "select reason, count(*) from items where run_id = $run and outcome = 'failed' "
        "and reason <> 'no_volume' group by 1 order by 2 desc",
        {"run": model.row["run_id"]},
    ).rows()
    return tuple(Exclusion(REASONS.get(reason, reason), int(count)) for reason, count in rows)


def _used(lake: Lake, model: Speaker) -> FlowStep:
    used = sorted({subject for fold in model.split()["folds"] for part in fold.values() for subject in part})
    patient = "coalesce(patient_id, study_instance_uid)"
    (patients,) = lake.sql(
        f"select count(distinct {patient}) from volumes "
        f"where {patient if model.level == 'patient' else 'volume_id'} in (select unnest($ids))",
        {"ids": used},
    ).rows()[0]
    return FlowStep(f"Labelled {model.level}s that the task could use", len(used), int(patients))


def _parts(judged: Judged, scored: AnyScored) -> tuple[FlowPart, ...]:
    def part(name: str, groups: Sequence[str]) -> FlowPart:
        patients = len(set(groups)) if scored.unit == "patients" else None
        return FlowPart(name, len(groups), patients)

    if judged.cohort is not None:
        return (part("Scored in another cohort", scored.groups),)
    folds = sorted(set(scored.folds.tolist()))
    if len(folds) > _FOLDS_SHOWN:
        return (part(f"Tested once, in one of {len(folds)} folds", scored.groups),)
    return tuple(
        part(
            f"Tested in fold {fold + 1}" if len(folds) > 1 else "Tested",
            [
                group
                for group, where in zip(scored.groups, scored.folds.tolist(), strict=True)
                if where == fold
            ],
        )
        for fold in folds
    )
