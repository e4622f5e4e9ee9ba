"""What the metrics accept: checked arrays and weights, and a division that admits when it has no answer."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError

__all__ = [
    "Average",
    "Floats",
    "Score",
    "as_binary",
    "as_labels",
    "as_probability",
    "as_scores",
    "as_weights",
    "averaged",
    "ratio",
]

Floats: TypeAlias = NDArray[np.float64]
# One number for one set of weights, one number per row for a batch of weights.
Score: TypeAlias = np.float64 | Floats
# How the values of several classes become one.
Average: TypeAlias = Literal["macro", "micro", "weighted"]


def as_labels(values: ArrayLike, name: str, samples: int | None = None) -> NDArray[Any]:
    """One label for each sample.

    Parameters
    ----------
    values : array-like, shape (samples,)
        Labels of any type that NumPy compares.
    name : str
        What they are, for the error message.
    samples : int, optional
        How many there must be.

    Raises
    ------
    UsageError
        The array is not one-dimensional, is empty or has another length.
    """
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.size == 0:
        raise UsageError(f"{name} must be one label per sample, got shape {labels.shape}; pass a 1-D array")
    if samples is not None and labels.size != samples:
        raise UsageError(
            f"{name} has {labels.size} values for {samples} samples; pass arrays of equal length"
        )
    return labels


def as_binary(truth: ArrayLike) -> NDArray[np.bool_]:
    """Truth of a two-class task as booleans.

    Raises
    ------
    UsageError
        There are values other than 0 and 1 (or False and True).
    """
    labels = as_labels(truth, "truth")
    if not np.isin(labels, (0, 1)).all():
        raise UsageError(
            "truth must be 0 (negative) or 1 (positive); compare your labels with the positive one"
        )
    return labels.astype(bool)


def as_scores(values: ArrayLike, name: str, samples: int) -> Floats:
    """Scores, shape (samples,) or (samples, classes), as finite floats.

    Raises
    ------
    UsageError
        The number of samples differs, or a score is not finite.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim not in (1, 2) or scores.shape[0] != samples:
        raise UsageError(
            f"{name} has shape {scores.shape} for {samples} samples; pass (samples,) or (samples, classes)"
        )
    if not np.isfinite(scores).all():
        raise UsageError(f"{name} has values that are not finite; leave such samples out and count them")
    return scores


def as_probability(values: ArrayLike, samples: int) -> Floats:
    """Probability of the positive class, shape (samples,), from 0 to 1.

    Raises
    ------
    UsageError
        The shape differs, or a value lies outside 0 to 1.
    """
    certain = as_scores(values, "probability", samples)
    if certain.ndim != 1:
        raise UsageError(
            f"probability has shape {certain.shape}; pass that of the positive class, (samples,)"
        )
    if certain.size and (certain.min() < 0 or certain.max() > 1):
        raise UsageError("probability must lie between 0 and 1; turn scores into probabilities first")
    return certain


def as_weights(weights: ArrayLike | None, samples: int) -> Floats:
    """Weights of the samples, shape (samples,) or a batch (replicates, samples); None means one each.

    Raises
    ------
    UsageError
        The last axis does not match the samples, or a weight is negative or not finite.
    """
    if weights is None:
        return np.ones(samples)
    checked = np.asarray(weights, dtype=np.float64)
    if checked.ndim not in (1, 2) or checked.shape[-1] != samples:
        raise UsageError(
            f"weights have shape {checked.shape} for {samples} samples; "
            "pass (samples,) or (replicates, samples)"
        )
    # One pass each: minimum and maximum also tell NaN and infinity apart from good weights.
    if checked.size and not (checked.min() >= 0 and np.isfinite(checked.max())):
        raise UsageError("weights must be finite and not negative")
    return checked


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Score:
    """Divide where there is something to divide by; NaN elsewhere, never a silent 0."""
    above, below = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    result = np.full(below.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result if result.ndim else np.float64(result)


def averaged(each: ArrayLike, support: ArrayLike, average: Average) -> Score:
    """One value for several classes.

    Parameters
    ----------
    each : array-like, shape (classes,) or (classes, replicates)
        Value of each class.
    support : array-like of the same shape
        Weight of the samples that are truly of each class.
    average : {"macro", "micro", "weighted"}
        Unweighted mean, or mean weighted by `support`, where classes without support count nothing.
        For "micro" the classes must have been pooled before, so that there is one only.

    Raises
    ------
    UsageError
        The average is none of these.
    """
    values, weight = np.asarray(each, dtype=np.float64), np.asarray(support, dtype=np.float64)
    if average == "weighted":
        return ratio(np.where(weight > 0, values * weight, 0.0).sum(axis=0), weight.sum(axis=0))
    if average not in ("macro", "micro"):
        raise UsageError(f"average must be macro, micro or weighted, got {average!r}")
    mean: Score = values.mean(axis=0)
    return mean if np.ndim(mean) else np.float64(mean)
