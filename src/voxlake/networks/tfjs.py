"""Layers models of TensorFlow.js: topology as JSON, weights as raw numbers.

Plain NumPy: nothing of TensorFlow is needed, and nothing in the files is executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import IntegrityError

__all__ = ["Convolution", "LayersModel", "read_layers_model"]

_TYPES = {"float32": "<f4", "float16": "<f2", "uint8": "u1", "uint16": "<u2", "int32": "<i4"}


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution along three axes, stride 1, zeros around it, and what follows it.

    Parameters
    ----------
    name : str
        Of the layer.
    kernel : ndarray of float32
        (depth, height, width, channels in, channels out), as TensorFlow keeps it.
    bias : ndarray of float32 or None
        (channels out,).
    dilation : int
        Distance of neighbouring taps, the same along all axes.
    activation : str
        ``"linear"``, ``"relu"``, ``"elu"``, ``"gelu"``, ...
    """

    name: str
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    dilation: int
    activation: str


@dataclass(frozen=True, eq=False)
class LayersModel:
    """Convolutions in a row, and the shape (slices, rows, columns, channels) of the input."""

    input_shape: tuple[int, ...]
    convolutions: tuple[Convolution, ...]


def read_layers_model(topology: bytes, shards: Mapping[str, bytes]) -> LayersModel:
    """Read a model that is a single row of 3-D convolutions and activations.

    Parameters
    ----------
    topology : bytes
        ``model.json``: Keras layers and the manifest of the weights.
    shards : mapping of str to bytes
        The files that the manifest names. Numbers that were quantised (uint8, uint16, float16) are brought
        back to float32.

    Raises
    ------
    IntegrityError
        No such model, a file that is missing or has another length, or a layer that is none of these.

    References
    ----------
    TensorFlow.js, "Models and layers" and "Model conversion": format ``layers-model``.
    """
    try:
        content = json.loads(topology)
        layers = content["modelTopology"]["model_config"]["config"]["layers"]
        weights = _weights(content["weightsManifest"], shards)
        return _model(layers, weights)
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"no layers model of TensorFlow.js that is a row of 3-D convolutions ({error}); "
            "take the files from where they were made"
        ) from None


def _weights(manifest: list[Any], shards: Mapping[str, bytes]) -> dict[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = {}
    for group in manifest:
        data = b"".join(shards[path] for path in group["paths"])
        place = 0
        for entry in group["weights"]:
            quantised = entry.get("quantization")
            kind = np.dtype(_TYPES[(quantised or entry)["dtype"]])
            count = math.prod(entry["shape"])
            numbers = np.frombuffer(data, kind, count, place)
            place += count * kind.itemsize
            if quantised and "scale" in quantised:
                # The affine code of the converter: value = code * scale + min.
                numbers = numbers.astype(np.float64) * quantised["scale"] + quantised["min"]
            found[entry["name"]] = numbers.astype(np.float32).reshape(entry["shape"])
        if place != len(data):
            raise ValueError(f"the weights have {len(data)} bytes, the manifest lists {place}")
    return found


def _model(layers: list[Any], weights: Mapping[str, NDArray[np.float32]]) -> LayersModel:
    if layers[0]["class_name"] != "InputLayer":
        raise ValueError("the first layer is no input")
    shape = tuple(int(size) for size in layers[0]["config"]["batch_input_shape"][1:])
    row: list[Convolution] = []
    for before, layer in pairwise(layers):
        if layer["inbound_nodes"][0][0][0] != before["name"]:
            raise ValueError(f"layer '{layer['name']}' does not follow '{before['name']}'")
        config = layer["config"]
        if layer["class_name"] == "Conv3D":
            row.append(_convolution(layer["name"], config, weights))
        elif layer["class_name"] == "Activation" and row and row[-1].activation == "linear":
            last = row[-1]
            row[-1] = Convolution(last.name, last.kernel, last.bias, last.dilation, config["activation"])
        else:
            raise ValueError(f"a layer of the kind {layer['class_name']}")
    return LayersModel(shape, tuple(row))


def _convolution(
    name: str, config: Mapping[str, Any], weights: Mapping[str, NDArray[np.float32]]
) -> Convolution:
    plain = (
        set(config["strides"]) == {1}
        and config["padding"] == "same"
        and config["data_format"] == "channels_last"
        and config.get("groups", 1) == 1
        and len(set(config["dilation_rate"])) == 1
    )
    kernel = weights[f"{name}/kernel"]
    if not plain or kernel.shape[:3] != tuple(config["kernel_size"]) or kernel.shape[4] != config["filters"]:
        raise ValueError(f"layer '{name}' is no plain dilated convolution")
    bias = weights[f"{name}/bias"] if config["use_bias"] else None
    return Convolution(name, kernel, bias, int(config["dilation_rate"][0]), config["activation"])
