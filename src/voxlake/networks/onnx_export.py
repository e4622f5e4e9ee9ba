"""Networks as ONNX files, for other programs and faster runtimes; compared with the network before use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import UsageError
from voxlake.networks.onnx_graph import FirstOutput, to_onnx
from voxlake.networks.runtimes import load_exported, runtimes
from voxlake.networks.weights import write_atomically

__all__ = ["export_onnx", "save_onnx"]


def export_onnx(
    network: nn.Module,
    inputs: Tensor | Sequence[Tensor],
    *,
    names: Sequence[str] = ("x",),
    metadata: Mapping[str, str] | None = None,
    tolerance: float = 1e-4,
) -> bytes:
    """Export a network, run what was exported on batches of several sizes, and compare.

    Parameters
    ----------
    network : torch.nn.Module
        Gives one tensor, or a tuple of which the first entry is exported. Exported in evaluation mode; left
        as it is.
    inputs : torch.Tensor or sequence of torch.Tensor
        An example of what it is called with, batch first. The size of the batch stays free in the file, all
        other extents are fixed.
    names : sequence of str
        Of the inputs in the file; the output is ``y``.
    metadata : mapping of str to str, optional
        Kept in the file, for example the names of the classes.
    tolerance : float
        Largest difference of any output, where outputs are below 1, else as a share of the largest.

    Returns
    -------
    bytes
        An ONNX file, self-contained.

    Raises
    ------
    UsageError
        The network cannot be exported, no runtime is installed to compare with, or outputs differ.
    """
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    model = to_onnx(network, given, names=names, metadata=metadata)
    _check(network, given, model, tolerance)
    return model


def save_onnx(path: str | Path, network: nn.Module, inputs: Tensor | Sequence[Tensor], **options: Any) -> str:
    """Write an ONNX file, whole or not at all; returns its SHA-256. See `export_onnx`."""
    data = export_onnx(network, inputs, **options)
    write_atomically(Path(path), data)
    return digest_bytes(data)


def _check(network: nn.Module, given: tuple[Tensor, ...], model: bytes, tolerance: float) -> None:
    # The runtime that the format was made for, where it is there.
    exported = load_exported(model, "onnxruntime" if "onnxruntime" in runtimes() else "auto")
    module, was_training = FirstOutput(network), network.training
    network.eval()
    try:
        for size in (len(given[0]), 1, len(given[0]) + 1):
            batch = tuple(_resized(each, size) for each in given)
            with torch.inference_mode():
                expected = module(*batch).float()
            _compare(exported(*batch), expected, tolerance, size)
    finally:
        network.train(was_training)


def _resized(example: Tensor, size: int) -> Tensor:
    """A batch of another size, made of the samples of the example in turn."""
    return example[torch.arange(size) % len(example)]


def _compare(found: Tensor, expected: Tensor, tolerance: float, size: int) -> None:
    if found.shape != expected.shape:
        raise UsageError(
            f"the exported network gives {tuple(found.shape)} for a batch of {size}, the network "
            f"{tuple(expected.shape)}: its graph depends on the size of the batch and cannot be exported"
        )
    apart = float((found - expected).abs().max())
    if not apart <= tolerance * max(1.0, float(expected.abs().max())):
        raise UsageError(
            f"outputs of the exported network are {apart:.2g} apart from the network's for a batch of {size} "
            f"({tolerance:g} is allowed): it holds something that an export cannot follow (random numbers, "
            "decisions that depend on values)"
        )
