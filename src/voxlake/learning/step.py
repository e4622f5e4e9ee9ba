"""One step of learning: from a batch to gradients, from gradients to new weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from voxlake.learning.batch import Batch, to_device
from voxlake.learning.checkpoint import TrainingState
from voxlake.learning.objectives.base import Objective
from voxlake.learning.runtime import arithmetic, autocast
from voxlake.learning.settings import TrainingSettings
from voxlake.networks.subsampled import overruns

__all__ = ["Place", "batch_loss", "layout_of", "make_scaler", "take_step"]


@dataclass(frozen=True)
class Place:
    """Where and in what a network is computed.

    Parameters
    ----------
    device : torch.device
        Where.
    precision : str
        Of `TrainingSettings`.
    layout : torch.memory_format
        In which order images lie in memory.
    """

    device: torch.device
    precision: str
    layout: torch.memory_format

    def put(self, network: nn.Module) -> None:
        """Bring a network there."""
        network.to(self.device)
        # The stubs leave this overload out.
        network.to(memory_format=self.layout)  # type: ignore[call-overload]


def layout_of(network: nn.Module) -> torch.memory_format:
    """Channels last for the images, or the volumes, that the convolutions of a network take.

    Not where a convolution of somebody's own network would write beyond its memory.
    """
    if any(overruns(part) for part in network.modules()):
        return torch.contiguous_format
    volumes = any(parameter.ndim == 5 for parameter in network.parameters())
    return torch.channels_last_3d if volumes else torch.channels_last


def batch_loss(network: nn.Module, objective: Objective, batch: Batch, place: Place) -> Tensor:
    """Loss of a batch, float32 0-d."""
    here = to_device(batch, place.device)
    first, *others = here.inputs
    if first.ndim == (5 if place.layout is torch.channels_last_3d else 4):
        first = first.contiguous(memory_format=place.layout)
    with autocast(place.precision, place.device):
        output: Any = network(first, *others)
    return objective.loss(output, here.targets)


def make_scaler(place: Place) -> torch.amp.GradScaler:
    """Scales the loss where small gradients would vanish in float16; else does nothing."""
    halves = arithmetic(place.precision, place.device) is torch.float16
    return torch.amp.GradScaler(place.device.type, enabled=halves)


def take_step(state: TrainingState, settings: TrainingSettings) -> None:
    """Change the weights by the gradients that they have."""
    if settings.clip is not None:
        state.scaler.unscale_(state.optimiser)
        nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    state.scaler.step(state.optimiser)
    state.scaler.update()
