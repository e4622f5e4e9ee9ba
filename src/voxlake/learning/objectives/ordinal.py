"""Classes in an order: cumulative logits.

A network of K - 1 outputs says for each cut between neighbouring classes how probable it is that the truth
lies above. The loss is the sum of the binary cross-entropies of all cuts, as in CORAL (Cao, Mirjalili and
Raschka, 2020, doi:10.1016/j.patrec.2020.11.008); as there, a higher cut is never more probable than a lower
one, here since each logit is the one before less a positive step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from voxlake.learning.objectives.base import direction
from voxlake.metrics.kappa import cohen_kappa

__all__ = ["Ordinal"]

_FIGURES: Mapping[str, bool] = MappingProxyType(
    {"loss": False, "accuracy": True, "mean_absolute_error": False, "quadratic_kappa": True}
)


class Ordinal:
    """Binary cross-entropy, summed over the cuts between K classes.

    Parameters
    ----------
    weights : torch.Tensor
        float32 (K,), weight of each class.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    @property
    def outputs(self) -> int:
        """Number of cuts, K - 1."""
        return len(self.weights) - 1

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Of outputs (N, K - 1) and class numbers int64 (N,); see `Objective`."""
        logits = _cumulative(output.float())
        above = (targets[:, None] > torch.arange(self.outputs, device=targets.device)).float()
        each = functional.binary_cross_entropy_with_logits(logits, above, reduction="none").sum(dim=1)
        weights = self.weights.to(output.device)[targets]
        return (each * weights).sum() / weights.sum()

    def weight(self, targets: Tensor) -> float:
        """Summed weights of the classes of the samples."""
        return float(self.weights[targets].sum())

    def figures(self, output: Tensor, targets: Tensor) -> dict[str, float]:
        """Loss; accuracy; mean distance in classes; Cohen's kappa with squared distances."""
        loss = float(self.loss(output, targets))
        if not math.isfinite(loss):
            return {"loss": loss}
        # The median of the distribution: the class that the most probable error is smallest for.
        called = (_cumulative(output.double()) > 0).sum(dim=1).numpy()
        truth = targets.numpy()
        kappa = cohen_kappa(truth, called, weighting="quadratic", categories=range(len(self.weights)))
        return {
            "loss": loss,
            "accuracy": float((called == truth).mean()),
            "mean_absolute_error": float(np.abs(called - truth).mean()),
            "quadratic_kappa": float(kappa),
        }

    def larger_is_better(self, figure: str) -> bool:
        """See `Objective`."""
        return direction(_FIGURES, figure)

    def answers(self, output: Tensor) -> NDArray[np.float64]:
        """Probability of each class, float64 (N, K), none negative; rows sum to 1."""
        above = torch.sigmoid(_cumulative(output.double()))
        edges = torch.cat([torch.ones_like(above[:, :1]), above, torch.zeros_like(above[:, :1])], dim=1)
        return np.asarray((edges[:, :-1] - edges[:, 1:]).numpy())


def _cumulative(output: Tensor) -> Tensor:
    """Falling logits (N, K - 1) of lying above each cut."""
    steps = functional.softplus(output[:, 1:])
    return torch.cumsum(torch.cat([output[:, :1], -steps], dim=1), dim=1)
