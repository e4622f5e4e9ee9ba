"""The image itself: how well a network gives back what it was shown."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from voxlake.learning.objectives.base import direction
from voxlake.networks.reconstruction import Reconstruction

__all__ = ["ImageReconstruction"]

_FIGURES: Mapping[str, bool] = MappingProxyType({"loss": False, "error": False})


class ImageReconstruction:
    """Error of the reconstruction plus what the network asks for itself.

    The target is the image; where the input carries noise, the image before it was added.

    Parameters
    ----------
    kind : {"mse", "l1"}
        Mean squared, or absolute, difference.
    """

    outputs = 1

    def __init__(self, kind: Literal["mse", "l1"] = "mse") -> None:
        self.kind = kind

    def loss(self, output: Reconstruction, targets: Tensor) -> Tensor:
        """Of a `Reconstruction` and images float32 (N, C, [D,] H, W); see `Objective`."""
        error = self._error(output.values, targets)
        if output.weights is None:
            mean = error.mean()
        else:
            weights = output.weights.float().expand_as(error)
            mean = (error * weights).sum() / weights.sum().clamp(min=1e-12)
        return mean + output.penalty.float()

    def weight(self, targets: Tensor) -> float:
        """Number of images."""
        return float(len(targets))

    def figures(self, output: Reconstruction, targets: Tensor) -> dict[str, float]:
        """Loss, and the error alone over all pixels, without what the network asks for itself."""
        return {
            "loss": float(self.loss(output, targets)),
            "error": float(self._error(output.values, targets).mean()),
        }

    def larger_is_better(self, figure: str) -> bool:
        """See `Objective`."""
        return direction(_FIGURES, figure)

    def answers(self, output: Reconstruction) -> NDArray[np.float64]:
        """The reconstructed images."""
        return np.asarray(output.values.double().numpy())

    def errors(self, output: Reconstruction, targets: Tensor) -> NDArray[np.float64]:
        """Mean error of each image, float64 (N,): large where training showed nothing alike."""
        return np.asarray(self._error(output.values, targets).double().flatten(1).mean(dim=1).numpy())

    def _error(self, values: Tensor, targets: Tensor) -> Tensor:
        difference = values.float() - targets
        return difference.abs() if self.kind == "l1" else difference.square()
