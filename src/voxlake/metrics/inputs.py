"""What the metrics accept: checked arrays and weights, and a division that admits when it has no answer."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError

__all__ = ["Floats", "Score", "as_binary", "as_labels", "as_scores", "as_weights", "ratio"]

Floats: TypeAlias = NDArray[np.float64]
# One number for one set of weights, one number per row for a batch of weights.
Score: TypeAlias = np.float64 | Floats


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
