"""What all saliency methods share: which output of a network is explained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError

__all__ = ["as_maps", "evaluating", "scores"]


def scores(output: Tensor, targets: Sequence[int] | None) -> tuple[Tensor, tuple[int, ...]]:
    """What is explained: for each image one output before softmax; of a map, its mean over all voxels.

    Parameters
    ----------
    output : torch.Tensor
        (N, K) or (N, K, [D,] H, W).
    targets : sequence of int, optional
        Which output of each image; the largest one if absent.

    Returns
    -------
    torch.Tensor, tuple of int
        (N,), and the outputs that were taken.
    """
    table = output.float() if output.ndim == 2 else output.float().flatten(2).mean(dim=2)
    if targets is None:
        targets = table.argmax(dim=1).tolist()
    if len(targets) != len(table) or not all(0 <= target < table.shape[1] for target in targets):
        raise UsageError(
            f"saliency needs an output from 0 to {table.shape[1] - 1} for each of {len(table)} images, "
            f"got {list(targets)[:8]}"
        )
    chosen = torch.as_tensor(targets, device=table.device)
    return table.gather(1, chosen[:, None])[:, 0], tuple(targets)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards in the mode it was in."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def as_maps(maps: Tensor) -> NDArray[np.float32]:
    """Maps as float32 arrays."""
    found: NDArray[np.float32] = maps.detach().cpu().float().numpy()
    return found
