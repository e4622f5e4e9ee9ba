"""Exported networks give the same outputs, whatever the batch; what cannot be exported is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import UsageError
from voxlake.core.settings import Settings
from voxlake.networks.onnx_export import export_onnx, save_onnx
from voxlake.networks.registry import NETWORKS, build
from voxlake.networks.runtimes import load_exported

# Small, so that one test can go over all of them.
SMALL: dict[str, dict[str, object]] = {
    "attention_unet": {"channels": (4, 8, 8)},
    "autoencoder": {"channels": (4, 8), "latent": 6},
    "cnn": {"blocks": (4, 8)},
    "committee": {"member": {"name": "cnn", "blocks": (4, 8)}},
    "convnext": {"depths": (1, 1), "widths": (8, 16)},
    "densenet": {"layers": (2, 2), "growth": 4, "stem_width": 8},
    "efficientnet": {
        "repeats": (1, 1),
        "widths": (8, 8),
        "kernel_sizes": (3, 3),
        "strides": (1, 2),
        "expansions": (1, 2),
    },
    "masked_autoencoder": {
        "width": 12,
        "depth": 1,
        "heads": 2,
        "decoder_width": 12,
        "decoder_depth": 1,
        "decoder_heads": 2,
    },
    "resnet": {"layers": (1, 1, 1, 1), "widths": (4, 8, 8, 8)},
    "unet": {"channels": (4, 8, 8)},
    "variational": {"channels": (4, 8), "latent": 6},
    "vit": {"width": 12, "depth": 1, "heads": 2, "patch_size": 8},
}


def small(name: str, dimensions: int) -> Settings:
    fields = NETWORKS[name].settings.model_fields
    values = SMALL[name]
    if "dimensions" in fields:
        values = {"dimensions": dimensions, **values}
    if isinstance(member := values.get("member"), dict):
        values = {"member": {"dimensions": dimensions, **member}}
    return NETWORKS[name].settings.read(values)


# What is masked is drawn from a generator, which an export cannot follow.
DRAWN = {"masked_autoencoder"}
IMAGES = [name for name, network in NETWORKS.items() if network.takes == "image" and name not in DRAWN]


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_network_of_images_can_be_exported(name: str, dimensions: int) -> None:
    shape = (32,) * dimensions
    module = build(name, small(name, dimensions), in_channels=1, outputs=3, shape=shape, seed=1)
    images = torch.randn((2, 1, *shape), generator=torch.Generator().manual_seed(2))
    exported = load_exported(export_onnx(module, images), "onnxruntime")
    with torch.inference_mode():
        output = module.eval()(images)
    expected = output if isinstance(output, Tensor) else output[0]
    np.testing.assert_allclose(exported(images), expected, atol=1e-4)


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)
    )


def test_the_file_names_inputs_and_keeps_what_it_is_told(tmp_path: Path) -> None:
    module = plain().train()
    path = tmp_path / "model.onnx"
    digest = save_onnx(path, module, torch.ones(2, 1, 9, 8), names=["image"], metadata={"classes": "a,b"})
    assert module.training
    assert digest == digest_bytes(path.read_bytes())
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (given,) = model.graph.input
    sizes = [each.dim_param or each.dim_value for each in given.type.tensor_type.shape.dim]
    assert (given.name, sizes) == ("image", ["batch", 1, 9, 8])
    assert [each.name for each in model.graph.output] == ["y"]
    assert {each.key: each.value for each in model.metadata_props} == {"classes": "a,b"}


class Pair(nn.Module):
    def forward(self, image: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        return image.mean(dim=(1, 2, 3))[:, None] * table, table


def test_several_inputs_and_the_first_of_several_outputs() -> None:
    inputs = (torch.rand(3, 1, 4, 4), torch.rand(3, 5))
    exported = load_exported(export_onnx(Pair(), inputs, names=["image", "table"]))
    np.testing.assert_allclose(exported(*inputs), Pair()(*inputs)[0], atol=1e-6)
    with pytest.raises(UsageError, match="2 inputs"):
        export_onnx(Pair(), inputs)


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Branch(nn.Module):
    """Says something else of a batch of one, which a trace of two does not see."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if len(x) == 1 else x


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.sort(x.numpy()))


class NoOperator(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.qr(x)[0]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Noise(), "apart from the network's"),
        (Branch(), "batch of 1"),
        (Unknown(), "takes 0 inputs|cannot be exported"),
        (NoOperator(), "cannot be exported to ONNX"),
    ],
    ids=["random", "branch", "leaves torch", "no operator"],
)
def test_what_cannot_be_exported_is_an_error(
    module: nn.Module, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=message):
        export_onnx(module, torch.rand(2, 1, 4, 4))
    assert capsys.readouterr().out == ""


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxlake.networks.onnx_graph.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"voxlake\[runtime\]"):
        export_onnx(plain(), torch.ones(1, 1, 8, 8))
