"""Autoencoders: what comes back, what is drawn, what is hidden, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from voxlake.core.errors import SettingsError
from voxlake.networks.masked_autoencoder_module import join_patches, split_patches
from voxlake.networks.registry import build, read_settings
from voxlake.networks.variational_module import divergence

TINY_MASKED = {"patch_size": 4, "width": 24, "decoder_width": 12, "depth": 1, "decoder_depth": 1}


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _make(name: str, shape: tuple[int, ...], in_channels: int = 1, **values: Any) -> nn.Module:
    settings = read_settings(name, {"dimensions": len(shape), **values})
    return build(name, settings, in_channels=in_channels, outputs=1, shape=shape, seed=0)


@pytest.mark.parametrize("shape", [(16, 16), (13, 9), (7, 10, 9)])
@pytest.mark.parametrize(
    ("name", "values", "latent"),
    [
        ("autoencoder", {"channels": [4, 6], "latent": 5}, 5),
        ("autoencoder", {"channels": [4], "hidden": [9, 8], "latent": 3, "convolutions": 1}, 3),
        ("autoencoder", {"kind": "plain", "hidden": [7], "latent": 2}, 2),
        ("variational", {"channels": [4, 6], "latent": 5}, 5),
        ("masked_autoencoder", TINY_MASKED, 24),
    ],
)
def test_images_of_any_extent_come_back_and_have_a_code(name, values, latent, shape):
    network = _make(name, shape, in_channels=2, **values)
    images = _draw(3, 2, *shape)
    for training in (True, False):
        result = network.train(training)(images)
        assert result.values.shape == images.shape
        assert result.penalty.shape == ()
        assert (result.penalty > 0) == (name == "variational")
        assert (result.weights is None) == (name != "masked_autoencoder" or not training)
    assert network.encode(images).shape == (3, latent)


def test_the_plain_one_without_hidden_layers_finds_the_principal_components():
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(60, 2, generator=draw) @ torch.randn(2, 12, generator=draw)
    images = (images + 0.1 * torch.randn(60, 12, generator=draw)).view(60, 1, 3, 4)
    network = _make("autoencoder", (3, 4), kind="plain", latent=2)
    assert sum(p.numel() for p in network.parameters()) == 12 * 2 + 2 + 2 * 12 + 12
    optimiser = torch.optim.LBFGS(network.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def error() -> Tensor:
        optimiser.zero_grad()
        loss = (network(images).values - images).square().mean()
        loss.backward()
        return loss

    optimiser.step(error)
    flat = images.flatten(1)
    remaining = torch.linalg.svdvals(flat - flat.mean(0))[2:].square().sum() / flat.numel()
    assert error().item() == pytest.approx(remaining.item(), rel=1e-3)


def test_the_convolutional_one_has_the_parameters_that_were_counted():
    network = _make("autoencoder", (13, 9), channels=[4, 6], latent=5, hidden=[8], convolutions=1)
    norms = 2 * (4 + 6) + 2 * (4 + 4)
    encoder = 9 * 4 + 9 * 4 * 6 + (6 * 4 * 3 * 8 + 8) + (8 * 5 + 5)
    decoder = (5 * 8 + 8) + (8 * 72 + 72) + 4 * 6 * 4 + 4 * 4 * 4 + 9 * 4 + 1
    assert sum(p.numel() for p in network.parameters()) == encoder + decoder + norms


def test_the_divergence_is_that_of_torch():
    means, logarithms = _draw(4, 3), _draw(4, 3, seed=1)
    expected = kl_divergence(Normal(means, (logarithms / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(divergence(means, logarithms), expected)
    assert not divergence(torch.zeros(2, 3), torch.zeros(2, 3)).any()


def test_the_penalty_is_beta_times_the_divergence_for_each_value():
    images = _draw(3, 1, 8, 8)
    network = _make("variational", (8, 8), channels=[4], latent=2, normalisation="group", beta=0.5)
    expected = 0.5 * divergence(*network.posterior(images)).mean() / 64
    torch.testing.assert_close(network(images).penalty, expected)
    torch.testing.assert_close(network.eval()(images).penalty, expected)


def test_draws_follow_the_seed_in_training_and_there_are_none_in_evaluation():
    network = _make("variational", (8, 8), channels=[4], latent=2, normalisation="group")
    images = _draw(3, 1, 8, 8)
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(network(images).values)
    assert torch.equal(results[0], results[1])
    assert not torch.allclose(results[0], results[2])
    network.eval()
    assert torch.equal(network(images).values, network.decode(network.encode(images)))


def test_draws_have_the_moments_that_the_encoder_says():
    network = _make("variational", (4, 4), kind="plain", latent=2)
    seen: list[Tensor] = []
    network.decoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    image = _draw(1, 1, 4, 4)
    means, logarithms = network.posterior(image)
    torch.manual_seed(0)
    network(image.expand(20_000, 1, 4, 4))
    torch.testing.assert_close(seen[0].mean(0), means[0], rtol=0, atol=0.05)
    torch.testing.assert_close(seen[0].std(0), (logarithms[0] / 2).exp(), rtol=0.03, atol=0)


@pytest.mark.parametrize(("shape", "patch"), [((8, 6), (4, 3)), ((4, 6, 8), (2, 3, 4))])
def test_patches_are_cut_and_put_together(shape, patch):
    images = torch.arange(2 * 3 * math.prod(shape), dtype=torch.float32).view(2, 3, *shape)
    patches = split_patches(images, patch)
    grid = tuple(extent // size for extent, size in zip(shape, patch, strict=True))
    assert patches.shape == (2, math.prod(grid), 3 * math.prod(patch))
    corner = images[(slice(None), slice(None), *(slice(-size, None) for size in patch))]
    assert torch.equal(patches[:, -1], corner.flatten(1))
    assert torch.equal(join_patches(patches, patch, grid), images)


def _cells(hidden: Tensor) -> Tensor:
    """(N, 1, H, W) in patches of 4 x 4 to (N, patches)."""
    return split_patches(hidden, (4, 4)).mean(2)


def test_training_hides_the_share_that_was_asked_for_by_the_seed():
    network = _make("masked_autoencoder", (16, 16), masked=0.75, **TINY_MASKED)
    images = _draw(5, 1, 16, 16)
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(_cells(network(images).weights))
    assert set(masks[0].unique().tolist()) == {0.0, 1.0}
    assert masks[0].sum(1).tolist() == [12.0] * 5
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0][0], masks[0][1])


def test_what_is_hidden_in_training_has_no_influence_and_what_is_shown_has():
    network = _make("masked_autoencoder", (16, 16), **TINY_MASKED)
    images = _draw(2, 1, 16, 16)
    torch.manual_seed(3)
    first = network(images)
    for hidden, same in ((first.weights, True), (1 - first.weights, False)):
        torch.manual_seed(3)
        again = network(images + 10 * hidden)
        assert torch.equal(again.weights, first.weights)
        assert torch.equal(again.values, first.values) == same


def test_evaluation_makes_every_patch_from_others_only():
    network = _make("masked_autoencoder", (14, 16), **TINY_MASKED).eval()
    image = _draw(1, 1, 14, 16).requires_grad_()
    values = network(image).values
    for row in range(0, 14, 4):
        for column in range(0, 16, 4):
            patch = (0, 0, slice(row, row + 4), slice(column, column + 4))
            (gradient,) = torch.autograd.grad(values[patch].sum(), image, retain_graph=True)
            assert not gradient[patch].any()
            # the three other groups of four are each shown once; its own is hidden with it
            assert int((_cells(gradient.abs()) > 0).sum()) == 12


def test_the_code_of_a_masked_one_sees_all_patches():
    network = _make("masked_autoencoder", (8, 8), **TINY_MASKED)
    image = _draw(1, 1, 8, 8).requires_grad_()
    network.encode(image)[0, 0].backward()
    assert (_cells(image.grad.abs()) > 0).all()


def test_the_masked_one_has_the_parameters_that_were_counted():
    network = _make("masked_autoencoder", (16, 16), **TINY_MASKED)

    def block(width: int) -> int:
        attention = 3 * width * width + 3 * width + width * width + width
        return attention + 8 * width * width + 5 * width + 4 * width

    ends = (16 * 24 + 24) + (24 * 12 + 12) + 12 + (12 * 16 + 16) + 2 * 24 + 2 * 12
    assert sum(p.numel() for p in network.parameters()) == block(24) + block(12) + ends


@pytest.mark.parametrize(
    ("name", "values", "factor"),
    [
        ("autoencoder", {"channels": [8], "latent": 8, "convolutions": 1}, 0.1),
        ("autoencoder", {"kind": "plain", "hidden": [32], "latent": 8}, 0.1),
        ("variational", {"channels": [8], "latent": 8, "convolutions": 1, "beta": 0.001}, 0.2),
        ("masked_autoencoder", {**TINY_MASKED, "masked": 0.5}, 0.5),
    ],
)
def test_one_batch_is_learned_by_heart(name: str, values: Mapping[str, Any], factor: float) -> None:
    network = _make(name, (8, 8), **values)
    images = _draw(4, 1, 8, 8)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    torch.manual_seed(0)
    losses = []
    for _ in range(120):
        optimiser.zero_grad()
        result = network(images)
        error = (result.values - images).square()
        weights = torch.ones(()) if result.weights is None else result.weights
        loss = (error * weights).sum() / weights.expand_as(error).sum() + result.penalty
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < factor * 10 * losses[0]


@pytest.mark.parametrize("name", ["autoencoder", "variational", "masked_autoencoder"])
def test_mixed_precision_trains(name):
    network = _make(name, (8, 8), **(TINY_MASKED if name == "masked_autoencoder" else {"channels": [4]}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = network(_draw(2, 1, 8, 8))
    assert result.penalty.dtype == torch.float32
    (result.values.float().square().mean() + result.penalty).backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("autoencoder", {"kind": "sparse"}, "convolutional"),
        ("autoencoder", {"latent": 0}, "greater than 0"),
        ("variational", {"beta": -1.0}, "greater than or equal to 0"),
        ("masked_autoencoder", {"masked": 0.4}, "greater than or equal to 0.5"),
        ("masked_autoencoder", {"width": 190}, "width = 190 is no multiple of 12"),
        ("masked_autoencoder", {"decoder_width": 90}, "decoder_width = 90 is no multiple of 12"),
        ("masked_autoencoder", {"patch_size": [4, 4, 4]}, "3 values of patch_size"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name, values, message):
    with pytest.raises(SettingsError, match=message):
        read_settings(name, values)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match="set fewer channels"):
        _make("variational", (4, 2), channels=[4, 4])
    with pytest.raises(SettingsError, match=r"have 2 patches.*at least 4 are needed"):
        _make("masked_autoencoder", (4, 8), **TINY_MASKED)
    settings = read_settings("autoencoder", {"kind": "plain"})
    with pytest.raises(SettingsError, match="set dimensions = 3"):
        build("autoencoder", settings, in_channels=1, outputs=1, shape=(4, 4, 4), seed=0)
