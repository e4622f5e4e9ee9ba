"""McNemar's test: two models that decided about the same samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import binomtest

from voxlake.metrics.inputs import Floats, as_labels
from voxlake.metrics.normal import normal_deviate
from voxlake.metrics.wilson import wilson_interval

__all__ = ["McNemarTest", "mcnemar_test"]


@dataclass(frozen=True)
class McNemarTest:
    """Comparison of the decisions of two models.

    Parameters
    ----------
    first_only, second_only : int
        Samples that only the first, or only the second model called right.
    first, second : float
        Share that each called right.
    difference, low, high : float
        ``first - second`` with its interval; NaN ends where there is none.
    level : float
        Confidence level.
    p_value : float
        Two-sided p value of "equally often right"; NaN where it cannot be had.
    method : str
        Test and interval that were used.
    """

    first_only: int
    second_only: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    level: float
    p_value: float
    method: str


def mcnemar_test(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> McNemarTest:
    """Compare how often two models are right about the same samples.

    Leave only the truly positive samples in to compare recall, only the negative ones to compare specificity.

    Parameters
    ----------
    truth, first, second : array-like, shape (samples,)
        Labels: the truth and both decisions.
    groups : array-like, shape (samples,), optional
        Patient of each sample. Without: the exact binomial test on the samples about which the models differ,
        and Newcombe's score interval (method 10). With groups of several samples: Yang's test and a normal
        interval, both from sums within groups.
    level : float
        Confidence level.

    Raises
    ------
    UsageError
        Lengths differ, or the level is none.

    References
    ----------
    McNemar Q. Note on the sampling error of the difference between correlated proportions or percentages.
    Psychometrika 12 (1947) 153-157.
    Newcombe RG. Improved confidence intervals for the difference between binomial proportions based on paired
    data. Statistics in Medicine 17 (1998) 2635-2650.
    Yang Z, Sun X, Hardin JW. A note on the tests for clustered matched-pair binary data. Biometrical Journal
    52 (2010) 638-652.
    """
    deviate = normal_deviate(level)
    labels = as_labels(truth, "truth")
    one = as_labels(first, "first", labels.size) == labels
    other = as_labels(second, "second", labels.size) == labels
    cells = [int((one & other).sum()), int((one & ~other).sum()), int((~one & other).sum())]
    both, first_only, second_only = cells
    shares = float(one.mean()), float(other.mean())
    members = np.arange(labels.size) if groups is None else as_labels(groups, "groups", labels.size)
    _, place, counts = np.unique(members, return_inverse=True, return_counts=True)
    if counts.max() == 1:
        neither = labels.size - sum(cells)
        low, high = _newcombe(both, first_only, second_only, neither, level)
        apart = first_only + second_only
        p_value = float(binomtest(first_only, apart).pvalue) if apart else 1.0
        method = "McNemar's exact test, Newcombe's score interval"
    else:
        surplus = np.bincount(place, one.astype(np.float64) - other).astype(np.float64)
        low, high, p_value = _clustered(surplus, counts.astype(np.float64), deviate)
        method = "Yang's test and robust variance over groups"
        if math.isnan(low):
            method = "none: too few groups, or no group about which the models differ"
    return McNemarTest(
        first_only, second_only, *shares, shares[0] - shares[1], low, high, level, p_value, method
    )


def _newcombe(
    both: int, first_only: int, second_only: int, neither: int, level: float
) -> tuple[float, float]:
    """Score interval of a paired difference: two Wilson intervals added as correlated errors are."""
    total = both + first_only + second_only + neither
    one, other = (both + first_only) / total, (both + second_only) / total
    low_one, high_one = wilson_interval(both + first_only, total, level)
    low_other, high_other = wilson_interval(both + second_only, total, level)
    margins = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    product = both * neither - first_only * second_only
    # A continuity correction for positive correlation only, as in the paper.
    corrected = max(product - total / 2, 0.0) if product > 0 else float(product)
    correlation = corrected / math.sqrt(margins) if margins else 0.0

    def reach(of_one: float, of_other: float) -> float:
        return math.sqrt(max(0.0, of_one**2 - 2 * correlation * of_one * of_other + of_other**2))

    difference = one - other
    return (
        difference - reach(one - low_one, high_other - other),
        difference + reach(high_one - one, other - low_other),
    )


def _clustered(surplus: Floats, counts: Floats, deviate: float) -> tuple[float, float, float]:
    groups, total = counts.size, counts.sum()
    spread = float((surplus**2).sum())
    if groups < 2 or spread == 0:
        return math.nan, math.nan, math.nan
    z = float(surplus.sum()) / math.sqrt(spread)
    difference = float(surplus.sum() / total)
    rest = surplus - difference * counts
    half = deviate * math.sqrt(float((rest**2).sum()) * groups / (groups - 1)) / total
    return max(-1.0, difference - half), min(1.0, difference + half), float(2 * ndtr(-abs(z)))
