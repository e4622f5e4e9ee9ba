"""The verbs mine and predict on tables of a lake and from outside."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.lake.withdrawals import withdraw
from voxlake.learning.mine import mine
from voxlake.learning.mined import get_mined
from voxlake.learning.mining import MiningTask, load_mining_task
from voxlake.learning.model_files import model_path
from voxlake.learning.predict import predict
from voxlake.learning.tables.gather import gather_table
from voxlake.learning.tables.subjects import find_subjects
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.sources.phantoms import Phantoms

_TASK = """
name = "marks"
kind = "classification"
target = "verdict"
positive = "bad"
group = "patient"
asides = ["site"]

[[inputs]]
source = "file"
path = "marks.csv"
subject = "mark"

[folds]
outer = 2
inner = 2

[search]
estimators = ["logistic"]
candidates = 1
"""


def _write(path: Path, patients: Sequence[int], *, drop: str | None = None) -> None:
    """Two marks for each patient; ``size`` tells the verdict."""
    lines = []
    for patient in patients:
        generator = np.random.default_rng(patient)
        for number in range(2):
            bad = patient % 2
            lines.append(
                {
                    "mark": f"m{patient}-{number}",
                    "patient": f"Name^{patient}",
                    "size": f"{generator.normal() + 4 * bad:.4f}",
                    "shape": generator.choice(["round", "oval", ""]),
                    "site": "ab"[patient % 3 // 2],
                    "verdict": "" if patient == 7 and number else ("bad" if bad else "good"),
                }
            )
    names = [name for name in lines[0] if name != drop]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    _write(tmp_path / "marks.csv", range(24))
    path = tmp_path / "marks.toml"
    path.write_text(_TASK)
    return path


def test_a_table_from_outside_is_mined_once_and_speaks_about_others(
    lake: Lake, task: Path, tmp_path: Path
) -> None:
    run = mine(lake, task, progress=False)
    assert run.balance() == "48 seen = 47 stored + 1 failed"
    assert dict(run.reasons) == {"no_label": 1}
    assert run.result["mean_of_outer_folds"] > 0.9
    again = mine(lake, task, progress=False)
    assert again.balance() == "48 seen = 47 already there + 1 failed"
    assert again.result["model"] == run.result["model"]
    _check_model(lake, run.result["model"])
    _check_predictions(lake, run.result["model"])
    _write(tmp_path / "more.csv", range(20, 30), drop="verdict")
    spoken = predict(lake, "marks", str(tmp_path / "more.csv"))
    assert spoken.balance() == "20 seen = 20 stored"
    parts = lake.sql(
        "select part, count(distinct subject), count(truth), min(fold) from predictions "
        "where cohort_id like 'table-%' and part in ('new', 'seen') group by 1 order by 1"
    ).rows()
    assert parts == [("new", 12, 0, -1), ("seen", 8, 0, -1)]
    assert predict(lake, "marks", str(tmp_path / "more.csv")).balance() == "20 seen = 20 already there"
    (right,) = lake.sql(
        "select avg((probability > 0.5)::int) from predictions where part = 'new' and class = 'bad'"
    ).rows()[0]
    assert right == pytest.approx(0.5, abs=0.1)
    _write(tmp_path / "less.csv", range(40, 44), drop="size")
    with pytest.raises(UsageError, match="lacks 1 columns"):
        predict(lake, "marks", str(tmp_path / "less.csv"))
    with pytest.raises(NotFoundError, match="did you mean 'marks'"):
        predict(lake, "mark5", str(tmp_path / "more.csv"))
    path = model_path(run.result["model"], "final.skops")
    lake.objects.put(path, lake.objects.get(path)[:-1] + b"x")
    _write(tmp_path / "last.csv", range(50, 52))
    with pytest.raises(IntegrityError, match="not what was stored"):
        predict(lake, "marks", str(tmp_path / "last.csv"))


def _check_model(lake: Lake, model: str) -> None:
    (row,) = lake.sql("select * from models").dicts()
    assert (row["kind"], row["task_kind"], row["samples"], row["folds"]) == ("table", "classification", 47, 2)
    assert row["classes"] == ["bad", "good"]
    card = get_mined(lake, model[:6]).card
    assert card["table"] | {"digest": "", "sources": {}} == {
        "level": "row",
        "rows": 47,
        "groups": 24,
        "patients": 24,
        "grouped_by": "patient",
        "digest": "",
        "left": {"no_label": 1},
        "sources": {},
    }
    assert [one["name"] for one in card["variables"]] == ["size", "shape"]
    assert card["audit"]["patients"] == 0
    kept = "".join(lake.objects.get(path).decode("latin-1") for path in lake.objects.list(f"models/{model}/"))
    assert "Name^" not in kept
    assert "marks.csv" not in kept
    split = json.loads(lake.objects.get(model_path(model, "split.json")))
    assert len({one for fold in split["folds"] for one in fold["test"]}) == 47


def _check_predictions(lake: Lake, model: str) -> None:
    expected = Pseudonymiser(lake.key).patient("Name^3")
    rows = lake.sql(
        'select subject_level, patient_id, "group", truth, volume_id from predictions '
        "where model_id = $model and part = 'test' and patient_id = $patient group by all",
        {"model": model, "patient": expected},
    ).rows()
    assert rows == [("row", expected, expected, "bad", None)]
    counts = lake.sql(
        "select part, fold, count(distinct subject) from predictions group by all order by all"
    ).rows()
    assert sum(count for part, _, count in counts if part == "test") == 47
    assert ("validation", -1, 47) in counts


def test_a_patient_who_has_withdrawn_is_no_row(lake: Lake, task: Path, tmp_path: Path) -> None:
    ingest(lake, Phantoms(patients=2, slices=8, rows=16, columns=16), engine="serial", progress=False)
    (patient,) = lake.sql("select min(patient_id) from instances").rows()[0]
    withdraw(lake, patient)
    lines = ["mark,patient,size,site,verdict"]
    owners = [patient, *(f"P{one}" for one in range(12))]
    lines += [f"m{n},{owner},{n % 2}.{n},a,{'bad' if n % 2 else 'good'}" for n, owner in enumerate(owners)]
    (tmp_path / "marks.csv").write_text("\n".join(lines))
    task.write_text(_TASK.replace('subject = "mark"', 'subject = "mark"\nidentifiers = "lake"'))
    run = mine(lake, task, progress=False)
    assert run.balance() == "13 seen = 12 stored + 1 failed"
    assert dict(run.reasons) == {"patient_withdrawn": 1}


def test_rows_of_a_cohort_bring_together_headers_labels_and_tables(lake: Lake, tmp_path: Path) -> None:
    ingest(lake, Phantoms(patients=6, slices=8, rows=16, columns=16), engine="serial", progress=False)
    cohort = select(lake, "all")
    patients = [row[0] for row in lake.sql("select distinct patient_id from series order by 1").rows()]
    ages = {patient: 40 + place for place, patient in enumerate(patients)}
    (tmp_path / "ages.csv").write_text(
        "who,age\n" + "".join(f"{patient},{age}\n" for patient, age in ages.items() if patient != patients[0])
    )
    task = MiningTask.read(
        {
            "name": "t",
            "kind": "classification",
            "cohort": "all",
            "target": "nodule",
            "asides": ["modality"],
            "inputs": [
                {
                    "source": "headers",
                    "table": "instances",
                    "include": ["rows", "instance_number", "modality"],
                },
                {
                    "source": "file",
                    "path": str(tmp_path / "ages.csv"),
                    "subject": "who",
                    "level": "patient",
                    "identifiers": "lake",
                },
                {
                    "source": "sql",
                    "statement": "select series_instance_uid, images * 2 as twice from series",
                    "subject": "series_instance_uid",
                },
            ],
        }
    )
    table = gather_table(lake, task, cohort)
    truth = dict(
        lake.sql(
            "select distinct series_instance_uid, value from labels "
            "join instances on subject = sop_instance_uid"
        ).rows()
    )
    assert table.level == "series"
    assert list(table.subjects) == sorted(truth)
    assert list(table.target.values) == [truth[subject] for subject in table.subjects]
    assert sorted(table.names) == ["age", "instance_number", "rows", "twice"]
    assert list(table.column("modality").values) == ["CT"] * len(table)
    assert set(table.column("twice").values) == {16.0}
    for patient, age in zip(table.patients, table.column("age").values, strict=True):
        assert np.isnan(age) if patient == patients[0] else age == ages[patient]
    mean = dict(lake.sql("select series_instance_uid, avg(instance_number) from instances group by 1").rows())
    found = dict(zip(table.subjects, table.column("instance_number").values, strict=True))
    assert all(found[uid] == pytest.approx(value) for uid, value in mean.items() if value is not None)
    stored = dict(
        lake.sql("select series_instance_uid, list(distinct sha256) from instances group by 1").rows()
    )
    for subject, contents in zip(table.subjects, table.contents, strict=True):
        assert set(stored[subject]) <= set(contents)
    with pytest.raises(NotFoundError, match="did you mean 'nodule'"):
        gather_table(lake, task.model_copy(update={"target": "nodul"}), cohort)


def test_features_are_columns_and_patients_are_rows_where_asked(lake: Lake) -> None:
    ingest(lake, Phantoms(patients=4, slices=8, rows=16, columns=16), engine="serial", progress=False)
    cohort = get_cohort(lake, select(lake, "all").name)
    series = lake.sql(
        "select series_instance_uid, study_instance_uid, patient_id from series order by 1"
    ).rows()
    volumes = [
        {
            "volume_id": f"v{place}",
            "plan_digest": "plan",
            "series_instance_uid": uid,
            "study_instance_uid": study,
            "patient_id": patient,
            "inputs": [
                row[0]
                for row in lake.sql(
                    "select sha256 from instances where series_instance_uid = $uid", {"uid": uid}
                ).rows()
            ],
        }
        for place, (uid, study, patient) in enumerate(series)
    ]
    lake.tables.append("volumes", volumes)
    shared = {"family": "intensity", "plan_digest": "plan", "settings_digest": "s"}
    lake.tables.append(
        "features",
        [
            {**shared, "volume_id": row["volume_id"], "feature": "mean", "value": float(place)}
            for place, row in enumerate(volumes)
        ]
        + [
            {
                **shared,
                "volume_id": row["volume_id"],
                "mask_id": "m",
                "label": 1,
                "label_name": "lung",
                "feature": "mean",
                "value": -1.0,
            }
            for row in volumes
        ],
    )
    task = load_mining_task(
        'name = "t"\nkind = "clustering"\ncohort = "all"\nlevel = "volume"\n[[inputs]]\nsource = "features"\n'
    )
    table = gather_table(lake, task, cohort)
    assert list(table.subjects) == sorted(row["volume_id"] for row in volumes)
    assert set(table.names) == {"intensity.mean", "lung.intensity.mean"}
    for subject, value in zip(table.subjects, table.column("intensity.mean").values, strict=True):
        assert value == float(subject[1:])
    of_patients = gather_table(lake, task.model_copy(update={"level": "patient", "combine": "max"}), cohort)
    for patient, value in zip(of_patients.subjects, of_patients.column("intensity.mean").values, strict=True):
        assert value == max(place for place, row in enumerate(volumes) if row["patient_id"] == patient)
    assert find_subjects(cohort, "study").grouped_by == "patient"
    lake.tables.append(
        "features", [{**shared, "settings_digest": "z", "volume_id": "v0", "feature": "mean", "value": 9.0}]
    )
    with pytest.raises(UsageError, match="measured under several settings"):
        gather_table(lake, task, cohort)
