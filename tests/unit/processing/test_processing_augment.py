"""Drawing apart from applying: probability, merging, masks, files."""

from __future__ import annotations

import numpy as np
import pytest

from voxlake.core.errors import ItemError, NotFoundError, SettingsError, UsageError
from voxlake.core.grid import Grid
from voxlake.core.plan import Plan
from voxlake.core.volume import Mask, Volume
from voxlake.processing import pull as pull_module
from voxlake.processing.augment.base import Augmentation, apply_to_mask
from voxlake.processing.augment.bias_field import BiasField
from voxlake.processing.augment.ghosting import RandomGhosting
from voxlake.processing.augment.mirror import RandomMirror
from voxlake.processing.augment.noise import Noise, RandomNoise
from voxlake.processing.augment.registry import RANDOM_STEPS, load_augmentation, write_augmentation
from voxlake.processing.augment.warp import RandomAffine, RandomElastic, Warp
from voxlake.processing.crop import Crop
from voxlake.processing.lattice import derivative_weights, spline_weights

GRID = Grid.from_spacing((10, 20, 18), (2.0, 1.0, 1.0))


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def volume(grid: Grid = GRID) -> Volume:
    return Volume(random().normal(0, 1, grid.shape).astype(np.float32), grid, "normalised", "MR")


def test_probability_is_the_share_of_draws() -> None:
    some = Augmentation((RandomNoise(probability=0.25),))
    rng = random()
    taken = sum(len(some.draw(rng, GRID)) for _ in range(2000))
    assert 430 < taken < 570
    assert len(Augmentation((RandomNoise(probability=0.0),)).draw(rng, GRID)) == 0


def test_affine_and_elastic_become_one_step() -> None:
    steps = (RandomAffine(), RandomElastic(), RandomNoise())
    plan = Augmentation(steps).draw(random(), GRID)
    assert [step.name for step in plan] == ["warp", "noise"]
    turned = Augmentation((steps[1], steps[0])).draw(random(), GRID)
    assert [step.name for step in turned] == ["warp", "warp"]
    apart = Augmentation((RandomAffine(outside=0.0), RandomElastic())).draw(random(), GRID)
    assert [step.name for step in apart] == ["warp", "warp"]


def test_two_affine_steps_are_the_product() -> None:
    one, other = (RandomAffine(shift=(-1, 1)).draw(random(n), GRID) for n in (1, 2))
    both = other.after(one)
    assert isinstance(both, Warp)
    ramp = Volume(np.indices(GRID.shape)[2].astype(np.float32), GRID)
    inner = (slice(4, 6), slice(7, 13), slice(7, 11))
    np.testing.assert_allclose(both(ramp).numpy()[inner], other(one(ramp)).numpy()[inner], atol=1e-4)


def test_content_moves_as_the_settings_say() -> None:
    step = RandomAffine(degrees=(0, 0), log2_scale=(0, 0), shift=(3, 3)).draw(random(), GRID)
    data = np.zeros(GRID.shape, np.float32)
    data[2, 5, 6] = 1.0
    # 3 mm are 1.5 slices of 2 mm, three rows and three columns.
    found = step(Volume(data, GRID)).numpy()
    assert found[3, 8, 9] == pytest.approx(0.5, abs=1e-6)
    assert found[4, 8, 9] == pytest.approx(0.5, abs=1e-6)
    assert found.sum() == pytest.approx(1.0, abs=1e-5)
    grown = RandomAffine(degrees=(0, 0), log2_scale=(1, 1), shift=(0, 0), isotropic=True).draw(random(), GRID)
    np.testing.assert_allclose(np.asarray(grown.matrix)[:, :3], np.eye(3) / 2, atol=1e-12)


def test_a_single_slice_keeps_its_content() -> None:
    grid = Grid.from_spacing((1, 30, 30), (5.0, 1.0, 1.0))
    plan = Augmentation((RandomAffine(outside=-99.0), RandomElastic(outside=-99.0))).draw(random(3), grid)
    found = plan(Volume(np.ones(grid.shape, np.float32), grid)).numpy()
    assert (found[:, 10:20, 10:20] == 1).all()
    assert set(np.unique(found).tolist()) <= {1.0, -99.0}


def test_identity_gives_the_values_back() -> None:
    given = volume()
    np.testing.assert_allclose(Warp()(given).numpy(), given.numpy(), atol=1e-6)
    still = RandomElastic(largest=0.0).draw(random(), GRID)
    np.testing.assert_allclose(still(given).numpy(), given.numpy(), atol=1e-5)


def test_threads_do_not_change_values(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.from_spacing((40, 50, 60), (1, 1, 1))
    plan = Augmentation((RandomAffine(), RandomElastic(), RandomNoise())).draw(random(), grid)
    given = volume(grid)
    two = plan(given).numpy().tobytes()
    monkeypatch.setattr(pull_module, "_THREADS", 1)
    monkeypatch.setattr("voxlake.processing.augment.noise._THREADS", 1)
    assert plan(given).numpy().tobytes() == two


def test_elastic_draws_stay_within_their_limit_and_lock_the_faces() -> None:
    step = RandomElastic(points=7, largest=4.0, locked=2).draw(random(), GRID)
    moves = np.asarray(step.displacements)
    assert moves.shape == (7, 7, 7, 3)
    assert 0 < np.abs(moves).max() <= 4.0
    assert not moves[:2].any()
    assert not moves[:, -2:].any()


def test_spline_weights_are_a_partition_of_unity() -> None:
    np.testing.assert_allclose(spline_weights(7, 31).sum(axis=1), 1.0)
    np.testing.assert_allclose(derivative_weights(7, 31).sum(axis=1), 0.0, atol=1e-12)
    # Control points on a line give the line: their place is k - 1 cells of 31 / 4 voxels from the face.
    at = (np.arange(7) - 1) * 31 / 4 - 0.5
    np.testing.assert_allclose(spline_weights(7, 31) @ at, np.arange(31), atol=1e-9)
    np.testing.assert_allclose(derivative_weights(7, 31) @ at, 1.0, atol=1e-9)


def test_a_step_that_is_silent_about_masks_is_refused() -> None:
    plan = Plan.of([Crop(shape=(4, 4, 4))])
    with pytest.raises(UsageError, match="'crop' does not say"):
        apply_to_mask(plan, Mask(np.zeros(GRID.shape, np.uint8), GRID))


def test_an_augmentation_is_read_back() -> None:
    every = Augmentation(tuple(step() for step in RANDOM_STEPS.values()))
    assert load_augmentation(write_augmentation(every)) == every
    assert [step.name for step in every] == sorted(RANDOM_STEPS)


def test_bad_augmentations_name_the_near_miss() -> None:
    with pytest.raises(SettingsError, match="did you mean 'elastic'"):
        load_augmentation('[[steps]]\nstep = "elastc"\n')
    with pytest.raises(SettingsError, match="did you mean 'largest'"):
        load_augmentation('[[steps]]\nstep = "elastic"\nlargst = 2\n')
    with pytest.raises(SettingsError, match="valid TOML"):
        load_augmentation("[[steps\n")
    with pytest.raises(NotFoundError, match="no augmentation file"):
        load_augmentation("nowhere.toml")


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (RandomNoise, {"deviation": [2.0, 1.0]}, "low, high"),
        (RandomNoise, {"deviation": [-1.0, 1.0]}, "from 0"),
        (RandomElastic, {"points": 5, "locked": 3}, "free"),
        (RandomGhosting, {"ghosts": [5, 2]}, "lower first"),
        (RandomMirror, {"axes": ["row", "row"]}, "twice"),
        (BiasField, {"coefficients": [1.0, 2.0]}, "one of"),
        (Warp, {"displacements": [[[[0, 0, 0]], [[0, 0, 0]]]]}, "control points"),
        (Warp, {"outside": "nearest"}, "edge"),
    ],
)
def test_settings_that_do_not_fit_are_refused(kind: type, settings: dict, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        kind.read(settings)


def test_values_beyond_float32_are_an_error_of_the_item() -> None:
    given = Volume(np.full(GRID.shape, 3e38, np.float32), GRID)
    with pytest.raises(ItemError, match="beyond the range of float32"):
        Noise(deviation=1e30, seed=1).model_copy(update={"deviation": 3e38})(given)
    with pytest.raises(ItemError, match="beyond the range of float32"):
        BiasField(coefficients=(5.0, 5.0, 5.0))(given)
