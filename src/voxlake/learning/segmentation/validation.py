"""Whole volumes through a network: classes of voxels, and how well they fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.learning.objectives.segmentation import SegmentationObjective, dice_of_labels
from voxlake.learning.runtime import autocast
from voxlake.learning.segmentation.cases import Case, Cases
from voxlake.learning.segmentation.changes import AXES
from voxlake.learning.segmentation.settings import IGNORE, SegmentationSettings

__all__ = ["Validation", "mirrored", "padded"]

# Volumes that go through the network together: the smaller ones of a training, so that validation does not
# need more memory than it.
_TOGETHER = 4


class Validation:
    """Figures of a network over whole volumes, for `voxlake.learning.loop.fit`.

    Parameters
    ----------
    cases : Cases
        What the network is judged by.
    objective : SegmentationObjective
        Gives loss and names.
    settings : SegmentationSettings
        To which multiple extents are padded.
    precision : str
        Of the training.
    """

    def __init__(
        self, cases: Cases, objective: SegmentationObjective, settings: SegmentationSettings, precision: str
    ) -> None:
        self.cases = cases
        self.objective = objective
        self.settings = settings
        self.precision = precision

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Mean loss over the volumes, mean Dice of all classes and of each."""
        losses, dice = [], []
        device = next(network.parameters()).device
        for together in self._batches():
            images, targets = _stacked(together, self.cases.dimensions, self.settings.multiple)
            with torch.inference_mode(), autocast(self.precision, device):
                output = network(images.to(device)).float().cpu()
            for one, truth in zip(output, targets, strict=True):
                losses.append(float(self.objective.loss(one[None], truth[None])))
                dice.append(dice_of_labels(one.argmax(dim=0), truth, len(self.cases.classes), IGNORE))
        return {"loss": float(np.mean(losses)), **self.objective.dice_figures(dice)}

    def _batches(self) -> list[list[Case]]:
        """Cases of one padded extent together; single ones are slow."""
        by_extent: dict[tuple[int, ...], list[Case]] = {}
        for case in self.cases.items:
            by_extent.setdefault(_extent(case, self.cases.dimensions, self.settings.multiple), []).append(
                case
            )
        return [
            group[start : start + _TOGETHER]
            for group in by_extent.values()
            for start in range(0, len(group), _TOGETHER)
        ]


def padded(
    image: NDArray[np.float32], extent: Sequence[int]
) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
    """Repeat the edges up to an extent, alike on both sides.

    Parameters
    ----------
    image : numpy.ndarray
        float32 (channels, ...).
    extent : sequence of int
        At least that of the image.

    Returns
    -------
    image : numpy.ndarray
        (channels, *extent).
    inside : tuple of slice
        Where the image lies in it, without the axis of channels.
    """
    pads = [
        ((wide - there) // 2, -(-(wide - there) // 2))
        for there, wide in zip(image.shape[1:], extent, strict=True)
    ]
    inside = tuple(slice(low, low + there) for (low, _), there in zip(pads, image.shape[1:], strict=True))
    if not any(chain.from_iterable(pads)):
        return image, inside
    return np.pad(image, ((0, 0), *pads), mode="edge"), inside


def mirrored(network: nn.Module, images: Tensor, axes: Sequence[str]) -> Tensor:
    """Mean of the probabilities of the volumes and of their mirror images.

    Parameters
    ----------
    network : torch.nn.Module
        Gives logits (N, K, ...).
    images : torch.Tensor
        (N, C, ...).
    axes : sequence of {"slice", "row", "column"}
        Axes to be mirrored, every combination of them.
    """
    names = AXES[images.ndim - 2]
    places = [2 + names.index(axis) for axis in axes if axis in names]
    chosen = list(chain.from_iterable(combinations(places, count) for count in range(len(places) + 1)))
    total = torch.zeros(())
    for flips in chosen:
        # An exported graph cannot hold a flip of no axis.
        shares = torch.softmax(network(images.flip(flips) if flips else images).float(), dim=1)
        total = total + (shares.flip(flips) if flips else shares)
    return total / len(chosen)


def _extent(case: Case, dimensions: int, multiple: int) -> tuple[int, ...]:
    return tuple(-(-size // multiple) * multiple for size in case.shape[3 - dimensions :])


def _stacked(cases: Sequence[Case], dimensions: int, multiple: int) -> tuple[Tensor, Tensor]:
    """Images (N, C, ...) and labels (N, ...) at one padded extent; labels beyond a volume count nowhere."""
    images, labels = [], []
    for case in cases:
        extent = _extent(case, dimensions, multiple)
        image = case.image()[:, 0] if dimensions == 2 else case.image()
        values, inside = padded(image, extent)
        truth = np.full(extent, IGNORE, dtype=np.uint8)
        truth[inside] = case.labels[0] if dimensions == 2 else case.labels
        images.append(values)
        labels.append(truth)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))
