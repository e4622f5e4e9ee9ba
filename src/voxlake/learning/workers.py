"""Who computes the gradients of a batch: this process, or several that take a share of it each.

Weights, optimiser and checkpoints are those of this process alone. The others get the weights before every
step and send gradients back, so that nothing of them has to be stored or restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from voxlake.learning.batch import Batch, BatchSource, share_of
from voxlake.learning.objectives.base import Objective
from voxlake.learning.seeds import derived_seed
from voxlake.learning.settings import TrainingSettings
from voxlake.learning.step import Place, batch_loss

__all__ = ["Alone", "Workers", "add_gradients", "flat_gradients", "open_workers", "share_gradients"]


class Workers(Protocol):
    """Gives the network the gradients of a batch."""

    def gradients(self, epoch: int, step: int, batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
        """Leave the gradients in the network; returns the loss of the whole batch, 0-d, without gradient."""


class Alone:
    """Everything is computed in this process."""

    def __init__(self, network: nn.Module, objective: Objective, place: Place, seed: int) -> None:
        self._network = network
        self._objective = objective
        self._place = place
        self._seed = seed

    def gradients(self, epoch: int, step: int, batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
        """See `Workers`."""
        torch.manual_seed(derived_seed(self._seed, "dropout", epoch, step))
        loss = batch_loss(self._network, self._objective, batch, self._place)
        self._network.zero_grad(set_to_none=True)
        torch.autograd.backward(scaler.scale(loss))
        return loss.detach()


@contextmanager
def open_workers(
    network: nn.Module, train: BatchSource, objective: Objective, settings: TrainingSettings, place: Place
) -> Iterator[Workers]:
    """As many workers as the settings say; other processes end with the context."""
    if settings.processes == 1:
        yield Alone(network, objective, place, settings.seed)
        return
    # Processes are seldom asked for, and torch.distributed takes a while to load.
    from voxlake.learning.processes import open_team

    with open_team(network, train, objective, settings, place) as team:
        yield team


def share_gradients(
    network: nn.Module, objective: Objective, batch: Batch, place: Place, *, rank: int, processes: int
) -> Tensor:
    """Gradients and loss of the share of one process, to be summed over all; see `flat_gradients`."""
    share = share_of(batch, rank, processes)
    network.zero_grad(set_to_none=True)
    loss = torch.zeros(())
    if len(share.targets):
        part = objective.weight(share.targets) / max(objective.weight(batch.targets), 1e-12)
        loss = batch_loss(network, objective, share, place) * part
        torch.autograd.backward(loss)
    return flat_gradients(network, loss.detach())


def flat_gradients(network: nn.Module, loss: Tensor) -> Tensor:
    """All gradients of a network, for each parameter whether it has one, and the loss, as one vector."""
    learned = _learned(network)
    values = [
        torch.zeros(tensor.numel()) if tensor.grad is None else tensor.grad.reshape(-1) for tensor in learned
    ]
    there = torch.tensor([float(tensor.grad is not None) for tensor in learned])
    return torch.cat([*values, there, loss.reshape(1)])


def add_gradients(network: nn.Module, flat: Tensor) -> Tensor:
    """Give a network the gradients of a vector of `flat_gradients`; returns the loss."""
    learned = _learned(network)
    there = flat[-1 - len(learned) : -1].tolist()
    start = 0
    for tensor, known in zip(learned, there, strict=True):
        values = flat[start : start + tensor.numel()]
        start += tensor.numel()
        # A parameter that nobody used has no gradient, and no momentum or decay moves it.
        # It lies in memory as its parameter does, which a fused optimiser takes for granted.
        tensor.grad = torch.empty_like(tensor).copy_(values.reshape(tensor.shape)) if known else None
    return flat[-1]


def _learned(network: nn.Module) -> Sequence[nn.Parameter]:
    return [tensor for tensor in network.parameters() if tensor.requires_grad]
