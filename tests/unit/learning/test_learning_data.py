"""Samples in memory and the order in which they are shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from voxlake.core.errors import UsageError
from voxlake.learning.data import Samples, batches, derived_seed, make_samples


def _samples(count: int = 6) -> Samples:
    images = np.arange(count * 12, dtype=np.int16).reshape(count, 3, 4)
    labels = ["sick" if number % 2 else "well" for number in range(count)]
    return make_samples(
        images,
        labels,
        classes=["well", "sick"],
        groups=[f"p{number // 2}" for number in range(count)],
        ids=[f"v{number}" for number in range(count)],
    )


def test_arrays_become_tensors_with_a_channel():
    samples = _samples()
    assert samples.images.shape == (6, 1, 3, 4)
    assert samples.images.dtype == torch.float32
    assert samples.images[1, 0, 0].tolist() == [12.0, 13.0, 14.0, 15.0]
    assert samples.targets.tolist() == [0, 1, 0, 1, 0, 1]
    assert (len(samples), samples.channels, samples.shape) == (6, 1, (3, 4))


def test_a_part_keeps_what_belongs_together():
    part = _samples().take([5, 0])
    assert part.ids == ("v5", "v0")
    assert part.groups == ("p2", "p0")
    assert part.targets.tolist() == [1, 0]
    assert part.images[0, 0, 0, 0].item() == 60.0


def test_the_digest_sees_images_targets_and_names():
    samples = _samples()
    assert samples.digest() == _samples().digest()
    assert samples.take([0, 1, 2, 3, 5, 4]).digest() != samples.digest()
    changed = samples.images.clone()
    changed[0, 0, 0, 0] += 1
    other = replace(samples, inputs=(changed,))
    assert other.digest() != samples.digest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": ("a",)}, "equally many"),
        ({"inputs": (torch.zeros(6, 3, 4),)}, "must be float32"),
        ({"inputs": (torch.zeros(6, 1, 3, 4, dtype=torch.float64),)}, "must be float32"),
        ({"inputs": (torch.full((6, 1, 3, 4), float("nan")),)}, "not finite"),
        ({"targets": torch.tensor([0, 1, 2, 0, 1, 0])}, r"0\.\.1"),
        ({"targets": torch.tensor([0, 1, -1, 0, 1, 0])}, r"0\.\.1"),
    ],
)
def test_samples_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(_samples(), **changes)


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(UsageError, match="'ill' is none of the classes"):
        make_samples(np.zeros((1, 2, 2)), ["ill"], classes=["well"], groups=["a"], ids=["b"])


def test_the_order_is_drawn_from_the_generator():
    first, again = (
        torch.cat(list(batches(50, 8, torch.Generator().manual_seed(3)))).tolist() for _ in range(2)
    )
    assert first == again
    assert sorted(first) == list(range(50))
    assert first != list(range(50))


def test_derived_seeds_differ_by_purpose_and_epoch():
    seeds = {
        derived_seed(s, what, epoch) for s in (0, 1) for what in ("order", "dropout") for epoch in (1, 2, 11)
    }
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(1, "order", 2) == derived_seed(1, "order", 2)
