"""Every kind of task through the lake: train, evaluate, predict others, write vectors, report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import NotFoundError, SettingsError, UsageError
from voxlake.evaluation.evaluate import evaluate
from voxlake.evaluation.report import report
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake, open_lake
from voxlake.learning.gather import gather
from voxlake.learning.model import get_model
from voxlake.learning.model_files import model_path
from voxlake.learning.predict import predict
from voxlake.learning.task import Task, load_task
from voxlake.learning.train import train
from voxlake.networks.registry import NETWORKS
from voxlake.processing.registry import load_plan
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.testing.learning_tasks import CNN, SLICES, SMALL_PLAN, small_task
from voxlake.volumes.prepare import prepare

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("learning-kinds")

COMMON = small_task("old")
VISITS = SLICES.replace("dimensions = 2", "dimensions = 3") + '\n[sequence]\nof = "visits"\n'
TABLE = """
[[inputs]]
source = "labels"
include = ["size", "left"]
[[inputs]]
source = "headers"
include = ["patient_sex"]
"""
FUSED = """
[network]
name = "fusion"
features = 3
encoder = {name = "cnn", dimensions = 3, blocks = [2]}
"""
KINDS = {
    "multilabel": ('kind = "multilabel"\ntargets = ["left", "right"]', CNN),
    "ordinal": ('kind = "ordinal"\ntarget = "grade"\nclasses = ["low", "middle", "high"]', CNN),
    "regression": ('kind = "regression"\ntarget = "size"', CNN),
    "slices": ('target = "nodule"', SLICES),
    "visits": ('target = "nodule"\nlevel = "patient"', VISITS),
    "table": ('target = "nodule"', '\n[network]\nname = "mlp"\nhidden = [4]\n' + TABLE),
    "fusion": ('kind = "regression"\ntarget = "size"', FUSED + TABLE),
    "reconstruction": (
        'kind = "reconstruction"\ntarget = "nodule"\npositive = "present"\nlearn_from = ["absent"]',
        '\n[network]\nname = "autoencoder"\ndimensions = 3\nchannels = [2]\n',
    ),
}
USUAL = ["multilabel", "ordinal", "regression", "slices", "visits", "table", "fusion"]
if "autoencoder" in NETWORKS:
    USUAL.append("reconstruction")
# Between them they see images, tables, classes and numbers.
QUICK = {"multilabel", "fusion"}


def _task(kind: str, **changes: object) -> Task:
    head, network = KINDS[kind]
    task = load_task(f'name = "{kind}"\n{head}\n{COMMON}\n{network}')
    return task.model_copy(update=changes)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    LakeKey(bytes(range(32))).save(folder / "key")
    lake = open_lake(folder / "lake", key=folder / "key")
    small = {"slices": 8, "rows": 16, "columns": 16, "second_study": 1.0}
    ingest(lake, Phantoms(patients=16, **small), engine="serial")
    old = select(lake, "old")
    ingest(lake, Phantoms(patients=4, seed=5, **small), engine="serial")
    everyone = select(lake, "all")
    for cohort in (old, everyone):
        prepare(cohort, plan=load_plan(SMALL_PLAN), engine="serial")
    series = [row[0] for row in lake.sql("select series_instance_uid from cohort_all order by 1").rows()]
    lines = ["series,grade,size,left,right"]
    for number, uid in enumerate(series):
        # Of every fifth series nobody knows about the right side, of the first nothing at all but its size.
        left, right = number % 2, "" if number % 5 == 0 else number % 3 % 2
        grade = ("low", "middle", "high")[number % 3]
        lines.append(f"{uid},{grade},{10 + number},{left},{right}" if number else f"{uid},,10,,")
    table = folder / "labels.csv"
    table.write_text("\n".join(lines) + "\n")
    label(lake, table, level="series", identifiers="lake")
    return folder


@pytest.fixture
def lake(home: Path) -> Lake:
    return open_lake(home / "lake", key=home / "key")


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in USUAL]
)
def test_every_kind_goes_from_training_to_scores(lake: Lake, kind: str) -> None:
    task = _task(kind)
    run = train(lake, task)
    model = get_model(lake, kind)
    rows = lake.sql(
        "select * from predictions where model_id = $model and part = 'test'", {"model": model.model_id}
    ).dicts()
    subjects = {row["subject"] for row in rows}
    assert run.counts["seen"] == run.counts["stored"] + run.counts.get("failed", 0)
    assert len(subjects) == run.counts["stored"]
    assert {row["subject_level"] for row in rows} == {task.level}
    per_subject = max(len(model.classes), 1)
    assert len(rows) == per_subject * len(subjects)
    scored = evaluate(lake, kind)
    assert scored.result["samples"] >= len(subjects) - 1
    assert all(
        -1e9 < one["value"] < 1e9 for one in scored.result["scores"].values() if one["value"] is not None
    )
    said = predict(lake, kind, "all", embeddings=True)
    found = lake.sql(
        "select part, uncertainty from predictions where model_id = $model and fold = -1",
        {"model": model.model_id},
    ).rows()
    assert {part for part, _ in found} == {"seen", "new"}
    assert all(apart is not None and apart >= 0 for _, apart in found)
    vectors = lake.sql(
        "select vector from embeddings where model_id = $model", {"model": model.model_id}
    ).rows()
    assert len(vectors) == said.counts["stored"]
    assert len({len(vector) for (vector,) in vectors}) == 1
    again = predict(lake, kind, "all", embeddings=True)
    assert again.counts.get("already") == said.counts["stored"]


def test_a_network_of_several_labels_says_what_is_known(lake: Lake) -> None:
    train(lake, _task("multilabel"))
    model = get_model(lake, "multilabel")
    rows = lake.sql(
        "select \"class\", truth, count(*) from predictions where model_id = $model and part = 'test' "
        "group by all",
        {"model": model.model_id},
    ).rows()
    counts = {(name, truth): count for name, truth, count in rows}
    assert set(counts) == {("left", "0"), ("left", "1"), ("right", "0"), ("right", "1"), ("right", None)}
    assert counts["left", "0"] + counts["left", "1"] == sum(
        count for (name, _), count in counts.items() if name == "right"
    )
    scores = evaluate(lake, "multilabel").result["scores"]
    assert {"macro_roc_auc", "roc_auc_left", "roc_auc_right", "subset_accuracy"} <= set(scores)


@pytest.mark.slow
def test_numbers_are_said_in_their_unit_and_reported(lake: Lake, tmp_path: Path) -> None:
    train(lake, _task("regression"))
    model = get_model(lake, "regression")
    rows = lake.sql(
        "select value, truth_value from predictions where model_id = $model and part = 'test'",
        {"model": model.model_id},
    ).rows()
    values, truths = np.array(rows).T
    assert 5 < values.mean() < 55
    error = np.abs(values - truths).mean()
    assert evaluate(lake, "regression").result["scores"]["mean_absolute_error"]["value"] == pytest.approx(
        error
    )
    page = tmp_path / "page.html"
    report(lake, "regression", output=page)
    text = page.read_text()
    assert "with 2 networks of" in text
    assert "Figures of the validation part" in text
    assert "Mean absolute error" in text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multilabel", *(["reconstruction"] if "autoencoder" in NETWORKS else [])])
def test_other_kinds_have_a_page(lake: Lake, tmp_path: Path, kind: str) -> None:
    train(lake, _task(kind))
    page = tmp_path / "page.html"
    report(lake, kind, output=page)
    assert {"multilabel": "Each label by itself", "reconstruction": "anomaly score"}[kind] in page.read_text()


def test_a_table_is_prepared_on_the_training_part_alone_and_kept(lake: Lake) -> None:
    cohort, task = get_cohort(lake, "old"), _task("fusion")
    found = gather(cohort, task.load_plan().digest(), task)
    train_part = list(range(0, len(found.units), 2))
    preparation = found.prepare(train_part)
    samples = found.samples(train_part, preparation)
    images, table = samples.inputs
    assert images.shape[1:] == (1, 4, 8, 8)
    left = found.table.column("left").values
    place = preparation.names.index("left")
    known = left[~np.isnan(left) & np.isin(np.arange(len(left)), train_part)]
    inside = np.where(np.isnan(left), np.median(known), left)[train_part]
    np.testing.assert_allclose(table[:, place], (inside - inside.mean()) / inside.std(), atol=1e-5)
    train(lake, task)
    card = json.loads(lake.objects.get(model_path(get_model(lake, "fusion").model_id, "card.json")))
    assert {one["name"] for one in card["variables"]} == {"left", "patient_sex"}
    assert card["columns"] == len(card["history"][0]["table"]["names"])


def test_what_is_to_be_learned_is_never_a_column(lake: Lake) -> None:
    cohort = get_cohort(lake, "old")
    head, network = KINDS["fusion"]
    text = f'name = "a"\n{head}\n{COMMON}\n{network}'.replace('include = ["size", "left"]', 'include = ["*"]')
    task = load_task(text)
    found = gather(cohort, task.load_plan().digest(), task)
    assert set(found.table.names) == {"grade", "left", "right", "nodule", "patient_sex"}


def test_visits_stand_in_the_order_of_their_dates(lake: Lake) -> None:
    cohort, task = get_cohort(lake, "old"), _task("visits")
    found = gather(cohort, task.load_plan().digest(), task)
    steps, lengths = found.images
    assert len(found.units) == 16
    assert lengths.tolist() == [len(unit.rows) for unit in found.units]
    assert set(lengths.tolist()) == {2}
    assert steps.shape[1:] == (2, 1, 4, 8, 8)
    dates = dict(lake.sql("select series_instance_uid, study_date from series").rows())
    for unit in found.units:
        days = [dates[row["series_instance_uid"]] for row in unit.rows]
        assert days == sorted(days)
        assert len({row["patient_id"] for row in unit.rows}) == 1


def test_slices_are_steps_and_the_longest_is_bounded(lake: Lake) -> None:
    cohort, task = get_cohort(lake, "old"), _task("slices")
    plan = task.load_plan().digest()
    steps, lengths = gather(cohort, plan, task).images
    assert steps.shape[1:] == (4, 1, 8, 8)
    assert set(lengths.tolist()) == {4}
    bounded = task.model_copy(update={"sequence": task.sequence.model_copy(update={"longest": 2})})
    few, _ = gather(cohort, plan, bounded).images
    np.testing.assert_array_equal(few.numpy(), steps[:, [0, 3]].numpy())


def test_a_training_that_is_logged_leaves_its_files_with_the_model(lake: Lake) -> None:
    pytest.importorskip("tensorboard")
    task = _task("ordinal", name="logged")
    task = task.model_copy(
        update={"training": task.training.model_copy(update={"loggers": ("tensorboard",)})}
    )
    run = train(lake, task)
    logs = list(lake.objects.list(model_path(run.result["model"], "logs")))
    assert len(logs) == 2
    assert all("events.out.tfevents" in path for path in logs)


@pytest.mark.parametrize(
    ("kind", "before", "after", "message"),
    [
        ("multilabel", 'targets = ["left", "right"]', 'target = "left"', "names its labels in 'targets'"),
        ("ordinal", 'classes = ["low", "middle", "high"]', "", "names its 'classes' in their order"),
        ("regression", 'target = "size"', "", "missing key 'target'"),
        ("regression", 'target = "size"', 'targets = ["size"]', "is for kind 'multilabel'"),
        (
            "regression",
            'kind = "regression"',
            'kind = "reconstruction"\npositive = "1"',
            "needs a network that gives a recon",
        ),
        ("visits", 'level = "patient"', "", "goes with sequence.of"),
        ("table", TABLE, "", "takes a table: name its columns"),
        ("slices", SLICES, SLICES + TABLE, "takes no table"),
        ("slices", 'target = "nodule"', 'target = "nodule"\nlearn_from = ["a"]', "is for kind 'reconstr"),
        ("table", 'target = "nodule"', 'target = "nodule"\nmirror = ["row"]', "takes a table and no image"),
        ("slices", 'target = "nodule"', 'target = "nodule"\nmirror = ["slice"]', "which have no slices"),
        ("multilabel", "targets =", 'mirror = ["left"]\ntargets =', "column"),
    ],
)
def test_tasks_that_contradict_themselves_are_refused(
    kind: str, before: str, after: str, message: str
) -> None:
    head, network = KINDS[kind]
    text = f'name = "a"\n{head}\n{COMMON}\n{network}'
    assert before in text
    with pytest.raises(SettingsError, match=message):
        load_task(text.replace(before, after))


def test_a_task_of_every_kind_is_written_and_read_back() -> None:
    for kind in USUAL:
        task = _task(kind)
        assert load_task(task.to_toml()) == task


def test_labels_that_are_no_numbers_and_labels_that_nobody_has_are_said(lake: Lake) -> None:
    with pytest.raises(UsageError, match="no usable volume"):
        train(lake, _task("regression", target="grade"))
    with pytest.raises(NotFoundError, match="has a label 'leftt'; did you mean 'left'"):
        train(lake, _task("multilabel", targets=("leftt",)))
