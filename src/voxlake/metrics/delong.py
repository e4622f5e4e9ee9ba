"""Variance, interval and paired comparison of ROC AUC after DeLong, by ranks.

References
----------
DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver operating
characteristic curves: a nonparametric approach. Biometrics 44 (1988) 837-845.
Sun X, Xu W. Fast implementation of DeLong's algorithm for comparing the areas under correlated receiver
operating characteristic curves. IEEE Signal Processing Letters 21 (2014) 1389-1393.
Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 53 (1997) 567-578.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, as_binary, as_labels, as_scores
from voxlake.metrics.normal import normal_deviate

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
    method : str
        Which variance was used.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    level: float
    z: float
    p_value: float
    method: str


def delong_auc(
    truth: ArrayLike, scores: ArrayLike, level: float = 0.95, *, groups: ArrayLike | None = None
) -> Estimate:
    """Area under the ROC curve with DeLong's interval, or Obuchowski's where patients have several images.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    scores : array-like, shape (samples,)
        Higher means more positive.
    level : float
        Confidence level.
    groups : array-like, shape (samples,), optional
        Patient of each sample. None takes samples as independent, which gives too short an interval where
        they are not. With one sample for each patient both forms are about the same.

    Returns
    -------
    Estimate
        The interval is NaN where a class has fewer than two samples (patients, where groups are given) or the
        variance is zero.

    Raises
    ------
    UsageError
        Truth is not 0 and 1, shapes differ, or the level is none.
    """
    deviate = normal_deviate(level)
    positive = as_binary(truth)
    members = _members(groups, positive.size)
    areas, covariance = _areas(positive, as_scores(scores, "scores", positive.size)[np.newaxis], members)
    area, variance = float(areas[0]), float(covariance[0, 0])
    name, unit = ("DeLong", "samples") if members is None else ("Obuchowski", "groups")
    low, high, method = math.nan, math.nan, name if members is None else f"{name} over groups"
    if math.isnan(variance):
        method = f"none: {name} needs two {unit} of each class"
    elif variance <= 0:
        method = f"none: {name}'s variance is zero"
    else:
        half = deviate * math.sqrt(variance)
        low, high = max(0.0, area - half), min(1.0, area + half)
    independent = positive.size if members is None else int(members.max()) + 1
    return Estimate("roc_auc", area, low, high, level, method, positive.size, independent)


def delong_test(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    level: float = 0.95,
    *,
    groups: ArrayLike | None = None,
) -> DeLongTest:
    """Compare the areas of two scores that were measured on the same samples.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    first, second : array-like, shape (samples,)
        The two scores; higher means more positive.
    level : float
        Level of the interval of the difference.
    groups : array-like, shape (samples,), optional
        Patient of each sample; see `delong_auc`.

    Raises
    ------
    UsageError
        Truth is not 0 and 1, shapes differ, or the level is none.
    """
    deviate = normal_deviate(level)
    positive = as_binary(truth)
    members = _members(groups, positive.size)
    scores = np.stack([as_scores(values, "scores", positive.size) for values in (first, second)])
    areas, covariance = _areas(positive, scores, members)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Equal rankings leave a variance of rounding size, which would make a z out of nothing.
    deviation = math.sqrt(variance) if variance > 1e-15 else math.nan
    z = difference / deviation
    half = deviate * deviation
    return DeLongTest(
        first=float(areas[0]),
        second=float(areas[1]),
        difference=difference,
        low=difference - half,
        high=difference + half,
        level=level,
        z=z,
        p_value=float(2 * ndtr(-abs(z))),
        method="DeLong" if members is None else "Obuchowski over groups",
    )


def _areas(
    positive: NDArray[np.bool_], scores: Floats, members: NDArray[np.intp] | None
) -> tuple[Floats, Floats]:
    """Areas (scores,) and their covariance (scores, scores); scores have shape (scores, samples)."""
    if scores.ndim != 2:
        raise UsageError("DeLong compares scores of one class, shape (samples,)")
    above, below = scores[:, positive], scores[:, ~positive]
    cases, controls = above.shape[1], below.shape[1]
    unknown = np.full((len(scores), len(scores)), np.nan)
    if cases == 0 or controls == 0:
        return np.full(len(scores), np.nan), unknown
    case_part = np.stack([_share_below(*pair) for pair in zip(above, below, strict=True)])
    control_part = 1 - np.stack([_share_below(*pair) for pair in zip(below, above, strict=True)])
    areas = case_part.mean(axis=1)
    if members is not None:
        parts = case_part - areas[:, np.newaxis], control_part - areas[:, np.newaxis]
        return areas, _clustered(*parts, members[positive], members[~positive])
    if cases < 2 or controls < 2:
        return areas, unknown
    spread_cases = np.atleast_2d(np.cov(case_part))
    spread_controls = np.atleast_2d(np.cov(control_part))
    return areas, spread_cases / cases + spread_controls / controls


def _share_below(values: Floats, others: Floats) -> Floats:
    """Share of the others that lie below each value, ties counting half; by sorting, never by pairs."""
    order = np.argsort(values)
    ordered, ranked = values[order], np.sort(others)
    # Sorted questions walk through the other class in order, which the cache thanks for.
    below = np.searchsorted(ranked, ordered, side="left")
    below += np.searchsorted(ranked, ordered, side="right")
    share = np.empty(values.size)
    share[order] = below
    share /= 2 * others.size
    return share


def _clustered(
    case_part: Floats, control_part: Floats, of_cases: NDArray[np.intp], of_controls: NDArray[np.intp]
) -> Floats:
    """Covariance of the areas from the sums of both parts, less the areas, within each group."""
    count = int(max(of_cases.max(), of_controls.max())) + 1
    with_cases, with_controls = np.unique(of_cases).size, np.unique(of_controls).size
    if with_cases < 2 or with_controls < 2:
        return np.full((len(case_part), len(case_part)), np.nan)
    cases = np.stack([np.bincount(of_cases, part, count) for part in case_part]) / of_cases.size
    controls = np.stack([np.bincount(of_controls, part, count) for part in control_part]) / of_controls.size
    # A patient with images of both classes moves both parts at once.
    both = cases @ controls.T * (count / (count - 1))
    return np.asarray(
        cases @ cases.T * (with_cases / (with_cases - 1))
        + controls @ controls.T * (with_controls / (with_controls - 1))
        + both
        + both.T
    )


def _members(groups: ArrayLike | None, samples: int) -> NDArray[np.intp] | None:
    """Number of the group of each sample."""
    if groups is None:
        return None
    _, members = np.unique(as_labels(groups, "groups", samples), return_inverse=True)
    return np.asarray(members, dtype=np.intp)
