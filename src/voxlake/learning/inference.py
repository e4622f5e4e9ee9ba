"""Probabilities from a network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["predict_logits", "predict_probabilities"]


def predict_logits(network: nn.Module, images: Tensor, *, batch_size: int = 64) -> Tensor:
    """Outputs of a network in evaluation mode; the network is left in the mode it was in.

    Parameters
    ----------
    network : torch.nn.Module
        Maps float32 (N, C, ...) to (N, K).
    images : torch.Tensor
        float32 (N, C, H, W) or (N, C, D, H, W).
    batch_size : int
        Images at a time; bounds the memory.

    Returns
    -------
    torch.Tensor
        float32 (N, K).
    """
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return torch.cat([network(part).float() for part in torch.split(images, batch_size)])
    finally:
        network.train(was_training)


def predict_probabilities(
    network: nn.Module, images: Tensor, *, batch_size: int = 64
) -> npt.NDArray[np.float64]:
    """Probability of each class, float64 (N, K), rows sum to 1; see `predict_logits`."""
    logits = predict_logits(network, images, batch_size=batch_size)
    probabilities: npt.NDArray[np.float64] = torch.softmax(logits.double(), dim=1).numpy()
    return probabilities
