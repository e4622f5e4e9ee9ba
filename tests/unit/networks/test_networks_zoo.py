"""What holds for every network of the registry, whatever it takes and gives.

A network without an entry in `TINY` fails. Each entry is small enough for the whole file to take seconds.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from voxlake.core.errors import SettingsError
from voxlake.core.toml import to_toml
from voxlake.networks.embedding import embed
from voxlake.networks.registry import NETWORKS, build, read_settings
from voxlake.networks.weights import weights_from_bytes, weights_to_bytes

IMAGES = 4
CHANNELS = 2
OUTPUTS = 3


@dataclass(frozen=True)
class Tiny:
    """Settings and the shape to build for; `refused` is too small, None where nothing is."""

    settings: Mapping[str, Any]
    shape: tuple[int, ...]
    refused: tuple[int, ...] | None = None
    name: str = field(default="", compare=False)


def _both(settings: Mapping[str, Any], refused: int, extent: int = 16) -> list[Tiny]:
    """In two and in three dimensions, odd extents in the second."""
    flat = Tiny({"dimensions": 2, **settings}, (extent, extent + 2), (refused, extent))
    solid = Tiny({"dimensions": 3, **settings}, (11, 10, 9), (refused, extent, extent))
    return [flat, solid]


_ENCODER = {"name": "cnn", "blocks": [4]}
_SOLID_ENCODER = {**_ENCODER, "dimensions": 3}
_RECURRENCE = {"hidden": 6, "bidirectional": True, "pooling": "attention"}

TINY: Mapping[str, Sequence[Tiny]] = {
    "attention_unet": _both({"channels": [4, 6, 8]}, refused=1),
    "autoencoder": [
        *_both({"channels": [4, 6], "latent": 5}, refused=1),
        Tiny({"kind": "plain", "hidden": [7], "latent": 5}, (9, 8)),
    ],
    "cnn": _both({"blocks": [4, 8]}, refused=3),
    "committee": [
        Tiny({"members": 2, "member": _ENCODER}, (9, 10), (1, 9)),
        Tiny({"member": _SOLID_ENCODER}, (6, 7, 8), (1, 9, 9)),
    ],
    "convnext": _both({"depths": [1, 2], "widths": [8, 12], "stem_stride": 2, "kernel_size": 3}, refused=1),
    "densenet": _both(
        {"layers": [2, 1], "growth": 4, "bottleneck": 2, "stem_width": 6, "stem_kernel": 3, "stem_stride": 1},
        refused=2,
    ),
    "efficientnet": _both(
        {
            "repeats": [1, 2],
            "widths": [8, 16],
            "kernel_sizes": [3, 5],
            "strides": [1, 2],
            "expansions": [1, 2],
            "width_factor": 0.25,
            "dropout": 0.0,
            "stochastic_depth": 0.0,
        },
        refused=1,
    ),
    "fusion": [
        Tiny({"columns": 5, "features": 6, "encoder": _ENCODER}, (9, 10), (1, 9)),
        Tiny({"columns": 4, "features": 6, "join": "gated", "encoder": _SOLID_ENCODER}, (6, 7, 8), (1, 9, 9)),
    ],
    "masked_autoencoder": _both(
        {"patch_size": 4, "width": 12, "depth": 2, "decoder_width": 12, "decoder_depth": 1}, refused=3
    ),
    "mlp": [Tiny({"hidden": [7]}, (CHANNELS,)), Tiny({"normalisation": "layer"}, (CHANNELS,))],
    "recurrent": [Tiny({"hidden": 6}, (5,)), Tiny({**_RECURRENCE, "cell": "lstm", "layers": 2}, (4,))],
    "resnet": _both(
        {"layers": [1, 1, 1, 1], "widths": [4, 4, 6, 8], "stem_kernel": 3, "stem_pooling": False}, refused=4
    ),
    "slices": [
        Tiny({"features": 6, "encoder": _ENCODER, "recurrence": _RECURRENCE}, (4, 8, 9), (4, 1, 9)),
        Tiny({"features": 6, "encoder": _SOLID_ENCODER}, (3, 4, 6, 5), (3, 1, 6, 5)),
    ],
    "unet": [
        *_both({"channels": [4, 6, 8], "deep_supervision": 1}, refused=1),
        Tiny({"channels": [4, 6], "block": "residual", "strides": [2, [1, 3]]}, (9, 11), (1, 11)),
    ],
    "variational": _both({"channels": [4, 6], "latent": 5}, refused=1),
    "vit": _both({"patch_size": 4, "width": 12, "depth": 2, "heads": 3}, refused=3),
}
CASES = [
    pytest.param(Tiny(tiny.settings, tiny.shape, tiny.refused, name), id=f"{name}-{number}")
    for name in TINY
    for number, tiny in enumerate(TINY[name])
]
every = pytest.mark.parametrize("tiny", CASES)


def _takes(tiny: Tiny) -> str:
    return NETWORKS[tiny.name].takes


def _make(tiny: Tiny, *, seed: int = 0, shape: tuple[int, ...] | None = None) -> nn.Module:
    return build(
        tiny.name,
        read_settings(tiny.name, tiny.settings),
        in_channels=CHANNELS,
        outputs=CHANNELS if NETWORKS[tiny.name].gives == "reconstruction" else OUTPUTS,
        shape=shape or tiny.shape,
        seed=seed,
    )


def _inputs(tiny: Tiny) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    match _takes(tiny):
        case "image":
            return (torch.randn(IMAGES, CHANNELS, *tiny.shape, generator=draw),)
        case "table":
            return (torch.randn(IMAGES, *tiny.shape, generator=draw),)
        case "image and table":
            image = torch.randn(IMAGES, CHANNELS, *tiny.shape, generator=draw)
            return image, torch.randn(IMAGES, tiny.settings["columns"], generator=draw)
        case _:
            steps, *extent = tiny.shape
            lengths = torch.tensor([steps, 1, steps - 1, 2])
            return torch.randn(IMAGES, steps, CHANNELS, *extent, generator=draw), lengths


def _values(output: Any) -> Tensor:
    """What an answer in evaluation mode consists of."""
    return output.values if isinstance(output, tuple) else output


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [each for each in output if isinstance(each, Tensor)]


def _maps(part: nn.Module, given: int, wanted: int) -> bool:
    return isinstance(part, nn.Linear) and (part.in_features, part.out_features) == (given, wanted)


def _wanted_shape(tiny: Tiny) -> tuple[int, ...]:
    match NETWORKS[tiny.name].gives:
        case "vector":
            return (IMAGES, OUTPUTS)
        case "map":
            return (IMAGES, OUTPUTS, *tiny.shape)
        case _:
            return tuple(_inputs(tiny)[0].shape)


def test_every_network_has_tiny_settings() -> None:
    assert set(TINY) == set(NETWORKS)


@every
def test_outputs_have_their_shape_and_are_finite(tiny: Tiny) -> None:
    network = _make(tiny)
    trained = _tensors(network.train()(*_inputs(tiny)))
    assert trained[0].shape == _wanted_shape(tiny)
    assert all(torch.isfinite(each).all() for each in trained)
    answer = _values(network.eval()(*_inputs(tiny)))
    assert answer.shape == _wanted_shape(tiny)
    assert answer.dtype == torch.float32
    assert torch.isfinite(answer).all()


@every
def test_gradients_reach_all_parameters(tiny: Tiny) -> None:
    network = _make(tiny).train()
    draw = torch.Generator().manual_seed(2)
    products = [
        (each * torch.randn(each.shape, generator=draw)).sum()
        for each in _tensors(network(*_inputs(tiny)))
        if each.requires_grad
    ]
    torch.autograd.backward(torch.stack(products).sum())
    without = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert not without


@every
def test_the_seed_alone_decides_on_the_weights(tiny: Tiny) -> None:
    before = torch.get_rng_state()
    first, again, other = (_make(tiny, seed=seed).state_dict() for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    drawn = 0
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        if len(tensor.unique()) > 1:
            drawn += 1
            assert not torch.equal(tensor, other[name]), name
    assert drawn > 1


@every
def test_evaluation_repeats_itself_and_looks_at_one_image_at_a_time(tiny: Tiny) -> None:
    network, inputs = _make(tiny).eval(), _inputs(tiny)
    with torch.no_grad():
        together = _values(network(*inputs))
        assert torch.equal(together, _values(network(*inputs)))
        for number in range(IMAGES):
            alone = _values(network(*(each[number : number + 1] for each in inputs)))
            torch.testing.assert_close(alone, together[number : number + 1], rtol=1e-4, atol=1e-5)


@every
def test_what_stands_beyond_a_sequence_changes_nothing(tiny: Tiny) -> None:
    if _takes(tiny) != "sequence":
        return
    network, (steps, lengths) = _make(tiny).eval(), _inputs(tiny)
    beyond = torch.arange(tiny.shape[0]) >= lengths[:, None]
    filled = steps.clone()
    filled[beyond] = 1e3
    with torch.no_grad():
        assert torch.equal(network(filled, lengths), network(steps, lengths))
        assert not torch.equal(network(filled, lengths.clamp_min(2)), network(steps, lengths))


@every
def test_weights_survive_safetensors(tiny: Tiny) -> None:
    network, other = _make(tiny, seed=0).eval(), _make(tiny, seed=1).eval()
    inputs = _inputs(tiny)
    with torch.no_grad():
        expected = _values(network(*inputs))
        assert not torch.equal(_values(other(*inputs)), expected)
        weights_from_bytes(other, weights_to_bytes(network))
        assert torch.equal(_values(other(*inputs)), expected)


@every
def test_channels_last_changes_nothing(tiny: Tiny) -> None:
    axes = {"sequence": len(tiny.shape) - 1, "table": 0}.get(_takes(tiny), len(tiny.shape))
    if axes == 0:
        return
    layout = torch.channels_last if axes == 2 else torch.channels_last_3d
    network, inputs = _make(tiny).eval(), _inputs(tiny)
    with torch.no_grad():
        expected = _values(network(*inputs))
        network.to(memory_format=layout)
        image = inputs[0]
        if image.ndim == axes + 2:
            image = image.to(memory_format=layout)
        torch.testing.assert_close(_values(network(image, *inputs[1:])), expected, rtol=1e-4, atol=1e-5)


@every
def test_settings_survive_toml_and_name_the_near_miss(tiny: Tiny) -> None:
    settings = read_settings(tiny.name, tiny.settings)
    again = tomllib.loads(to_toml(settings.model_dump(mode="json")))
    assert read_settings(tiny.name, again) == settings
    assert read_settings(tiny.name, again).digest() == settings.digest()
    for key in type(settings).model_fields:
        with pytest.raises(SettingsError, match="did you mean"):
            read_settings(tiny.name, {**tiny.settings, key[:-1] + key[-1] * 2: 1})


@every
def test_embeddings_are_one_vector_for_each_input(tiny: Tiny) -> None:
    network, inputs = _make(tiny).eval(), _inputs(tiny)
    if NETWORKS[tiny.name].gives == "map" and not hasattr(network, "encode"):
        with pytest.raises(SettingsError, match="gives no embedding"):
            embed(network, *inputs)
        return
    with torch.no_grad():
        vectors = embed(network, *inputs)
        answers = _values(network(*inputs))
    assert vectors.ndim == 2
    assert len(vectors) == IMAGES
    assert vectors.shape[1] > 1
    assert not torch.equal(vectors[0], vectors[1])
    if not hasattr(network, "encode"):
        given = [part(vectors) for part in network.modules() if _maps(part, vectors.shape[1], OUTPUTS)]
        assert any(torch.allclose(each, answers, atol=1e-5) for each in given)


@every
def test_shapes_that_do_not_fit_are_refused_with_advice(tiny: Tiny) -> None:
    with pytest.raises(SettingsError, match=r"axes|takes|shape"):
        _make(tiny, shape=(*tiny.shape, 8))
    if tiny.refused is not None:
        with pytest.raises(SettingsError, match=r"too small.*(use|set|take)"):
            _make(tiny, shape=tiny.refused)


def test_names_and_settings_can_be_read_without_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = sys.modules['monai'] = None; "
        "from voxlake.networks.registry import NETWORKS, read_settings; "
        "print(sum(len(each.settings.model_fields) > 0 for each in NETWORKS.values()), "
        "read_settings('resnet', {}).layers)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(NETWORKS)} (2, 2, 2, 2)"
