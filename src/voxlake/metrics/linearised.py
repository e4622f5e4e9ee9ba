"""Intervals from influence values: how much each sample moves a figure.

The derivative of a smooth figure by the weight of each sample adds up, patient by patient, to its sampling
variance. That needs one pass over the data where a bootstrap needs thousands, and patients with many
images count as one piece of evidence.

References
----------
Jaeckel LA. The infinitesimal jackknife. Bell Laboratories Memorandum MM 72-1215-11, 1972.
Binder DA. On the variances of asymptotically normal estimators from complex surveys. International
Statistical Review 51 (1983) 279-292.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.normal import normal_deviate
from voxlake.metrics.resampling import as_groups

__all__ = ["Scale", "linearised_error", "linearised_estimate"]

Scale: TypeAlias = Literal["plain", "logit", "fisher"]


def linearised_error(influence: ArrayLike, *, groups: ArrayLike | None) -> tuple[float, int]:
    """Standard error of a figure from the influence of each sample on it.

    Parameters
    ----------
    influence : array-like, shape (samples,)
        Derivative of the figure by the weight of each sample, at weights of one.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent.

    Returns
    -------
    error : float
        NaN with fewer than two groups.
    units : int
        Number of groups.

    Raises
    ------
    UsageError
        Lengths differ.
    """
    moved = np.asarray(influence, dtype=np.float64)
    if moved.ndim != 1:
        raise UsageError(f"influence must have one value per sample, got shape {moved.shape}")
    members, units = as_groups(groups, moved.size)
    if units < 2:
        return math.nan, units
    sums = np.bincount(members, weights=moved, minlength=units)
    return math.sqrt(units / (units - 1) * float(np.sum((sums - sums.mean()) ** 2))), units


def linearised_estimate(
    name: str,
    value: float,
    influence: ArrayLike,
    *,
    groups: ArrayLike | None,
    level: float = 0.95,
    scale: Scale = "plain",
) -> Estimate:
    """Student interval of a figure, made on the scale on which it is spread evenly.

    Parameters
    ----------
    name : str
        Metric.
    value : float
        The figure.
    influence, groups
        As for `linearised_error`.
    level : float
        Confidence level.
    scale : {"plain", "logit", "fisher"}
        Logit for figures between 0 and 1, Fisher's z (inverse hyperbolic tangent) for figures between -1 and
        1.

    Returns
    -------
    Estimate
        Without an interval where there is one group only, the figure is not defined or has no variance.

    Raises
    ------
    UsageError
        Lengths differ or the level is none.
    """
    normal_deviate(level)  # refuses what is no level
    error, units = linearised_error(influence, groups=groups)
    samples = np.asarray(influence).size
    reason = _no_interval(value, error, units, scale)
    if reason:
        return Estimate(name, value, math.nan, math.nan, level, f"none: {reason}", samples, units)
    half = float(student.ppf(0.5 + level / 2, units - 1)) * error
    low, high = _ends(value, half, scale)
    unit = "samples" if groups is None else "groups"
    return Estimate(name, value, low, high, level, f"linearised over {unit}, {scale} scale", samples, units)


def _no_interval(value: float, error: float, units: int, scale: Scale) -> str:
    if units < 2:
        return "one group only, so there is no variance to see"
    if math.isnan(value) or math.isnan(error):
        return "the metric is not defined on these data"
    if error <= 1e-12:
        return "the figure has no variance"
    least = {"plain": -math.inf, "logit": 0.0, "fisher": -1.0}[scale]
    most = math.inf if scale == "plain" else 1.0
    return "" if least < value < most else "the figure is at the end of its scale"


def _ends(value: float, half: float, scale: Scale) -> tuple[float, float]:
    if scale == "plain":
        return value - half, value + half
    if scale == "fisher":
        middle, width = math.atanh(value), half / (1 - value * value)
        return math.tanh(middle - width), math.tanh(middle + width)
    middle, width = math.log(value / (1 - value)), half / (value * (1 - value))
    # 1/2 (1 + tanh(x / 2)) is the inverse of the logit without overflow.
    return 0.5 * (1 + math.tanh((middle - width) / 2)), 0.5 * (1 + math.tanh((middle + width) / 2))
