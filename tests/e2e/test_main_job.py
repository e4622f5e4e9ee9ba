"""From phantoms to a report, through every verb; what must stop a run stops it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import LeakageError, NotFoundError, SettingsError, UsageError
from voxlake.evaluation.evaluate import evaluate
from voxlake.evaluation.report import report
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.lineage import trace, verify_inputs
from voxlake.learning import fold as folds
from voxlake.learning.model import get_model
from voxlake.learning.model_files import model_path
from voxlake.learning.predict import predict
from voxlake.learning.task import Task, load_task
from voxlake.learning.train import train
from voxlake.processing.registry import load_plan
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import read_values, volume_rows

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("main-job")

PLAN = """
[[steps]]
step = "resample"
spacing = [16.0, 16.0, 16.0]
[[steps]]
step = "crop_or_pad"
shape = [12, 20, 20]
fill = "minimum"
[[steps]]
step = "window"
low = -1000
high = 200
"""
TASK = load_task(
    f"""
name = "nodule"
cohort = "old"
target = "nodule"
positive = "present"
[plan]
{PLAN.replace("[[steps]]", "[[plan.steps]]")}
[split]
kind = "kfold"
folds = 2
validation = 0.25
[network]
name = "cnn"
dimensions = 3
blocks = [4, 8]
[training]
epochs = 2
batch_size = 4
threads = 1
"""
)


def filled(lake: Lake) -> Lake:
    """Two cohorts of tiny phantoms, prepared: old and new."""
    small = {"slices": 8, "rows": 16, "columns": 16}
    ingest(lake, Phantoms(patients=20, **small), engine="serial")
    old = select(lake, "old")
    ingest(lake, Phantoms(patients=6, seed=5, **small), engine="serial")
    new = select(lake, "all")
    prepare(old, plan=load_plan(PLAN), engine="serial")
    prepare(new, plan=load_plan(PLAN), engine="serial")
    return lake


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("main-job")
    LakeKey(bytes(range(32))).save(folder / "key")
    filled(open_lake(folder / "lake", key=folder / "key"))
    return folder


@pytest.fixture
def ready(template: Path, lake_copy: Callable[[Path], Lake]) -> Lake:
    """A lake in which training can begin."""
    return lake_copy(template)


def test_every_verb_to_the_report(ready: Lake, tmp_path: Path) -> None:
    run = train(ready, TASK)
    volumes = ready.sql("select count(*) from volumes").rows()[0][0]
    assert run.counts == {"seen": run.counts["seen"], "stored": run.counts["seen"]}
    assert 20 <= run.counts["seen"] < volumes
    assert train(ready, TASK).result["already"] is True

    model = get_model(ready, "nodule")
    assert model.model_id == run.result["model"]
    assert (model.row["kind"], model.row["task_kind"]) == ("network", "classification")
    split = json.loads(ready.objects.get(model_path(model.model_id, "split.json")))
    patient = dict(ready.sql("select volume_id, patient_id from volumes").rows())
    for fold in split["folds"]:
        parts = [{patient[volume] for volume in fold[part]} for part in ("train", "validation", "test")]
        assert len(set().union(*parts)) == sum(map(len, parts))
    tested = [volume for fold in split["folds"] for volume in fold["test"]]
    assert len(tested) == len(set(tested)) == run.counts["seen"]

    scores = evaluate(ready, "nodule")
    assert scores.result["samples"] == run.counts["seen"]
    rows = {row["metric"]: row for row in ready.sql("select * from scores").dicts()}
    assert {"accuracy", "recall", "precision", "f1", "roc_auc"} <= set(rows)
    assert list(scores.result["scores"])[:5] == ["accuracy", "recall", "precision", "f1", "roc_auc"]
    truth = ready.sql(
        "select truth = 'present', probability from predictions where part = 'test' and class = 'present'"
    ).rows()
    positive = [p for t, p in truth if t]
    negative = [p for t, p in truth if not t]
    pairs = np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])
    assert rows["roc_auc"]["value"] == pytest.approx(pairs)
    evaluate(ready, "nodule")
    assert len(ready.sql("select * from scores").rows()) == len(rows)

    said = predict(ready, "nodule", "all")
    assert said.counts == {"seen": volumes, "stored": volumes}
    assert predict(ready, "nodule", "all").counts == {"seen": volumes, "already": volumes}
    parts = dict(
        ready.sql("select part, count(distinct volume_id) from predictions where fold = -1 group by 1").rows()
    )
    assert parts == {"seen": run.counts["seen"], "new": volumes - run.counts["seen"]}
    outside = evaluate(ready, "nodule", cohort="all")
    assert outside.counts == {"seen": volumes, "stored": parts["new"], "ignored": parts["seen"]}
    assert outside.reasons == {"seen_in_training": parts["seen"]}

    lineage = trace(ready, model.model_id)
    assert (
        len(lineage.instances)
        == ready.sql(
            "select count(distinct sha256) from instances where series_instance_uid in "
            "(select series_instance_uid from volumes join predictions using (volume_id))"
        ).rows()[0][0]
    )
    assert verify_inputs(ready, lineage.instances) == len(lineage.instances)
    assert [verb for _, verb, _ in lineage.runs][-1] in {"evaluate", "predict"}
    assert {"ingest", "select", "prepare", "train"} <= {verb for _, verb, _ in lineage.runs}

    page = tmp_path / "report.html"
    made = report(ready, "nodule", output=page, questions=[("How many?", "select count(*) as n from series")])
    text = page.read_text()
    assert made.result["report"] == str(page)
    assert "Synthetic images" in text
    assert lineage.instances_digest in text
    assert 'src="http' not in text
    assert ready.objects.get(f"reports/{made.run_id}/report.html") == page.read_bytes()
    about_run = report(ready, run.run_id, output=page)
    assert about_run.counts == {"seen": 1, "stored": 1}
    assert "Run of train" in page.read_text()


@pytest.mark.slow
def test_a_killed_training_goes_on(new_lake: Callable[..., Lake], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = filled(new_lake("whole")), filled(new_lake("broken"))
    train(whole, TASK)
    real = folds.fit_samples
    calls = []

    def dies(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(folds, "fit_samples", dies)
    with pytest.raises(KeyboardInterrupt):
        train(broken, TASK)
    assert broken.sql("select outcome from runs where verb = 'train'").rows() == [("failed",)]
    train(broken, TASK)
    assert len(calls) == 3, "the fold that was done is not trained again"
    statement = "select volume_id, fold, class, probability from predictions where part = 'test' order by all"
    assert broken.sql(statement).rows() == whole.sql(statement).rows()


def test_conflicts_and_missing_labels_are_left_out_and_said(ready: Lake, tmp_path: Path) -> None:
    series = [row[0] for row in ready.sql("select series_instance_uid from cohort_old order by 1").rows()]
    table = tmp_path / "labels.csv"
    table.write_text(
        "series,verdict\n" + "".join(f"{uid},{'ab'[i % 2]}\n" for i, uid in enumerate(series[3:]))
    )
    label(ready, table, level="series", identifiers="lake")
    table.write_text(f"series,verdict\n{series[3]},b\n{series[4]},c\n{series[5]},c\n")
    label(ready, table, level="series", identifiers="lake", reader="B")
    task = TASK.model_copy(
        update={"target": "verdict", "positive": None, "classes": ("a", "b"), "name": "verdict"}
    )
    run = train(ready, task)
    assert run.reasons == {"no_label": 3, "label_conflict": 3}
    assert run.counts["seen"] == run.counts["stored"] + 6


def test_what_must_stop_a_training_stops_it(ready: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="no cohort 'odl'; did you mean 'old'"):
        train(ready, TASK.model_copy(update={"cohort": "odl"}))
    with pytest.raises(NotFoundError, match="has a label 'nodul'; did you mean 'nodule'"):
        train(ready, TASK.model_copy(update={"target": "nodul"}))
    with pytest.raises(NotFoundError, match="no volume under the plan of the task"):
        train(ready, TASK.model_copy(update={"plan": "ct-phantom"}))
    with pytest.raises(UsageError, match="dimensions = 3"):
        train(ready, TASK.model_copy(update={"network": {**TASK.network, "dimensions": 2}}))
    with pytest.raises(SettingsError, match="unknown metric 'roc_auk'; did you mean 'roc_auc'"):
        Task.read({**TASK.model_dump(), "metrics": ["roc_auk"]})
    from voxlake.learning import split

    monkeypatch.setattr(split, "assign_folds", lambda groups, *_, **__: [i % 2 for i in range(len(groups))])
    with pytest.raises(LeakageError, match="patients stand both in"):
        train(ready, TASK)
    assert ready.sql("select count(*) from models").rows() == [(0,)]


def test_samples_are_what_was_prepared_and_labelled(ready: Lake) -> None:
    from voxlake.lake.cohorts import get_cohort
    from voxlake.learning.gather import gather

    cohort = get_cohort(ready, "old")
    plan = load_plan(PLAN)
    found = gather(cohort, plan.digest(), TASK)
    values = read_values(ready, volume_rows(cohort, plan.digest()))
    np.testing.assert_array_equal(found.images[0][0, 0].numpy(), values[0])
    assert len(set(found.groups)) == 20
    assert found.truths == tuple(
        row[0]
        for row in ready.sql(
            "select any_value(labels.value) from volumes join instances using (series_instance_uid) "
            "join labels on subject = instances.sop_instance_uid where series_instance_uid in "
            "(select series_instance_uid from cohort_old) group by volume_id, series_instance_uid "
            "order by series_instance_uid"
        ).rows()
    )
