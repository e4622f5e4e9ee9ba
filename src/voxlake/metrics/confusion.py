"""Metrics of decisions: counts of what was called what, and the rates made from them.

Every function takes ``weights`` of shape (samples,), or a batch of shape (replicates, samples) for which
it answers with one value per row: this is how the bootstrap asks for thousands of values at once.
A rate without a denominator is NaN: precision without positive calls is unknown, not zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.inputs import Average, Floats, Score, as_labels, as_weights, averaged, ratio

__all__ = [
    "accuracy",
    "balanced_accuracy",
    "confusion_matrix",
    "f1",
    "matthews_corrcoef",
    "precision",
    "recall",
    "specificity",
]

# Up to so many classes one matrix product counts faster than a loop over the rows of weights.
_FEW = 6


def confusion_matrix(
    truth: ArrayLike, predicted: ArrayLike, classes: ArrayLike, *, weights: ArrayLike | None = None
) -> Floats:
    """Count how often each class was called each class.

    Parameters
    ----------
    truth, predicted : array-like, shape (samples,)
        Labels.
    classes : array-like, shape (classes,)
        All labels, in the order of the rows and columns.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Returns
    -------
    ndarray of float64, shape (classes, classes) or (replicates, classes, classes)
        Row: truth; column: prediction.

    Raises
    ------
    UsageError
        A label is not among the classes, or the lengths differ.
    """
    known = as_labels(classes, "classes")
    rows = _codes(as_labels(truth, "truth"), known, "truth")
    columns = _codes(as_labels(predicted, "predicted", rows.size), known, "predicted")
    checked = as_weights(weights, rows.size)
    cells = rows * known.size + columns
    if known.size <= _FEW:
        tables = checked @ (cells[:, np.newaxis] == np.arange(known.size**2)).astype(np.float64)
    else:
        tables = np.stack([np.bincount(cells, row, known.size**2) for row in np.atleast_2d(checked)])
    return np.asarray(tables).reshape(*checked.shape[:-1], known.size, known.size)


def accuracy(truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Share of samples that were called right."""
    labels = as_labels(truth, "truth")
    calls = as_labels(predicted, "predicted", labels.size)
    checked = as_weights(weights, labels.size)
    return ratio(_total(checked, labels == calls), checked.sum(axis=-1))


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Mean of the recall of all classes that occur in truth; NaN where a replicate has lost one of them."""
    labels = as_labels(truth, "truth")
    each = [recall(labels, predicted, positive=label, weights=weights) for label in np.unique(labels)]
    mean: Score = np.mean(np.stack(each), axis=0)
    return mean if np.ndim(mean) else np.float64(mean)


def recall(
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    positive: Any = 1,
    average: Average = "macro",
    weights: ArrayLike | None = None,
) -> Score:
    """Sensitivity: share of the truly positive samples that were called positive.

    Parameters
    ----------
    truth, predicted : array-like, shape (samples,)
        Labels.
    positive : label or None
        The label that counts as positive; None takes an average over all labels that occur.
    average : {"macro", "micro", "weighted"}
        With ``positive=None``: the unweighted mean over the labels, the rate of the summed counts, or the
        mean weighted by how often a label is true (labels that are never true then count nothing).
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN without positive samples.
    """
    hit, _, missed, _ = _counts(truth, predicted, positive, weights, average)
    return averaged(ratio(hit, hit + missed), hit + missed, average)


def specificity(
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    positive: Any = 1,
    average: Average = "macro",
    weights: ArrayLike | None = None,
) -> Score:
    """Share of the truly negative samples that were not called positive; NaN without negative samples.

    Parameters are those of `recall`.
    """
    hit, false, missed, left = _counts(truth, predicted, positive, weights, average)
    return averaged(ratio(left, left + false), hit + missed, average)


def precision(
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    positive: Any = 1,
    average: Average = "macro",
    weights: ArrayLike | None = None,
) -> Score:
    """Positive predictive value: share of the positive calls that are right; NaN without positive calls.

    Parameters are those of `recall`.
    """
    hit, false, missed, _ = _counts(truth, predicted, positive, weights, average)
    return averaged(ratio(hit, hit + false), hit + missed, average)


def f1(
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    positive: Any = 1,
    average: Average = "macro",
    weights: ArrayLike | None = None,
) -> Score:
    """Harmonic mean of precision and recall, ``2 TP / (2 TP + FP + FN)``.

    Parameters are those of `recall`. NaN where nothing is positive and nothing was called positive.
    """
    hit, false, missed, _ = _counts(truth, predicted, positive, weights, average)
    return averaged(ratio(2 * hit, 2 * hit + false + missed), hit + missed, average)


def matthews_corrcoef(truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Correlation between truth and prediction, for two or more classes.

    NaN where truth or prediction holds one class only, as a correlation with a constant is not defined.

    References
    ----------
    Gorodkin J. Comparing two K-category assignments by a K-category correlation coefficient.
    Computational Biology and Chemistry 28 (2004) 367-374.
    """
    labels = as_labels(truth, "truth")
    calls = as_labels(predicted, "predicted", labels.size)
    table = confusion_matrix(labels, calls, np.union1d(labels, calls), weights=weights)
    true, called = table.sum(axis=-1), table.sum(axis=-2)
    total = true.sum(axis=-1)
    right = np.trace(table, axis1=-2, axis2=-1)
    covariance = right * total - (true * called).sum(axis=-1)
    spread = (total**2 - (true**2).sum(axis=-1)) * (total**2 - (called**2).sum(axis=-1))
    return ratio(covariance, np.sqrt(np.maximum(spread, 0.0)))


def _counts(
    truth: ArrayLike, predicted: ArrayLike, positive: Any, weights: ArrayLike | None, average: Average
) -> tuple[Floats, Floats, Floats, Floats]:
    """Weights of hits, false calls, missed and rightly left samples; a first axis of classes for None."""
    labels = as_labels(truth, "truth")
    calls = as_labels(predicted, "predicted", labels.size)
    checked = as_weights(weights, labels.size)
    chosen = np.union1d(labels, calls) if positive is None else np.asarray([positive])
    is_true, is_called = labels == chosen[:, np.newaxis], calls == chosen[:, np.newaxis]
    cells = (is_true & is_called, ~is_true & is_called, is_true & ~is_called, ~is_true & ~is_called)
    hit, false, missed, left = (np.stack([_total(checked, mask) for mask in cell]) for cell in cells)
    if average == "micro":
        hit, false, missed, left = (each.sum(axis=0, keepdims=True) for each in (hit, false, missed, left))
    return hit, false, missed, left


def _total(weights: Floats, mask: NDArray[np.bool_]) -> Floats:
    return np.asarray(weights @ mask.astype(np.float64))


def _codes(labels: NDArray[Any], classes: NDArray[Any], name: str) -> NDArray[np.intp]:
    order = np.argsort(classes, kind="stable")
    place = np.minimum(np.searchsorted(classes, labels, sorter=order), classes.size - 1)
    codes = order[place]
    strange = np.count_nonzero(classes[codes] != labels)
    if strange:
        raise UsageError(
            f"{strange} of {labels.size} values of {name} are not among the {classes.size} classes"
        )
    return np.asarray(codes, dtype=np.intp)
