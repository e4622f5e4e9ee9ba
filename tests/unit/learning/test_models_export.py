"""Networks that leave the lake say what they say in it, and nothing of whom they learned from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import AlreadyExistsError, NotFoundError, SettingsError, UsageError
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.withdrawals import withdraw
from voxlake.learning.answering import answering
from voxlake.learning.export_model import models_export
from voxlake.learning.gather import gather
from voxlake.learning.model import get_model
from voxlake.learning.model_files import model_path
from voxlake.learning.objectives.make import read_objective
from voxlake.learning.segmentation.gather import gather_cases
from voxlake.learning.segmentation.segmenter import segmented
from voxlake.learning.segmentation.train import settings_of
from voxlake.learning.tables.prepare import Preparation
from voxlake.learning.task import Task, load_task
from voxlake.learning.train import train
from voxlake.networks.reconstruction import Reconstruction
from voxlake.privacy.release import ReleaseFacts, release_facts
from voxlake.processing.registry import load_plan
from voxlake.processing.segment.registry import load_mask_plan
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.testing.learning_tasks import CNN, SLICES, SMALL_PLAN, small_task
from voxlake.volumes.prepare import prepare
from voxlake.volumes.segment import segment

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("models-export")

COMMON = small_task("all")
FUSED = """
[network]
name = "fusion"
features = 3
encoder = {name = "cnn", dimensions = 3, blocks = [2]}
[[inputs]]
source = "labels"
include = ["size", "left"]
"""
UNET = """
[network]
name = "unet"
dimensions = 3
channels = [4, 8]
[segmentation]
multiple = 2
per_volume = 2.0
"""
MASKED = """
[network]
name = "masked_autoencoder"
dimensions = 3
patch_size = 4
width = 12
depth = 1
heads = 2
decoder_width = 12
decoder_depth = 1
decoder_heads = 2
"""
BRIGHT = '[segment]\nmethod = "threshold"\nlow = 0.3\n[[labels]]\nvalue = 1\nname = "bright"\n'
KINDS = {
    "classification": ('target = "nodule"', CNN),
    "multilabel": ('kind = "multilabel"\ntargets = ["left", "right"]', CNN),
    "ordinal": ('kind = "ordinal"\ntarget = "grade"\nclasses = ["low", "middle", "high"]', CNN),
    "regression": ('kind = "regression"\ntarget = "size"', CNN),
    "sequence": ('target = "nodule"', SLICES),
    "fusion": ('kind = "regression"\ntarget = "size"', FUSED),
    "reconstruction": (
        'kind = "reconstruction"\ntarget = "nodule"\npositive = "present"',
        '\n[network]\nname = "autoencoder"\ndimensions = 3\nchannels = [2]\n',
    ),
    "segmentation": ('kind = "segmentation"\ntarget = "bright"', UNET),
    "masked": ('kind = "reconstruction"', MASKED),
}


def task_of(kind: str) -> Task:
    head, rest = KINDS[kind]
    return load_task(f'name = "{kind}"\n{head}\n{COMMON}\n{rest}')


def prepared(folder: Path, patients: int, **options: Any) -> Lake:
    """Patients with one prepared series each."""
    LakeKey(bytes(range(32))).save(folder / "key")
    lake = open_lake(folder / "lake", key=folder / "key", **options)
    people = Phantoms(patients=patients, slices=8, rows=16, columns=16, second_study=0.0)
    ingest(lake, people, engine="serial")
    prepare(select(lake, "all"), plan=load_plan(SMALL_PLAN), engine="serial")
    return lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Sixteen patients with masks of what is bright, and labels of their series."""
    folder = tmp_path_factory.mktemp("export")
    lake = prepared(folder, 16)
    segment(
        get_cohort(lake, "all"), plan=load_mask_plan(BRIGHT), volumes=load_plan(SMALL_PLAN), engine="serial"
    )
    lines = ["series,grade,size,left,right"]
    rows = lake.sql("select series_instance_uid from cohort_all order by 1").rows()
    for number, (uid,) in enumerate(rows):
        grade = ("low", "middle", "high")[number % 3]
        lines.append(f"{uid},{grade},{10 + number},{number % 2},{number % 3 % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    label(lake, folder / "labels.csv", level="series", identifiers="lake")
    return lake


def card_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "card.json").read_text())
    return values


def said_elsewhere(file: Path, card: dict[str, Any], inputs: list[np.ndarray]) -> np.ndarray:
    """What ONNX Runtime makes of a file."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == [one["name"] for one in card["inputs"]]
    for one, array in zip(card["inputs"], inputs, strict=True):
        assert (str(array.dtype), list(array.shape[1:])) == (one["dtype"], one["shape"][1:])
    names = [one["name"] for one in card["inputs"]]
    (answer,) = session.run([card["output"]["name"]], dict(zip(names, inputs, strict=True)))
    assert (str(answer.dtype), list(answer.shape[1:])) == ("float32", card["output"]["shape"][1:])
    assert len(card["output"]["axes"]) == answer.ndim
    return answer


@pytest.mark.parametrize(
    "kind",
    [
        "classification",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("ordinal", "multilabel", "regression", "sequence", "fusion", "reconstruction")
        ),
    ],
)
def test_a_file_says_what_the_lake_says(lake: Lake, tmp_path: Path, kind: str) -> None:
    task = task_of(kind)
    train(lake, task)
    model = get_model(lake, kind)
    run = models_export(lake, kind, tmp_path / "out")
    assert run.counts == {"seen": 2, "stored": 2}
    assert run.result == {"model": model.model_id, "networks": 2, "files": 6}
    card = card_of(tmp_path / "out")
    cohort = get_cohort(lake, "all")
    found = gather(cohort, task.load_plan().digest(), task)
    place = {unit.subject: number for number, unit in enumerate(found.units)}
    for fold, one in enumerate(card["networks"]):
        assert one["weights_sha256"] == model.card["weights"][fold]
        rows = lake.sql(
            "select subject, coalesce(probability, value) said, class from predictions "
            "where model_id = $model and fold = $fold and part = 'test'",
            {"model": model.model_id, "fold": fold},
        ).rows()
        subjects = sorted({subject for subject, _, _ in rows})
        chosen = [place[subject] for subject in subjects]
        inputs = [tensor[torch.tensor(chosen)].numpy() for tensor in found.images]
        if found.table is not None:
            preparation = Preparation.from_dict(one["table"])
            inputs.append(preparation.apply(found.table.take(chosen)).astype(np.float32))
        answer = said_elsewhere(tmp_path / "out" / one["file"], card, inputs)
        if kind == "reconstruction":
            answer = ((answer - inputs[0]) ** 2).reshape(len(answer), -1).mean(axis=1)
        elsewhere = {
            (subject, name): answer[row] if answer.ndim == 1 else answer[row, column]
            for row, subject in enumerate(subjects)
            for column, name in enumerate(card["classes"] or [None])
        }
        assert len(rows) == len(elsewhere) > 0
        for subject, said, name in rows:
            key = (subject, None if answer.ndim == 1 else name)
            assert elsewhere[key] == pytest.approx(said, abs=1e-4), key


def test_every_voxel_is_what_the_lake_says(lake: Lake, tmp_path: Path) -> None:
    task = task_of("segmentation")
    train(lake, task)
    models_export(lake, "segmentation", tmp_path / "out")
    card = card_of(tmp_path / "out")
    assert card["classes"] == ["background", "bright"]
    assert card["output"]["shape"] == ["batch", 2, 4, 8, 8]
    settings = settings_of(task)
    plan = task.load_plan().digest()
    cohort = get_cohort(lake, "all")
    found = gather_cases(cohort, plan, classes=("bright",), dimensions=3, settings=settings)
    model = get_model(lake, "segmentation")
    images = np.stack([case.image() for case in found.cases.items])
    answer = said_elsewhere(tmp_path / "out" / "fold-1.onnx", card, [images])
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    sure = abs(answer[:, 1] - 0.5) > 1e-4
    for place, case in enumerate(found.cases.items):
        ours = segmented([model.network(1)], case, settings, dimensions=3, precision="float32")
        theirs = answer[place].argmax(axis=0)
        assert np.array_equal(ours[sure[place]], theirs[sure[place]])
    # A network without a dense layer takes other extents too, if it is asked.
    models_export(lake, "segmentation", tmp_path / "larger", shape="4,8,12")
    wide = card_of(tmp_path / "larger")
    assert wide["inputs"][0]["shape"] == ["batch", 1, 4, 8, 12]
    said_elsewhere(tmp_path / "larger" / "fold-0.onnx", wide, [np.zeros((1, 1, 4, 8, 12), np.float32)])
    assert models_export(lake, "segmentation", tmp_path / "larger", shape=[4, 8, 12]).counts["already"] == 2
    assert models_export(lake, "segmentation", tmp_path / "larger").counts["stored"] == 2
    for wrong in ("4,8", "4,8,9", "4,8,x"):
        with pytest.raises(UsageError, match="3 extents, each a multiple of 2"):
            models_export(lake, "segmentation", tmp_path / "wrong", shape=wrong)


@pytest.fixture
def trained(lake: Lake) -> Lake:
    train(lake, task_of("classification"))
    return lake


def test_files_say_what_they_are_and_not_whom_they_learned_from(trained: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run = models_export(trained, "classification", folder)
    model = get_model(trained, "classification")
    names = {"fold-0.onnx", "fold-1.onnx", "card.json", "plan.toml", "task.toml", "how-to-use.md"}
    assert {path.name for path in folder.iterdir()} == names
    card = card_of(folder)
    page = (folder / "how-to-use.md").read_text()
    assert card["intended_use"] == "research; not a medical device"
    assert card["inputs"] == [
        {
            "name": "x",
            "axes": ["batch", "channel", "slice", "row", "column"],
            "shape": ["batch", 1, 4, 8, 8],
            "dtype": "float32",
            "unit": "normalised",
            "values": "images as plan.toml makes them",
        }
    ]
    assert load_plan(folder / "plan.toml").digest() == card["plan_digest"]
    assert load_task(folder / "task.toml") == model.task
    for fold, one in enumerate(card["networks"]):
        data = (folder / f"fold-{fold}.onnx").read_bytes()
        assert one["sha256"] == digest_bytes(data)
        assert {one["sha256"], one["weights_sha256"]} <= set(page.replace("`", " ").split())
        kept = {each.key: each.value for each in onnx.load_model_from_string(data).metadata_props}
        assert kept["model"] == model.model_id
        assert json.loads(kept["classes"]) == card["output"]["classes"] == ["absent", "present"]
        assert kept["weights_sha256"] == model.card["weights"][fold]
    for said in (
        "research; not a medical device",
        "batch x 1 x 4 x 8 x 8",
        "normalised",
        card["plan_digest"],
    ):
        assert said in page
    columns = "patient_id, study_instance_uid, series_instance_uid, sop_instance_uid, sha256"
    people = {
        value for row in trained.sql(f"select {columns} from instances").rows() for value in row if value
    }
    people |= {row[0] for row in trained.sql("select volume_id from volumes").rows()}
    assert len(people) > 60
    for path in folder.iterdir():
        content = path.read_bytes()
        assert not [name for name in people if name.encode() in content], path.name
    told = trained.sql(
        "select item, outcome, detail from items where run_id = $run order by 1", {"run": run.run_id}
    ).rows()
    assert told == [
        (f"{model.model_id}/fold-{fold}", "stored", f"fold-{fold}.onnx {card['networks'][fold]['sha256']}")
        for fold in (0, 1)
    ]
    (verb,) = trained.sql("select verb from runs where run_id = $run", {"run": run.run_id}).rows()[0]
    assert verb == "models export"


def test_the_page_can_be_run(trained: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models_export(trained, "classification", tmp_path / "out")
    page = (tmp_path / "out" / "how-to-use.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path / "out")
    images = np.random.default_rng(0).normal(size=(3, 1, 4, 8, 8)).astype(np.float32)
    np.save("x.npy", images)
    session: dict[str, Any] = {}
    exec(code, session)
    model = get_model(trained, "classification")
    expected = model.probabilities(torch.from_numpy(images)).mean(axis=0)
    np.testing.assert_allclose(session["mean"], expected, atol=1e-4)
    assert session["classes"] == ["absent", "present"]


def test_what_is_there_is_not_done_again(trained: Lake, tmp_path: Path) -> None:
    models_export(trained, "classification", tmp_path / "out")
    (tmp_path / "out" / "fold-1.onnx").write_bytes(b"half of it")
    first = (tmp_path / "out" / "fold-0.onnx").stat().st_mtime_ns
    again = models_export(trained, "classification", tmp_path / "out")
    assert again.counts == {"seen": 2, "already": 1, "stored": 1}
    assert (tmp_path / "out" / "fold-0.onnx").stat().st_mtime_ns == first
    for one in card_of(tmp_path / "out")["networks"]:
        assert digest_bytes((tmp_path / "out" / one["file"]).read_bytes()) == one["sha256"]
    train(trained, task_of("ordinal"))
    with pytest.raises(AlreadyExistsError, match="another model"):
        models_export(trained, "ordinal", tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "card.json").write_text("[]")
    with pytest.raises(AlreadyExistsError, match=r"another card\.json"):
        models_export(trained, "ordinal", tmp_path / "other")


def test_what_cannot_leave_is_refused(trained: Lake, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'classification'"):
        models_export(trained, "clasification", tmp_path / "out")
    with pytest.raises(UsageError, match="networks that make masks"):
        models_export(trained, "classification", tmp_path / "out", shape="4,8,8")
    with pytest.raises(SettingsError, match="reasons for release"):
        models_export(trained, "classification", tmp_path / "out", release_unchecked="so")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        models_export(trained, "classification", tmp_path / "file")
    with pytest.raises(UsageError, match="lies in the lake"):
        models_export(trained, "classification", Path(str(trained.objects.local_path(""))) / "models" / "out")
    train(trained, task_of("masked"))
    with pytest.raises(UsageError, match="drawn at random, which an ONNX file cannot hold"):
        models_export(trained, "masked", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    rows = [{"model_id": "f" * 24, "kind": "table", "task": "mined", "task_kind": "classification"}]
    trained.tables.append("models", rows)
    with pytest.raises(UsageError, match="mined from a table"):
        models_export(trained, "mined", tmp_path / "out")


def test_networks_that_learned_from_the_withdrawn_stay(
    trained: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    root = trained.objects.local_path("")
    assert root is not None
    shutil.copytree(root, tmp_path / "lake")
    lake = open_lake(tmp_path / "lake", key=trained.key_file)
    model = get_model(lake, "classification")
    split = json.loads(lake.objects.get(model_path(model.model_id, "split.json")))
    # Tested by the first fold alone, so that the network of the first fold has not seen who it is.
    volume = split["folds"][0]["test"][0]
    who = lake.sql("select patient_id from volumes where volume_id = $id", {"id": volume}).rows()[0][0]
    withdraw(lake, who)
    run = models_export(lake, "classification", tmp_path / "out")
    assert run.counts == {"seen": 2, "stored": 1, "rejected": 1}
    assert run.reasons == {"patient_withdrawn": 1}
    (detail,) = lake.sql(
        "select detail from items where outcome = 'rejected' and run_id = $run", {"run": run.run_id}
    ).rows()
    assert detail[0].startswith("1 of ")
    assert who not in detail[0]
    assert [one["fold"] for one in card_of(tmp_path / "out")["networks"]] == [0]
    assert not (tmp_path / "out" / "fold-1.onnx").exists()
    other = split["folds"][1]["test"][0]
    withdraw(
        lake, lake.sql("select patient_id from volumes where volume_id = $id", {"id": other}).rows()[0][0]
    )
    assert models_export(lake, "classification", tmp_path / "none").counts == {"seen": 2, "rejected": 2}
    assert not (tmp_path / "none").exists()


def test_networks_of_unchecked_pixels_leave_for_a_reason(
    trained: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pictures(row: dict[str, Any]) -> ReleaseFacts:
        return release_facts({**row, "format": "png"})

    monkeypatch.setattr("voxlake.learning.model_release.release_facts", pictures)
    held = models_export(trained, "classification", tmp_path / "out")
    assert (held.counts, held.reasons) == ({"seen": 2, "rejected": 2}, {"pixels_unchecked": 2})
    run = models_export(trained, "classification", tmp_path / "out", release_unchecked="made of numbers")
    assert run.counts == {"seen": 2, "stored": 2}


@pytest.mark.slow
def test_networks_of_the_identified_leave_for_a_reason(tmp_path: Path) -> None:
    lake = prepared(tmp_path, 10, policy="none")
    train(lake, task_of("classification"))
    held = models_export(lake, "classification", tmp_path / "out")
    assert (held.counts, held.reasons) == ({"seen": 2, "rejected": 2}, {"not_deidentified": 2})
    reason = "phantoms, which are nobody"
    run = models_export(lake, "classification", tmp_path / "out", release_identified=reason)
    assert run.counts == {"seen": 2, "stored": 2}
    (told,) = lake.sql("select arguments from runs where run_id = $run", {"run": run.run_id}).rows()
    assert json.loads(told[0])["release"] == {"identified": reason, "unchecked": None}


@pytest.mark.parametrize("kind", ["classification", "multilabel", "ordinal", "regression"])
def test_answers_in_a_network_are_those_of_the_objective(kind: Any) -> None:
    objective = read_objective(kind, 4, {"mean": 12.5, "spread": 3.0, "loss": "huber"})
    output = 3 * torch.randn((7, objective.outputs), generator=torch.Generator().manual_seed(1))
    found = answering(nn.Identity(), objective)(output)
    np.testing.assert_allclose(found.numpy(), objective.answers(output), atol=1e-5)


class Copying(nn.Module):
    def forward(self, x: torch.Tensor) -> Reconstruction:
        return Reconstruction(x / 2, torch.tensor(1.0), None)


def test_a_reconstruction_answers_with_the_image() -> None:
    images = torch.rand(2, 1, 4, 4)
    found = answering(Copying(), read_objective("reconstruction", 0, {"loss": "mse"}))(images)
    assert torch.equal(found, images / 2)
