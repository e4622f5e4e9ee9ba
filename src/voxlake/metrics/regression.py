"""Metrics of predicted numbers: how far off, in which direction, and how much of the variation is told.

``weights`` may be a batch of shape (replicates, samples); see `voxlake.metrics.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, Score, as_labels, as_scores, as_weights, ratio
from voxlake.metrics.resampling import resample

__all__ = [
    "REGRESSION_METRICS",
    "mean_absolute_error",
    "mean_error",
    "mean_squared_error",
    "median_absolute_error",
    "pearson_correlation",
    "r_squared",
    "regression_estimates",
    "root_mean_squared_error",
    "spearman_correlation",
    "weighted_median",
]


def mean_error(truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Mean of predicted less true: the bias, in the unit of the truth.

    Parameters
    ----------
    truth, predicted : array-like, shape (samples,)
        True and predicted numbers.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN where all weights are zero.

    Raises
    ------
    UsageError
        Shapes differ, or a number is not finite.
    """
    actual, guess, weight = _checked(truth, predicted, weights)
    return _mean(guess - actual, weight)


def mean_absolute_error(truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Mean distance of predicted and true (MAE). Parameters, result and errors are those of `mean_error`."""
    actual, guess, weight = _checked(truth, predicted, weights)
    return _mean(np.abs(guess - actual), weight)


def mean_squared_error(truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Mean squared distance (MSE). Parameters, result and errors are those of `mean_error`."""
    actual, guess, weight = _checked(truth, predicted, weights)
    return _mean((guess - actual) ** 2, weight)


def root_mean_squared_error(
    truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None
) -> Score:
    """Square root of the mean squared distance (RMSE). Otherwise as `mean_error`."""
    root = np.sqrt(mean_squared_error(truth, predicted, weights=weights))
    return root if root.ndim else np.float64(root)


def median_absolute_error(
    truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None
) -> Score:
    """Median distance; a sample of weight 2 counts like two samples. Otherwise as `mean_error`."""
    actual, guess, weight = _checked(truth, predicted, weights)
    return weighted_median(np.abs(guess - actual), weight)


def r_squared(truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Share of the variance of the truth that the prediction tells; below 0 where the mean would do better.

    ``1 - sum (y - f)^2 / sum (y - mean y)^2``. Parameters and errors are those of `mean_error`; NaN where the
    truth does not vary.
    """
    actual, guess, weight = _checked(truth, predicted, weights)
    residual = np.einsum("...i,i->...", weight, (actual - guess) ** 2)
    centred = _centred(actual)
    about_mean = np.einsum("...i,i->...", weight, centred**2)
    total = about_mean - _square_of_sum(centred, weight)
    enough = total > 1e-12 * about_mean
    told = 1 - ratio(residual, np.where(enough, total, 0.0))
    return told if told.ndim else np.float64(told)


def pearson_correlation(truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Pearson's linear correlation. Otherwise as `mean_error`; NaN where either does not vary."""
    actual, guess, weight = _checked(truth, predicted, weights)
    return _correlation(_centred(actual), _centred(guess), weight)


def spearman_correlation(
    truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None
) -> Score:
    """Spearman's correlation of mid-ranks. Otherwise as `mean_error`; NaN where either does not vary.

    With weights, the ranks are those of the data in which a sample of weight 2 stands twice.
    """
    actual, guess, weight = _checked(truth, predicted, weights)
    if weights is None:
        return _correlation(_centred(rankdata(actual)), _centred(rankdata(guess)), weight)
    return _correlation(_mid_ranks(actual, weight), _mid_ranks(guess, weight), weight)


REGRESSION_METRICS: Mapping[str, Callable[..., Score]] = MappingProxyType(
    {
        "mean_absolute_error": mean_absolute_error,
        "root_mean_squared_error": root_mean_squared_error,
        "median_absolute_error": median_absolute_error,
        "mean_error": mean_error,
        "r_squared": r_squared,
        "pearson_correlation": pearson_correlation,
        "spearman_correlation": spearman_correlation,
    }
)
"""Figures of a regression by name, in the order of reports."""


def regression_estimates(
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    groups: ArrayLike | None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """All of `REGRESSION_METRICS` with intervals over the same resampled patients.

    Parameters
    ----------
    truth, predicted : array-like, shape (samples,)
        True and predicted numbers.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent, and the method says so.
    replicates, level, seed
        As for `voxlake.metrics.resampling.resample`.

    Raises
    ------
    UsageError
        Shapes differ, or a number is not finite.
    """
    actual, guess, weight = _checked(truth, predicted, None)
    estimates: dict[str, Estimate] = {}
    for interval, chosen in (("percentile", _JUMPING), ("bca", REGRESSION_METRICS.keys() - _JUMPING)):
        metrics = {
            name: partial(_weighted, REGRESSION_METRICS[name], actual, guess) for name in sorted(chosen)
        }
        estimates |= resample(
            metrics,
            samples=weight.size,
            groups=groups,
            replicates=replicates,
            level=level,
            seed=seed,
            interval="bca" if interval == "bca" else "percentile",
        )
    return {name: estimates[name] for name in REGRESSION_METRICS}


# Leaving out one sample moves a median in jumps, from which no acceleration can be read.
_JUMPING = frozenset({"median_absolute_error"})


def weighted_median(values: Floats, weights: Floats) -> Score:
    """Median of values (samples,) under weights (samples,) or (replicates, samples).

    Whole weights give the median of the data in which each value stands as often as its weight says: between
    the two middle ones where their number is even. NaN where all weights are zero.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    running = np.cumsum(np.atleast_2d(weights)[:, order], axis=1)
    half = running[:, -1:] / 2
    tolerance = 1e-9 * running[:, -1:]
    lower = np.argmax(running >= half - tolerance, axis=1)
    upper = np.argmax(running > half + tolerance, axis=1)
    middle = np.where(running[:, -1] > 0, (ordered[lower] + ordered[upper]) / 2, np.nan)
    return middle if weights.ndim == 2 else np.float64(middle[0])


def _weighted(metric: Callable[..., Score], truth: Floats, predicted: Floats, weights: Floats) -> Score:
    return metric(truth, predicted, weights=weights)


def _checked(
    truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    labels = as_labels(truth, "truth")
    actual = as_scores(labels, "truth", labels.size)
    guess = as_scores(as_labels(predicted, "predicted", labels.size), "predicted", labels.size)
    return actual, guess, as_weights(weights, labels.size)


def _mean(values: Floats, weights: Floats) -> Score:
    return ratio(np.einsum("...i,i->...", weights, values), weights.sum(axis=-1))


def _centred(values: Floats) -> Floats:
    """Values less their mean, so that offsets do not eat the digits; exact zeros where all are equal."""
    return values - values.mean() if np.ptp(values) > 0 else np.zeros_like(values)


def _square_of_sum(values: Floats, weights: Floats) -> Floats:
    total = weights.sum(axis=-1)
    summed = np.einsum("...i,i->...", weights, values) ** 2
    return np.asarray(summed / np.where(total > 0, total, 1.0))


def _correlation(one: Floats, other: Floats, weights: Floats) -> Score:
    """Correlation of values of shape (samples,) or, where they follow the weights, (replicates, samples)."""
    total = weights.sum(axis=-1, keepdims=True)
    share = weights / np.where(total > 0, total, 1.0)
    one = one - np.sum(share * one, axis=-1, keepdims=True)
    other = other - np.sum(share * other, axis=-1, keepdims=True)
    both = np.sum(share * one * other, axis=-1)
    spread = np.sqrt(np.sum(share * one**2, axis=-1) * np.sum(share * other**2, axis=-1))
    size = np.sqrt(np.max(one**2, axis=-1) * np.max(other**2, axis=-1))
    return ratio(both, np.where(spread > 1e-14 * size, spread, 0.0))


def _mid_ranks(values: Floats, weights: Floats) -> Floats:
    _, code = np.unique(values, return_inverse=True)
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(code[order]) > 0)))
    each = np.add.reduceat(weights[..., order], starts, axis=-1)
    return np.asarray((np.cumsum(each, axis=-1) - each / 2)[..., code])
