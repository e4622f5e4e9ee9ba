"""Augmentation against changes that NumPy can make exactly."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from voxlake.learning.augment import Draws, apply, draw
from voxlake.learning.settings import AugmentationSettings

ALL = AugmentationSettings(flip=("row", "column"), shift=0.1, rotate=20, scale=0.2, intensity=0.3, noise=0.1)


def _nothing(count: int, dimensions: int) -> Draws:
    return Draws(
        mirror=torch.ones(count, dimensions),
        shift=torch.zeros(count, dimensions),
        angle=torch.zeros(count),
        factor=torch.ones(count),
        contrast=torch.zeros(count),
        brightness=torch.zeros(count),
        noise=0.0,
        noise_seed=0,
        moves=True,
    )


def _image(*shape: int) -> torch.Tensor:
    return torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("shape", [(6, 9), (4, 6, 9)])
def test_no_change_changes_nothing(shape):
    image = _image(*shape)
    torch.testing.assert_close(apply(_nothing(1, len(shape)), image), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(6, 9), (4, 6, 9)])
def test_each_axis_is_mirrored_by_itself(shape):
    image = _image(*shape)
    for axis in range(len(shape)):
        mirror = torch.ones(1, len(shape))
        mirror[0, axis] = -1
        got = apply(dataclasses.replace(_nothing(1, len(shape)), mirror=mirror), image)
        torch.testing.assert_close(got, image.flip(axis + 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(6, 9), (4, 6, 9)])
def test_content_is_shifted_towards_higher_indices(shape):
    image = _image(*shape)
    for axis, extent in enumerate(shape):
        shift = torch.zeros(1, len(shape))
        shift[0, axis] = 1 / extent
        got = apply(dataclasses.replace(_nothing(1, len(shape)), shift=shift), image)
        expected = np.take(image.numpy(), np.maximum(np.arange(extent) - 1, 0), axis=axis + 2)
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 9), (4, 9, 9)])
def test_a_quarter_turn_goes_from_rows_to_columns(shape):
    image = _image(*shape)
    angle = torch.tensor([math.pi / 2])
    got = apply(dataclasses.replace(_nothing(1, len(shape)), angle=angle), image)
    np.testing.assert_allclose(got.numpy(), np.rot90(image.numpy(), axes=(-2, -1)), atol=1e-4)


def test_a_turn_of_an_oblong_image_keeps_right_angles():
    image = torch.zeros(1, 1, 21, 41)
    image[0, 0, 10, 14:27] = 1  # a bar along the columns, through the centre
    got = apply(dataclasses.replace(_nothing(1, 2), angle=torch.tensor([math.pi / 2])), image)
    expected = torch.zeros_like(image)
    expected[0, 0, 4:17, 20] = 1
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_growing_by_two_doubles_a_centred_square():
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 6:10, 6:10] = 1
    got = apply(dataclasses.replace(_nothing(1, 2), factor=torch.tensor([2.0])), image)
    assert got[0, 0, 5:11, 5:11].min() == 1
    assert got[0, 0, :3].max() == 0
    assert got.sum().item() == pytest.approx(4 * image.sum().item(), rel=0.05)


def test_intensity_changes_spread_and_mean_only():
    image = _image(20, 20) * 50 + 1000
    draws = dataclasses.replace(
        _nothing(1, 2), contrast=torch.tensor([0.5]), brightness=torch.tensor([-0.2]), moves=False
    )
    got = apply(draws, image)
    assert got.std().item() == pytest.approx(1.5 * image.std().item(), rel=1e-4)
    assert got.mean().item() == pytest.approx(image.mean().item() - 0.2 * image.std().item(), rel=1e-4)
    assert np.corrcoef(got.flatten(), image.flatten())[0, 1] == pytest.approx(1, abs=1e-6)


def test_noise_is_relative_to_the_image_and_comes_from_its_seed():
    image = _image(64, 64) * 7
    draws = dataclasses.replace(_nothing(1, 2), noise=0.5, noise_seed=4, moves=False)
    noise = apply(draws, image) - image
    assert noise.std().item() == pytest.approx(0.5 * image.std().item(), rel=0.05)
    assert torch.equal(apply(draws, image) - image, noise)
    assert not torch.equal(apply(dataclasses.replace(draws, noise_seed=5), image) - image, noise)


def test_draws_stay_within_their_settings_and_fill_them():
    draws = draw(ALL, 4000, 3, torch.Generator().manual_seed(0))
    assert 0.09 < draws.shift.abs().max() <= 0.1
    assert 0.95 < draws.angle.abs().max() / math.radians(20) <= 1
    assert draws.factor.min() >= 0.8
    assert draws.factor.max() <= 1.2
    assert draws.contrast.abs().max() <= 0.3
    assert (draws.mirror[:, 0] == 1).all()
    assert 0.45 < (draws.mirror[:, 1] == -1).float().mean() < 0.55
    assert 0.45 < (draws.mirror[:, 2] == -1).float().mean() < 0.55


def test_draws_and_results_can_be_replayed():
    images = torch.randn(4, 2, 8, 8)
    kept = images.clone()
    first, again, other = (draw(ALL, 4, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(apply(first, images), apply(again, images))
    assert not torch.equal(apply(first, images), apply(other, images))
    assert torch.equal(images, kept)


def test_without_augmentation_images_are_handed_on_untouched():
    images = torch.randn(4, 1, 8, 8)
    assert apply(draw(AugmentationSettings(), 4, 2, torch.Generator()), images) is images
