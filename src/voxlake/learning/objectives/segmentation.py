"""Segmentation: Dice and cross-entropy over voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from voxlake.learning.objectives.base import direction

__all__ = ["SegmentationObjective", "dice_of_labels"]

_SMOOTH = 1e-5


class SegmentationObjective:
    """Dice loss plus cross-entropy (Isensee et al., 2021, nnU-Net); the background is class 0.

    Targets are uint8 (N, [D,] H, W). A network with deep supervision gives a list in training mode, finest
    first; targets are brought to the extent of each output by nearest neighbour.

    Parameters
    ----------
    classes : sequence of str
        Names of the classes without the background.
    dice : {"batch", "sample"}
        Soft Dice over all samples of a batch together, or of each sample, averaged.
    cross_entropy : float
        Weight of the cross-entropy; that of the Dice loss is 1.
    deep_weights : sequence of float
        Weights of the outputs, finest first; brought to a sum of 1 over those that there are.
    ignore : int
        Target that counts nowhere.

    References
    ----------
    Milletari, Navab and Ahmadi, V-Net, 2016 (the Dice loss).
    """

    def __init__(
        self,
        classes: Sequence[str],
        *,
        dice: Literal["batch", "sample"] = "batch",
        cross_entropy: float = 1.0,
        deep_weights: Sequence[float] = (1.0, 0.5, 0.25, 0.125),
        ignore: int = 255,
    ) -> None:
        self.classes = tuple(classes)
        self.dice = dice
        self.cross_entropy = cross_entropy
        self.deep_weights = tuple(deep_weights)
        self.ignore = ignore

    @property
    def outputs(self) -> int:
        """Number of outputs: the classes and the background."""
        return 1 + len(self.classes)

    def loss(self, output: Tensor | Sequence[Tensor], targets: Tensor) -> Tensor:
        """Loss of a batch.

        Parameters
        ----------
        output : torch.Tensor or list of torch.Tensor
            (N, K, [D,] H, W), or one for each depth, finest first.
        targets : torch.Tensor
            Integers (N, [D,] H, W).
        """
        outputs = [output] if isinstance(output, Tensor) else list(output)
        weights = self.deep_weights[: len(outputs)]
        weighted = [
            weight * self._one(each, _at(targets, tuple(each.shape[2:])))
            for each, weight in zip(outputs, weights, strict=False)
            if weight
        ]
        return torch.stack(weighted).sum() / sum(weights)

    def weight(self, targets: Tensor) -> float:
        """How much a batch counts: its samples."""
        return float(len(targets))

    def figures(self, output: Tensor, targets: Tensor) -> dict[str, float]:
        """Loss, and Dice of the most probable class.

        Returns
        -------
        dict of str to float
            ``loss``; ``dice_<class>``, the mean over the samples that have the class or were given it; and
            ``dice``, the mean over the classes. NaN where no sample has a class.
        """
        loss = float(self.loss(output, targets))
        labels = output.argmax(dim=1)
        each = [
            dice_of_labels(one, truth, len(self.classes), self.ignore)
            for one, truth in zip(labels, targets, strict=True)
        ]
        return {"loss": loss, **self.dice_figures(each)}

    def dice_figures(self, cases: Sequence[Sequence[float]]) -> dict[str, float]:
        """Mean Dice of each class and of all from those of each case, (cases, classes); NaN is left out."""
        table = np.array(cases, dtype=np.float64).reshape(-1, len(self.classes))
        known = ~np.isnan(table)
        counts = known.sum(axis=0)
        sums = np.where(known, table, 0).sum(axis=0)
        means = [
            float(total / count) if count else float("nan") for total, count in zip(sums, counts, strict=True)
        ]
        defined = [mean for mean in means if not np.isnan(mean)]
        overall = float(np.mean(defined)) if defined else float("nan")
        return {"dice": overall} | {
            f"dice_{name}": mean for name, mean in zip(self.classes, means, strict=True)
        }

    def larger_is_better(self, figure: str) -> bool:
        """Whether a larger value of a figure is a better one."""
        table: Mapping[str, bool] = {
            "loss": False,
            "dice": True,
            **{f"dice_{name}": True for name in self.classes},
        }
        return direction(table, figure)

    def answers(self, output: Tensor) -> NDArray[np.float64]:
        """Probability of each class for each voxel, float64 (N, K, [D,] H, W)."""
        probabilities: NDArray[np.float64] = torch.softmax(output.double(), dim=1).cpu().numpy()
        return probabilities

    def _one(self, output: Tensor, targets: Tensor) -> Tensor:
        counts = targets != self.ignore
        truth = torch.where(counts, targets, 0).long()
        logarithms = torch.log_softmax(output.float(), dim=1)
        entropy = functional.nll_loss(logarithms, truth, reduction="none")
        voxels = counts.sum().clamp(min=1)
        entropy = torch.where(counts, entropy, 0.0).sum() / voxels
        return self._dice(logarithms, truth, counts) + self.cross_entropy * entropy

    def _dice(self, logarithms: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
        """1 less the mean soft Dice of the classes without the background."""
        names = torch.arange(1, self.outputs, device=truth.device).view(1, -1, *[1] * (truth.ndim - 1))
        shares = logarithms[:, 1:].exp() * counts[:, None]
        shown = ((truth[:, None] == names) & counts[:, None]).float()
        axes = tuple(range(2, shares.ndim))
        both, claimed, true = (each.sum(dim=axes) for each in (shares * shown, shares, shown))
        if self.dice == "batch":
            both, claimed, true = both.sum(dim=0), claimed.sum(dim=0), true.sum(dim=0)
        return 1 - ((2 * both + _SMOOTH) / (claimed + true + _SMOOTH)).mean()


def dice_of_labels(labels: Tensor, truth: Tensor, classes: int, ignore: int) -> list[float]:
    """Dice of each class from 1 of one sample; NaN where neither has it. Ignored voxels are left out."""
    kept = truth != ignore
    found = []
    for value in range(1, classes + 1):
        claimed, true = (labels == value) & kept, (truth == value) & kept
        total = int(claimed.sum()) + int(true.sum())
        found.append(2 * int((claimed & true).sum()) / total if total else float("nan"))
    return found


def _at(targets: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Targets at the extent of an output, by nearest neighbour."""
    if tuple(targets.shape[1:]) == shape:
        return targets
    return functional.interpolate(targets[:, None].float(), size=shape, mode="nearest")[:, 0].to(
        targets.dtype
    )
