"""Several labels at once, each there or not: the binary cross-entropy of every label that is known."""

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
from voxlake.metrics.multilabel import multilabel_roc_auc

__all__ = ["Multilabel"]

_FIGURES: Mapping[str, bool] = MappingProxyType({"loss": False, "roc_auc": True, "accuracy": True})


class Multilabel:
    """Mean binary cross-entropy over all labels that are known; those that are not count nothing.

    Parameters
    ----------
    weights : torch.Tensor
        float32 (K, 2), of each label the weight where it is absent and where it is present.
    label_smoothing : float
        Share of each target that is moved towards one half; only while learning.
    """

    def __init__(self, weights: Tensor, label_smoothing: float = 0.0) -> None:
        self.weights = weights
        self.label_smoothing = label_smoothing

    @property
    def outputs(self) -> int:
        """Number of labels."""
        return len(self.weights)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Of logits (N, K) and float32 (N, K), 1, 0 or NaN; see `Objective`."""
        return self._mean(output, targets, self.label_smoothing)

    def weight(self, targets: Tensor) -> float:
        """Summed weights of the labels that are known."""
        return float(self._weights(targets).sum())

    def figures(self, output: Tensor, targets: Tensor) -> dict[str, float]:
        """Loss without smoothing; ROC AUC, mean over labels; share of the known labels that is right."""
        loss = float(self._mean(output, targets, 0.0))
        if not math.isfinite(loss):
            return {"loss": loss}
        said, truth = self.answers(output), targets.double().numpy()
        known = ~np.isnan(truth)
        right = (said >= 0.5) == (truth == 1)
        return {
            "loss": loss,
            "roc_auc": float(multilabel_roc_auc(truth, said)),
            "accuracy": float(right[known].mean()) if known.any() else math.nan,
        }

    def larger_is_better(self, figure: str) -> bool:
        """See `Objective`."""
        return direction(_FIGURES, figure)

    def answers(self, output: Tensor) -> NDArray[np.float64]:
        """Probability of each label, float64 (N, K); rows need not sum to 1."""
        return np.asarray(torch.sigmoid(output.double()).numpy())

    def _mean(self, output: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        weights = self._weights(targets)
        soft = torch.nan_to_num(targets) * (1 - smoothing) + smoothing / 2
        total = functional.binary_cross_entropy_with_logits(
            output.float(), soft, weight=weights, reduction="sum"
        )
        # A batch without a known label has a loss of zero, and a gradient of zero.
        return total / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)

    def _weights(self, targets: Tensor) -> Tensor:
        absent, present = self.weights.to(targets.device).unbind(dim=1)
        weights = torch.where(targets == 1, present, absent)
        return torch.where(torch.isnan(targets), 0.0, weights)
