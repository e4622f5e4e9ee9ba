"""Variance, interval and paired comparison of ROC AUC after DeLong, by ranks.

References
----------
DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver operating
characteristic curves: a nonparametric approach. Biometrics 44 (1988) 837-845.
Sun X, Xu W. Fast implementation of DeLong's algorithm for comparing the areas under correlated receiver
operating characteristic curves. IEEE Signal Processing Letters 21 (2014) 1389-1393.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, as_binary, as_scores

__all__ = ["DeLongTest", "delong_auc", "delong_test"]


@dataclass(frozen=True)
class DeLongTest:
    """Comparison of two scores on the same samples.

    Parameters
    ----------
    first, second : float
        Both areas.
    difference : float
        ``first - second``.
    low, high : float
        Interval of the difference.
    level : float
        Its level.
    z, p_value : float
        Normal deviate and two-sided p value of "no difference". NaN where the difference has no variance.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    level: float
    z: float
    p_value: float


def delong_auc(truth: ArrayLike, scores: ArrayLike, level: float = 0.95) -> Estimate:
    """Area under the ROC curve with DeLong's interval, for independent samples.

    Where a patient has several images, use the bootstrap over patients: this interval would be too short.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    scores : array-like, shape (samples,)
        Higher means more positive.
    level : float
        Confidence level.

    Returns
    -------
    Estimate
        The interval is NaN where a class has fewer than two samples or the variance is zero.
    """
    positive = as_binary(truth)
    areas, covariance = _areas(positive, as_scores(scores, "scores", positive.size)[np.newaxis])
    area, variance = float(areas[0]), float(covariance[0, 0])
    low, high, method = math.nan, math.nan, "DeLong"
    if math.isnan(variance):
        method = "none: DeLong needs two samples of each class"
    elif variance <= 0:
        method = "none: DeLong's variance is zero"
    else:
        half = _deviate(level) * math.sqrt(variance)
        low, high = max(0.0, area - half), min(1.0, area + half)
    return Estimate("roc_auc", area, low, high, level, method, positive.size, positive.size)


def delong_test(truth: ArrayLike, first: ArrayLike, second: ArrayLike, level: float = 0.95) -> DeLongTest:
    """Compare the areas of two scores that were measured on the same, independent samples.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    first, second : array-like, shape (samples,)
        The two scores; higher means more positive.
    level : float
        Level of the interval of the difference.
    """
    positive = as_binary(truth)
    scores = np.stack([as_scores(values, "scores", positive.size) for values in (first, second)])
    areas, covariance = _areas(positive, scores)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Equal rankings leave a variance of rounding size, which would make a z out of nothing.
    deviation = math.sqrt(variance) if variance > 1e-15 else math.nan
    z = difference / deviation
    half = _deviate(level) * deviation
    return DeLongTest(
        first=float(areas[0]),
        second=float(areas[1]),
        difference=difference,
        low=difference - half,
        high=difference + half,
        level=level,
        z=z,
        p_value=float(2 * norm.sf(abs(z))),
    )


def _areas(positive: np.ndarray, scores: Floats) -> tuple[Floats, Floats]:
    """Areas (scores,) and their covariance (scores, scores); scores have shape (scores, samples)."""
    if scores.ndim != 2:
        raise UsageError("DeLong compares scores of one class, shape (samples,)")
    above, below = scores[:, positive], scores[:, ~positive]
    cases, controls = above.shape[1], below.shape[1]
    if cases == 0 or controls == 0:
        return np.full(len(scores), np.nan), np.full((len(scores), len(scores)), np.nan)
    # The rank among all less the rank among one's own class counts the members of the other class below.
    together = rankdata(np.concatenate((above, below), axis=1), axis=1)
    case_part = (together[:, :cases] - rankdata(above, axis=1)) / controls
    control_part = 1 - (together[:, cases:] - rankdata(below, axis=1)) / cases
    areas = case_part.mean(axis=1)
    if cases < 2 or controls < 2:
        return areas, np.full((len(scores), len(scores)), np.nan)
    spread_cases = np.atleast_2d(np.cov(case_part))
    spread_controls = np.atleast_2d(np.cov(control_part))
    return areas, spread_cases / cases + spread_controls / controls


def _deviate(level: float) -> float:
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, got {level}")
    return float(norm.ppf(0.5 + level / 2))
