"""Registration: what is found for known transforms of a real image, and what is refused."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import FlatGridError, ItemError
from voxlake.core.grid import Grid
from voxlake.core.plan import Plan
from voxlake.core.volume import Mask, Volume
from voxlake.processing.augment.base import Augmentation
from voxlake.processing.augment.warp import RandomAffine, RandomElastic, Warp
from voxlake.processing.lattice import control_points, displacements_between
from voxlake.processing.maps import square
from voxlake.processing.register import Plausible, RegistrationSettings, quality_of, register
from voxlake.processing.registry import STEPS
from voxlake.processing.resample import Resample
from voxlake.processing.transform_to import TransformTo

QUICK = {"samples": 4000, "iterations": 40, "levels": (2, 1)}


@lru_cache(maxsize=1)
def head(folder: Path) -> Volume:
    import nibabel

    image = nibabel.load(folder / "brainchop_models" / "t1_crop.nii.gz")
    # NIfTI is RAS.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    values = np.asarray(image.dataobj)[::2, ::2, ::2].astype(np.float32)
    grid = Grid.from_affine(values.shape, affine, frame="2.25.5")
    return Resample(spacing=(5.0, 5.0, 5.0))(Volume(values, grid, "arbitrary", "MR"))


def blobs(seed: int = 0) -> Volume:
    from scipy.ndimage import gaussian_filter

    grid = Grid.from_spacing((24, 32, 32), (3.0, 2.0, 2.0), frame="2.25.6")
    noise = np.random.default_rng(seed).normal(0, 1, grid.shape)
    return Volume((gaussian_filter(noise, 3) * 1000).astype(np.float32), grid, "arbitrary", "MR")


def truth(step: Warp, grid: Grid, world: np.ndarray) -> np.ndarray:
    centre = grid.index_to_world((np.asarray(grid.shape) - 1) / 2)
    control = control_points(step.displacements)
    moved = world
    if control is not None:
        moved = world + displacements_between(control, grid.shape, grid.world_to_index(world))
    matrix = square(step.matrix)
    return (moved - centre) @ matrix[:3, :3].T + matrix[:3, 3] + centre


def errors(found: TransformTo, step: Warp, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Target-registration error and the distance before, mm, over the head as far as it stayed in view."""
    values = volume.numpy()
    world = volume.grid.index_to_world(np.argwhere(values > np.percentile(values, 60))[::10])
    expected = truth(step, volume.grid, world)
    index = volume.grid.world_to_index(expected)
    seen = ((index > 0) & (index < np.asarray(volume.grid.shape) - 1)).all(axis=1)
    apart = np.linalg.norm(found.points(world) - expected, axis=1)[seen]
    return apart, np.linalg.norm(world - expected, axis=1)[seen]


@pytest.mark.realdata
@pytest.mark.parametrize("metric", ["mutual_information", "correlation"])
def test_rigid_finds_a_known_turn_and_shift(realdata: Path, metric: str) -> None:
    """Measured on voxels of 5 mm, of 18 mm before: by mutual information 0.15 mm, by correlation 0.42."""
    moving = head(realdata)
    drawn = RandomAffine(degrees=(-15, 15), log2_scale=(0, 0), shift=(-10, 10))
    step = drawn.draw(np.random.default_rng(0), moving.grid)
    found = register(moving, step(moving), RegistrationSettings(metric=metric, **QUICK))
    apart, before = errors(found.transform, step, moving)
    assert before.mean() > 8
    assert apart.mean() < 0.8
    assert np.percentile(apart, 95) < 1.2
    assert found.quality.similarity[1] > 0.99
    assert found.quality.similarity[1] > 1.1 * found.quality.similarity[0]
    np.testing.assert_allclose(found.quality.scales, 1.0, atol=1e-9)
    np.testing.assert_allclose(found.quality.jacobian, 1.0, atol=1e-9)
    turned = square(step.matrix)[:3, :3]
    angle = np.degrees(np.arccos((np.trace(turned) - 1) / 2))
    assert found.quality.rotation == pytest.approx(angle, abs=0.5)


@pytest.mark.realdata
def test_affine_finds_known_scales_whatever_the_contrast(realdata: Path) -> None:
    """Measured on voxels of 5 mm: 0.39 mm on average (95th percentile 0.69) of 13.3 mm before."""
    moving = head(realdata)
    step = RandomAffine().draw(np.random.default_rng(1), moving.grid)
    moved = step(moving)
    # A dark tissue made bright and the reverse: mutual information does not mind.
    turned = Volume(np.sqrt(np.abs(moved.numpy().max() - moved.numpy())), moved.grid, "arbitrary", "MR")
    found = register(moving, turned, RegistrationSettings(kind="affine", **QUICK))
    apart, before = errors(found.transform, step, moving)
    assert before.mean() > 5
    assert apart.mean() < 0.8
    stretch = np.linalg.svd(square(step.matrix)[:3, :3], compute_uv=False)
    np.testing.assert_allclose(found.quality.scales, sorted(stretch), atol=0.02)


@pytest.mark.realdata
@pytest.mark.slow
def test_bspline_finds_a_known_deformation(realdata: Path) -> None:
    moving = head(realdata)
    random = (RandomAffine(degrees=(-5, 5), log2_scale=(-0.05, 0.05)), RandomElastic(largest=12.0))
    step = Augmentation(random).draw(np.random.default_rng(2), moving.grid).steps[0]
    assert isinstance(step, Warp)
    fixed = step(moving)
    wanted = RegistrationSettings(
        kind="bspline", metric="correlation", control_spacing=40.0, samples=5000, iterations=40, levels=(2, 1)
    )
    found = register(moving, fixed, wanted)
    affine = register(moving, fixed, wanted.model_copy(update={"kind": "affine"}))
    apart, _ = errors(found.transform, step, moving)
    by_affine, _ = errors(affine.transform, step, moving)
    assert apart.mean() < 0.75 * by_affine.mean()
    assert found.quality.similarity[1] > affine.quality.similarity[1]
    assert 0.1 < found.quality.jacobian[0] < 1 < found.quality.jacobian[1]


def test_registration_is_reproducible_and_fits_a_plan() -> None:
    moving = blobs()
    step = RandomAffine(degrees=(-5, 5), log2_scale=(0, 0), shift=(-4, 4)).draw(
        np.random.default_rng(2), moving.grid
    )
    fixed = step(moving)
    wanted = RegistrationSettings(samples=4000, iterations=40, levels=(2, 1))
    one, other = (register(moving, fixed, wanted) for _ in range(2))
    assert one == other
    plan = Plan.of([one.transform])
    again = Plan.from_toml(plan.to_toml(), steps=STEPS)
    done = again(moving)
    assert done.numpy().tobytes() == plan(moving).numpy().tobytes()
    assert done.grid == fixed.grid
    inner = (slice(6, -6), slice(8, -8), slice(8, -8))
    apart = np.abs(done.numpy()[inner] - fixed.numpy()[inner]).mean()
    assert apart < 0.1 * np.abs(moving.numpy()[inner] - fixed.numpy()[inner]).mean()
    labels = Mask((moving.numpy() > 0).astype(np.uint8), moving.grid)
    agree = one.transform.apply_mask(labels).numpy()[inner] == (fixed.numpy()[inner] > 0)
    assert agree.mean() > 0.95


def test_a_result_on_another_grid_lies_in_the_fixed_frame() -> None:
    moving = blobs()
    coarse = Resample(spacing=(4.0, 3.0, 3.0))(moving)
    fixed = Volume(
        coarse.numpy(), Grid.from_affine(coarse.grid.shape, coarse.grid.affine, frame="2.25.99"), "arbitrary"
    )
    found = register(moving, fixed, RegistrationSettings(samples=4000, iterations=40, levels=(1,)))
    assert found.transform(moving).grid == fixed.grid
    assert found.quality.shift < 0.5
    assert found.quality.rotation < 0.5


def test_unrelated_images_are_refused() -> None:
    wanted = RegistrationSettings(samples=4000, iterations=30, levels=(1,), metric="correlation")
    strict = wanted.model_copy(update={"plausible": Plausible(similarity=0.8)})
    with pytest.raises(ItemError, match="not plausible") as caught:
        register(blobs(1), blobs(2), strict)
    assert caught.value.reason == "registration_failed"
    assert "similarity" in caught.value.message


def test_images_that_never_meet_are_refused() -> None:
    moving = blobs()
    affine = moving.grid.affine
    affine[:3, 3] += 5000
    far = Volume(moving.numpy(), Grid.from_affine(moving.grid.shape, affine), "arbitrary", "MR")
    with pytest.raises(ItemError) as caught:
        register(far, moving, RegistrationSettings(start="world", samples=2000, iterations=5, levels=(1,)))
    assert caught.value.reason == "registration_failed"
    met = register(far, moving, RegistrationSettings(start="best", samples=2000, iterations=20, levels=(1,)))
    assert met.quality.overlap[0] == 0
    assert met.quality.overlap[1] > 0.95
    assert met.quality.similarity[0] == 0


def test_a_fold_is_seen() -> None:
    moving = blobs()
    control = np.zeros((5, 5, 5, 3))
    control[2, 2, 2, 0] = 150.0
    step = TransformTo.read(
        {
            "shape": moving.grid.shape,
            "affine": moving.grid.affine[:3].tolist(),
            "displacements": control.tolist(),
        }
    )
    quality = quality_of(step, moving, moving, "correlation")
    assert quality.jacobian[0] < 0 < 1 < quality.jacobian[1]
    assert quality.similarity[0] == pytest.approx(1.0)
    assert quality.similarity[1] < 0.99


def test_images_that_cannot_be_registered_are_refused() -> None:
    good = blobs()
    flat = Volume(np.zeros((1, 8, 8), np.float32), Grid.flat_image((8, 8)))
    with pytest.raises(FlatGridError, match="moving image is flat"):
        register(flat, good)
    constant = Volume(np.ones(good.grid.shape, np.float32), good.grid)
    holed = good.numpy().copy()
    holed[0, 0, 0] = np.nan
    thin = Volume(good.numpy()[:2], good.grid.crop((0, 0, 0), (2, 32, 32)))
    for bad, says in ((constant, "constant"), (Volume(holed, good.grid), "finite"), (thin, "at least 4")):
        with pytest.raises(ItemError, match=says) as caught:
            register(good, bad)
        assert caught.value.reason == "step_failed"
