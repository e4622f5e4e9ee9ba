"""Calibration: whether a probability of 30% comes true in 30% of the cases.

References
----------
Cox DR. Two further applications of a model for binary regression. Biometrika 45 (1958) 562-565.
Naeini MP, Cooper G, Hauskrecht M. Obtaining well calibrated probabilities using Bayesian binning.
AAAI (2015) 2901-2907.
Van Calster B, McLernon DJ, van Smeden M, et al. Calibration: the Achilles heel of predictive analytics.
BMC Medicine 17 (2019) 230.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from voxlake.metrics.calibration_bins import Scheme, bin_starts, top_label
from voxlake.metrics.calibration_interval import calibration_error_estimate
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, Score, as_binary, as_labels, as_probability, as_weights
from voxlake.metrics.logistic import cluster_covariance, fit_intercept, fit_line, log_odds
from voxlake.metrics.normal import normal_deviate

__all__ = [
    "calibration_error",
    "calibration_estimates",
    "calibration_intercept",
    "calibration_slope",
]


def calibration_error(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    bins: int = 10,
    scheme: Scheme = "equal_count",
    weights: ArrayLike | None = None,
) -> Score:
    """Expected calibration error (ECE): mean distance between probability and frequency over bins.

    Each bin counts by its share of the samples. The value of a finite sample lies above that of the
    population, by the more the smaller the bins: see `voxlake.metrics.calibration_interval` for an interval.

    Parameters
    ----------
    truth : array-like, shape (samples,)
        0 and 1, or class numbers.
    probability : array-like, shape (samples,) or (samples, classes)
        Of the positive class; or of all classes: then it is the probability of the most probable class that
        should be as often right as it says.
    bins : int
        Wanted number of bins.
    scheme : {"equal_count", "equal_width"}
        Bins of about equally many samples (equal probabilities stay together), or of equal width between 0
        and 1, each with its upper edge left out but the last.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample; the bins are those of the samples as they are.

    Returns
    -------
    float or ndarray, shape (replicates,)
        0 to 1; 0 is best.

    Raises
    ------
    UsageError
        Fewer than one bin, an unknown scheme, or probabilities outside 0 to 1.
    """
    positive, certain = top_label(truth, probability)
    order, starts = bin_starts(certain, bins=bins, scheme=scheme)
    weight = as_weights(weights, positive.size)
    surplus = weight[..., order] * (positive - certain)[order]
    total = weight.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        error = np.abs(np.add.reduceat(surplus, starts, axis=-1)).sum(axis=-1) / np.where(
            total > 0, total, np.nan
        )
    return error if np.ndim(error) else np.float64(error)


def calibration_intercept(
    truth: ArrayLike, probability: ArrayLike, *, weights: ArrayLike | None = None
) -> Score:
    """Calibration in the large: the log-odds that must be added to all predictions; 0 is best.

    Above 0 the predictions are too low. The slope is held at 1.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN with one class only.
    """
    outcome, odds, weight = _regression(truth, probability, weights)
    found = fit_intercept(outcome, odds, np.atleast_2d(weight))
    return found if weight.ndim == 2 else np.float64(found[0])


def calibration_slope(truth: ArrayLike, probability: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Slope of the log-odds of the outcome on those of the prediction; 1 is best.

    Below 1 the predictions are too extreme, the mark of overfitting. Parameters are those of
    `calibration_intercept`.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN where no finite line fits: one class only, all predictions equal, or the classes separated.
    """
    outcome, odds, weight = _regression(truth, probability, weights)
    found = fit_line(outcome, odds, np.atleast_2d(weight))[:, 1]
    return found if weight.ndim == 2 else np.float64(found[0])


def calibration_estimates(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    groups: ArrayLike | None,
    bins: int = 10,
    level: float = 0.95,
    seed: int = 0,
) -> list[Estimate]:
    """Calibration error, slope, intercept, and observed to expected events, with intervals over patients.

    The intervals of slope, intercept and ratio are normal with variances that add up the residuals within
    each patient first (sandwich); that of the ratio is made on its logarithm. They hold whatever form the
    miscalibration has. Those of the errors are from `voxlake.metrics.calibration_interval`.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent.
    bins : int
        Wanted number of bins of both calibration errors.
    level : float
        Confidence level.
    seed : int
        Seed of the intervals of the calibration errors.

    Returns
    -------
    list of Estimate
        calibration_error (bins of equal count), calibration_error_equal_width, calibration_slope,
        calibration_intercept, observed_to_expected.

    Raises
    ------
    UsageError
        Truth is not 0 and 1, a probability lies outside 0 to 1, or the level is none.
    """
    deviate = normal_deviate(level)
    outcome, odds, weight = _regression(truth, probability, None)
    size = outcome.size
    _, members = np.unique(
        np.arange(size) if groups is None else as_labels(groups, "groups", size), return_inverse=True
    )
    line = fit_line(outcome, odds, weight[np.newaxis])[0]
    shift = float(fit_intercept(outcome, odds, weight[np.newaxis])[0])
    design = np.column_stack((np.ones(size), odds))
    slope = _wald(outcome, design, line, np.zeros(size), members)
    large = _wald(outcome, design[:, :1], np.array([shift]), odds, members)
    ratio_value, ratio_error = _ratio(outcome, np.asarray(probability, dtype=np.float64), members)
    unit = "samples" if groups is None else "groups"

    def normal(name: str, value: float, error: float) -> Estimate:
        low, high, method = _normal(value, deviate * error, logarithmic=name == "observed_to_expected")
        counts = size, int(members.max()) + 1
        return Estimate(name, value, low, high, level, method or f"robust variance over {unit}", *counts)

    equal_count, equal_width = (
        calibration_error_estimate(
            truth, probability, groups=groups, bins=bins, scheme=scheme, level=level, seed=seed
        )
        for scheme in ("equal_count", "equal_width")
    )
    return [
        equal_count,
        replace(equal_width, name="calibration_error_equal_width"),
        normal("calibration_slope", float(line[1]), slope),
        normal("calibration_intercept", shift, large),
        normal("observed_to_expected", ratio_value, ratio_error),
    ]


def _normal(value: float, half: float, *, logarithmic: bool) -> tuple[float, float, str]:
    """Ends of a normal interval, or why there is none."""
    if math.isnan(value):
        return math.nan, math.nan, "none: the metric is not defined on these data"
    if math.isnan(half):
        return math.nan, math.nan, "none: too few events or groups for a variance"
    if logarithmic:
        return value * math.exp(-half), value * math.exp(half), ""
    return value - half, value + half, ""


def _regression(
    truth: ArrayLike, probability: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    outcome = as_binary(truth).astype(np.float64)
    odds = log_odds(as_probability(probability, outcome.size))
    return outcome, odds, as_weights(weights, outcome.size)


def _wald(
    outcome: Floats, design: Floats, coefficients: Floats, offset: Floats, members: NDArray[np.intp]
) -> float:
    """Robust standard error of the last coefficient; NaN where it has none."""
    if np.isnan(coefficients).any() or members.max() < 1 or outcome.size <= design.shape[1]:
        return math.nan
    expected = expit(design @ coefficients + offset)
    information = design.T @ (design * (expected * (1 - expected))[:, np.newaxis])
    return math.sqrt(cluster_covariance(design, outcome - expected, information, members)[-1, -1])


def _ratio(outcome: Floats, certain: Floats, members: NDArray[np.intp]) -> tuple[float, float]:
    """Observed to expected events, and the standard error of the logarithm of the ratio."""
    observed, expected = float(outcome.sum()), float(certain.sum())
    if expected == 0:
        return math.nan, math.nan
    count = int(members.max()) + 1
    if observed == 0 or count < 2:
        return observed / expected, math.nan
    parts = np.bincount(members, outcome / observed - certain / expected, count)
    return observed / expected, math.sqrt(float((parts**2).sum()) * count / (count - 1))
