"""What every objective is: a loss, figures that tell epochs apart, and answers for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint

__all__ = ["Objective", "direction"]


class Objective(Protocol):
    """What a network is fitted to.

    An objective is small and can be pickled: processes that learn together each get a copy. What it knows of
    the training part, as weights of classes, it was made with.
    """

    @property
    def outputs(self) -> int:
        """Number of outputs that the network must have, K."""

    def loss(self, output: Any, targets: Tensor) -> Tensor:
        """Loss of a batch, float32 0-d, on the device of the output.

        Parameters
        ----------
        output : torch.Tensor or Reconstruction or list of torch.Tensor
            What the network returned in training mode; of any floating type, brought to float32 here.
        targets : torch.Tensor
            As the batch has them, on the same device.
        """

    def weight(self, targets: Tensor) -> float:
        """How much a batch counts: losses of batches are averaged by it, over an epoch and over processes.

        The loss of two batches together is the mean of their losses weighted so; for a plain mean it is the
        number of samples. The targets are those of the source, on the processor.
        """

    def figures(self, output: Any, targets: Tensor) -> dict[str, float]:
        """Figures of a whole part in evaluation mode: always ``"loss"``, and what else tells epochs apart."""

    def larger_is_better(self, figure: str) -> bool:
        """Whether a larger value of a figure is a better one.

        Raises
        ------
        UsageError
            The objective has no such figure; the near miss is named.
        """

    def answers(self, output: Any) -> NDArray[np.float64]:
        """What is said of each sample: probabilities (N, K), values (N,), or reconstructed values."""


def direction(directions: Mapping[str, bool], figure: str) -> bool:
    """Whether larger is better, from a table of the figures of an objective.

    Raises
    ------
    UsageError
        There is no such figure; the near miss is named.
    """
    if figure not in directions:
        raise UsageError(
            f"monitor = '{figure}' is no figure of this objective{hint(figure, directions)}; "
            f"it has {', '.join(directions)}"
        )
    return directions[figure]
