"""The registry and the plans that come with voxlake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import ItemError, NotFoundError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.plan import Plan
from voxlake.core.volume import Volume
from voxlake.processing.registry import STEPS, load_plan, plan_names
from voxlake.processing.resize import Resize


def test_steps_are_sorted_by_name() -> None:
    assert list(STEPS) == sorted(STEPS)
    assert len(STEPS) >= 22
    assert all(step.name == name for name, step in STEPS.items())
    with pytest.raises(TypeError):
        STEPS["mine"] = Resize  # type: ignore[index]


def test_every_step_has_its_own_file() -> None:
    modules = [step.__module__.rpartition(".")[2] for step in STEPS.values()]
    assert modules == list(STEPS)


@pytest.mark.parametrize("name", plan_names())
def test_built_in_plans_round_trip(name: str) -> None:
    plan = load_plan(name)
    assert len(plan) > 0
    assert load_plan(plan.to_toml()) == plan


def test_plan_names() -> None:
    assert plan_names() == (
        "ct-abdomen",
        "ct-chest",
        "ct-phantom",
        "mr-brain",
        "pet-suv",
        "ultrasound",
        "xray",
        "xray-64",
    )


def test_near_miss_of_a_plan() -> None:
    with pytest.raises(NotFoundError, match=r"did you mean 'xray-64'\?"):
        load_plan("xray64")
    with pytest.raises(NotFoundError, match=r"known: ct-abdomen, .*, xray-64"):
        load_plan("???")


def test_near_miss_of_a_step_and_a_key() -> None:
    with pytest.raises(SettingsError, match=r"unknown step 'resise'; did you mean 'resize'\?"):
        load_plan('[[steps]]\nstep = "resise"\n')
    with pytest.raises(SettingsError, match=r"unknown key 'spacin'; did you mean 'spacing'\?"):
        load_plan('[[steps]]\nstep = "resample"\nspacin = [1, 1, 1]\n')


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[steps]]\nstep = "resize"\nshape = [8, 9]\n', encoding="utf-8")
    assert load_plan(path) == load_plan(str(path)) == Plan((Resize(shape=(8, 9)),))
    with pytest.raises(NotFoundError):
        load_plan(tmp_path / "other.toml")


def test_digests_of_built_in_plans_are_fixed() -> None:
    # Volumes in existing lakes are keyed by these: raise the version of a step only when its values change.
    assert load_plan("xray-64").digest() == "36d32a36af71b333d038638ee5552066e60ce1ed69661ebeb6e94c0d734dc522"
    assert (
        load_plan("ct-phantom").digest() == "eb6c82f72303d289b40d0cc8f84b1ce70333ad77345eccc9775ded76bcee47e8"
    )


def test_ct_plan() -> None:
    grid = Grid.from_affine(
        (20, 64, 64), [[0, 0, 1.5, -48], [0, 1.5, 0, -48], [-5.0, 0, 0, 50], [0, 0, 0, 1]], frame="2.25.1"
    )
    data = np.full(grid.shape, -1000, np.int16)
    data[5:15, 16:48, 16:48] = 40
    done = load_plan("ct-phantom")(Volume(data, grid, "HU", "CT"))
    assert done.shape == (24, 36, 36)
    assert done.grid.orientation == "SPL"
    assert done.grid.spacing == pytest.approx((8, 8, 8))
    assert done.numpy()[12, 18, 18] == pytest.approx(1040 / 1200, abs=1e-3)
    assert done.numpy()[0, 0, 0] == 0
    assert done.lineage.steps == ("reorient@1", "resample@2", "crop_or_pad@1", "window@1")
    with pytest.raises(ItemError, match="HU"):
        load_plan("ct-phantom")(Volume(data, grid, "arbitrary", "MR"))


def test_reading_a_plan_loads_no_scipy() -> None:
    code = (
        "import sys; from voxlake.processing.registry import load_plan; load_plan('xray-64');"
        "sys.exit('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.realdata
def test_real_chest_x_rays(realdata: Path) -> None:
    from PIL import Image

    paths = sorted((realdata / "chest_xray_pneumonia").rglob("*.jp*g"))[:20]
    assert paths
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image)
        done = load_plan("xray-64")(Volume(pixels[np.newaxis], Grid.flat_image(pixels.shape[:2])))
        values = done.numpy()
        assert values.shape == (1, 64, 64)
        assert (values.min(), values.max()) == (0, 1)
        assert 0.1 < values.mean() < 0.9
