"""Correlations with intervals that allow for several rows of one patient.

Both rest on influence values: how much a row moves the coefficient. They are added up by patient, and the
interval is made on the scale of Fisher's z.

References
----------
Fisher RA. On the probable error of a coefficient of correlation. Metron 1 (1921) 3-32.
Croux C, Dehon C. Influence functions of the Spearman and Kendall correlation measures. Statistical Methods
and Applications 19 (2010) 497-515.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from scipy.stats import t as student

from voxlake.learning.tables.robust import Effect

__all__ = ["correlation_effect", "pearson_influence", "spearman_influence"]

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]


def correlation_effect(
    first: Floats,
    second: Floats,
    codes: Codes,
    *,
    kind: Literal["spearman", "pearson"] = "spearman",
    level: float = 0.95,
) -> Effect:
    """Correlation of two numbers.

    Parameters
    ----------
    first, second : numpy.ndarray
        float64 (n,).
    codes : numpy.ndarray
        int64 (n,), group of each row, 0 and up.
    kind : {"spearman", "pearson"}
        Of the ranks, or of the values.
    level : float
        Level of the interval.

    Returns
    -------
    Effect
        NaN where a number does not vary; no interval where the correlation is 1 or there are fewer than four
        groups. The p value is that of z against the deviation under the interval.
    """
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return Effect(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan)
    influence = spearman_influence if kind == "spearman" else pearson_influence
    value, moved = influence(first, second)
    groups = int(codes.max()) + 1
    if groups < 4 or abs(value) > 1 - 1e-12:
        return Effect(value, math.nan, math.nan, math.nan, math.nan, math.nan)
    summed = np.bincount(codes, moved, groups) / len(first)
    # Three groups fewer, as in Fisher's 1 / (n - 3), to which this comes down without groups or ties.
    variance = float(summed @ summed) * groups / (groups - 3)
    freedom = groups - 3.0
    deviation = math.sqrt(variance) / (1 - value**2)
    if deviation <= 1e-12:
        return Effect(value, math.nan, math.nan, math.nan, math.nan, math.nan)
    z = math.atanh(value)
    half = float(student.ppf(0.5 + level / 2, max(freedom, 1.0))) * deviation
    p_value = float(2 * student.sf(abs(z) / deviation, max(freedom, 1.0)))
    return Effect(value, math.tanh(z - half), math.tanh(z + half), p_value, deviation, freedom)


def pearson_influence(first: Floats, second: Floats) -> tuple[float, Floats]:
    """Pearson's correlation and the influence of each row, which add up to 0."""
    left = (first - first.mean()) / first.std()
    right = (second - second.mean()) / second.std()
    value = float(np.clip((left * right).mean(), -1, 1))
    return value, left * right - value / 2 * (left**2 + right**2)


def spearman_influence(first: Floats, second: Floats) -> tuple[float, Floats]:
    """Spearman's correlation, by middle ranks, and the influence of each row.

    A row moves the coefficient by its own ranks, and by moving the ranks of all others.
    """
    count = len(first)
    left, right = _centred(first), _centred(second)
    both = float((left * right).mean())
    spread_left, spread_right = float((left**2).mean()), float((right**2).mean())
    own = left * right - both
    others = _shift(first, right) + _shift(second, left)
    move_left, move_right = _spread_influence(first, count), _spread_influence(second, count)
    value = both / math.sqrt(spread_left * spread_right)
    moved = (own + others) / math.sqrt(spread_left * spread_right)
    moved -= value / 2 * (move_left / spread_left + move_right / spread_right)
    return float(np.clip(value, -1, 1)), moved - moved.mean()


def _centred(values: Floats) -> Floats:
    """Middle ranks as shares of the rows, less a half."""
    return np.asarray((rankdata(values) - 0.5) / len(values) - 0.5, dtype=np.float64)


def _shift(values: Floats, weights: Floats) -> Floats:
    """How each row, by standing below others, raises their ranks times the weights."""
    order = np.argsort(values, kind="stable")
    ordered, carried = values[order], np.concatenate(([0.0], np.cumsum(weights[order])))
    from_left = np.searchsorted(ordered, values, side="left")
    from_right = np.searchsorted(ordered, values, side="right")
    above = carried[-1] - carried[from_right]
    level = carried[from_right] - carried[from_left]
    return np.asarray((above + level / 2) / len(values), dtype=np.float64)


def _spread_influence(values: Floats, count: int) -> Floats:
    """Influence on the variance of the ranks, which ties make smaller: (1 - sum of p^3) / 12."""
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    shares = times / count
    return np.asarray(-(shares[place] ** 2 - (shares**3).sum()) / 4, dtype=np.float64)
