"""OpenVINO and ONNX Runtime stand behind the call of a module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.networks import runtimes as rooms
from voxlake.networks.onnx_graph import to_onnx
from voxlake.networks.runtimes import accelerated, load_exported, runtimes

SHAPE = (1, 2, 6, 7, 8)


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.PReLU(), nn.Conv3d(4, 3, 1)
    ).eval()


IMAGES = torch.randn((3, *SHAPE[1:]), generator=torch.Generator().manual_seed(1))


def expected(images: Tensor = IMAGES) -> Tensor:
    with torch.inference_mode():
        return module()(images)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_loaded_file_is_called_as_the_module(runtime: Any) -> None:
    model = to_onnx(module(), (IMAGES[:2],))
    run = load_exported(model, runtime, threads=1)
    assert run.runtime == runtime
    first, second = run(IMAGES), run(IMAGES[1:2])
    # What was given out first is not overwritten by the next call.
    np.testing.assert_allclose(first, expected(), atol=1e-5)
    np.testing.assert_allclose(second, expected(IMAGES[1:2]), atol=1e-5)
    fixed = load_exported(model, runtime, shape=SHAPE)
    np.testing.assert_allclose(fixed(IMAGES[:1]), expected(IMAGES[:1]), atol=1e-5)
    turned = IMAGES.transpose(3, 4).contiguous().transpose(3, 4)
    np.testing.assert_allclose(run(turned), expected(), atol=1e-5)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_what_is_no_network_is_refused(runtime: Any) -> None:
    with pytest.raises(UsageError, match=f"{runtime} cannot run this network"):
        load_exported(b"no network", runtime)


def test_the_faster_one_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtimes() == ("openvino", "onnxruntime")
    assert load_exported(to_onnx(module(), (IMAGES,))).runtime == "openvino"
    monkeypatch.setattr(rooms, "find_spec", lambda name: None if name == "openvino" else name)
    assert load_exported(to_onnx(module(), (IMAGES,))).runtime == "onnxruntime"
    with pytest.raises(UsageError, match=r"the module openvino.*voxlake\[runtime\]"):
        load_exported(b"", "openvino")
    network = module()
    assert accelerated(network, SHAPE) is network
    monkeypatch.setattr(rooms, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"OpenVINO or ONNX Runtime.*voxlake\[runtime\]"):
        load_exported(b"")


@pytest.mark.parametrize("engine", ["auto", "openvino", "onnxruntime"])
def test_accelerated_networks_say_the_same(engine: Any) -> None:
    run = accelerated(module(), (3, *SHAPE[1:]), engine=engine, precision="float32")
    assert isinstance(run, rooms.Exported)
    np.testing.assert_allclose(run(IMAGES), expected(), atol=1e-5)
    np.testing.assert_allclose(run(IMAGES[:1]), expected(IMAGES[:1]), atol=1e-5)


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def test_networks_that_cannot_be_exported_stay_with_torch_unless_a_runtime_was_named() -> None:
    noise = Noise()
    assert accelerated(noise, SHAPE, engine="auto", precision="float32") is noise
    assert accelerated(noise, SHAPE, engine="torch") is noise
    with pytest.raises(UsageError, match="other outputs"):
        accelerated(noise, SHAPE, engine="openvino", precision="float32")
    assert accelerated(torch.relu, SHAPE) is torch.relu
    with pytest.raises(UsageError, match="modules that lie on the CPU"):
        accelerated(torch.relu, SHAPE, engine="onnxruntime")
