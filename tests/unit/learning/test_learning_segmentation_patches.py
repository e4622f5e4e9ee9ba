"""Patches of volumes with masks: where they lie, how they are changed, and that draws can be replayed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from voxlake.core.errors import SettingsError, UsageError
from voxlake.learning.segmentation.apply_changes import apply_changes, change_values, move
from voxlake.learning.segmentation.cases import Case, Cases, foreground_index
from voxlake.learning.segmentation.changes import Changes, draw_changes
from voxlake.learning.segmentation.moving import Places, move_patch, places_of
from voxlake.learning.segmentation.patches import PatchDraws, PatchSource, read_patch
from voxlake.learning.segmentation.settings import IGNORE, PatchAugmentation, SegmentationSettings

ALL = PatchAugmentation(
    flip=("slice", "row", "column"),
    rotate=15,
    scale=0.2,
    elastic=0.3,
    moved=0.7,
    gamma=0.5,
    contrast=0.3,
    brightness=0.3,
    noise=0.2,
    blur=1.0,
    low_resolution=2.0,
    changed=0.6,
)


def _case(shape: tuple[int, int, int], seed: int = 0, classes: int = 2) -> Case:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape).astype(np.float32)
    labels = rng.integers(0, classes + 1, size=shape).astype(np.uint8)
    return Case(f"case-{seed}", f"patient-{seed}", values, labels, (1.0, 1.0, 1.0), f"content-{seed}")


def _cases(count: int = 3, shape: tuple[int, int, int] = (10, 12, 14)) -> Cases:
    return Cases(tuple(_case(shape, seed) for seed in range(count)), ("one", "two"), 3 if shape[0] > 1 else 2)


def _source(cases: Cases | None = None, seed: int = 3, **changes: object) -> PatchSource:
    settings_ = SegmentationSettings(patch=(8, 8, 8), **changes)
    return PatchSource(cases or _cases(), settings_, batch_size=2, seed=seed)


def _still(count: int, dimensions: int = 3) -> Changes:
    return draw_changes(PatchAugmentation(), count, dimensions, np.random.default_rng(0))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 20)] * 3),
    start=st.tuples(*[st.integers(-30, 30)] * 3),
    size=st.tuples(*[st.integers(1, 16)] * 3),
)
def test_a_patch_holds_the_volume_and_beyond_it_the_edge_or_background(shape, start, size):
    case = _case(shape)
    values, labels = read_patch(case, start, size)
    places = [np.arange(size[axis]) + start[axis] for axis in range(3)]
    nearest = [np.clip(places[axis], 0, shape[axis] - 1) for axis in range(3)]
    inside = [(places[axis] == nearest[axis]) for axis in range(3)]
    assert np.array_equal(values[0], case.values[np.ix_(*nearest)])
    known = inside[0][:, None, None] & inside[1][:, None] & inside[2]
    assert np.array_equal(labels, np.where(known, case.labels[np.ix_(*nearest)], IGNORE))
    dark, background = read_patch(case, start, size, beyond="background")
    assert np.array_equal(background, np.where(known, case.labels[np.ix_(*nearest)], 0))
    if known.any():
        assert np.array_equal(dark[0], np.where(known, values[0], values[0][known].min()))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 20)] * 3),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_patch_covers_as_much_as_it_can_and_shows_what_was_drawn(shape, seed, share):
    labels = np.zeros(shape, dtype=np.uint8)
    labels[tuple(np.random.default_rng(seed).integers(0, shape))] = 2
    case = Case("it", "it", np.zeros(shape, np.float32), labels, (1.0, 1.0, 1.0), "")
    source = _source(Cases((case,), ("one", "two"), 3), seed=seed, foreground=share, per_volume=8)
    assert source.steps == 4
    for draws in source.draws(1):
        for start in draws.starts:
            for begin, extent, there in zip(start, source.size, shape, strict=True):
                assert min(0, there - extent) <= begin <= max(0, there - extent)
            if share == 1:
                assert (read_patch(case, start, source.size)[1] == 2).sum() == 1


def test_all_places_are_drawn_and_every_case_in_turn():
    source = _source(foreground=0.0, per_volume=200)
    draws = list(source.draws(1))
    counts = np.bincount([case for each in draws for case in each.cases])
    assert counts.tolist() == [200, 200, 200]
    starts = np.array([start for each in draws for start in each.starts])
    assert [sorted(set(column.tolist())) for column in starts.T] == [
        [0, 1, 2],
        list(range(5)),
        list(range(7)),
    ]


@pytest.mark.parametrize("labels", ["nearest", "linear"])
def test_recorded_draws_give_the_same_batches(labels):
    augmentation = ALL.model_copy(update={"labels": labels})
    source = _source(augmentation=augmentation, per_volume=2)
    batches = list(source.epoch(2))
    records = [json.loads(json.dumps(each.record())) for each in source.draws(2)]
    again = [source.batch(PatchDraws.read(record)) for record in records]
    assert len(batches) == source.steps == 3
    for first, second in zip(batches, again, strict=True):
        assert torch.equal(first.inputs[0], second.inputs[0])
        assert torch.equal(first.targets, second.targets)
        assert first.inputs[0].shape == (2, 1, 8, 8, 8)
        assert first.targets.shape == (2, 8, 8, 8)
        assert first.targets.dtype == torch.uint8


def test_another_epoch_and_another_seed_draw_anew():
    source = _source(augmentation=ALL)
    first, second, other = (
        next(one.epoch(number)).inputs[0]
        for one, number in ((source, 1), (source, 2), (_source(augmentation=ALL, seed=4), 1))
    )
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
    assert source.digest() != _source(augmentation=ALL, seed=4).digest() != _source(seed=4).digest()


def test_without_augmentation_patches_are_what_is_stored():
    cases = _cases()
    source = _source(cases, augmentation=PatchAugmentation())
    draws = next(source.draws(1))
    batch = source.batch(draws)
    for place, (case, start) in enumerate(zip(draws.cases, draws.starts, strict=True)):
        values, labels = read_patch(cases.items[case], start, source.size)
        assert np.array_equal(batch.inputs[0][place].numpy(), values)
        assert np.array_equal(batch.targets[place].numpy(), labels)


def test_single_images_give_flat_patches():
    cases = _cases(2, (1, 20, 18))
    batch = next(PatchSource(cases, SegmentationSettings(), batch_size=2, seed=0).epoch(1))
    assert batch.inputs[0].shape == (2, 1, 24, 24)
    assert (batch.targets != IGNORE).sum() == 2 * 20 * 18
    with pytest.raises(UsageError, match="does not fit cases of 2 axes"):
        _source(cases)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_quarter_turn_moves_voxels_and_masks_alike(dimensions):
    size = (9,) * dimensions
    images = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1))
    labels = (images[:, 0] * 3).to(torch.uint8)
    turn = torch.eye(dimensions)[None].clone()
    turn[0, -2:, -2:] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    changes = Changes(**{**vars(_still(1, dimensions)), "turn": turn, "moved": torch.tensor([True])})
    moved, mask = move(changes, images.numpy(), labels.numpy(), size=size, spacing=torch.ones(1, dimensions))
    # The row axis comes to lie on the column axis, the column axis on the row axis backwards.
    expected = torch.rot90(images, 1, (-2, -1))
    assert torch.allclose(moved, expected, atol=1e-5) or torch.allclose(
        moved, torch.rot90(images, -1, (-2, -1)), atol=1e-5
    )
    assert torch.equal(mask, (moved[:, 0] * 3 + 1e-4).to(torch.uint8))


def test_turns_keep_millimetres_where_voxels_are_not_cubes():
    # A rod of 12 mm along the rows of 1 mm; turned by 90 degrees it spans 4 columns of 3 mm.
    labels = torch.zeros(1, 24, 24, dtype=torch.uint8)
    labels[0, 6:18, 12] = 1
    turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    changes = Changes(**{**vars(_still(1, 2)), "turn": turn, "moved": torch.tensor([True])})
    spacing = torch.tensor([[1.0, 3.0]])
    _, mask = move(changes, labels[:, None].float().numpy(), labels.numpy(), size=(24, 24), spacing=spacing)
    where = torch.nonzero(mask[0] == 1)
    assert where[:, 1].max() - where[:, 1].min() + 1 == 4
    assert 2 <= where[:, 0].max() - where[:, 0].min() + 1 <= 4


@pytest.mark.parametrize("classes", [None, 3])
def test_what_comes_from_outside_does_not_count(classes):
    images = torch.ones(1, 1, 16, 16, 16)
    labels = torch.full((1, 16, 16, 16), 2, dtype=torch.uint8)
    changes = Changes(**{**vars(_still(1)), "factor": torch.tensor([0.5]), "moved": torch.tensor([True])})
    moved, mask = move(
        changes, images.numpy(), labels.numpy(), size=(16, 16, 16), spacing=torch.ones(1, 3), classes=classes
    )
    assert torch.equal(moved, images)
    assert (mask == 2).sum() == 8**3
    assert (mask == IGNORE).sum() == 16**3 - 8**3


def test_mirrors_are_exact_and_values_follow_the_draw():
    images = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = (images[:, 0] * 3).to(torch.uint8)
    mirror = torch.tensor([[-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
    changes = Changes(**{**vars(_still(2)), "mirror": mirror, "brightness": torch.tensor([0.0, 0.5])})
    out, mask = apply_changes(
        changes, images.numpy(), labels.numpy(), size=(8, 8, 8), spacing=torch.ones(2, 3)
    )
    assert torch.equal(out[0], images[0].flip(1, 3))
    assert torch.equal(mask[0], labels[0].flip(0, 2))
    assert torch.allclose(out[1], images[1] + 0.5 * images[1].std(), atol=1e-6)


def test_blur_and_coarser_voxels_keep_the_mean_of_what_is_even():
    flat = torch.full((1, 1, 12, 12), 3.0)
    changes = Changes(**{**vars(_still(1, 2)), "blur": torch.tensor([1.0]), "coarser": torch.tensor([2.0])})
    assert torch.allclose(change_values(changes, flat.clone()), flat, atol=1e-5)
    noise = torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    assert float(change_values(changes, noise.clone()).std()) < 0.4 * float(noise.std())


def _turned(size: tuple[int, ...], source: tuple[int, ...], seed: int) -> tuple[Changes, Places]:
    settings_ = PatchAugmentation(
        rotate=25, scale=0.3, elastic=0.3, moved=1.0, flip=("slice", "row", "column")
    )
    changes = draw_changes(settings_, 1, len(size), np.random.default_rng(seed))
    spacing = torch.tensor([1.5, 1.0, 0.8][3 - len(size) :])
    return changes, places_of(changes, 0, source=source, size=size, spacing=spacing)


@pytest.mark.parametrize(
    ("size", "source", "seed"),
    [((52, 20, 49), (60, 24, 60), 1), ((20, 16, 30), (20, 16, 30), 2), ((60, 50), (60, 64), 3)],
)
def test_moved_patches_are_what_an_ordinary_interpolation_gives(size, source, seed):
    rng = np.random.default_rng(seed)
    image = rng.random((2, *source), dtype=np.float32)
    labels = rng.integers(0, 3, source).astype(np.uint8)
    places = _turned(size, source, seed)[1]
    at, low, _ = places.within(tuple(slice(0, extent) for extent in size))
    at = np.stack([one.numpy() + begin for one, begin in zip(at, low, strict=True)])
    patch, mask = torch.empty((2, *size)), torch.empty(size, dtype=torch.uint8)
    move_patch(places, image, labels, classes=None, out=(patch, mask))
    for channel in range(2):
        expected = ndimage.map_coordinates(image[channel], at, order=1, mode="nearest")
        assert np.abs(patch[channel].numpy() - expected).max() < 5e-4
    nearest = ndimage.map_coordinates(labels, at, order=0, mode="grid-constant", cval=IGNORE)
    assert (mask.numpy() != nearest).mean() < 1e-4
    assert 0 < (mask == IGNORE).float().mean() < 0.8


def test_a_source_of_few_voxels_far_away_gives_its_edge():
    places = Places((4, 4, 4), np.eye(3), np.array([90.0, -70.0, 0.25]), None, ())
    image = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    patch, mask = torch.empty((1, 4, 4, 4)), torch.empty((4, 4, 4), dtype=torch.uint8)
    move_patch(places, image, np.zeros((2, 3, 4), np.uint8), classes=None, out=(patch, mask))
    assert torch.allclose(patch, torch.tensor([12.25, 13.25, 14.25, 15.0]).expand(1, 4, 4, 4), atol=1e-4)
    assert bool((mask == IGNORE).all())


def test_a_mirrored_patch_is_the_mirror_of_a_moved_one():
    size, source = (12, 14, 16), (20, 20, 20)
    changes = _turned(size, source, 7)[0]
    rng = np.random.default_rng(0)
    image, labels = rng.random((1, 1, *source), dtype=np.float32), np.zeros((1, *source), np.uint8)
    found = []
    for mirror in (torch.tensor([[-1.0, 1.0, -1.0]]), torch.ones(1, 3)):
        one = Changes(**{**vars(changes), "mirror": mirror})
        found.append(move(one, image, labels, size=size, spacing=torch.ones(1, 3))[0])
    assert torch.allclose(found[0], found[1].flip(2, 4), atol=1e-4)


def test_strong_elastic_changes_do_not_fold():
    settings_ = PatchAugmentation(elastic=0.4, moved=1.0)
    changes = draw_changes(settings_, 1, 2, np.random.default_rng(5))
    rows = torch.arange(40.0).view(1, 1, 40, 1).expand(1, 1, 40, 40).contiguous()
    moved, _ = move(
        changes,
        rows.numpy(),
        np.zeros((1, 40, 40), dtype=np.uint8),
        size=(40, 40),
        spacing=torch.ones(1, 2),
    )
    assert float((moved - rows).abs().max()) > 1.0
    assert float(moved[0, 0].diff(dim=0).min()) > -1e-3


def test_the_index_of_classes_is_thinned_and_leaves_out_what_does_not_count():
    labels = np.zeros((30, 30, 30), dtype=np.uint8)
    labels[:20] = 1
    labels[20, 0, :3] = 2
    labels[29] = IGNORE
    one, two, three = foreground_index(labels, 3)
    assert len(one) == 10_000
    assert np.all(labels.reshape(-1)[one] == 1)
    assert two.tolist() == [18_000, 18_001, 18_002]
    assert len(three) == 0


def test_settings_say_what_is_wrong():
    with pytest.raises(SettingsError, match="did you mean 'foreground'"):
        SegmentationSettings.read({"forground": 0.5})
    with pytest.raises(SettingsError, match="multiples of 8"):
        SegmentationSettings.read({"patch": [32, 36, 32]})
