"""Properties of batches, splits of the learning rate and tasks."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.learning.augment import apply, draw
from voxlake.learning.data import batches
from voxlake.learning.optimisation import learning_rate
from voxlake.learning.settings import AugmentationSettings, SplitSettings, TrainingSettings
from voxlake.learning.task import Task, load_task

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(count=st.integers(1, 400), batch_size=st.integers(1, 70), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_batches_hold_every_sample_once_and_are_even(count, batch_size, seed):
    parts = list(batches(count, batch_size, torch.Generator().manual_seed(seed)))
    sizes = [len(part) for part in parts]
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-count // batch_size)


@given(
    schedule=st.sampled_from(["none", "cosine", "one_cycle"]),
    rate=st.floats(1e-6, 10),
    progress=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_the_learning_rate_stays_between_zero_and_the_largest(schedule, rate, progress):
    value = learning_rate(TrainingSettings(schedule=schedule, learning_rate=rate), progress)
    assert 0 <= value <= rate * (1 + 1e-9)


@given(
    shift=st.floats(0, 0.5),
    rotate=st.floats(0, 180),
    scale=st.floats(0, 0.5),
    flip=st.sets(st.sampled_from(["row", "column"])),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=50, deadline=None)
def test_moving_pixels_makes_up_no_values_beyond_those_of_the_image(shift, rotate, scale, flip, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 1, 7, 10, generator=generator)
    changes = AugmentationSettings(shift=shift, rotate=rotate, scale=scale, flip=tuple(sorted(flip)))
    moved = apply(draw(changes, 3, 2, generator), images)
    assert moved.shape == images.shape
    for before, after in zip(images, moved, strict=True):
        assert before.min() - 1e-5 <= after.min()
        assert after.max() <= before.max() + 1e-5


@given(
    name=NAMES,
    target=NAMES,
    classes=st.none() | st.lists(NAMES, min_size=2, max_size=4, unique=True),
    split=st.builds(
        SplitSettings,
        kind=st.sampled_from(["kfold", "holdout"]),
        folds=st.integers(2, 20),
        validation=st.floats(0.01, 0.99),
        seed=st.integers(0, 2**31),
    ),
    blocks=st.lists(st.integers(1, 64), min_size=1, max_size=4),
    rate=st.floats(1e-8, 1e3),
    plan=NAMES | st.just({"steps": [{"step": "window", "low": -1.5}]}),
)
@settings(max_examples=50, deadline=None)
def test_tasks_survive_toml(name, target, classes, split, blocks, rate, plan):
    task = Task.read(
        {
            "name": name,
            "cohort": name,
            "target": target,
            "classes": classes,
            "plan": plan,
            "split": split,
            "network": {"name": "cnn", "blocks": blocks},
            "training": {"learning_rate": rate},
        }
    )
    again = load_task(task.to_toml())
    assert again == task
    assert again.digest() == task.digest()
