"""Weights as safetensors: checked on the way in, never pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from voxlake.core.digest import canonical_json, digest_bytes
from voxlake.core.errors import IntegrityError, NotFoundError

__all__ = [
    "load_weights",
    "read_tensors",
    "save_weights",
    "weights_from_bytes",
    "weights_to_bytes",
    "write_atomically",
    "write_tensors",
]

# The writer does not keep the order of several metadata entries; one entry makes equal weights equal bytes.
_METADATA_KEY = "voxlake"


def write_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Safetensors bytes; equal tensors and metadata give equal bytes."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return save(plain, metadata={_METADATA_KEY: canonical_json(dict(metadata))})


def read_tensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata from safetensors bytes.

    Raises
    ------
    IntegrityError
        The bytes are no whole safetensors file.
    """
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        entries = json.loads(header.get("__metadata__", {}).get(_METADATA_KEY, "{}"))
    except (SafetensorError, ValueError) as error:
        raise IntegrityError(
            f"weights that are not whole ({error}); take them from where they were made"
        ) from None
    return tensors, {str(key): str(value) for key, value in entries.items()}


def weights_to_bytes(network: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """All parameters and buffers of a network as safetensors bytes."""
    return write_tensors(network.state_dict(), metadata or {})


def weights_from_bytes(network: nn.Module, data: bytes, *, sha256: str | None = None) -> dict[str, str]:
    """Load weights into a network that was built with the same settings.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place, and only if everything fits.
    data : bytes
        From `weights_to_bytes`.
    sha256 : str, optional
        What the bytes must have.

    Returns
    -------
    dict of str to str
        The metadata.

    Raises
    ------
    IntegrityError
        Another digest, not whole, or names, shapes or types that are not those of the network.
    """
    if sha256 is not None and digest_bytes(data) != sha256:
        raise IntegrityError(f"weights have SHA-256 {digest_bytes(data)}, expected {sha256}")
    tensors, metadata = read_tensors(data)
    wanted = network.state_dict()
    _check_names(set(tensors), set(wanted))
    for name, tensor in wanted.items():
        got = tensors[name]
        if got.shape != tensor.shape or got.dtype != tensor.dtype:
            raise IntegrityError(
                f"weight '{name}' is {got.dtype} {tuple(got.shape)}, the network has "
                f"{tensor.dtype} {tuple(tensor.shape)}"
            )
    with torch.no_grad():
        network.load_state_dict(tensors)
    return metadata


def save_weights(path: str | Path, network: nn.Module, metadata: Mapping[str, str] | None = None) -> str:
    """Write the weights of a network to a file, whole or not at all; returns their SHA-256."""
    data = weights_to_bytes(network, metadata)
    write_atomically(Path(path), data)
    return digest_bytes(data)


def load_weights(path: str | Path, network: nn.Module, *, sha256: str | None = None) -> dict[str, str]:
    """Load weights from a file; see `weights_from_bytes`.

    Raises
    ------
    NotFoundError
        The file is not there.
    IntegrityError
        The weights are not those that are expected.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"no weights at '{path.name}'")
    return weights_from_bytes(network, path.read_bytes(), sha256=sha256)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is either the old one or the new one, never half of it, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _check_names(got: set[str], wanted: set[str]) -> None:
    if got != wanted:
        missing, surplus = sorted(wanted - got), sorted(got - wanted)
        raise IntegrityError(
            f"weights of another network: missing {missing[:3] or 'none'}, "
            f"not expected {surplus[:3] or 'none'}"
        )
