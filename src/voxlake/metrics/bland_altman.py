"""Limits of agreement of two ways to measure the same thing.

References
----------
Bland JM, Altman DG. Measuring agreement in method comparison studies. Statistical Methods in Medical Research
8 (1999) 135-160.
Carkeet A. Exact parametric confidence intervals for Bland-Altman limits of agreement. Optometry and Vision
Science 92 (2015) e71-e80.
Zou GY. Confidence interval estimation for the Bland-Altman limits of agreement with multiple observations per
individual. Statistical Methods in Medical Research 22 (2013) 630-642.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2, nct
from scipy.stats import t as student

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, as_labels, as_scores
from voxlake.metrics.normal import normal_deviate
from voxlake.metrics.resampling import as_groups

__all__ = ["BlandAltman", "bland_altman"]


@dataclass(frozen=True, eq=False)
class BlandAltman:
    """Bias and limits of agreement, and the points of the plot.

    Parameters
    ----------
    bias : Estimate
        Mean of first less second; where patients were measured several times, the mean over patients of
        their mean differences.
    lower_limit, upper_limit : Estimate
        Between them lies the share `agreement` of the differences.
    deviation : float
        Standard deviation of the differences of single measurements.
    agreement : float
        The share, for example 0.95.
    means, differences : ndarray, shape (samples,)
        Abscissa and ordinate of the plot.
    """

    bias: Estimate
    lower_limit: Estimate
    upper_limit: Estimate
    deviation: float
    agreement: float
    means: Floats
    differences: Floats


@dataclass(frozen=True)
class _Spread:
    """What the limits are made of: bias with its error, total deviation with its interval."""

    bias: float
    bias_error: float
    deviation: float
    deviation_low: float
    deviation_high: float
    freedom: int


def bland_altman(
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    agreement: float = 0.95,
) -> BlandAltman:
    """Bland-Altman analysis with the intervals of bias and limits.

    Differences are taken as normally distributed: look at the plot. Without repeated measurements the
    intervals of the limits are exact (Carkeet 2015, from the non-central t distribution); with them, every
    patient counts the same for the bias however often measured, variance between and within patients is told
    apart and the intervals are put together from both (Zou 2013).

    Parameters
    ----------
    first, second : array-like, shape (samples,)
        Both measurements of each sample, in one unit.
    groups : array-like, shape (samples,), optional
        Patient of each sample, where patients were measured several times.
    level : float
        Level of the intervals.
    agreement : float
        Share of the differences between the limits.

    Raises
    ------
    UsageError
        Lengths differ, a value is not finite, or a level is none.
    """
    one = as_labels(first, "first")
    one, other = as_scores(one, "first", one.size), as_scores(second, "second", one.size)
    if other.ndim != 1:
        raise UsageError(f"second has shape {other.shape}; pass one measurement per sample")
    width, _ = normal_deviate(agreement), normal_deviate(level)
    differences = one - other
    members, units = as_groups(groups, differences.size)
    if units < 2:
        return _without_interval(one, differences, units, level, agreement)
    repeated = units < differences.size
    spread = _repeated(differences, members, level) if repeated else _single(differences, level)
    ends = _mover_limits(spread, width, level) if repeated else _exact_limits(spread, units, width, level)
    half = float(student.ppf(0.5 + level / 2, spread.freedom)) * spread.bias_error
    counts = (level, differences.size, units)
    bias = _estimate("bias", spread.bias, (spread.bias - half, spread.bias + half), "Student", counts)
    method = "Zou's limits for repeated measurements" if repeated else "exact, non-central t"
    reach = width * spread.deviation
    lower = _estimate("lower_limit_of_agreement", spread.bias - reach, ends[0], method, counts)
    upper = _estimate("upper_limit_of_agreement", spread.bias + reach, ends[1], method, counts)
    return BlandAltman(bias, lower, upper, spread.deviation, agreement, (one + other) / 2, differences)


def _single(differences: Floats, level: float) -> _Spread:
    count = differences.size
    deviation = float(differences.std(ddof=1))
    low, high = _variance_factors(count - 1, level)
    return _Spread(
        bias=float(differences.mean()),
        bias_error=deviation / math.sqrt(count),
        deviation=deviation,
        deviation_low=deviation * math.sqrt(low),
        deviation_high=deviation * math.sqrt(high),
        freedom=count - 1,
    )


def _repeated(differences: Floats, members: np.ndarray, level: float) -> _Spread:
    """Variance of single differences from patients' means and from the spread within patients."""
    sizes = np.bincount(members).astype(np.float64)
    means = np.bincount(members, weights=differences) / sizes
    units, within_freedom = sizes.size, differences.size - sizes.size
    of_means = float(means.var(ddof=1))
    # A patient's mean of m measurements holds 1/m of the variance within; the rest is added back.
    share = 1 - float(np.mean(1 / sizes))
    within = share * float(np.sum((differences - means[members]) ** 2)) / within_freedom
    total = of_means + within
    low_means, high_means = _variance_factors(units - 1, level)
    low_within, high_within = _variance_factors(within_freedom, level)
    down = math.hypot(of_means * (1 - low_means), within * (1 - low_within))
    up = math.hypot(of_means * (high_means - 1), within * (high_within - 1))
    return _Spread(
        bias=float(means.mean()),
        bias_error=math.sqrt(of_means / units),
        deviation=math.sqrt(total),
        deviation_low=math.sqrt(max(0.0, total - down)),
        deviation_high=math.sqrt(total + up),
        freedom=units - 1,
    )


def _variance_factors(freedom: int, level: float) -> tuple[float, float]:
    """Ends of the interval of a variance, relative to its estimate."""
    tail = (1 - level) / 2
    return freedom / float(chi2.ppf(1 - tail, freedom)), freedom / float(chi2.ppf(tail, freedom))


def _exact_limits(
    spread: _Spread, count: int, width: float, level: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    if spread.deviation == 0:
        return (math.nan, math.nan), (math.nan, math.nan)
    root = math.sqrt(count)
    tail = (1 - level) / 2
    near, far = (float(nct.ppf(p, count - 1, width * root)) / root for p in (tail, 1 - tail))
    lower = (spread.bias - far * spread.deviation, spread.bias - near * spread.deviation)
    return lower, (spread.bias + near * spread.deviation, spread.bias + far * spread.deviation)


def _mover_limits(
    spread: _Spread, width: float, level: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    if spread.deviation == 0:
        return (math.nan, math.nan), (math.nan, math.nan)
    half = float(student.ppf(0.5 + level / 2, spread.freedom)) * spread.bias_error
    inward = math.hypot(half, width * (spread.deviation - spread.deviation_low))
    outward = math.hypot(half, width * (spread.deviation_high - spread.deviation))
    lower, upper = spread.bias - width * spread.deviation, spread.bias + width * spread.deviation
    return (lower - outward, lower + inward), (upper - inward, upper + outward)


def _estimate(
    name: str, value: float, ends: tuple[float, float], method: str, counts: tuple[float, int, int]
) -> Estimate:
    level, samples, units = counts
    if math.isnan(ends[0]) or ends[0] == ends[1]:
        return Estimate(
            name, value, math.nan, math.nan, level, "none: the differences do not vary", samples, units
        )
    return Estimate(name, value, ends[0], ends[1], level, method, samples, units)


def _without_interval(
    first: Floats, differences: Floats, units: int, level: float, agreement: float
) -> BlandAltman:
    method = "none: one group only, so there is no variance between patients"
    nan = math.nan
    bias, lower, upper = (
        Estimate(name, value, nan, nan, level, method, differences.size, units)
        for name, value in (
            ("bias", float(differences.mean())),
            ("lower_limit_of_agreement", nan),
            ("upper_limit_of_agreement", nan),
        )
    )
    return BlandAltman(bias, lower, upper, nan, agreement, first - differences / 2, differences)
