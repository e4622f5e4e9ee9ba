"""How two samples of one variable differ: standardised difference, population stability, and a test.

References
----------
Yang D, Dalton JE. A unified approach to measuring the effect size between two groups using SAS. SAS Global
Forum 2012, paper 335.
Siddiqi N. Credit Risk Scorecards. Wiley, 2006 (population stability index).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, ks_2samp
from scipy.stats import t as student

__all__ = ["Difference", "category_difference", "number_difference", "permuted", "stability_index"]

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

# What an empty bin counts as, so that the logarithm of the index stays finite.
_EMPTY = 1e-4


@dataclass(frozen=True)
class Difference:
    """How a variable differs between a centre and the reference.

    Parameters
    ----------
    standardised : float
        Standardised difference, centre less reference; of a category without a sign.
    low, high : float
        Interval; NaN for a category.
    test : str
        How it was tested.
    statistic : float
        Of the test.
    p_value : float
        Of no difference.
    """

    standardised: float
    low: float
    high: float
    test: str
    statistic: float
    p_value: float


def number_difference(
    values: Floats,
    centre: NDArray[np.bool_],
    codes: Codes,
    *,
    level: float = 0.95,
    permutations: int = 1999,
    seed: int = 0,
) -> Difference:
    """Compare a number between two samples.

    The standardised difference is that of the means over the root of the mean variance. Its interval rests on
    influence values that are added up by patient. The test is that of Kolmogorov and Smirnov; where a patient
    has several rows, patients are permuted instead.

    Parameters
    ----------
    values : numpy.ndarray
        float64 (n,), finite.
    centre : numpy.ndarray
        bool (n,), True for the centre, False for the reference; both occur.
    codes : numpy.ndarray
        int64 (n,), patients.
    level : float
        Level of the interval.
    permutations, seed : int
        Of the permutations.
    """
    standardised, low, high = _standardised(values, centre, codes, level)
    statistic = float(ks_2samp(values[centre], values[~centre], method="asymp").statistic)
    if len(np.unique(codes)) == len(codes):
        with warnings.catch_warnings():
            # With many rows the exact distribution is out of reach and SciPy says that it takes the limit.
            warnings.simplefilter("ignore", RuntimeWarning)
            p_value = float(ks_2samp(values[centre], values[~centre]).pvalue)
        return Difference(standardised, low, high, "Kolmogorov-Smirnov", statistic, p_value)
    order = np.argsort(values, kind="stable")
    last = np.flatnonzero(np.diff(values[order], append=np.inf) > 0)

    def distance(flags: NDArray[np.bool_]) -> float:
        steps = np.cumsum(np.where(flags[order], 1 / flags.sum(), -1 / (~flags).sum()))
        return float(np.abs(steps[last]).max())

    p_value = permuted(distance, centre, codes, permutations=permutations, seed=seed)
    return Difference(standardised, low, high, "Kolmogorov-Smirnov, patients permuted", statistic, p_value)


def category_difference(
    values: NDArray[np.object_],
    centre: NDArray[np.bool_],
    codes: Codes,
    *,
    permutations: int = 1999,
    seed: int = 0,
) -> Difference:
    """Compare a category between two samples.

    Parameters
    ----------
    values : numpy.ndarray
        object (n,) of str, two different ones or more.
    centre, codes, permutations, seed
        As for `number_difference`.

    Returns
    -------
    Difference
        Standardised as a Mahalanobis distance of the shares, without a sign and an interval.
    """
    _, level = np.unique(values.astype(str), return_inverse=True)
    count = int(level.max()) + 1

    def table(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.stack(
            [np.bincount(level[flags], minlength=count), np.bincount(level[~flags], minlength=count)]
        )

    standardised = _between_shares(table(centre).astype(np.float64))

    def distance(flags: NDArray[np.bool_]) -> float:
        seen = table(flags)
        expected = np.outer(seen.sum(axis=1), seen.sum(axis=0)) / len(flags)
        return float(((seen - expected) ** 2 / expected).sum())

    statistic = distance(centre)
    if len(np.unique(codes)) == len(codes):
        p_value = float(chi2.sf(statistic, count - 1))
        return Difference(standardised, math.nan, math.nan, "chi squared", statistic, p_value)
    p_value = permuted(distance, centre, codes, permutations=permutations, seed=seed)
    return Difference(standardised, math.nan, math.nan, "chi squared, patients permuted", statistic, p_value)


def permuted(
    distance: Callable[[NDArray[np.bool_]], float],
    centre: NDArray[np.bool_],
    codes: Codes,
    *,
    permutations: int,
    seed: int,
) -> float:
    """P value of a distance when patients are dealt out to the two samples anew.

    A patient with rows in both samples counts to that with more of them.

    Parameters
    ----------
    distance : callable
        Of a bool (n,) that says which rows are of the centre; larger is further.
    centre, codes, permutations, seed
        As for `number_difference`.
    """
    _, member = np.unique(codes, return_inverse=True)
    share = np.bincount(member, centre) / np.bincount(member)
    whole = share > 0.5
    if whole.all() or not whole.any():
        return math.nan
    observed = distance(whole[member])
    generator = np.random.default_rng(seed)
    beyond = sum(
        distance(generator.permutation(whole)[member]) >= observed - 1e-12 for _ in range(permutations)
    )
    return float((beyond + 1) / (permutations + 1))


def stability_index(values: NDArray[np.generic], centre: NDArray[np.bool_], *, bins: int = 10) -> float:
    """Population stability index: sum of (share - share of reference) times the logarithm of their ratio.

    Numbers are binned at the quantiles of the reference, categories are bins themselves. Under 0.1 is taken
    as little, over 0.25 as much, by habit rather than by theory.

    Parameters
    ----------
    values : numpy.ndarray
        float64 or object (n,), without missing values.
    centre : numpy.ndarray
        bool (n,).
    bins : int
        Of numbers.
    """
    if values.dtype.kind == "f":
        edges = np.unique(np.quantile(values[~centre].astype(np.float64), np.linspace(0, 1, bins + 1)[1:-1]))
        place = np.searchsorted(edges, values.astype(np.float64), side="left")
    else:
        _, place = np.unique(values.astype(str), return_inverse=True)
    count = int(place.max()) + 1
    shares = [
        np.maximum(np.bincount(place[rows], minlength=count) / rows.sum(), _EMPTY)
        for rows in (centre, ~centre)
    ]
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def _standardised(
    values: Floats, centre: NDArray[np.bool_], codes: Codes, level: float
) -> tuple[float, float, float]:
    first, second = values[centre], values[~centre]
    variances = first.var(), second.var()
    spread = math.sqrt((variances[0] + variances[1]) / 2)
    if spread <= 1e-12 * max(1.0, float(np.abs(values).max())):
        same = abs(first.mean() - second.mean()) <= 1e-12 * max(1.0, float(np.abs(values).max()))
        return (0.0 if same else math.nan), math.nan, math.nan
    difference = float(first.mean() - second.mean()) / spread
    moved = np.empty(len(values))
    for rows, sign, variance in ((centre, 1, variances[0]), (~centre, -1, variances[1])):
        away = values[rows] - values[rows].mean()
        own = sign * away / spread - difference / 4 * (away**2 - variance) / spread**2
        moved[rows] = own / rows.sum()
    groups = int(codes.max()) + 1
    units = min(len(np.unique(codes[rows])) for rows in (centre, ~centre))
    if units < 3:
        return difference, math.nan, math.nan
    summed = np.bincount(codes, moved, groups)
    # The smaller sample has the say in how well the error is known.
    half = student.ppf(0.5 + level / 2, units - 1) * math.sqrt(float(summed @ summed) * units / (units - 1))
    return difference, difference - float(half), difference + float(half)


def _between_shares(counts: Floats) -> float:
    """Mahalanobis distance of two vectors of shares, the last category left out."""
    first, second = (row / row.sum() for row in counts)
    difference = (first - second)[:-1]
    covariance = sum(np.diag(share[:-1]) - np.outer(share[:-1], share[:-1]) for share in (first, second)) / 2
    return math.sqrt(max(0.0, float(difference @ np.linalg.pinv(covariance) @ difference)))
