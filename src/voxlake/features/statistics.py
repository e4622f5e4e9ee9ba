"""First-order statistics, shared by values and by the levels of their histogram."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["STATISTICS", "first_order", "ratio"]

Float = NDArray[np.float64]

STATISTICS = (
    "mean",
    "variance",
    "skewness",
    "kurtosis",
    "median",
    "minimum",
    "percentile_10",
    "percentile_90",
    "maximum",
    "interquartile_range",
    "range",
    "mean_absolute_deviation",
    "robust_mean_absolute_deviation",
    "median_absolute_deviation",
    "coefficient_of_variation",
    "quartile_coefficient_of_dispersion",
)
"""Names of what `first_order` gives, in order."""


def first_order(values: Float) -> Mapping[str, float]:
    """Statistics of numbers, by name; all NaN where there is none.

    Parameters
    ----------
    values : array of float64
        (n,), finite.

    Notes
    -----
    By the IBSI reference manual, sections 3.3 and 3.4. Variance, skewness and kurtosis (less 3) are those of
    the population; without variance the last two are 0. Percentiles are interpolated linearly. The robust
    deviation is that of the values from the 10th to the 90th percentile; the median absolute deviation is the
    mean distance from the median.
    """
    if not values.size:
        return dict.fromkeys(STATISTICS, math.nan)
    tenth, quarter, median, three_quarters, ninetieth = map(
        float, np.percentile(values, (10, 25, 50, 75, 90))
    )
    low, high = float(values.min()), float(values.max())
    mean = float(values.mean())
    from_mean = values - mean
    squared = from_mean * from_mean
    variance = float(squared.mean())
    # Rounding of the mean leaves equal values a hair's breadth apart.
    spread = math.sqrt(variance) if high > low else 0.0
    middle = values[(values >= tenth) & (values <= ninetieth)]
    return {
        "mean": mean,
        "variance": variance if spread else 0.0,
        "skewness": float((squared * from_mean).mean()) / spread**3 if spread else 0.0,
        "kurtosis": float((squared * squared).mean()) / spread**4 - 3.0 if spread else 0.0,
        "median": median,
        "minimum": low,
        "percentile_10": tenth,
        "percentile_90": ninetieth,
        "maximum": high,
        "interquartile_range": three_quarters - quarter,
        "range": high - low,
        "mean_absolute_deviation": float(np.abs(from_mean).mean()),
        "robust_mean_absolute_deviation": _mean_deviation(middle),
        "median_absolute_deviation": float(np.abs(values - median).mean()),
        "coefficient_of_variation": ratio(spread, mean),
        "quartile_coefficient_of_dispersion": ratio(three_quarters - quarter, three_quarters + quarter),
    }


def _mean_deviation(values: Float) -> float:
    # Of two values, none lies between the percentiles that are interpolated between them.
    return float(np.abs(values - values.mean()).mean()) if values.size else math.nan


def ratio(above: float, below: float) -> float:
    """A quotient; NaN where the divisor is 0."""
    return above / below if below else math.nan
