"""Batches, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Batch", "BatchSource", "share_of", "to_device"]


class Batch(NamedTuple):
    """Samples that are learned from in one step.

    Parameters
    ----------
    inputs : tuple of torch.Tensor
        What the network is called with, in its order; the first axis of each is the sample.
    targets : torch.Tensor
        What the objective compares the output with; the first axis is the sample.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor


class BatchSource(Protocol):
    """Gives the batches of every epoch; anything that does is learned from."""

    @property
    def steps(self) -> int:
        """Batches in an epoch, the same in every one."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of an epoch, 1 for the first.

        All randomness comes from seeds derived from the number, so that the same number gives the same
        batches, whatever was drawn before: a training that was killed relies on it.
        """

    def digest(self) -> str:
        """SHA-256 over all that decides what the batches hold."""


def share_of(batch: Batch, rank: int, processes: int) -> Batch:
    """The samples of a batch that one of several processes learns from; may be none."""
    if processes == 1:
        return batch
    return Batch(
        tuple(torch.tensor_split(tensor, processes)[rank] for tensor in batch.inputs),
        torch.tensor_split(batch.targets, processes)[rank],
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch in the memory of a device."""
    if device.type == "cpu":
        return batch
    return Batch(
        tuple(tensor.to(device, non_blocking=True) for tensor in batch.inputs),
        batch.targets.to(device, non_blocking=True),
    )
