"""Logistic regression on the log-odds of a prediction, for one or thousands of sets of weights at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from voxlake.metrics.inputs import Floats

__all__ = ["cluster_covariance", "fit_intercept", "fit_line", "log_odds"]

_ROUNDS = 40
_STEP = 1e-10
# Beyond these log-odds a fit is running away to infinity: the classes are separated.
_FAR = 1e3


def log_odds(probability: ArrayLike) -> Floats:
    """Log-odds of probabilities, kept within 1e-12 of 0 and 1 so that they are finite."""
    return np.asarray(logit(np.clip(np.asarray(probability, dtype=np.float64), 1e-12, 1 - 1e-12)))


def fit_intercept(outcome: Floats, odds: Floats, weights: Floats) -> Floats:
    """Maximum likelihood of ``a`` in ``logit P = a + odds``.

    Parameters
    ----------
    outcome, odds : ndarray, shape (samples,)
        Outcome, 0 to 1, and log-odds of the prediction.
    weights : ndarray, shape (replicates, samples)
        Weights.

    Returns
    -------
    ndarray, shape (replicates,)
        NaN where all samples with weight have the same outcome.
    """
    hits, total = weights @ outcome, weights.sum(axis=1)
    known = (hits > 0) & (hits < total)
    shift = np.where(known, 0.0, np.nan)
    for _ in range(_ROUNDS):
        expected = expit(shift[:, np.newaxis] + odds)
        slope = np.einsum("ri,ri->r", weights, expected * (1 - expected))
        step = np.divide(
            hits - np.einsum("ri,ri->r", weights, expected),
            slope,
            out=np.full_like(shift, np.nan),
            where=slope > 0,
        )
        # A bounded step cannot overshoot the one maximum of a concave likelihood by far.
        shift += np.clip(step, -2, 2)
        if np.nanmax(np.abs(step), initial=0.0) < _STEP:
            break
    return shift


def fit_line(outcome: Floats, odds: Floats, weights: Floats) -> Floats:
    """Maximum likelihood of ``a`` and ``b`` in ``logit P = a + b * odds``, by damped Newton steps.

    Parameters are those of `fit_intercept`.

    Returns
    -------
    ndarray, shape (replicates, 2)
        Intercept and slope; NaN where there is no finite maximum (one class only, all log-odds equal, or the
        classes separated).
    """
    # Standardised, both coefficients are of the same size and the damping below means the same for both.
    middle, scale = float(odds.mean()), float(odds.std())
    if scale == 0:
        return np.full((len(weights), 2), np.nan)
    design = np.column_stack((np.ones_like(odds), (odds - middle) / scale))
    found = np.zeros((len(weights), 2))
    for _ in range(_ROUNDS):
        expected = expit(found @ design.T)
        gradient = (weights * (outcome - expected)) @ design
        curvature = weights * expected * (1 - expected)
        step = _solve(curvature, design, gradient)
        length = np.abs(step).max(axis=1, keepdims=True)
        found += step * np.minimum(1.0, 2.0 / np.maximum(length, 2.0))
        if np.nanmax(length, initial=0.0) < _STEP:
            break
    found[_separated(outcome, odds, weights) | (np.abs(found).max(axis=1) > _FAR)] = np.nan
    slope = found[:, 1] / scale
    return np.column_stack((found[:, 0] - slope * middle, slope))


def cluster_covariance(
    design: Floats, residual: Floats, information: Floats, members: NDArray[np.intp]
) -> Floats:
    """Sandwich covariance of coefficients whose scores add up within groups.

    Parameters
    ----------
    design : ndarray, shape (samples, coefficients)
        Columns of the model.
    residual : ndarray, shape (samples,)
        Outcome less expectation.
    information : ndarray, shape (coefficients, coefficients)
        Expected information.
    members : ndarray of int, shape (samples,)
        Number of the group of each sample.

    Returns
    -------
    ndarray, shape (coefficients, coefficients)
        With the usual correction G / (G - 1) * (N - 1) / (N - K) for G groups, N samples, K coefficients.

    References
    ----------
    Liang KY, Zeger SL. Longitudinal data analysis using generalized linear models. Biometrika 73
    (1986) 13-22.
    """
    count = int(members.max()) + 1
    samples, coefficients = design.shape
    scores = np.stack(
        [np.bincount(members, column, count) for column in (design * residual[:, np.newaxis]).T]
    )
    bread = np.linalg.inv(information)
    correction = count / (count - 1) * (samples - 1) / (samples - coefficients)
    return np.asarray(bread @ (scores @ scores.T) @ bread * correction)


def _solve(curvature: Floats, design: Floats, gradient: Floats) -> Floats:
    """Newton steps of all replicates: a two by two system each, by Cramer's rule."""
    first, mixed = curvature.sum(axis=1), curvature @ design[:, 1]
    second = curvature @ design[:, 1] ** 2
    determinant = first * second - mixed**2
    good = determinant > 1e-300
    safe = np.where(good, determinant, 1.0)
    step = np.column_stack(
        (
            (second * gradient[:, 0] - mixed * gradient[:, 1]) / safe,
            (first * gradient[:, 1] - mixed * gradient[:, 0]) / safe,
        )
    )
    return np.where(good[:, np.newaxis], step, np.nan)


def _separated(outcome: Floats, odds: Floats, weights: Floats) -> NDArray[np.bool_]:
    """Whether a cut on the log-odds parts the outcomes of the samples with weight, or touches both."""
    here = weights > 0
    ends = []
    for label in (outcome > 0, outcome < 1):
        inside = here & label
        ends.append((np.where(inside, odds, np.inf).min(axis=1), np.where(inside, odds, -np.inf).max(axis=1)))
    (low_ill, high_ill), (low_well, high_well) = ends
    return np.asarray((low_ill >= high_well) | (low_well >= high_ill))
