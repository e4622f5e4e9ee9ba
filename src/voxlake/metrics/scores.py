"""Metrics of scores and probabilities: how well they rank, and how well they can be believed.

Two classes: truth of 0 and 1, scores of shape (samples,) for the positive class.
More classes: truth of class numbers 0 to K - 1, scores of shape (samples, K); rank metrics are the mean
over the classes, each against all others.
``weights`` may be a batch of shape (replicates, samples); see `voxlake.metrics.confusion`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.inputs import (
    Average,
    Floats,
    Score,
    as_binary,
    as_labels,
    as_scores,
    as_weights,
    averaged,
    ratio,
)

__all__ = ["average_precision", "brier_score", "log_loss", "roc_auc"]


def roc_auc(
    truth: ArrayLike, scores: ArrayLike, *, average: Average = "macro", weights: ArrayLike | None = None
) -> Score:
    """Area under the ROC curve: how often a positive sample outranks a negative one, ties counting half.

    Parameters
    ----------
    truth : array-like, shape (samples,)
        0 and 1, or class numbers.
    scores : array-like, shape (samples,) or (samples, classes)
        Higher means more positive.
    average : {"macro", "micro", "weighted"}
        With several classes: the unweighted mean, one ranking of all pairs of sample and class, or the mean
        weighted by how often a class is true.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN where a class has no sample.

    Raises
    ------
    UsageError
        Shapes differ, a score is not finite, or truth is not what the shape of the scores asks for.
    """
    return _each_against_rest(_binary_auc, truth, scores, average, weights)


def average_precision(
    truth: ArrayLike, scores: ArrayLike, *, average: Average = "macro", weights: ArrayLike | None = None
) -> Score:
    """Area under the precision-recall curve as the sum of its steps, ``sum (R_n - R_(n-1)) P_n``.

    Parameters, errors and the form of the result are those of `roc_auc`. NaN without positive samples.
    """
    return _each_against_rest(_binary_average_precision, truth, scores, average, weights)


def brier_score(truth: ArrayLike, probability: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Mean squared distance between probability and outcome; 0 is best.

    Two classes: ``mean (p - y)^2``, 0 to 1. More classes: summed over the classes, 0 to 2 (Brier 1950).
    Parameters and errors are those of `roc_auc`.
    """
    outcome, certain, checked = _probabilities(truth, probability, weights)
    distance = ((certain - outcome) ** 2).sum(axis=1)
    return ratio(checked @ (distance / 2 if np.ndim(probability) == 1 else distance), checked.sum(axis=-1))


def log_loss(truth: ArrayLike, probability: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Mean negative natural logarithm of the probability given to the true class; 0 is best.

    Probabilities are kept at least one float64 epsilon (2.2e-16) from 0, so that a certain and wrong
    prediction costs 36 and not infinity. Parameters and errors are those of `roc_auc`.
    """
    outcome, certain, checked = _probabilities(truth, probability, weights)
    given = np.clip((certain * outcome).sum(axis=1), np.finfo(np.float64).eps, 1.0)
    return ratio(checked @ -np.log(given), checked.sum(axis=-1))


def _each_against_rest(
    metric: Callable[[NDArray[np.bool_], Floats, Floats], Score],
    truth: ArrayLike,
    scores: ArrayLike,
    average: Average,
    weights: ArrayLike | None,
) -> Score:
    labels = as_labels(truth, "truth")
    checked = as_scores(scores, "scores", labels.size)
    weight = as_weights(weights, labels.size)
    if checked.ndim == 1:
        return metric(as_binary(labels), checked, weight)
    _check_class_numbers(labels, checked.shape[1])
    outcomes = labels[:, np.newaxis] == np.arange(checked.shape[1])
    if average == "micro":
        return metric(outcomes.ravel(), checked.ravel(), np.repeat(weight, checked.shape[1], axis=-1))
    each = [metric(outcome, column, weight) for outcome, column in zip(outcomes.T, checked.T, strict=True)]
    return averaged(np.stack(each), np.stack([weight @ outcome for outcome in outcomes.T]), average)


def _binary_auc(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> Score:
    order = np.argsort(scores, kind="stable")
    starts = _tie_starts(scores[order])
    above = _by_score(weights, order, positive, starts)
    below = _by_score(weights, order, ~positive, starts)
    # Negatives strictly under each score, and half of those that share it.
    beaten = np.cumsum(below, axis=-1)
    beaten -= 0.5 * below
    wins = np.einsum("...i,...i->...", above, beaten)
    return ratio(wins, above.sum(axis=-1) * below.sum(axis=-1))


def _binary_average_precision(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> Score:
    order = np.argsort(-scores, kind="stable")
    starts = _tie_starts(scores[order])
    step = _by_score(weights, order, positive, starts)
    hits = np.cumsum(step, axis=-1)
    calls = hits + np.cumsum(_by_score(weights, order, ~positive, starts), axis=-1)
    # Before the first sample with weight there is no call, hence no precision and no step either.
    precision = np.divide(hits, calls, out=np.zeros_like(hits), where=calls > 0)
    return ratio(np.einsum("...i,...i->...", step, precision), step.sum(axis=-1))


def _tie_starts(ordered: Floats) -> NDArray[np.intp]:
    return np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))


def _by_score(
    weights: Floats, order: NDArray[np.intp], chosen: NDArray[np.bool_], starts: NDArray[np.intp]
) -> Floats:
    """Weight of the chosen samples at each distinct score, in order."""
    sorted_weights = weights[..., order] * chosen[order]
    if starts.size == order.size:
        return np.asarray(sorted_weights)
    return np.asarray(np.add.reduceat(sorted_weights, starts, axis=-1))


def _probabilities(
    truth: ArrayLike, probability: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    """Outcome and probability as (samples, classes), and the weights."""
    labels = as_labels(truth, "truth")
    certain = as_scores(probability, "probability", labels.size)
    if certain.min() < 0 or certain.max() > 1:
        raise UsageError("probability must lie between 0 and 1; turn scores into probabilities first")
    if certain.ndim == 1:
        labels = as_binary(labels).astype(np.intp)
        certain = np.column_stack((1 - certain, certain))
    _check_class_numbers(labels, certain.shape[1])
    outcome = (labels[:, np.newaxis] == np.arange(certain.shape[1])).astype(np.float64)
    return outcome, certain, as_weights(weights, labels.size)


def _check_class_numbers(labels: NDArray[np.generic], classes: int) -> None:
    if not np.isin(labels, np.arange(classes)).all():
        raise UsageError(f"truth must be class numbers 0 to {classes - 1}, one for each column of the scores")
