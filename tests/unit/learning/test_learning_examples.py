"""The recipes that ship can be read, their networks fit their images, and they are copied as they are."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

import voxlake as vl
from voxlake.core.errors import NotFoundError, UsageError
from voxlake.learning.mining import load_mining_task
from voxlake.learning.recipe import recipe, recipe_file
from voxlake.learning.tables.inputs import EmbeddingInput
from voxlake.learning.task import load_task
from voxlake.networks.pretrained_encoders import known_encoder
from voxlake.networks.registry import build
from voxlake.privacy.policy import load_policy
from voxlake.processing.registry import load_plan
from voxlake.sources.mapping import load_mapping

RECIPES = [one["recipe"] for one in recipe()]
# Those whose task is mined from vectors; all others are trained.
MINED = {"breast_ultrasound"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_copied_whole(name: str, tmp_path: Path) -> None:
    copied = [Path(one["file"]) for one in recipe(name, tmp_path)]
    assert copied == sorted(tmp_path.glob("*/*"))
    assert load_mapping(tmp_path / name / "mapping.toml").rules
    if (tmp_path / name / "policy.toml").exists():
        assert load_policy(tmp_path / name / "policy.toml").waivers


@pytest.mark.parametrize("name", sorted({*RECIPES} - MINED))
def test_a_task_can_be_read_and_built(name: str) -> None:
    task = load_task(recipe_file(name, "task.toml"))
    assert load_task(task.to_toml()) == task
    sizes = [step.shape for step in task.load_plan() if getattr(step, "shape", None) is not None]
    shape = task.segmentation.get("patch") or sizes[-1][-task.dimensions :]
    network = build(
        task.network_name,
        task.network_settings,
        in_channels=1,
        outputs=1 + len(task.classes or ("mask",))
        if task.kind == "segmentation"
        else len(task.classes or ()),
        shape=tuple(shape),
        seed=task.training.seed,
    )
    assert sum(parameter.numel() for parameter in network.parameters()) < 5_000_000


@pytest.mark.parametrize("name", sorted(MINED))
def test_a_task_that_is_mined_names_an_encoder(name: str) -> None:
    text = recipe_file(name, "task.toml")
    task = load_mining_task(text)
    assert load_mining_task(task.to_toml()) == task
    (encoder,) = {one.name for one in task.inputs if isinstance(one, EmbeddingInput)}
    # The commands above the task are those that make its input.
    assert f"voxlake models import {known_encoder(encoder).name}\n" in text
    assert f"voxlake embed {task.cohort} --model {encoder}\n" in text
    (plan,) = re.findall(rf"voxlake prepare {task.cohort} --plan (\S+)\n", text)
    assert len(load_plan(plan)) > 0


def test_recipes_are_listed_with_what_they_are_for() -> None:
    folders = {one.name for one in (files("voxlake.learning") / "recipes").iterdir() if one.is_dir()}
    assert {one["recipe"] for one in vl.recipe()} == folders >= {"chest_xray", "hippocampus"}
    assert all(one["about"].endswith(".") and len(one["about"]) > 20 for one in vl.recipe())


def test_a_recipe_is_not_written_over_what_was_changed(tmp_path: Path) -> None:
    recipe("chest_xray", tmp_path)
    task = tmp_path / "chest_xray" / "task.toml"
    assert task.read_text() == recipe_file("chest_xray", "task.toml")
    task.write_text("changed")
    with pytest.raises(UsageError, match="is there already"):
        recipe("chest_xray", tmp_path)
    assert task.read_text() == "changed"


def test_what_is_not_there_is_said_with_a_near_miss(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'chest_xray'"):
        recipe("chest_xrai", tmp_path)
    with pytest.raises(NotFoundError, match=r"did you mean 'task\.toml'"):
        recipe_file("chest_xray", "tasks.toml")
    assert list(tmp_path.iterdir()) == []
