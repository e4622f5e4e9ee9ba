"""Overlap and volume of two masks.

Masks are boolean arrays of any number of axes, or of 0 and 1. A ratio of nothing to nothing, such as the Dice
coefficient of two empty masks, is NaN: it says nothing about the segmentation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError

__all__ = [
    "as_mask",
    "as_masks",
    "dice",
    "iou",
    "relative_volume_difference",
    "volume_similarity",
    "voxel_precision",
    "voxel_recall",
]


def dice(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Dice coefficient: twice the common volume over the sum of both; NaN where both are empty.

    Parameters
    ----------
    truth, predicted : array-like of bool, equal shape
        Masks.

    Raises
    ------
    UsageError
        Shapes differ, or there are values other than 0 and 1.
    """
    both, true, claimed = _volumes(truth, predicted)
    return _ratio(2 * both, true + claimed)


def iou(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Intersection over union (Jaccard). Otherwise as `dice`."""
    both, true, claimed = _volumes(truth, predicted)
    return _ratio(both, true + claimed - both)


def voxel_recall(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of the true volume that was found; NaN where there is none. Otherwise as `dice`."""
    both, true, _ = _volumes(truth, predicted)
    return _ratio(both, true)


def voxel_precision(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of the predicted volume that is true; NaN where there is none. Otherwise as `dice`."""
    both, _, claimed = _volumes(truth, predicted)
    return _ratio(both, claimed)


def volume_similarity(truth: ArrayLike, predicted: ArrayLike) -> float:
    """One less the difference of the volumes over their sum, wherever they lie. Otherwise as `dice`.

    References
    ----------
    Taha AA, Hanbury A. Metrics for evaluating 3D medical image segmentation: analysis, selection, and tool.
    BMC Medical Imaging 15 (2015) 29.
    """
    _, true, claimed = _volumes(truth, predicted)
    return _ratio(true + claimed - abs(true - claimed), true + claimed)


def relative_volume_difference(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Predicted less true volume, over the true one: 0 is best, -1 nothing found. Otherwise as `dice`."""
    _, true, claimed = _volumes(truth, predicted)
    return _ratio(claimed - true, true)


def as_mask(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Mask as booleans.

    Raises
    ------
    UsageError
        There are values other than 0 and 1.
    """
    mask = np.asarray(values)
    if mask.dtype == np.bool_:
        return mask
    chosen = mask == 1
    if not np.array_equal(chosen, mask != 0):
        raise UsageError(f"{name} has values other than 0 and 1; pick one label first, as in mask == label")
    return np.asarray(chosen)


def as_masks(truth: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks as booleans of equal shape.

    Raises
    ------
    UsageError
        Shapes differ, or there are values other than 0 and 1.
    """
    true, claimed = as_mask(truth, "truth"), as_mask(predicted, "predicted")
    if true.shape != claimed.shape:
        raise UsageError(f"masks have shapes {true.shape} and {claimed.shape}; bring them to one grid first")
    return true, claimed


def _volumes(truth: ArrayLike, predicted: ArrayLike) -> tuple[int, int, int]:
    true, claimed = as_masks(truth, predicted)
    both = int(np.count_nonzero(true & claimed))
    return both, int(np.count_nonzero(true)), int(np.count_nonzero(claimed))


def _ratio(above: int, below: int) -> float:
    return above / below if below else float("nan")
