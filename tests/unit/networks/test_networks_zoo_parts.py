"""Networks for images and volumes: published sizes, small images, and the parts that are our own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from voxlake.core.errors import SettingsError
from voxlake.networks.blocks import PatchConvolution, StochasticDepth, rising_rates
from voxlake.networks.convnext_module import ChannelNormalisation
from voxlake.networks.embedding import embed
from voxlake.networks.registry import build, read_settings
from voxlake.networks.vit import ViTSettings
from voxlake.networks.vit_module import TransformerBlock, sinusoidal_positions

B0: dict[str, Any] = {
    "stem_stride": 2,
    "repeats": [1, 2, 2, 3, 3, 4, 1],
    "widths": [16, 24, 40, 80, 112, 192, 320],
    "kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "strides": [1, 2, 2, 2, 1, 2, 1],
    "expansions": [1, 6, 6, 6, 6, 6, 6],
}


def _build(name: str, values: dict[str, Any], shape: tuple[int, ...], channels: int = 1) -> nn.Module:
    return build(name, read_settings(name, values), in_channels=channels, outputs=3, shape=shape, seed=0)


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "values", "parameters"),
    [
        ("resnet", {}, 11_689_512),
        ("resnet", {"block": "bottleneck", "layers": [3, 4, 6, 3]}, 25_557_032),
        ("densenet", {}, 7_978_856),
        ("efficientnet", B0, 5_288_548),
        ("convnext", {}, 28_589_128),
        ("vit", {}, 22_050_664),
    ],
)
def test_standard_networks_have_the_parameters_that_were_published(name, values, parameters):
    with torch.device("meta"):
        network = build(
            name, read_settings(name, values), in_channels=3, outputs=1000, shape=(224, 224), seed=0
        )
    assert sum(each.numel() for each in network.parameters()) == parameters


NARROW = {
    "resnet": {"widths": [4, 4, 8, 8]},
    "densenet": {"growth": 4, "layers": [2, 2, 2, 2], "stem_width": 8},
    "efficientnet": {"width_factor": 0.25},
    "convnext": {"widths": [4, 4, 8, 8], "depths": [1, 1, 1, 1], "kernel_size": 3},
    "vit": {"width": 12, "heads": 3, "depth": 1},
}
FINE_STEM = {
    "resnet": {"stem_kernel": 3, "stem_stride": 1, "stem_pooling": False},
    "densenet": {"stem_kernel": 3, "stem_stride": 1, "stem_pooling": False},
    "efficientnet": {},
    "convnext": {"stem_stride": 2},
    "vit": {"patch_size": 4},
}


@pytest.mark.parametrize("name", sorted(NARROW))
@pytest.mark.parametrize("shape", [(28, 28), (29, 35), (19, 28, 21)])
def test_small_and_odd_images_go_through_and_every_pixel_counts(name, shape):
    values = {**NARROW[name], **FINE_STEM[name], "dimensions": len(shape)}
    network = _build(name, values, shape).eval()
    image = _noise(1, 1, *shape).requires_grad_()
    torch.autograd.backward(network(image).square().sum())
    assert image.grad is not None
    assert (image.grad.amax(dim=(0, 1)) != 0).float().mean() > 0.99
    assert image.grad.flatten()[-1] != 0


@pytest.mark.parametrize("name", ["resnet", "densenet", "efficientnet", "convnext"])
def test_networks_take_other_extents_than_they_were_built_for(name):
    network = _build(name, NARROW[name] | FINE_STEM[name], (28, 28)).eval()
    assert network(_noise(2, 1, 41, 28)).shape == (2, 3)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "elu"])
@pytest.mark.parametrize("name", sorted(NARROW))
def test_activations_hold_for_the_whole_network(name, activation):
    network = _build(name, NARROW[name] | FINE_STEM[name] | {"activation": activation}, (28, 28))
    kinds = {
        type(part).__name__.lower() for part in network.modules() if "elu" in type(part).__name__.lower()
    }
    swish = {type(part).__name__ for part in network.modules() if "Swish" in type(part).__name__}
    names = {type(part).__name__ for part in network.modules()}
    assert not swish
    assert (
        (kinds == {activation.replace("_", "")}) if activation != "silu" else ("SiLU" in names and not kinds)
    )


@pytest.mark.parametrize("name", ["resnet", "densenet", "efficientnet"])
@pytest.mark.parametrize(
    ("normalisation", "kind"), [("instance", nn.InstanceNorm2d), ("group", nn.GroupNorm)]
)
def test_normalisations_hold_for_the_whole_network(name, normalisation, kind):
    network = _build(name, NARROW[name] | FINE_STEM[name] | {"normalisation": normalisation}, (28, 28))
    assert not [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert [part for part in network.modules() if isinstance(part, kind)]
    assert network.train()(_noise(1, 1, 28, 28)).isfinite().all()


@pytest.mark.parametrize("name", ["resnet", "densenet", "efficientnet"])
def test_instance_normalisation_of_single_places_is_refused(name):
    small = {"resnet": 8, "densenet": 8, "efficientnet": 8}[name]
    values = NARROW[name] | FINE_STEM[name] | {"normalisation": "instance"}
    with pytest.raises(SettingsError, match=r"single place.*'group'"):
        _build(name, values, (small, small))
    _build(name, values | {"normalisation": "batch"}, (small, small))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("resnet", {"layers": [2, 2, 2]}, "layers"),
        ("resnet", {"stem_kernel": 4}, "odd"),
        ("resnet", {"dimensions": 3, "stem_stride": [1, 2]}, "2 values of stem_stride for dimensions = 3"),
        ("densenet", {"stem_kernel": 2}, "odd"),
        ("densenet", {"layers": []}, "layers"),
        ("efficientnet", {"strides": [1, 2]}, "2 strides for 4 widths"),
        ("efficientnet", {"strides": [1, 2, 3, 1]}, "1 or 2"),
        ("efficientnet", {"kernel_sizes": [3, 3, 4, 3]}, "odd"),
        ("convnext", {"depths": [1]}, "1 depths for 4 widths"),
        ("convnext", {"kernel_size": 6}, "odd"),
        ("vit", {"width": 100}, "100 cannot be divided among 6 heads"),
        ("vit", {"width": 102, "positions": "sinusoidal"}, "multiple of 4"),
        ("vit", {"patch_size": [4, 4, 4]}, "3 values of patch_size"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name, values, message):
    with pytest.raises(SettingsError, match=message):
        read_settings(name, values)


def test_a_message_about_small_images_says_where_and_what_to_do():
    with pytest.raises(
        SettingsError, match=r"\(28, 28\) are too small: the transition after block 3 gets \(1, 1\)"
    ):
        _build("densenet", {}, (28, 28))
    with pytest.raises(SettingsError, match="set a smaller patch_size or take larger images"):
        _build("vit", {}, (28, 12))


def test_few_slices_keep_their_number_in_the_stem():
    values = NARROW["resnet"] | {"dimensions": 3, "stem_stride": [1, 2, 2], "stem_pooling": False}
    network = _build("resnet", values, (8, 32, 32)).eval()
    assert network.get_submodule("conv1")(_noise(1, 1, 8, 32, 32)).shape == (1, 4, 8, 16, 16)


def test_transformer_blocks_are_those_of_torch():
    block = TransformerBlock(ViTSettings(width=12, heads=3, depth=1), 0.0).eval()
    theirs = nn.TransformerEncoderLayer(
        12, 3, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, layer_norm_eps=1e-6
    )
    names = {
        "self_attn.in_proj_weight": "attention.1.project_in.weight",
        "self_attn.in_proj_bias": "attention.1.project_in.bias",
        "self_attn.out_proj.weight": "attention.1.project_out.weight",
        "self_attn.out_proj.bias": "attention.1.project_out.bias",
        "linear1.weight": "dense.1.weight",
        "linear1.bias": "dense.1.bias",
        "linear2.weight": "dense.3.weight",
        "linear2.bias": "dense.3.bias",
        "norm1.weight": "attention.0.weight",
        "norm1.bias": "attention.0.bias",
        "norm2.weight": "dense.0.weight",
        "norm2.bias": "dense.0.bias",
    }
    ours = block.state_dict()
    assert set(names.values()) == set(ours)
    theirs.load_state_dict({name: ours[mine] for name, mine in names.items()})
    tokens = _noise(2, 7, 12)
    torch.testing.assert_close(block(tokens), theirs(tokens))


def test_sinusoidal_positions_are_sines_and_cosines_of_each_axis():
    places = sinusoidal_positions((3, 4), 8)
    assert places.shape == (12, 8)
    row, column = 2, 3
    expected = [
        torch.tensor([angle, angle / 100]).sin() if wave == 0 else torch.tensor([angle, angle / 100]).cos()
        for angle in (float(row), float(column))
        for wave in (0, 1)
    ]
    torch.testing.assert_close(places[row * 4 + column], torch.cat(expected))
    assert len({tuple(each.tolist()) for each in places}) == 12
    network = _build("vit", NARROW["vit"] | {"positions": "sinusoidal", "patch_size": 4}, (8, 8))
    assert "positions" not in dict(network.named_parameters())
    assert network(_noise(2, 1, 8, 8)).shape == (2, 3)


def test_a_vision_transformer_knows_where_things_lie_also_with_the_mean_of_its_patches():
    network = _build("vit", NARROW["vit"] | {"pooling": "mean", "patch_size": 4}, (8, 8)).eval()
    image = _noise(1, 1, 8, 8)
    assert not torch.allclose(network(image), network(image.flip(3).unflatten(3, (2, 4)).flip(4).flatten(3)))


def test_patches_are_padded_at_the_end_only_where_they_do_not_fit():
    patches = PatchConvolution(2, 1, 2, (2, 3))
    image = _noise(1, 1, 4, 9)
    torch.testing.assert_close(patches(image), patches.convolution(image))
    odd = _noise(1, 1, 3, 7)
    padded = torch.zeros(1, 1, 4, 9)
    padded[..., :3, :7] = odd
    torch.testing.assert_close(patches(odd), patches.convolution(padded))


def test_channel_normalisation_looks_at_one_place():
    maps = _noise(2, 5, 3, 4)
    normal = ChannelNormalisation(5, eps=0.0)(maps)
    centred = maps - maps.mean(1, keepdim=True)
    torch.testing.assert_close(normal, centred / centred.square().mean(1, keepdim=True).sqrt())


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    drop = StochasticDepth(0.25).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kept = drop(torch.ones(4000, 2, 3))
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(kept, kept[:, :1, :1].expand_as(kept))
    assert kept.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(drop.eval()(torch.ones(8, 2)), torch.ones(8, 2))
    assert rising_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert rising_rates(0.3, 1) == [0]


def test_layer_scale_multiplies_what_a_block_adds():
    scaled = _build("convnext", NARROW["convnext"] | FINE_STEM["convnext"] | {"layer_scale": 0.5}, (28, 28))
    assert sum(name.endswith(".scale") for name, _ in scaled.named_parameters()) == 4
    without = _build("convnext", NARROW["convnext"] | FINE_STEM["convnext"] | {"layer_scale": 0.0}, (28, 28))
    assert not [name for name, _ in without.named_parameters() if name.endswith(".scale")]


def test_embeddings_take_encode_before_the_last_dense_layer():
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(4, 2)

        def encode(self, x: Tensor) -> Tensor:
            return 2 * x

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(x)

    rows = _noise(3, 4)
    assert torch.equal(embed(Encoder(), rows), 2 * rows)
    layers = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    torch.testing.assert_close(embed(layers, rows), layers[0](rows).relu())
    assert not layers[2]._forward_pre_hooks
    backwards = nn.Sequential(layers[0], layers[1], layers[2])
    backwards._modules = dict(reversed(list(backwards._modules.items())))
    backwards.forward = layers.forward
    torch.testing.assert_close(embed(backwards, rows), layers[0](rows).relu())
    with pytest.raises(SettingsError, match="Conv2d gives no embedding"):
        embed(nn.Conv2d(1, 1, 1), rows)
