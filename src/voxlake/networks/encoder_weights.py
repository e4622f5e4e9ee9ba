"""Weights of pre-trained encoders: from the files of their makers to safetensors, and into a network."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import IntegrityError
from voxlake.networks.efficientnet import build_efficientnet
from voxlake.networks.encoder_module import Encoder
from voxlake.networks.known_encoder import KnownEncoder
from voxlake.networks.weights import weights_from_bytes, weights_to_bytes

__all__ = ["build_published", "convert_encoder", "load_encoder"]

# TensorFlow's networks add this to a variance, torch's that.
_THEIRS, _OURS = 1e-3, 1e-5
# Any extent does; the weights do not depend on it.
_SHAPE = (129, 129)


def convert_encoder(encoder: KnownEncoder, data: bytes) -> bytes:
    """Make safetensors of the file of an encoder.

    The file is read by torch's reader that makes tensors and nothing else. Blocks are numbered within their
    stages. Variances get the difference of what the two makers add to them before the root, so that the
    network computes what it was trained to; every other value stays what it was.

    Raises
    ------
    IntegrityError
        The weights are not those that are known.
    """
    if digest_bytes(data) != encoder.sha256:
        raise IntegrityError(f"weights of '{encoder.name}' have another SHA-256 than those that are known")
    published: Mapping[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    network = build_published(encoder)
    network.load_state_dict({name: _value(published, name) for name in network.state_dict()})
    return weights_to_bytes(network, {"model": encoder.name, "source_sha256": encoder.sha256})


def load_encoder(encoder: KnownEncoder, data: bytes, *, sha256: str) -> Encoder:
    """Build an encoder with weights that `convert_encoder` made, ready to be asked.

    Raises
    ------
    IntegrityError
        The bytes have another SHA-256, or are of another network.
    """
    network = build_published(encoder)
    metadata = weights_from_bytes(network, data, sha256=sha256)
    if metadata.get("source_sha256") != encoder.sha256:
        raise IntegrityError(f"the stored weights are not those of '{encoder.name}'; import the model again")
    return Encoder(network).eval().requires_grad_(requires_grad=False)


def build_published(encoder: KnownEncoder) -> nn.Module:
    """The network as it was published, without its weights: (N, 3, H, W) to (N, classes)."""
    return build_efficientnet(encoder.network, in_channels=3, outputs=encoder.classes, shape=_SHAPE)


def _value(published: Mapping[str, Tensor], name: str) -> Tensor:
    value = published[re.sub(r"^_blocks\.\d+\.", "_blocks.", name)]
    return value + (_THEIRS - _OURS) if name.endswith("running_var") else value
