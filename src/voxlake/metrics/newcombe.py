"""Newcombe's score interval for ROC AUC: it has a length where the classes are perfectly separated."""

from __future__ import annotations

import math

from scipy.optimize import brentq

from voxlake.core.errors import UsageError
from voxlake.metrics.normal import normal_deviate

__all__ = ["newcombe_auc_interval"]


def newcombe_auc_interval(
    area: float, positives: int, negatives: int, level: float = 0.95
) -> tuple[float, float]:
    """Interval of an area under the ROC curve from the area and the two class counts alone.

    DeLong's variance and every bootstrap replicate collapse at an area of 0 or 1; this interval does not.

    Parameters
    ----------
    area : float
        Area, 0 to 1.
    positives, negatives : int
        Numbers of independent units (patients) in both classes.
    level : float
        Confidence level.

    Returns
    -------
    low, high : float
        NaN for both where a class is empty.

    Raises
    ------
    UsageError
        The area or the level is none.

    References
    ----------
    Newcombe RG. Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2:
    asymptotic methods and evaluation. Statistics in Medicine 25 (2006) 559-573, method 5.
    """
    if not 0 <= area <= 1 or not 0 < level < 1:
        raise UsageError(f"expected an area of 0 to 1 and a level between them, got {area} and {level}")
    if positives < 1 or negatives < 1:
        return math.nan, math.nan
    z = normal_deviate(level)
    low = _lower(area, positives, negatives, z)
    # The variance is symmetric about 1/2, so the upper end is the mirrored lower end.
    high = 1 - _lower(1 - area, positives, negatives, z)
    return low, high


def _lower(area: float, positives: int, negatives: int, z: float) -> float:
    if area == 0:
        return 0.0

    def excess(candidate: float) -> float:
        return area - candidate - z * math.sqrt(_variance(candidate, positives, negatives))

    # An area of 1 is itself a root without meaning; the wanted one lies below it.
    return float(brentq(excess, 0.0, min(area, 1 - 1e-12)))


def _variance(area: float, positives: int, negatives: int) -> float:
    """Hanley and McNeil's variance under exponential scores, with the mean class count for both."""
    mean = (positives + negatives) / 2
    inner = 1 + (mean - 1) * ((1 - area) / (2 - area) + area / (1 + area))
    return area * (1 - area) / (positives * negatives) * inner
