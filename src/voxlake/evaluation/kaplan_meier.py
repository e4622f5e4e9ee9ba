"""The share without an event over time, where some were lost from sight.

References
----------
Kaplan EL, Meier P. Nonparametric estimation from incomplete observations. Journal of the American
Statistical Association 53 (1958) 457-481.
Kalbfleisch JD, Prentice RL. The Statistical Analysis of Failure Time Data. Wiley, 1980, section 1.3: the
interval of the logarithm of minus the logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from voxlake.metrics.normal import normal_deviate

__all__ = ["SurvivalCurve", "kaplan_meier"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SurvivalCurve:
    """Steps of a survival curve; all arrays have shape (times,).

    Parameters
    ----------
    time : ndarray
        0, then every time at which an event was seen or a sample was lost, rising.
    survival, low, high : ndarray
        Share without the event from that time on, with its interval; NaN ends where there is none.
    """

    time: Floats
    survival: Floats
    low: Floats
    high: Floats


def kaplan_meier(time: Floats, event: NDArray[np.bool_], *, level: float = 0.95) -> SurvivalCurve:
    """Estimate the share without the event over time, with Greenwood's variance.

    Parameters
    ----------
    time : ndarray of float64, shape (samples,)
        Time until the event, or until the last look.
    event : ndarray of bool, shape (samples,)
        Whether the event was seen.
    level : float
        Level of the interval at each time by itself, samples taken as independent.
    """
    times, place = np.unique(time, return_inverse=True)
    events = np.bincount(place, event, times.size).astype(np.float64)
    gone = np.bincount(place, minlength=times.size)
    at_risk = np.cumsum(gone[::-1])[::-1].astype(np.float64)
    survival: Floats = np.cumprod(1 - events / at_risk, dtype=np.float64)
    low, high = _ends(survival, events, at_risk, normal_deviate(level))
    start = np.ones(1)
    return SurvivalCurve(
        np.append(0.0, times),
        np.append(start, survival),
        np.append(start, low),
        np.append(start, high),
    )


def _ends(survival: Floats, events: Floats, at_risk: Floats, deviate: float) -> tuple[Floats, Floats]:
    rest = at_risk * (at_risk - events)
    shares = np.divide(events, rest, out=np.zeros_like(rest), where=rest > 0)
    inside = (survival > 0) & (survival < 1)
    logarithm = np.log(survival, out=np.full_like(survival, np.nan), where=inside)
    error = np.sqrt(np.cumsum(shares)) / np.abs(logarithm)
    low = np.exp(logarithm * np.exp(deviate * error))
    high = np.exp(logarithm * np.exp(-deviate * error))
    # Before the first event nothing is known to vary, and after the last one nothing is left.
    return np.where(survival == 1, 1.0, low), np.where(survival == 1, 1.0, high)
