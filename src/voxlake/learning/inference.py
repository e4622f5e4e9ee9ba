"""What a network says of many samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from voxlake.learning.objectives.base import Objective

__all__ = ["predict_answers", "predict_outputs", "predict_probabilities"]


def predict_outputs(network: nn.Module, inputs: tuple[Tensor, ...], *, batch_size: int = 64) -> Any:
    """Outputs of a network in evaluation mode; the network is left in the mode it was in.

    Parameters
    ----------
    network : torch.nn.Module
        On any device.
    inputs : tuple of torch.Tensor
        What it is called with, the sample first.
    batch_size : int
        Samples at a time; bounds the memory.

    Returns
    -------
    torch.Tensor or Reconstruction
        float32 on the processor, (N, ...). Of a reconstruction, the penalty is the mean over the samples.
    """
    was_training = network.training
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    network.eval()
    try:
        with torch.inference_mode():
            parts = [
                network(*(tensor.to(device) for tensor in part))
                for part in zip(*(torch.split(tensor, batch_size) for tensor in inputs), strict=True)
            ]
            return _joined(parts)
    finally:
        network.train(was_training)


def predict_answers(
    network: nn.Module, objective: Objective, inputs: tuple[Tensor, ...], *, batch_size: int = 64
) -> npt.NDArray[np.float64]:
    """What a network says of each sample, as its objective puts it; see `predict_outputs`."""
    return objective.answers(predict_outputs(network, inputs, batch_size=batch_size))


def predict_probabilities(
    network: nn.Module, images: Tensor, *, batch_size: int = 64
) -> npt.NDArray[np.float64]:
    """Probability of each class, float64 (N, K), rows sum to 1; see `predict_outputs`."""
    logits = predict_outputs(network, (images,), batch_size=batch_size)
    probabilities: npt.NDArray[np.float64] = torch.softmax(logits.double(), dim=1).numpy()
    return probabilities


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat([part.float().cpu() for part in parts])
    columns: list[Any] = []
    counts = torch.tensor([float(len(part[0])) for part in parts])
    for column in zip(*parts, strict=True):
        if column[0] is None:
            columns.append(None)
        elif column[0].ndim == 0:
            each = torch.stack([one.float().cpu() for one in column])
            columns.append((each * counts).sum() / counts.sum())
        else:
            columns.append(torch.cat([one.float().cpu() for one in column]))
    return type(parts[0])(*columns)
