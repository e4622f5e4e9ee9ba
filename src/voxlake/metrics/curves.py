"""Curves over all thresholds: ROC, precision-recall, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.inputs import Floats, as_binary, as_scores, as_weights, ratio
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

    `low` and `high` are Wilson intervals of the observed frequency, with samples taken as independent.
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
    truth: ArrayLike, probability: ArrayLike, *, bins: int = 10, level: float = 0.95
) -> CalibrationCurve:
    """How often samples with a given probability are truly positive, in bins of about equal count.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.
    bins : int
        Wanted number of bins. Equal probabilities stay in one bin, so there may be fewer, and the result does
        not depend on the order of the samples.
    level : float
        Level of the interval of each frequency.

    Raises
    ------
    UsageError
        Less than one bin, or probabilities outside 0 to 1.
    """
    positive = as_binary(truth)
    certain = as_scores(probability, "probability", positive.size)
    if bins < 1 or certain.ndim != 1 or certain.min() < 0 or certain.max() > 1:
        raise UsageError("calibration needs at least one bin and probabilities of one class from 0 to 1")
    order = np.argsort(certain, kind="stable")
    ordered = certain[order]
    wanted = np.arange(bins) * positive.size // bins
    starts = np.unique(np.searchsorted(ordered, ordered[wanted], side="left"))
    counts = np.diff(np.append(starts, positive.size))
    hits = np.add.reduceat(positive[order].astype(np.float64), starts)
    ends = np.array([wilson_interval(hit, count, level) for hit, count in zip(hits, counts, strict=True)])
    return CalibrationCurve(
        predicted=np.add.reduceat(ordered, starts) / counts,
        observed=hits / counts,
        low=ends[:, 0],
        high=ends[:, 1],
        counts=counts.astype(np.int64),
    )


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
