"""Pre-trained networks in a lake: imported once, used by a mask plan, refused where they cannot serve."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import IntegrityError, ItemError, NotFoundError, SettingsError, UsageError
from voxlake.core.grid import Grid
from voxlake.core.mask_plan import MaskPlan
from voxlake.core.volume import Volume
from voxlake.lake.lake import Lake
from voxlake.lake.verify import verify
from voxlake.learning.model import get_model
from voxlake.learning.predict import predict
from voxlake.networks.pretrained import PRETRAINED, known_model
from voxlake.networks.pretrained_encoders import ENCODERS
from voxlake.networks.whole import whole_labels
from voxlake.volumes.pretrained_models import models_import, models_list, stored_network
from voxlake.volumes.pretrained_step import PRETRAINED_METHODS, Pretrained, with_network

LIGHT = "brainchop-tissue-light"


def plan(**settings: object) -> MaskPlan:
    table = {"method": "pretrained", **settings}
    return MaskPlan.from_tables({"segment": table}, steps={}, methods=PRETRAINED_METHODS, edits={})


def test_a_plan_names_the_weights() -> None:
    made = plan(model=LIGHT)
    assert known_model(LIGHT).sha256 in made.to_toml()
    again = MaskPlan.from_toml(made.to_toml(), steps={}, methods=PRETRAINED_METHODS, edits={})
    assert again == made
    assert again.digest() == made.digest() != plan(model="brainchop-tissue").digest()
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "brainchop-tissue-lihgt"}, "did you mean 'brainchop-tissue-light'"),
        ({"model": LIGHT, "weights": "0" * 64}, "leave 'weights' out"),
        ({"model": "brainchop-brain", "tile": [64, 64, 64]}, "leave 'tile' out"),
        ({"model": LIGHT, "overlap": 1.0}, "overlap"),
        ({}, "missing key 'model'"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plan(**settings)


def test_a_network_that_makes_masks_is_no_model_to_predict_with(lake: Lake) -> None:
    said = r"'brainchop-tissue-light' is a pre-trained .* mask plan .*`voxlake segment`"
    with pytest.raises(UsageError, match=said):
        get_model(lake, LIGHT)
    with pytest.raises(UsageError, match=said):
        predict(lake, LIGHT, "anyone")


def test_all_networks_are_listed_and_none_is_there(lake: Lake) -> None:
    rows = models_list(lake)
    assert [row["name"] for row in rows] == [*sorted(PRETRAINED), *sorted(ENCODERS)]
    assert not any(row["imported"] for row in rows)
    assert {row["licence"] for row in rows if row["labels"]} == {"MIT"}
    assert {row["name"] for row in rows if not row["labels"]} == set(ENCODERS)
    with pytest.raises(NotFoundError, match="voxlake models import"):
        with_network(plan(model=LIGHT), lake.objects)


def test_a_folder_without_networks(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no network that is known"):
        models_import(lake, tmp_path / "keys")
    with pytest.raises(NotFoundError, match="no such folder"):
        models_import(lake, tmp_path / "nowhere")


@pytest.mark.realdata
def test_networks_are_imported_once(new_lake: Callable[..., Lake], realdata: Path) -> None:
    lake = new_lake()
    run = models_import(lake, realdata / "brainchop_models")
    assert run.counts == {"seen": 8, "stored": 8}
    assert run.result["models"] == sorted(PRETRAINED)
    assert models_import(lake, realdata / "brainchop_models").counts == {"seen": 8, "already": 8}
    assert {row["name"] for row in models_list(lake) if row["imported"]} == set(PRETRAINED)
    assert lake.sql("select distinct kind, task_kind from models").rows() == [("network", "segmentation")]
    rows = lake.sql("select task, classes, parameters, plan_digest from models order by task").dicts()
    assert [row["task"] for row in rows] == sorted(PRETRAINED)
    assert rows[-2]["classes"] == ["background", "White Matter", "Grey Matter"]
    assert rows[-2]["parameters"] * 4 == known_model(LIGHT).size
    assert len({row["plan_digest"] for row in rows}) == 1
    with pytest.raises(UsageError, match="makes masks"):
        get_model(lake, known_model(LIGHT).model_id[:12])
    # The lake looks after them as after any other model.
    assert verify(lake).failures == 0
    place = f"models/{known_model(LIGHT).model_id}/fold-0.safetensors"
    data = bytearray(lake.objects.get(place))
    data[-1] ^= 1
    lake.objects.put(place, bytes(data))
    assert verify(lake).reasons == {"object_damaged": 1}
    with pytest.raises(IntegrityError, match="SHA-256"):
        stored_network(lake.objects, LIGHT)


@pytest.mark.realdata
def test_a_mask_comes_back_on_the_grid_of_the_volume(
    lake: Lake, realdata: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a small cube in the place of 256 cubed, so that the test is quick."""
    models_import(lake, realdata / "brainchop_models" / known_model(LIGHT).folder)
    small = known_model(LIGHT).plan.replace("[256, 256, 256]", "[40, 36, 32]")
    entry = {**PRETRAINED, LIGHT: replace(known_model(LIGHT), plan=small)}
    values = np.random.default_rng(1).random((16, 20, 24)).astype(np.float32) * 900
    values[4:12, 5:15, 6:18] += 600
    volume = Volume(values, Grid.from_spacing(values.shape, (2.0, 1.5, 1.25)), modality="MR")
    step = with_network(plan(model=LIGHT), lake.objects).segment
    assert isinstance(step, Pretrained)
    monkeypatch.setattr("voxlake.volumes.pretrained_step.known_model", lambda name: entry[name])
    mask = step(volume)
    assert mask.grid == volume.grid
    assert [label.name for label in mask.labels] == ["White Matter", "Grey Matter"]
    assert mask.lineage.steps[-2:] == (f"pretrained@1: {LIGHT}", "carried back: nearest voxel")
    seen: list[tuple[int, ...]] = []

    def ones(_: object, given: np.ndarray) -> np.ndarray:
        seen.append(given.shape)
        assert (given.min(), given.max()) == (0, 1)
        return np.ones(given.shape, dtype=np.uint8)

    monkeypatch.setattr("voxlake.networks.whole.whole_labels", ones)
    assert step(volume).numpy().all()
    assert seen == [(40, 36, 32)]
    monkeypatch.setattr("voxlake.networks.whole.whole_labels", whole_labels)
    tiled = with_network(plan(model=LIGHT, tile=[64, 64, 64]), lake.objects).segment
    np.testing.assert_array_equal(tiled(volume).numpy(), mask.numpy())


@pytest.mark.realdata
def test_what_cannot_be_segmented(lake: Lake, realdata: Path) -> None:
    models_import(lake, realdata / "brainchop_models" / known_model(LIGHT).folder)
    volume = Volume(np.zeros((4, 4, 4), np.float32), Grid.from_spacing((4, 4, 4), (1, 1, 1)))
    with pytest.raises(UsageError, match="no weights yet"):
        plan(model=LIGHT)(volume)
    ready = with_network(plan(model=LIGHT), lake.objects)
    with pytest.raises(ItemError, match="nothing to see"):
        ready(volume)
    flat = Volume(np.zeros((1, 4, 4), np.float32), Grid.flat_image((4, 4)))
    with pytest.raises(ItemError, match="no flat images"):
        ready(flat)
