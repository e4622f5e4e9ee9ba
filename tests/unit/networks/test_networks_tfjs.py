"""Layers models of TensorFlow.js: read as they are, refused when they are anything else."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from voxlake.core.errors import IntegrityError
from voxlake.networks.tfjs import read_layers_model


def layer(kind: str, name: str, after: str | None, **config: Any) -> dict[str, Any]:
    inbound = [] if after is None else [[[after, 0, 0, {}]]]
    return {"class_name": kind, "name": name, "config": config, "inbound_nodes": inbound}


def convolution(name: str, after: str, filters: int, dilation: int, size: int = 3) -> dict[str, Any]:
    return layer(
        "Conv3D",
        name,
        after,
        filters=filters,
        kernel_size=[size] * 3,
        strides=[1, 1, 1],
        dilation_rate=[dilation] * 3,
        padding="same",
        data_format="channels_last",
        activation="linear",
        use_bias=True,
    )


def model() -> tuple[dict[str, Any], bytes, dict[str, np.ndarray]]:
    weights = {
        "a/kernel": np.arange(54, dtype=np.float32).reshape(3, 3, 3, 1, 2) / 54,
        "a/bias": np.array([0.5, -1], dtype=np.float32),
        "b/kernel": np.ones((1, 1, 1, 2, 3), dtype=np.float32),
        "b/bias": np.zeros(3, dtype=np.float32),
    }
    entries = [{"name": name, "shape": list(v.shape), "dtype": "float32"} for name, v in weights.items()]
    layers = [
        layer("InputLayer", "input", None, batch_input_shape=[None, 8, 8, 8, 1]),
        convolution("a", "input", 2, 4),
        layer("Activation", "act", "a", activation="elu"),
        convolution("b", "act", 3, 1, size=1),
    ]
    topology = {
        "modelTopology": {"model_config": {"config": {"layers": layers}}},
        "weightsManifest": [{"paths": ["one.bin", "two.bin"], "weights": entries}],
    }
    return topology, b"".join(v.tobytes() for v in weights.values()), weights


def shards(data: bytes) -> dict[str, bytes]:
    return {"one.bin": data[:100], "two.bin": data[100:]}


def test_a_row_of_convolutions_is_read() -> None:
    topology, data, weights = model()
    found = read_layers_model(json.dumps(topology).encode(), shards(data))
    assert found.input_shape == (8, 8, 8, 1)
    assert [(each.name, each.dilation, each.activation) for each in found.convolutions] == [
        ("a", 4, "elu"),
        ("b", 1, "linear"),
    ]
    for each in found.convolutions:
        np.testing.assert_array_equal(each.kernel, weights[f"{each.name}/kernel"])
        np.testing.assert_array_equal(each.bias, weights[f"{each.name}/bias"])


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float16"])
def test_quantised_weights_come_back(kind: str) -> None:
    topology, _, weights = model()
    data = b""
    for entry in topology["weightsManifest"][0]["weights"]:
        values = weights[entry["name"]].astype(np.float64)
        entry["quantization"] = {"dtype": kind, "original_dtype": "float32"}
        if kind != "float16":
            low = float(values.min())
            scale = (float(values.max()) - low) / (255 if kind == "uint8" else 65535) or 1.0
            entry["quantization"] |= {"min": low, "scale": scale}
            values = ((values - low) / scale).round()
        data += values.astype(kind).tobytes()
    found = read_layers_model(json.dumps(topology).encode(), {"one.bin": data, "two.bin": b""})
    tolerance = {"uint8": 1 / 255, "uint16": 1 / 65535, "float16": 5e-4}[kind]
    for each in found.convolutions:
        assert each.kernel.dtype == np.float32
        np.testing.assert_allclose(each.kernel, weights[f"{each.name}/kernel"], atol=tolerance)


def _broken(change: str) -> tuple[bytes, dict[str, bytes]]:
    topology, data, _ = model()
    topology = copy.deepcopy(topology)
    layers = topology["modelTopology"]["model_config"]["config"]["layers"]
    files = shards(data)
    match change:
        case "stride":
            layers[1]["config"]["strides"] = [2, 2, 2]
        case "padding":
            layers[1]["config"]["padding"] = "valid"
        case "branch":
            layers[3]["inbound_nodes"] = [[["a", 0, 0, {}]]]
        case "kind":
            layers[2]["class_name"] = "Lambda"
        case "length":
            files["two.bin"] += b"more"
        case "short":
            files["two.bin"] = files["two.bin"][:-4]
        case "shard":
            del files["two.bin"]
        case "json":
            return b"{", files
    return json.dumps(topology).encode(), files


@pytest.mark.parametrize(
    "change", ["stride", "padding", "branch", "kind", "length", "short", "shard", "json"]
)
def test_anything_else_is_refused(change: str) -> None:
    with pytest.raises(IntegrityError, match="row of 3-D convolutions"):
        read_layers_model(*_broken(change))
