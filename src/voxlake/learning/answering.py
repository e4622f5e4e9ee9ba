"""Networks whose output is what the lake says of an image, for programs that know nothing of the lake."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxlake.core.errors import UsageError
from voxlake.learning.objectives.base import Objective
from voxlake.learning.objectives.classification import Classification
from voxlake.learning.objectives.multilabel import Multilabel
from voxlake.learning.objectives.ordinal import Ordinal
from voxlake.learning.objectives.reconstruction import ImageReconstruction
from voxlake.learning.objectives.regression import Regression

__all__ = ["Answering", "answering"]


class Answering(nn.Module):
    """A network, and what turns its output into an answer.

    Parameters
    ----------
    network : torch.nn.Module
        Gives one tensor, or a tuple whose first entry counts.
    finish : callable
        From the output, float32 (N, ...), to the answer, float32 (N, ...).
    """

    def __init__(self, network: nn.Module, finish: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.finish = finish

    def forward(self, *inputs: Tensor) -> Tensor:
        """The answer, the sample first."""
        output = self.network(*inputs)
        first: Tensor = output if isinstance(output, Tensor) else output[0]
        return self.finish(first.float())


def answering(network: nn.Module, objective: Objective | None) -> Answering:
    """A network that answers as its objective does, computed in torch alone.

    Parameters
    ----------
    network : torch.nn.Module
        That was learned.
    objective : Objective or None
        What its outputs mean; None for a segmentation.

    Returns
    -------
    Answering
        Gives probabilities (N, K) of classes or labels; (N, K, [D,] H, W) of the classes of every voxel;
        numbers (N,) in the unit of the target; reconstructed images, as the input.

    Raises
    ------
    UsageError
        Of such an objective no answer can be computed in a network.
    """
    match objective:
        case None | Classification():
            return Answering(network, _of_classes)
        case Multilabel():
            return Answering(network, torch.sigmoid)
        case Ordinal():
            return Answering(network, _of_ordered_classes)
        case Regression():
            return Answering(network, lambda output: output[:, 0] * objective.spread + objective.mean)
        case ImageReconstruction():
            return Answering(network, lambda output: output)
        case _:
            raise UsageError(f"answers of {type(objective).__name__} cannot be computed in a network")


def _of_classes(output: Tensor) -> Tensor:
    return torch.softmax(output, dim=1)


def _of_ordered_classes(output: Tensor) -> Tensor:
    """See `voxlake.learning.objectives.ordinal`: each logit is the one before less a positive step."""
    falling = torch.cumsum(torch.cat([output[:, :1], -functional.softplus(output[:, 1:])], dim=1), dim=1)
    above = torch.sigmoid(falling)
    edges = torch.cat([torch.ones_like(above[:, :1]), above, torch.zeros_like(above[:, :1])], dim=1)
    return edges[:, :-1] - edges[:, 1:]
