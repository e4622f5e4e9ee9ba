"""One of several classes: the cross-entropy."""

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
from voxlake.metrics.scores import roc_auc

__all__ = ["Classification"]

_FIGURES: Mapping[str, bool] = MappingProxyType({"loss": False, "roc_auc": True, "accuracy": True})


class Classification:
    """Cross-entropy of K classes of which exactly one is true.

    Parameters
    ----------
    weights : torch.Tensor
        float32 (K,), weight of each class.
    label_smoothing : float
        Share of each target that is spread over all classes (Szegedy et al., 2016); only while learning.
    """

    def __init__(self, weights: Tensor, label_smoothing: float = 0.0) -> None:
        self.weights = weights
        self.label_smoothing = label_smoothing
        self._even = bool((weights == 1).all())

    @property
    def outputs(self) -> int:
        """Number of classes."""
        return len(self.weights)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Of logits (N, K) and class numbers int64 (N,); see `Objective`."""
        return functional.cross_entropy(
            output.float(),
            targets,
            weight=None if self._even else self.weights.to(output.device),
            label_smoothing=self.label_smoothing,
        )

    def weight(self, targets: Tensor) -> float:
        """Summed weights of the classes of the samples."""
        return float(len(targets)) if self._even else float(self.weights[targets].sum())

    def figures(self, output: Tensor, targets: Tensor) -> dict[str, float]:
        """Loss without smoothing, weighted as in learning; ROC AUC, mean over classes; accuracy."""
        loss = float(functional.cross_entropy(output.float(), targets, weight=self.weights))
        if not math.isfinite(loss):
            return {"loss": loss}
        truth, said = targets.numpy(), self.answers(output)
        return {
            "loss": loss,
            "roc_auc": float(roc_auc(truth, said)),
            "accuracy": float((said.argmax(axis=1) == truth).mean()),
        }

    def larger_is_better(self, figure: str) -> bool:
        """See `Objective`."""
        return direction(_FIGURES, figure)

    def answers(self, output: Tensor) -> NDArray[np.float64]:
        """Probability of each class, float64 (N, K); rows sum to 1."""
        return np.asarray(torch.softmax(output.double(), dim=1).numpy())
