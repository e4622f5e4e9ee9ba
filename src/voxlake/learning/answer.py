"""What networks answer: one network, or those of all folds together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.learning.inference import predict_outputs
from voxlake.learning.objectives.base import Objective
from voxlake.learning.objectives.reconstruction import ImageReconstruction
from voxlake.learning.tables.prepare import Preparation
from voxlake.learning.tables.table import FeatureTable
from voxlake.networks.embedding import embed

__all__ = ["Ensemble", "Member"]

_AT_A_TIME = 64


@dataclass(frozen=True, eq=False)
class Member:
    """A network that was learned, with what belongs to it.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, where it is to be computed.
    objective : Objective
        What its outputs mean.
    preparation : Preparation or None
        How its table becomes numbers.
    """

    network: nn.Module
    objective: Objective
    preparation: Preparation | None = None

    def inputs(self, images: tuple[Tensor, ...], table: FeatureTable | None) -> tuple[Tensor, ...]:
        """What the network is called with."""
        if self.preparation is None or table is None:
            return images
        return (*images, torch.from_numpy(self.preparation.apply(table)).float())

    def answers(self, inputs: tuple[Tensor, ...]) -> NDArray[np.float64]:
        """Probabilities float64 (N, K), numbers (N,), or the error of each reconstructed image (N,)."""
        output = predict_outputs(self.network, inputs, batch_size=_AT_A_TIME)
        if isinstance(self.objective, ImageReconstruction):
            return self.objective.errors(output, inputs[0])
        return self.objective.answers(output)

    def embeddings(self, inputs: tuple[Tensor, ...]) -> NDArray[np.float32]:
        """Vectors that stand for the samples, float32 (N, Z)."""
        device = next(self.network.parameters()).device
        parts = zip(*(torch.split(tensor, _AT_A_TIME) for tensor in inputs), strict=True)
        with torch.inference_mode():
            found = [
                embed(self.network, *(tensor.to(device) for tensor in part)).float().cpu() for part in parts
            ]
        return np.asarray(torch.cat(found).flatten(1).numpy())


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The networks of all folds, loaded once.

    Parameters
    ----------
    members : sequence of Member
        One for each fold.
    """

    members: Sequence[Member]

    def answers(
        self, images: tuple[Tensor, ...], table: FeatureTable | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Mean of the members, and how far they are apart.

        Returns
        -------
        mean : numpy.ndarray
            As of one member.
        spread : numpy.ndarray or None
            Of the same shape, standard deviation over the members (with n - 1); None of a single one.
        """
        said = np.stack([member.answers(member.inputs(images, table)) for member in self.members])
        return said.mean(axis=0), said.std(axis=0, ddof=1) if len(said) > 1 else None
