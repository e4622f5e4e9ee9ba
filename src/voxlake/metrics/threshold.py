"""Operating points: where a probability becomes a decision. Choose them on validation data only.

A sample is called positive when its probability is at or above the threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from voxlake.core.errors import UsageError
from voxlake.metrics.inputs import Floats, as_binary, as_scores

__all__ = ["threshold_at_recall", "youden_threshold"]


def youden_threshold(truth: ArrayLike, probability: ArrayLike) -> float:
    """Threshold with the greatest sum of recall and specificity (Youden 1950).

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.

    Returns
    -------
    float
        Halfway between the two neighbouring probabilities, as the edge itself would hang on one sample.
        Among equally good thresholds the lowest, which misses fewer positives.

    Raises
    ------
    UsageError
        One class only.
    """
    recall, false_rate, cuts = _operating_points(truth, probability)
    index = recall - false_rate
    best = np.flatnonzero(index >= index.max() - 1e-12)[-1]
    return float(cuts[best])


def threshold_at_recall(truth: ArrayLike, probability: ArrayLike, recall: float = 0.95) -> float:
    """Highest threshold that still finds the wanted share of the positive samples.

    Parameters
    ----------
    truth, probability : array-like, shape (samples,)
        As for `youden_threshold`.
    recall : float
        Wanted recall, above 0 and at most 1.

    Returns
    -------
    float
        Halfway between the last probability that must be called positive and the next one below.

    Raises
    ------
    UsageError
        One class only, or a recall that is none.
    """
    if not 0 < recall <= 1:
        raise UsageError(f"recall must be above 0 and at most 1, got {recall}")
    reached, _, cuts = _operating_points(truth, probability)
    return float(cuts[np.flatnonzero(reached >= recall - 1e-12)[0]])


def _operating_points(truth: ArrayLike, probability: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Recall and false positive rate for falling thresholds, from the first call to calling everything."""
    positive = as_binary(truth)
    scores = as_scores(probability, "probability", positive.size)
    if scores.ndim != 1:
        raise UsageError("a threshold needs the probability of one class, shape (samples,)")
    if positive.all() or not positive.any():
        raise UsageError("a threshold needs positive and negative samples, got one class only")
    distinct, place = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(place, positive, distinct.size))
    false = np.cumsum(np.bincount(place, ~positive, distinct.size))
    values = -distinct
    below = np.append(values[1:], values[-1])
    middle = (values + below) / 2
    # Between two neighbouring floats there is no middle; the upper one keeps the decision.
    cuts = np.where(middle > below, middle, values)
    return hits / hits[-1], false / false[-1], cuts
