"""The registry of pre-trained networks, and the way from the files of their makers to safetensors.

Weights do not come with voxlake. Whoever has a copy of the files imports it into a lake; a digest says
whether it is the copy that is known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.core.hints import hint
from voxlake.networks.brainchop import BRAINCHOP
from voxlake.networks.known import KnownModel
from voxlake.networks.known_files import known_files
from voxlake.networks.meshnet import MeshNetSettings, build_meshnet
from voxlake.networks.tfjs import Convolution, LayersModel, read_layers_model

if TYPE_CHECKING:
    from voxlake.networks.meshnet_module import MeshNet

__all__ = ["PRETRAINED", "convert", "find_files", "known_model", "load_network"]

PRETRAINED: Mapping[str, KnownModel] = MappingProxyType({model.name: model for model in BRAINCHOP})
"""Every pre-trained network that is known, by name."""

_TOPOLOGY = "model.json"


def known_model(name: str) -> KnownModel:
    """Look a network up.

    Raises
    ------
    NotFoundError
        There is none of this name; the near miss is named.
    """
    if name not in PRETRAINED:
        raise NotFoundError(f"no pre-trained network '{name}'{hint(name, PRETRAINED)}")
    return PRETRAINED[name]


def find_files(folder: Path) -> Iterator[tuple[KnownModel, bytes, bytes]]:
    """Find the files of known networks anywhere below a folder; what they are called does not matter.

    Yields
    ------
    (KnownModel, bytes, bytes)
        The network, its topology (``model.json`` beside the weights) and its weights, sorted by name.
    """
    found: dict[str, tuple[KnownModel, bytes, bytes]] = {}
    for model, path, data in known_files(folder, PRETRAINED.values()):
        beside = path.with_name(_TOPOLOGY)
        if beside.is_file():
            found.setdefault(model.name, (model, beside.read_bytes(), data))
    yield from (found[name] for name in sorted(found))


def convert(model: KnownModel, topology: bytes, weights: bytes) -> bytes:
    """Make safetensors of the files of a network.

    Kernels are turned from TensorFlow's (depth, height, width, in, out) to torch's (out, in, depth, height,
    width); every value stays what it was.

    Raises
    ------
    IntegrityError
        The weights are not those that are known, or the topology describes another network.
    """
    # torch is slow to load: the registry can be read without it
    from voxlake.networks.weights import weights_to_bytes

    if digest_bytes(weights) != model.sha256:
        raise IntegrityError(f"weights of '{model.name}' have another SHA-256 than those that are known")
    layers = read_layers_model(topology, _AnyName(weights))
    if _settings(layers) != model.network:
        raise IntegrityError(f"the topology beside the weights of '{model.name}' is that of another network")
    network = build_meshnet(model.network)
    _fill(network, layers)
    return weights_to_bytes(network, {"model": model.name, "source_sha256": model.sha256})


def load_network(model: KnownModel, data: bytes, *, sha256: str) -> MeshNet:
    """Build a network with weights that `convert` made.

    Raises
    ------
    IntegrityError
        The bytes have another SHA-256, or are of another network.
    """
    # torch is slow to load: the registry can be read without it
    from voxlake.networks.weights import weights_from_bytes

    network = build_meshnet(model.network)
    metadata = weights_from_bytes(network, data, sha256=sha256)
    if metadata.get("source_sha256") != model.sha256:
        raise IntegrityError(f"the stored weights are not those of '{model.name}'; import the model again")
    return network.eval()


class _AnyName(dict[str, bytes]):
    """One shard, whatever the manifest calls it."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def __missing__(self, name: str) -> bytes:
        return self._data


def _settings(layers: LayersModel) -> MeshNetSettings:
    first, *_, last = layers.convolutions
    return MeshNetSettings.read(
        {
            "channels": first.kernel.shape[4],
            "classes": last.kernel.shape[4],
            "dilations": tuple(each.dilation for each in layers.convolutions[:-1]),
            "activation": first.activation,
            "normalisation": "instance" if _normalised(first) else "none",
        },
        where="topology",
    )


def _normalised(convolution: Convolution) -> bool:
    # The exporter writes no layer for the normalisation, only this ending of the name.
    return convolution.name.endswith("_gn")


def _fill(network: MeshNet, layers: LayersModel) -> None:
    # torch is slow to load: the registry can be read without it
    import torch

    with torch.no_grad():
        for module, given in zip([*network.convolutions, network.head], layers.convolutions, strict=True):
            module.weight.copy_(torch.from_numpy(np.ascontiguousarray(given.kernel.transpose(4, 3, 0, 1, 2))))
            if module.bias is not None and given.bias is not None:
                module.bias.copy_(torch.from_numpy(given.bias.copy()))
