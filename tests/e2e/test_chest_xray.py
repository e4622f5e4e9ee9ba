"""The main job on real chest X-rays: 2,501 files, patients in the file names, labels in the folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from voxlake.evaluation.evaluate import evaluate
from voxlake.evaluation.report import report
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake
from voxlake.learning.task import Task, load_task
from voxlake.learning.train import train
from voxlake.volumes.prepare import prepare

EXAMPLE = Path(__file__).parents[2] / "src/voxlake/learning/recipes/chest_xray"
pytestmark = [pytest.mark.realdata, pytest.mark.xdist_group("chest_xray"), pytest.mark.timeout(1200)]


@pytest.fixture
def xrays(lake: Lake, realdata: Path) -> Lake:
    """All images, let in under the waiver of the example."""
    source, mapping = realdata / "chest_xray_pneumonia", EXAMPLE / "mapping.toml"
    run = ingest(lake, source, mapping=mapping, policy=EXAMPLE / "policy.toml")
    assert run.counts == {"seen": 2502, "stored": 2494, "already": 7, "ignored": 1}
    assert run.result["waived"] == {"jpeg": 2494}
    return lake


def test_without_the_waiver_no_image_comes_in(lake: Lake, realdata: Path, tmp_path: Path) -> None:
    source = tmp_path / "NORMAL"
    source.mkdir()
    images = sorted((realdata / "chest_xray_pneumonia" / "train" / "NORMAL").iterdir())
    for image in images[::20]:
        shutil.copyfile(image, source / image.name)
    run = ingest(lake, source)
    assert run.counts == {"seen": 50, "quarantined": 50}
    assert run.reasons == {"pixels_unchecked": 50}


def shorter(task: Task, **training: int) -> Task:
    """The shipped task with one test part instead of five folds."""
    split = task.split.model_copy(update={"kind": "holdout", "test": 0.2})
    return task.model_copy(update={"split": split, "training": task.training.model_copy(update=training)})


@pytest.mark.slow
def test_real_labels_are_learned_and_shuffled_ones_are_not(xrays: Lake, tmp_path: Path) -> None:
    # About every third image, the same ones each time as the key is: all of them take minutes.
    cohort = select(xrays, "chest", "modality = 'DX' and hash(series_instance_uid) % 3 = 0")
    assert 700 < cohort.series < 950
    assert prepare(cohort, plan="xray-64").counts == {"seen": cohort.series, "stored": cohort.series}
    task = shorter(load_task(EXAMPLE / "task.toml"), epochs=5)
    run = train(xrays, task)
    assert run.counts == {"seen": cohort.series, "stored": cohort.series}
    scores = evaluate(xrays, "pneumonia").result["scores"]
    assert scores["roc_auc"]["low"] > 0.9
    assert scores["accuracy"]["value"] > 0.8
    assert report(xrays, "pneumonia", output=tmp_path / "report.html").counts["stored"] == 1

    rows = xrays.sql(
        "select patient_id, any_value(value) from instances join labels on subject = sop_instance_uid "
        "group by 1 order by 1"
    ).rows()
    shuffled = np.random.default_rng(0).permutation([value for _, value in rows])
    table = tmp_path / "shuffled.csv"
    lines = [f"{patient},{value}" for (patient, _), value in zip(rows, shuffled, strict=True)]
    table.write_text("patient,shuffled\n" + "\n".join(lines) + "\n")
    assert label(xrays, table, level="patient", identifiers="lake").result["unmatched"] == 0
    nonsense = shorter(task, epochs=2).model_copy(update={"target": "shuffled", "name": "nonsense"})
    train(xrays, nonsense)
    area = evaluate(xrays, "nonsense").result["scores"]["roc_auc"]
    assert area["low"] < 0.5 < area["high"] or abs(area["value"] - 0.5) < 0.1


@pytest.mark.slow
def test_five_folds_by_patient(xrays: Lake) -> None:
    cohort = select(xrays, "chest", "modality = 'DX'")
    assert (cohort.series, cohort.patients) == (2494, 1564)
    assert prepare(cohort, plan="xray-64").counts == {"seen": 2494, "stored": 2494}
    run = train(xrays, load_task(EXAMPLE / "task.toml"))
    assert run.result["folds"] == 5
    result = evaluate(xrays, "pneumonia").result
    assert (result["samples"], result["patients"]) == (2494, 1564)
    assert result["scores"]["roc_auc"]["low"] > 0.97
