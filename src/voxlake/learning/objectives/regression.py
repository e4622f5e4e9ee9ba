"""A number: Huber's loss or the squared error, in standard deviations of the training part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from voxlake.learning.objectives.base import direction
from voxlake.metrics.regression import mean_absolute_error, r_squared

__all__ = ["Regression"]

_FIGURES: Mapping[str, bool] = MappingProxyType(
    {"loss": False, "mean_absolute_error": False, "r_squared": True}
)


class Regression:
    """One number for each sample; the network learns it less the mean, in standard deviations.

    Parameters
    ----------
    mean, spread : float
        Mean and standard deviation of the training part, in the unit of the target.
    kind : {"huber", "mse", "l1"}
        Huber's loss, which turns from the square to the distance at one standard deviation (Huber, 1964,
        doi:10.1214/aoms/1177703732), the squared, or the absolute error.
    """

    outputs = 1

    def __init__(self, mean: float, spread: float, kind: Literal["huber", "mse", "l1"] = "huber") -> None:
        self.mean = mean
        self.spread = spread
        self.kind = kind

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Of outputs (N, 1) and numbers float32 (N,); see `Objective`."""
        said, truth = output.float().squeeze(1), (targets - self.mean) / self.spread
        match self.kind:
            case "huber":
                return functional.huber_loss(said, truth)
            case "mse":
                return functional.mse_loss(said, truth)
            case "l1":
                return functional.l1_loss(said, truth)

    def weight(self, targets: Tensor) -> float:
        """Number of samples."""
        return float(len(targets))

    def figures(self, output: Tensor, targets: Tensor) -> dict[str, float]:
        """Loss, in standard deviations; mean absolute error, in the unit of the target; R squared."""
        loss = float(self.loss(output, targets))
        if not math.isfinite(loss):
            return {"loss": loss}
        truth, said = targets.double().numpy(), self.answers(output)
        return {
            "loss": loss,
            "mean_absolute_error": float(mean_absolute_error(truth, said)),
            "r_squared": float(r_squared(truth, said)),
        }

    def larger_is_better(self, figure: str) -> bool:
        """See `Objective`."""
        return direction(_FIGURES, figure)

    def answers(self, output: Tensor) -> NDArray[np.float64]:
        """Numbers in the unit of the target, float64 (N,)."""
        return np.asarray(torch.squeeze(output.double(), 1).numpy() * self.spread + self.mean)
