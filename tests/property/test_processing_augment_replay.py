"""What was drawn can be written, read and applied again, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.core.grid import Grid
from voxlake.core.plan import Plan
from voxlake.core.volume import Mask, Volume
from voxlake.processing.augment.base import Augmentation, apply_to_mask
from voxlake.processing.augment.registry import RANDOM_STEPS
from voxlake.processing.registry import STEPS

GRIDS = (
    Grid.from_spacing((6, 13, 11), (2.0, 0.8, 0.9), frame="2.25.3"),
    Grid.from_spacing((1, 16, 12), (5.0, 1.0, 1.0)),
    Grid.flat_image((14, 15)),
)
some = st.lists(st.sampled_from(sorted(RANDOM_STEPS)), min_size=1, max_size=5)
seeds = st.integers(0, 2**32 - 1)


def chosen(names: list[str], probability: float = 0.7) -> Augmentation:
    return Augmentation(tuple(RANDOM_STEPS[name](probability=probability) for name in names))


@settings(max_examples=40, deadline=None)
@given(some, seeds, st.sampled_from(GRIDS))
def test_replay_of_the_record_is_bit_equal(names: list[str], seed: int, grid: Grid) -> None:
    values = np.random.default_rng(seed).normal(0, 1, grid.shape).astype(np.float32)
    volume = Volume(values, grid, "normalised", "MR")
    plan = chosen(names).draw(np.random.default_rng(seed), grid)
    again = Plan.from_toml(plan.to_toml() + "\n", steps=STEPS)
    assert again == plan
    assert again.digest() == plan.digest()
    once, twice = plan(volume), again(volume)
    assert once.numpy().tobytes() == twice.numpy().tobytes()
    assert once.grid == grid
    assert np.isfinite(once.numpy()).all()
    assert once.lineage.steps == tuple(step.tag for step in plan)


@settings(max_examples=40, deadline=None)
@given(some, seeds, st.sampled_from(GRIDS))
def test_the_same_seed_draws_the_same(names: list[str], seed: int, grid: Grid) -> None:
    one, other = (chosen(names).draw(np.random.default_rng(seed), grid) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("name", sorted(set(RANDOM_STEPS) - {"mirror"}))
def test_another_seed_draws_another(name: str) -> None:
    drawn = {chosen([name], 1.0).draw(np.random.default_rng(seed), GRIDS[0]).digest() for seed in range(8)}
    assert len(drawn) == 8


@settings(max_examples=40, deadline=None)
@given(some, seeds)
def test_masks_hold_no_new_labels_and_follow_the_volume(names: list[str], seed: int) -> None:
    grid = GRIDS[0]
    labels = np.random.default_rng(seed).integers(0, 4, grid.shape).astype(np.uint8)
    plan = chosen(names).draw(np.random.default_rng(seed), grid)
    moved = apply_to_mask(plan, Mask(labels, grid))
    assert moved.grid == grid
    assert set(np.unique(moved.numpy())) <= set(np.unique(labels)) | {0}
    if not {step.name for step in plan} & {"warp", "mirror"}:
        assert np.array_equal(moved.numpy(), labels)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, 4))
def test_leaving_one_out_does_not_change_the_others(seed: int, place: int) -> None:
    names = ["noise", "mirror", "gamma", "bias_field", "cut_out"]
    whole = chosen(names, 1.0)
    without = Augmentation(
        tuple(step if n != place else type(step)(probability=0.0) for n, step in enumerate(whole.steps))
    )
    one, other = (each.draw(np.random.default_rng(seed), GRIDS[0]).steps for each in (whole, without))
    assert other == (*one[:place], *one[place + 1 :])
