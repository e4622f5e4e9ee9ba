"""Wilson's score interval for a proportion."""

from __future__ import annotations

import math

from voxlake.core.errors import UsageError
from voxlake.metrics.normal import normal_deviate

__all__ = ["wilson_interval"]


def wilson_interval(successes: float, total: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion that behaves at 0 and 1 and for small numbers.

    Parameters
    ----------
    successes : float
        Number of successes; may be fractional where samples are weighted.
    total : float
        Number of independent trials.
    level : float
        Confidence level, between 0 and 1.

    Returns
    -------
    low, high : float
        NaN for both without trials.

    Raises
    ------
    UsageError
        More successes than trials, a negative number, or a level that is none.

    References
    ----------
    Wilson EB. Probable inference, the law of succession, and statistical inference.
    Journal of the American Statistical Association 22 (1927) 209-212.
    """
    if not 0 <= successes <= total:
        raise UsageError(f"expected 0 <= successes <= total, got {successes} of {total}")
    z = normal_deviate(level)
    if total == 0:
        return math.nan, math.nan
    share = successes / total
    scale = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # At the ends the formula gives exactly 0 or 1; rounding must not leave the value outside.
    low = 0.0 if successes == 0 else min(share, middle - half)
    high = 1.0 if successes == total else max(share, middle + half)
    return max(0.0, low), min(1.0, high)
