"""Optimisers and the learning rate over the steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from voxlake.learning.settings import TrainingSettings

__all__ = ["class_weights", "learning_rate", "make_optimiser", "set_learning_rate", "update_average"]

_WARM_UP = 0.25
_START = 1 / 25


def make_optimiser(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Optimiser over all parameters of a network."""
    rate, decay = settings.learning_rate, settings.weight_decay
    # Fused: one pass over weights, gradients and moments; else small networks spend half of a step here.
    match settings.optimiser:
        case "adam":
            return torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(
                network.parameters(),
                lr=rate,
                weight_decay=decay,
                momentum=settings.momentum,
                nesterov=settings.momentum > 0,
            )


def learning_rate(settings: TrainingSettings, progress: float) -> float:
    """Learning rate after a share of all steps; a pure function, so that a resumed run needs no state of it.

    Parameters
    ----------
    settings : TrainingSettings
        Schedule and largest rate.
    progress : float
        0 at the first step, towards 1 at the last.
    """
    match settings.schedule:
        case "none":
            return settings.learning_rate
        case "cosine":
            return settings.learning_rate * _half_cosine(progress)
        case "one_cycle":
            if progress < _WARM_UP:
                rise = 1 - _half_cosine(progress / _WARM_UP)
                return settings.learning_rate * (_START + (1 - _START) * rise)
            return settings.learning_rate * _half_cosine((progress - _WARM_UP) / (1 - _WARM_UP))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Use a learning rate from the next step on."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move an exponential average of weights and buffers towards a network.

    The first steps use a smaller decay, so that the initial weights are soon forgotten.
    """
    kept = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - kept)
            else:
                mean.copy_(value)


def class_weights(targets: Tensor, classes: int, settings: TrainingSettings) -> Tensor:
    """Weight of each class, float32 (classes,); balanced weights have a mean of 1 over the samples."""
    if settings.class_weights == "none":
        return torch.ones(classes)
    counts = torch.bincount(targets, minlength=classes).clamp(min=1)
    return len(targets) / (classes * counts.to(torch.float32))


def _half_cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2
