"""Features, embeddings and what mined models say: erased with the patient, traced, verified, compacted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from voxlake.core.digest import digest_many
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.compact import compact
from voxlake.lake.erase import erase
from voxlake.lake.lake import Lake
from voxlake.lake.lineage import trace, verify_inputs
from voxlake.lake.verify import verify

MODEL = "c" * 24
LEVELS = {
    "instance": "sop_instance_uid",
    "series": "series_instance_uid",
    "study": "study_instance_uid",
    "patient": "patient_id",
}


@pytest.fixture
def lake(lake_template: Callable[[int], Path], lake_copy: Callable[[Path], Lake]) -> Lake:
    return lake_copy(lake_template(3))


@pytest.fixture
def cohort(lake: Lake) -> Cohort:
    return get_cohort(lake, "all")


def subjects(lake: Lake, level: str) -> list[tuple[str, str]]:
    """Subjects with their patients."""
    found = lake.sql(f"select distinct {LEVELS[level]}, patient_id from instances order by all").rows()
    return [(str(subject), str(patient)) for subject, patient in found]


def spoken(lake: Lake, cohort: Cohort, level: str) -> None:
    """A mined model that says something of every subject."""
    card = {"kind": "table", "artefacts": {"fold-0.skops": hashlib.sha256(b"tree").hexdigest()}}
    split = {
        "seed": 0,
        "folds": [{"train": [one for one, _ in subjects(lake, level)], "validation": [], "test": []}],
    }
    for name, content in {"card.json": card, "split.json": split}.items():
        lake.objects.put(f"models/{MODEL}/{name}", json.dumps(content).encode())
    lake.objects.put(f"models/{MODEL}/fold-0.skops", b"tree")
    model = {
        "model_id": MODEL,
        "kind": "table",
        "task": "mined",
        "cohort_id": cohort.cohort_id,
        "run_id": "r",
    }
    lake.tables.append("models", [model])
    rows = [
        {"model_id": MODEL, "subject_level": level, "subject": subject, "patient_id": patient,
         "group": patient, "part": "test", "fold": 0, "class": "yes", "probability": 0.5,
         "cohort_id": cohort.cohort_id}
        for subject, patient in subjects(lake, level)
    ]  # fmt: skip
    lake.tables.append("predictions", rows)


def test_nothing_mined_is_left_of_an_erased_patient(lake: Lake, cohort: Cohort) -> None:
    who, other = (patient for _, patient in subjects(lake, "patient")[:2])
    spoken(lake, cohort, "patient")
    rows: dict[str, list[dict[str, Any]]] = {"features": [], "embeddings": []}
    for series, patient in subjects(lake, "series"):
        volume = hashlib.sha256(patient.encode()).hexdigest()[:32]
        named = {"patient_id": patient, "series_instance_uid": series, "volume_id": volume}
        rows["features"].append(
            {**named, "family": "intensity", "feature": "mean", "value": 1.0, "inputs": ["0"]}
        )
        rows["embeddings"] += [
            {
                "embedding_id": "e",
                "subject_level": level,
                "subject": subject,
                "patient_id": patient,
                "vector": [1.0],
            }
            for level, subject in (("series", series), ("patient", patient))
        ]
        lake.tables.append("volumes", [{**named, "inputs": []}])
    for table, made in rows.items():
        lake.tables.append(table, made)
    lake.tables.append(
        "associations", [{"model_id": MODEL, "variable": "age", "target": "finding", "value": 1.0}]
    )
    run = erase(lake, who, yes=True, engine="serial")
    assert (run.result["rows"]["features"], run.result["rows"]["embeddings"]) == (1, 2)
    # What the model said of others goes with it.
    assert run.result["rows"]["predictions"] == 3
    assert list(lake.objects.list("models")) == []
    assert run.result["models"] == []
    assert run.result["deleted_models"] == [{"model_id": MODEL, "task": "mined", "parts": ["test", "train"]}]
    for table, count in (("features", 2), ("embeddings", 4), ("predictions", 0), ("associations", 0)):
        assert lake.sql(f"select count(*) from {table}").rows() == [(count,)]
    root = lake.objects.local_path("tables")
    assert root is not None
    held = "".join(
        json.dumps(pq.read_table(file).to_pylist(), default=str) for file in root.rglob("*.parquet")
    )
    assert who not in held
    assert other in held


@pytest.mark.parametrize("level", list(LEVELS))
def test_a_mined_model_is_traced_to_instances(lake: Lake, cohort: Cohort, level: str) -> None:
    spoken(lake, cohort, level)
    # An instance that came after the cohort was frozen is none of the model's.
    row = lake.sql("select * from instances limit 1").dicts()[0]
    frozen = sorted(one for (one,) in lake.sql("select sha256 from instances").rows())
    late = {"sop_instance_uid": "2.25.9", "sha256": "f" * 64, "source_mac": "0" * 64}
    kept = {name: value for name, value in row.items() if name != "committed_at"}
    lake.tables.append("instances", [{**kept, **late}])
    found = trace(lake, MODEL)
    assert list(found.instances) == frozen
    assert found.instances_digest == digest_many(frozen)
    assert verify_inputs(lake, found.instances) == len(frozen) == 24


def test_rows_of_a_table_from_outside_rest_on_no_instance(lake: Lake, cohort: Cohort) -> None:
    spoken(lake, cohort, "series")
    lake.tables.append(
        "predictions",
        [
            {
                "model_id": "d" * 24,
                "subject_level": "row",
                "subject": "17",
                "part": "test",
                "fold": 0,
                "class": "yes",
            }
        ],
    )
    lake.tables.append("models", [{"model_id": "d" * 24, "kind": "table", "task": "outside", "run_id": "r"}])
    found = trace(lake, "d" * 24)
    assert (found.instances, found.volumes) == ((), 0)


def test_volumes_that_were_measured_are_counted(lake: Lake, cohort: Cohort) -> None:
    spoken(lake, cohort, "patient")
    who = subjects(lake, "patient")[0][0]
    lake.tables.append(
        "features",
        [{"volume_id": volume, "patient_id": who, "family": "intensity", "feature": "mean", "run_id": "m"}
         for volume in ("a", "a", "b")],
    )  # fmt: skip
    assert trace(lake, MODEL).volumes == 2


def test_files_of_a_mined_model_are_verified(lake: Lake, cohort: Cohort) -> None:
    spoken(lake, cohort, "series")
    assert verify(lake, engine="serial").result.get("damaged", 0) == 0
    lake.objects.put(f"models/{MODEL}/fold-0.skops", b"bush")
    run = verify(lake, engine="serial")
    found = lake.sql(
        "select item, reason from items where run_id = $run and outcome = 'failed'", {"run": run.run_id}
    )
    assert found.rows() == [(f"models/{MODEL}/fold-0.skops", "object_damaged")]


def test_rows_without_a_mask_are_told_apart_when_compacted(
    lake: Lake, cohort: Cohort, tmp_path: Path
) -> None:
    row = {"volume_id": "v", "settings_digest": "s", "family": "intensity", "feature": "mean", "value": 1.0}
    for label in (None, 1, 2, None):
        mask = None if label is None else "m"
        lake.tables.append("features", [{**row, "mask_id": mask, "label": label, "run_id": "r"}])
    before = lake.sql("select mask_id, label, value from features order by all").rows()
    assert before == [("m", 1, 1.0), ("m", 2, 1.0), (None, None, 1.0)]
    compact(lake, engine="serial")
    assert lake.sql("select mask_id, label, value from features order by all").rows() == before
