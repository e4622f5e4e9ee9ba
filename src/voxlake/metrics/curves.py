"""Curves over all thresholds: ROC, precision-recall, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.calibration_bins import Scheme, bin_starts
from voxlake.metrics.inputs import Floats, as_binary, as_labels, as_probability, as_scores, as_weights, ratio
from voxlake.metrics.wilson import wilson_interval

__all__ = [
    "CalibrationCurve",
    "PrecisionRecallCurve",
    "RocCurve",
    "calibration_curve",
    "precision_recall_curve",
    "roc_curve",
]


@dataclass(frozen=True)
class RocCurve:
    """Points of a ROC curve, for falling thresholds; all arrays have shape (points,)."""

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Points of a precision-recall curve, for falling thresholds; all arrays have shape (points,)."""

    precision: Floats
    recall: Floats
    thresholds: Floats


@dataclass(frozen=True)
class CalibrationCurve:
    """Mean prediction against observed frequency; all arrays have shape (bins,).

    `low` and `high` are Wilson intervals of the observed frequency.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    counts: NDArray[np.int64]


def roc_curve(truth: ArrayLike, scores: ArrayLike, *, weights: ArrayLike | None = None) -> RocCurve:
    """Recall against false positive rate at every distinct score.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    scores : array-like, shape (samples,)
        Higher means more positive.
    weights : array-like, shape (samples,), optional
        Weight of each sample.

    Returns
    -------
    RocCurve
        From (0, 0) at an infinite threshold to (1, 1). A rate whose class has no sample is NaN.
    """
    hits, false, thresholds = _falling(truth, scores, weights)
    return RocCurve(
        false_positive_rate=np.asarray(ratio(np.append(0.0, false), false[-1])),
        true_positive_rate=np.asarray(ratio(np.append(0.0, hits), hits[-1])),
        thresholds=np.append(np.inf, thresholds),
    )


def precision_recall_curve(
    truth: ArrayLike, scores: ArrayLike, *, weights: ArrayLike | None = None
) -> PrecisionRecallCurve:
    """Precision against recall at every distinct score.

    Parameters are those of `roc_curve`.

    Returns
    -------
    PrecisionRecallCurve
        It begins at recall 0 with precision 1, a convention that closes the curve. Recall is NaN without
        positive samples, precision is NaN while no sample with weight is called.
    """
    hits, false, thresholds = _falling(truth, scores, weights)
    return PrecisionRecallCurve(
        precision=np.append(1.0, ratio(hits, hits + false)),
        recall=np.asarray(ratio(np.append(0.0, hits), hits[-1])),
        thresholds=np.append(np.inf, thresholds),
    )


def calibration_curve(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    bins: int = 10,
    level: float = 0.95,
    scheme: Scheme = "equal_count",
    groups: ArrayLike | None = None,
) -> CalibrationCurve:
    """How often samples with a given probability are truly positive, in bins.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.
    bins : int
        Wanted number of bins. Bins without samples are left out, and equal probabilities stay in one bin, so
        there may be fewer; the result does not depend on the order of the samples.
    level : float
        Level of the interval of each frequency.
    scheme : {"equal_count", "equal_width"}
        As for `voxlake.metrics.calibration.calibration_error`.
    groups : array-like, shape (samples,), optional
        Patient of each sample. The number of samples of a bin is then divided by how much more its frequency
        varies over patients than over samples (design effect), and never counts for more than it is.

    Raises
    ------
    UsageError
        Less than one bin, an unknown scheme, or probabilities outside 0 to 1.
    """
    positive = as_binary(truth)
    certain = as_probability(probability, positive.size)
    order, starts = bin_starts(certain, bins=bins, scheme=scheme)
    counts = np.diff(np.append(starts, positive.size))
    hits = np.add.reduceat(positive[order].astype(np.float64), starts)
    parts = np.split(order, starts[1:])
    members = None if groups is None else as_labels(groups, "groups", positive.size)
    effect = [1.0 if members is None else _design_effect(positive[part], members[part]) for part in parts]
    ends = np.array(
        [wilson_interval(*pair, level) for pair in zip(hits / effect, counts / effect, strict=True)]
    )
    return CalibrationCurve(
        predicted=np.add.reduceat(certain[order], starts) / counts,
        observed=hits / counts,
        low=ends[:, 0],
        high=ends[:, 1],
        counts=counts.astype(np.int64),
    )


def _design_effect(positive: NDArray[np.bool_], members: NDArray[Any]) -> float:
    """Variance of a share over groups by that over samples; at least 1, and images per group at most."""
    _, place, sizes = np.unique(members, return_inverse=True, return_counts=True)
    largest = float((sizes**2).sum() / positive.size)
    share = positive.mean()
    if sizes.size < 2 or share in (0.0, 1.0):
        # Nothing varies here; the cautious reading is that all images of a patient say the same.
        return largest
    rest = np.bincount(place, positive - share)
    robust = (rest**2).sum() * sizes.size / (sizes.size - 1)
    return float(np.clip(robust / (positive.size * share * (1 - share)), 1.0, largest))


def _falling(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    """Weight of positives and negatives at or above each distinct score, from the highest down."""
    positive = as_binary(truth)
    checked = as_scores(scores, "scores", positive.size)
    weight = as_weights(weights, positive.size)
    if checked.ndim != 1 or weight.ndim != 1:
        raise UsageError("a curve needs scores and weights of shape (samples,)")
    distinct, place = np.unique(-checked, return_inverse=True)
    hits = np.cumsum(np.bincount(place, weight * positive, distinct.size), dtype=np.float64)
    false = np.cumsum(np.bincount(place, weight * ~positive, distinct.size), dtype=np.float64)
    return hits, false, -distinct
