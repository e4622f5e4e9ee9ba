"""Networks for tables, and for images and tables together."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from voxlake.core.errors import SettingsError
from voxlake.networks.fusion import FusionSettings
from voxlake.networks.mlp import MLPSettings, build_mlp
from voxlake.networks.registry import build, read_settings

ENCODER = {"name": "cnn", "blocks": [4], "normalisation": "none"}


def _fusion(seed=0, *, dimensions=2, **values):
    table = {"columns": 3, "features": 5, "encoder": ENCODER | {"dimensions": dimensions}} | values
    settings = FusionSettings.read(table)
    return build("fusion", settings, in_channels=1, outputs=2, shape=(8,) * dimensions, seed=seed)


def _inputs(dimensions=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (4, 1, *(8,) * dimensions)
    return torch.randn(*shape, generator=generator), torch.randn(4, 3, generator=generator)


def test_dense_layers_are_those_of_the_textbook():
    settings = MLPSettings(hidden=(4, 3), activation="relu")
    network = build("mlp", settings, in_channels=5, outputs=2, shape=(5,), seed=0)
    first, second, last = [part for part in network if isinstance(part, nn.Linear)]
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    hidden = (x @ first.weight.T + first.bias).clamp(min=0)
    hidden = (hidden @ second.weight.T + second.bias).clamp(min=0)
    torch.testing.assert_close(network(x), hidden @ last.weight.T + last.bias)


def test_without_hidden_layers_a_linear_model_is_left():
    network = build("mlp", MLPSettings(hidden=()), in_channels=5, outputs=2, shape=(5,), seed=0)
    assert [parameter.shape for parameter in network.parameters()] == [(2, 5), (2,)]


@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "elu"])
def test_every_part_of_the_dense_layers_can_be_chosen(normalisation, activation):
    settings = MLPSettings(hidden=(6, 4), normalisation=normalisation, activation=activation, dropout=0.1)
    network = build("mlp", settings, in_channels=5, outputs=3, shape=(5,), seed=0)
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward(nn.functional.cross_entropy(network(rows), torch.arange(8) % 3))
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_only_batch_normalisation_lets_rows_see_each_other():
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    others = torch.cat([rows[:4], rows[4:] * 3])
    for normalisation, same in [("none", True), ("layer", True), ("batch", False)]:
        settings = MLPSettings(normalisation=normalisation)
        network = build("mlp", settings, in_channels=5, outputs=3, shape=(5,), seed=0)
        assert torch.allclose(network(rows)[:4], network(others)[:4], atol=1e-6) == same


@pytest.mark.parametrize("join", ["concatenate", "gated"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_images_and_tables_both_count_and_all_parameters_learn(join, dimensions):
    network = _fusion(join=join, dimensions=dimensions)
    image, table = _inputs(dimensions)
    answers = network(image, table)
    assert answers.shape == (4, 2)
    torch.autograd.backward(nn.functional.cross_entropy(answers, torch.tensor([0, 1, 1, 0])))
    assert all(parameter.grad.any() for parameter in network.parameters())
    for other in [network(image.flip(0), table), network(image, table.flip(0))]:
        assert (other - answers).abs().max() > 1e-3
    torch.testing.assert_close(
        network(image.flip(0), table.flip(0)), answers.flip(0)
    )  # a row belongs to its image


def test_features_are_put_side_by_side_or_weighed_against_each_other():
    image, table = _inputs()
    side_by_side = _fusion()
    of_image, of_table = torch.tanh(side_by_side.image(image)), torch.tanh(side_by_side.table(table))
    torch.testing.assert_close(side_by_side.join(image, table), torch.cat([of_image, of_table], dim=1))

    gated = _fusion(join="gated")
    of_image, of_table = torch.tanh(gated.image(image)), torch.tanh(gated.table(table))
    for bias, expected in [(100.0, of_image), (-100.0, of_table), (0.0, (of_image + of_table) / 2)]:
        nn.init.zeros_(gated.gate.weight)
        nn.init.constant_(gated.gate.bias, bias)
        torch.testing.assert_close(gated.join(image, table), expected)


@pytest.mark.parametrize("join", ["concatenate", "gated"])
def test_what_neither_shows_alone_is_learned_from_both(join):
    # the answer is whether the brightness of the image and the value in the table have the same sign
    generator = torch.Generator().manual_seed(0)
    image, table = torch.randn(64, 1, 1, 1, generator=generator), torch.randn(64, 3, generator=generator)
    targets = (image.flatten() * table[:, 0] > 0).long()
    image = image.expand(-1, 1, 2, 2)
    network = _fusion(join=join, features=8)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(100):
        optimiser.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(image, table), targets))
        optimiser.step()
    found = network(image, table).argmax(dim=1)
    assert (found == targets).float().mean() > 0.95


def test_dropout_before_the_head_is_off_outside_training():
    network = _fusion(dropout=0.5)
    image, table = _inputs()
    torch.manual_seed(0)
    first = network(image, table)
    assert not torch.equal(first, network(image, table))
    network.eval()
    assert torch.equal(network(image, table), network(image, table))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("mlp", {"hiden": [4]}, "did you mean 'hidden'"),
        ("mlp", {"hidden": [0]}, "greater than 0"),
        ("mlp", {"normalisation": "instance"}, "layer"),
        ("fusion", {}, "missing key 'columns'"),
        ("fusion", {"columns": 3, "join": "add"}, "gated"),
        ("fusion", {"columns": 3, "table": {"hiden": [4]}}, "did you mean 'hidden'"),
        ("fusion", {"columns": 3, "encoder": {"name": "recurrent"}}, "takes sequence"),
        ("fusion", {"columns": 3, "encoder": {"name": "cnn", "block": [4]}}, "did you mean 'blocks'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name, values, message):
    with pytest.raises(SettingsError, match=message):
        read_settings(name, values)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match=r"here \(5,\), got \(8, 8\)"):
        build_mlp(MLPSettings(), in_channels=5, outputs=2, shape=(8, 8))
    with pytest.raises(SettingsError, match="2 axes"):
        _fusion(encoder=ENCODER | {"dimensions": 3})


def test_settings_are_filled_in_and_read_back():
    values = FusionSettings.read({"columns": 3, "encoder": {"name": "cnn", "blocks": [4]}})
    assert values.encoder["padding"] == "same"
    assert FusionSettings.read(values.model_dump(mode="json")) == values
