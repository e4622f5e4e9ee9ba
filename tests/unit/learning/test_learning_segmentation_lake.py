"""Segmentation in a lake: label volumes and stored masks become truths, networks become masks and scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.plan import Plan
from voxlake.evaluation.evaluate import evaluate
from voxlake.evaluation.report import report
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.learning.predict import predict
from voxlake.learning.recipe import recipe_file
from voxlake.learning.segmentation.gather import gather_cases
from voxlake.learning.segmentation.settings import IGNORE, SegmentationSettings
from voxlake.learning.segmentation.truth import Truths
from voxlake.learning.task import Task, load_task
from voxlake.learning.train import train
from voxlake.processing.registry import load_plan
from voxlake.processing.segment.registry import load_mask_plan
from voxlake.store.arrays import read_array
from voxlake.volumes.mask_images import image_of_mask
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import volume_rows
from voxlake.volumes.segment import segment

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("learning-segmentation-lake")

MAPPING = r"""
[[rules]]
pattern = 'images/(?P<patient>p\d+)\.nii'
modality = "MR"

[[rules]]
pattern = 'labels/(?P<patient>p\d+)\.nii'
modality = "OT"
"""
TASK = """
name = "balls"
kind = "segmentation"
cohort = "images"
target = "balls"
classes = ["ball", "shell"]

[[plan.steps]]
step = "resample"
spacing = [1.0, 1.0, 1.0]

[[plan.steps]]
step = "zscore"

[split]
folds = 2
validation = 0.34

[network]
name = "unet"
dimensions = 3
channels = [8, 8]

[training]
epochs = 3
batch_size = 2
learning_rate = 0.02
monitor = "dice"
threads = 1

[segmentation]
patch = [8, 8, 8]
multiple = 2
per_volume = 16.0
foreground = 1.0

[segmentation.masks]
cohort = "labels"
ignore = [7]
"""
BRIGHT = '[segment]\nmethod = "threshold"\nlow = 0.3\n[[labels]]\nvalue = 1\nname = "bright"\n'
FLAT = """
name = "lesions"
kind = "segmentation"
cohort = "images"
target = "lesion"

[[plan.steps]]
step = "resize"
shape = [1, 16, 16]

[[plan.steps]]
step = "zscore"

[split]
folds = 2
validation = 0.5

[network]
name = "unet"
dimensions = 2
channels = [8, 8]

[training]
epochs = 2
batch_size = 2
learning_rate = 0.02
threads = 1

[segmentation]
multiple = 2
per_volume = 40.0
folds = 1

[segmentation.masks]
cohort = "labels"
values = [255]
"""
# Slices of 2 mm: the plan changes the grid, and what is made must be carried back.
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def _write(folder: Path, patients: int) -> None:
    for number in range(patients):
        rng = np.random.default_rng(number)
        places = np.stack(np.meshgrid(np.arange(14), np.arange(12), np.arange(0, 20, 2), indexing="ij"), -1)
        radius = np.linalg.norm(places - rng.uniform([5, 5, 7], [8, 7, 11]), axis=-1)
        labels = np.where(radius < 3, 1, np.where(radius < 5, 2, 0)).astype(np.uint8)
        values = (100 * labels + rng.normal(0, 10, labels.shape)).astype(np.float32)
        labels[0, 0, 0] = 7
        for name, data in (("images", values), ("labels", labels)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(data, AFFINE), folder / name / f"p{number}.nii.gz")


@pytest.fixture
def balls(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Six patients with an image and a label volume each, both prepared."""
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    _write(tmp_path / "in", 6)
    (tmp_path / "mapping.toml").write_text(MAPPING)
    ingest(lake, tmp_path / "in", mapping=tmp_path / "mapping.toml", engine="serial")
    prepare(select(lake, "images", "modality = 'MR'"), plan=load_task(TASK).load_plan(), engine="serial")
    prepare(select(lake, "labels", "modality = 'OT'"), plan=Plan(), engine="serial")
    return lake


def _digest(task: Task) -> str:
    return task.load_plan().digest()


def test_masks_are_read_back_voxel_by_voxel_and_mapped_where_memory_is_short(balls: Lake, tmp_path: Path):
    task = load_task(TASK)
    settings = SegmentationSettings.read(task.segmentation)
    cohort = select(balls, "images", "modality = 'MR'")
    arguments = {"classes": ("ball", "shell"), "dimensions": 3}
    found = gather_cases(cohort, _digest(task), **arguments, settings=settings)
    assert len(found.cases) == len(set(found.groups)) == 6
    assert found.left == ()
    stored = volume_rows(select(balls, "labels", "modality = 'OT'"), Plan().digest())
    by_patient = {row["patient_id"]: row for row in stored}
    truths = Truths(cohort, found.rows, ("ball", "shell"), settings.masks)
    for row in found.rows:
        label = by_patient[row["patient_id"]]
        values = read_array(balls.objects, label["array"], shards=label["shards"])
        assert (values == 7).sum() == 1
        assert np.array_equal(truths.of(row).labels, np.where(values == 7, IGNORE, values))
    mapped = gather_cases(
        cohort, _digest(task), **arguments, settings=settings.model_copy(update={"memory": 0.0})
    )
    assert mapped.cases.digest() == found.cases.digest()
    for one, other in zip(found.cases.items, mapped.cases.items, strict=True):
        assert isinstance(other.values, np.memmap)
        assert isinstance(other.labels, np.memmap)
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.labels, other.labels)
        # 10 slices of 2 mm became 20 of 1 mm, and the mask with them.
        assert other.shape == (20, 12, 14)
        assert (other.labels == 1).sum() > 0


def test_from_label_volumes_to_masks_and_scores(balls: Lake, tmp_path: Path):
    run = train(balls, load_task(TASK))
    model = run.result["model"]
    assert run.counts == {"seen": 6, "stored": 6}
    assert run.result["folds"] == 2
    masks = balls.sql("select * from masks where mask_plan_digest = $model", {"model": model}).dicts()
    assert len(masks) == 6
    for mask in masks:
        # Made on slices of 1 mm, kept on those of the series.
        assert (mask["kind"], mask["volume_id"], mask["shape"]) == ("MODEL", None, [10, 12, 14])
        assert [label["name"] for label in json.loads(mask["labels"])] == ["ball", "shell"]
        image = image_of_mask(balls, mask)
        assert image.grid == Grid.from_dict(json.loads(mask["grid"]))
        values = read_array(balls.objects, mask["array"], shards=mask["shards"])
        assert [int((values == value).sum()) for value in (1, 2)] == mask["voxels"]
    sizes = balls.sql(
        "select part, count(*), count(value), count(truth_value) from predictions group by 1 order by 1"
    ).rows()
    assert sizes == [("test", 12, 12, 12), ("validation", 4, 4, 4)]
    scores = evaluate(balls, "balls").result["scores"]
    assert scores["mean_dice"]["value"] > 0.5
    assert scores["mean_dice"]["low"] <= scores["mean_dice"]["value"] <= scores["mean_dice"]["high"]
    assert {"mean_surface_dice_ball", "median_hausdorff_distance_95_shell"} <= set(scores)
    assert balls.sql("select count(*) from scores where metric = 'mean_dice_shell'").rows() == [(1,)]
    report(balls, "balls")
    assert train(balls, load_task(TASK)).result["already"]
    again = predict(balls, "balls", "images")
    assert again.counts == {"seen": 6, "stored": 6}
    assert balls.sql("select distinct part from predictions where fold = -1").rows() == [("seen",)]
    assert predict(balls, "balls", "images").counts == {"seen": 6, "already": 6}


def test_pictures_with_pictures_of_masks(
    lake: Lake, tmp_path: Path, waived: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    for number in range(4):
        rng = np.random.default_rng(number)
        mask = np.zeros((24, 20), dtype=np.uint8)
        row, column = rng.integers(2, 10, 2)
        mask[row : row + 9, column : column + 8] = 255
        values = (mask // 2 + rng.integers(0, 40, mask.shape)).astype(np.uint8)
        for name, data in (("images", values), ("labels", mask)):
            (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(data).save(tmp_path / "in" / name / f"p{number}.png")
    (tmp_path / "mapping.toml").write_text(MAPPING.replace(".nii", ".png"))
    ingest(lake, tmp_path / "in", mapping=tmp_path / "mapping.toml", policy=waived, engine="serial")
    task = load_task(FLAT)
    prepare(select(lake, "images", "modality = 'MR'"), plan=task.load_plan(), engine="serial")
    prepare(select(lake, "labels", "modality = 'OT'"), plan=Plan(), engine="serial")
    model = train(lake, task).result["model"]
    masks = lake.sql("select * from masks where mask_plan_digest = $model", {"model": model}).dicts()
    assert len(masks) == 2
    # Made on 16 x 16, kept on the pixels of the picture; pictures of one test part share an array.
    assert {tuple(mask["shape"]) for mask in masks} == {(1, 24, 20)}
    assert len({mask["array"] for mask in masks}) == 1
    assert sorted(mask["position"] for mask in masks) == [0, 1]
    scores = evaluate(lake, "lesions").result["scores"]
    assert scores["mean_dice"]["value"] > 0.6
    assert not any("distance" in name for name in scores)


def test_masks_of_the_table_are_truths_too(
    lake_template: Callable[[int], Path], lake_copy: Callable[[Path], Lake]
):
    lake = lake_copy(lake_template(4))
    plan = load_plan("ct-phantom")
    cohort = select(lake, "all")
    prepare(cohort, plan=plan, engine="serial")
    segment(cohort, plan=load_mask_plan(BRIGHT), volumes=plan, engine="serial")
    settings = SegmentationSettings()
    found = gather_cases(cohort, plan.digest(), classes=("bright",), dimensions=3, settings=settings)
    assert len(found.cases) == 4
    for case, volume in zip(found.cases.items, found.rows, strict=True):
        mask = lake.sql("select * from masks where volume_id = $id", {"id": volume["volume_id"]}).dicts()[0]
        values = read_array(lake.objects, mask["array"], shards=mask["shards"])
        assert np.array_equal(case.labels, (values == 1).astype(np.uint8))
    with pytest.raises(NotFoundError, match="has a mask of \\['heart'\\]"):
        gather_cases(cohort, plan.digest(), classes=("heart",), dimensions=3, settings=settings)


def test_the_recipe_that_ships_can_be_read():
    recipe = load_task(recipe_file("hippocampus", "task.toml"))
    settings = SegmentationSettings.read(recipe.segmentation)
    assert settings.augmentation.moves()
    assert settings.masks.cohort == "hippocampus-labels"
    assert recipe.network_name == "unet"
    assert load_task(recipe.to_toml()) == recipe


def test_a_task_says_what_it_lacks(balls: Lake):
    wrong = load_task(TASK.replace("per_volume", "pervolume"))
    with pytest.raises(SettingsError, match="did you mean 'per_volume'"):
        train(balls, wrong)
    with pytest.raises(SettingsError, match=r"mirrored by 'segmentation.mirror'"):
        load_task(f'mirror = ["row"]\n{TASK}')
