"""Networks draw masks of cohorts: on any engine, by any runtime, with mirror images."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from voxlake.core.errors import UsageError
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.learning.model import get_model
from voxlake.learning.predict import predict
from voxlake.learning.predict_options import PredictOptions
from voxlake.learning.segmentation import predict as predict_segmentation
from voxlake.learning.segmentation.cases import Case
from voxlake.learning.segmentation.predict_work import Drawing
from voxlake.learning.segmentation.segmenter import Segmenter
from voxlake.learning.segmentation.settings import SegmentationSettings
from voxlake.learning.task import load_task
from voxlake.learning.train import train
from voxlake.networks.registry import build, read_settings
from voxlake.networks.runtimes import runtimes
from voxlake.processing.registry import load_plan
from voxlake.processing.segment.registry import load_mask_plan
from voxlake.sources.phantoms import Phantoms
from voxlake.store.arrays import read_array
from voxlake.store.keys import LakeKey
from voxlake.testing.learning_tasks import SMALL_PLAN
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import volume_rows
from voxlake.volumes.segment import segment

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("learning-predict-masks")

KEY = bytes(range(32))
TASK = f"""
name = "body"
kind = "segmentation"
cohort = "old"
target = "body"
[plan]
{SMALL_PLAN.replace("[[steps]]", "[[plan.steps]]")}
[split]
folds = 2
validation = 0.5
[network]
name = "unet"
dimensions = 3
channels = [4, 4]
[training]
epochs = 2
batch_size = 2
learning_rate = 0.02
threads = 1
precision = "float32"
[segmentation]
multiple = 2
mirror = ["column"]
"""
BODY = '[segment]\nmethod = "threshold"\nlow = 0.4\n[[labels]]\nvalue = 1\nname = "body"\n'


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients with masks, of four of whom networks have learned."""
    folder = tmp_path_factory.mktemp("masks")
    LakeKey(KEY).save(folder / "key")
    lake = open_lake(folder / "lake", key=folder / "key")
    small: dict[str, Any] = {"slices": 8, "rows": 16, "columns": 16, "second_study": 0.0}
    ingest(lake, Phantoms(patients=4, **small), engine="serial")
    select(lake, "old")
    ingest(lake, Phantoms(patients=2, seed=5, **small), engine="serial")
    everyone, plan = select(lake, "all"), load_plan(SMALL_PLAN)
    select(lake, "new", "series_instance_uid not in (select series_instance_uid from cohort_old)")
    prepare(everyone, plan=plan, engine="serial")
    segment(everyone, plan=load_mask_plan(BODY), volumes=plan, engine="serial")
    train(lake, load_task(TASK), progress=False)
    return folder


@pytest.fixture
def copies(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Lake]:
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path))
    monkeypatch.setattr(predict_segmentation, "_TOGETHER", 2)

    def copy(name: str = "lake") -> Lake:
        shutil.copytree(template / "lake", tmp_path / name)
        return open_lake(tmp_path / name, key=template / "key")

    return copy


@pytest.fixture
def lake(copies: Callable[[str], Lake]) -> Lake:
    return copies("lake")


def masks(lake: Lake) -> list[dict[str, Any]]:
    """Masks by all networks together."""
    model = get_model(lake, "body").model_id
    return lake.sql(
        "select * exclude (run_id, committed_at) from masks where mask_plan_digest = $model "
        "and not list_contains(steps, $zero) and not list_contains(steps, $one) order by mask_id",
        {"model": model, "zero": f"network {model}, fold 0", "one": f"network {model}, fold 1"},
    ).dicts()


def sizes(lake: Lake, cohort: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = lake.sql(
        "select volume_id, part, value, truth_value from predictions where fold = -1 and cohort_id = $cohort "
        "order by all",
        {"cohort": get_cohort(lake, cohort).cohort_id},
    ).rows()
    return rows


@pytest.mark.slow
def test_other_processes_draw_the_same(copies: Callable[[str], Lake]) -> None:
    here, there = copies("here"), copies("there")
    for lake, engine in ((here, None), (there, "processes:2")):
        run = predict(lake, "body", "all", engine=engine)
        assert run.balance() == "6 seen = 6 stored"
        assert run.arguments["mirror"] == ["column"]
    assert len(masks(here)) == 6
    assert masks(there) == masks(here)
    ours = sizes(here, "all")
    assert [row[1] for row in ours].count("new") == 2
    assert sizes(there, "all") == ours
    # Sizes in mm3 of masks on 8 x 16 x 16 voxels, and of what the mask plan made.
    (stored,) = there.sql("select count(*) from masks where kind = 'PLAN'").rows()[0]
    assert stored == 6
    assert all(truth > 0 for *_, truth in ours)


def test_what_was_drawn_for_one_cohort_holds_for_another(lake: Lake) -> None:
    assert predict(lake, "body", "new").balance() == "2 seen = 2 stored"
    drawn = masks(lake)
    assert predict(lake, "body", "all").balance() == "6 seen = 6 stored"
    assert len(masks(lake)) == 6
    assert [one for one in masks(lake) if one in drawn] == drawn
    both = sizes(lake, "all")
    assert len(both) == 6
    assert set(sizes(lake, "new")) < set(both)
    assert predict(lake, "body", "all").balance() == "6 seen = 6 already there"
    assert predict(lake, "body", "new").balance() == "2 seen = 2 already there"


def test_a_mask_whose_sizes_were_never_written_is_made_again(lake: Lake) -> None:
    predict(lake, "body", "new")
    said = sizes(lake, "new")
    # As a kill between the two tables leaves it.
    shutil.rmtree(Path(lake.url) / "tables" / "predictions")
    again = open_lake(lake.url, key=lake.key_file)
    with pytest.raises(UsageError, match="were made with"):
        predict(again, "body", "new", mirror=["none"])
    assert predict(again, "body", "new").balance() == "2 seen = 2 stored"
    assert sizes(again, "new") == said
    assert len(masks(again)) == 2


def test_mirroring_of_the_task_is_overridden_and_recorded(lake: Lake) -> None:
    run = predict(lake, "body", "new", mirror=["none"])
    assert run.arguments["mirror"] == []
    assert all("mirrored along no axis" in mask["steps"] for mask in masks(lake))
    for mirror in ((), ["column"], ["row"]):
        with pytest.raises(UsageError, match=r"of these volumes were made with mirror = \[\], runtime"):
            predict(lake, "body", "all", mirror=mirror)
    assert len(masks(lake)) == 2
    # Of the others nobody has spoken.
    assert predict(lake, "body", "old", mirror=["row", "slice"]).arguments["mirror"] == ["slice", "row"]
    assert predict(lake, "body", "new", mirror=["none"]).counts == {"seen": 2, "already": 2}


def test_a_missing_array_costs_the_volume_and_nobody_else(lake: Lake) -> None:
    cohort = get_cohort(lake, "all")
    victim = volume_rows(cohort, load_plan(SMALL_PLAN).digest())[1]
    for path in list(lake.objects.list(str(victim["array"]))):
        lake.objects.delete(path)
    run = predict(lake, "body", "all", runtime="torch")
    assert run.balance() == "6 seen = 5 stored + 1 failed"
    assert run.reasons == {"missing_array": 1}


@pytest.mark.parametrize("runtime", [pytest.param("openvino", marks=pytest.mark.slow), "onnxruntime"])
def test_runtimes_draw_the_same_and_are_recorded(copies: Callable[[str], Lake], runtime: Any) -> None:
    pytest.importorskip(runtime)
    pytest.importorskip("onnx")
    plain, fast = copies("plain"), copies("fast")
    predict(plain, "body", "new")
    run = predict(fast, "body", "new", runtime=runtime)
    assert run.arguments["runtime"] == runtime
    for ours, theirs in zip(masks(plain), masks(fast), strict=True):
        assert theirs["mask_id"] == ours["mask_id"]
        assert f"computed by {runtime}" in theirs["steps"]
        left, right = (
            read_array(lake.objects, mask["array"], shards=mask["shards"])
            for lake, mask in ((plain, ours), (fast, theirs))
        )
        assert (left == right).mean() > 0.995
    assert predict(fast, "body", "new", runtime="auto").counts == {"seen": 2, "already": 2}
    with pytest.raises(UsageError, match=f"runtime = '{runtime}', asked for is .*'torch'"):
        predict(fast, "body", "new")


def test_networks_and_keys_do_not_travel(lake: Lake) -> None:
    work = Drawing(lake.reference, get_model(lake, "body").row, "cohort", PredictOptions(("row",)))
    sent = pickle.dumps(work)
    work.segmenter()
    assert len(pickle.dumps(work)) == len(sent) < 5_000
    assert KEY not in sent
    assert KEY.hex().encode() not in sent
    assert pickle.loads(sent).options == work.options


def test_networks_of_masks_have_no_embeddings(lake: Lake) -> None:
    with pytest.raises(UsageError, match="'body' makes masks and has no embeddings"):
        predict(lake, "body", "new", embeddings=True)


def _network(dimensions: int) -> nn.Module:
    values = {"dimensions": dimensions, "channels": [4, 4]}
    settings = read_settings("unet", values)
    return build("unet", settings, in_channels=1, outputs=2, shape=(8,) * dimensions, seed=1).eval()


def _case(*shape: int) -> Case:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Case("a", "g", values, np.zeros(shape, np.uint8), (1.0, 1.0, 1.0), "")


@pytest.mark.skipif("onnxruntime" not in runtimes(), reason="needs voxlake[runtime]")
@pytest.mark.parametrize(
    ("dimensions", "whole", "shape"), [(2, 1000, (2, 9, 8)), (3, 10_000, (5, 9, 8)), (3, 10, (5, 9, 12))]
)
def test_an_exported_network_is_kept_for_its_extent(
    dimensions: int, whole: int, shape: tuple[int, ...]
) -> None:
    patch = (8,) * dimensions
    settings = SegmentationSettings(multiple=4, whole=whole, patch=patch, mirror=("row",))
    networks = [_network(dimensions)]
    given: dict[str, Any] = {"dimensions": dimensions, "precision": "float32"}
    exported = Segmenter(networks, settings, **given, runtime="onnxruntime")
    assert exported.runtime_for(shape, 1) == "onnxruntime"
    (kept,) = exported._exported.values()
    case = _case(*shape)
    plain = Segmenter(networks, settings, **given)
    assert plain.runtime_for(shape, 1) == "torch"
    assert (exported(case) == plain(case)).mean() > 0.995
    assert list(exported._exported.values()) == [kept]


def test_what_a_runtime_cannot_run_is_torch_where_nobody_named_it() -> None:
    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, torch.fft.fft(x).real], 1)

    settings = SegmentationSettings(multiple=4)
    automatic = Segmenter([Noise()], settings, dimensions=2, runtime="auto")
    assert automatic.runtime_for((1, 8, 8), 1) == "torch"
    assert automatic(_case(1, 8, 8)).shape == (1, 8, 8)


def test_options_are_read_from_the_steps_of_a_mask() -> None:
    usual = PredictOptions(("column",))
    for options in (
        usual,
        PredictOptions(),
        PredictOptions(("slice", "row")),
        PredictOptions(("column",), "openvino"),
        PredictOptions((), "onnxruntime"),
    ):
        steps = ["window", *options.steps(usual), "network abc"]
        assert PredictOptions.from_steps(steps, usual) == options
    assert usual.steps(usual) == []


class Bright(nn.Module):
    """Class 1 where the image is above one half, class 2 where it is above one and a half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        background = torch.full_like(images, 0.5)
        return torch.cat([background, images, 2 * images - 1.5], dim=1)


def test_only_the_largest_pieces_of_each_class_are_kept() -> None:
    values = np.zeros((4, 16, 16), dtype=np.float32)
    pieces = {1.0: [(0, 6), (8, 4), (14, 1)], 2.0: [(0, 2), (8, 5), (14, 1)]}
    for row, (bright, spans) in zip((2, 10), pieces.items(), strict=True):
        for start, width in spans:
            values[1:3, row : row + 3, start : start + width] = bright
    case = Case("volume", "patient", values, np.zeros(values.shape, np.uint8), (1.0, 1.0, 1.0), "content")
    everything = Segmenter([Bright()], SegmentationSettings(), dimensions=3)(case)
    assert np.array_equal(everything, values.astype(np.uint8))
    two = Segmenter([Bright()], SegmentationSettings(largest=2), dimensions=3)(case)
    expected = everything.copy()
    expected[:, :, 14:] = 0
    assert np.array_equal(two, expected)
    one = Segmenter([Bright()], SegmentationSettings(largest=1), dimensions=3)(case)
    expected[:, 2:5, 8:] = 0
    expected[:, 10:13, :8] = 0
    assert np.array_equal(one, expected)
