"""How well a risk ranks the times of events, some of which were not seen.

References
----------
Harrell FE, Lee KL, Mark DB. Multivariable prognostic models. Statistics in Medicine 15 (1996) 361-387.
Uno H, Cai T, Pencina MJ, D'Agostino RB, Wei LJ. On the C-statistics for evaluating overall adequacy of risk
prediction procedures with censored survival data. Statistics in Medicine 30 (2011) 1105-1117.
Kang L, Chen W, Petrick NA, Gallas BD. Comparing two correlated C indices with right-censored survival
outcome: a one-shot nonparametric approach. Statistics in Medicine 34 (2015) 685-703.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, Score, as_binary, as_labels, as_scores, as_weights, ratio
from voxlake.metrics.linearised import linearised_error, linearised_estimate
from voxlake.metrics.resampling import resample

__all__ = [
    "ConcordanceTest",
    "concordance_estimate",
    "concordance_index",
    "concordance_test",
    "uno_concordance",
    "uno_estimate",
]

# Pairs looked at in one go, 16 MB of distances.
_PAIRS = 2_000_000


@dataclass(frozen=True)
class ConcordanceTest:
    """Comparison of two risks on the same samples.

    Parameters
    ----------
    first, second : float
        Both C-indices.
    difference : float
        ``first - second``.
    low, high : float
        Interval of the difference; NaN where it has no variance.
    level : float
        Its level.
    t, p_value : float
        Student deviate and two-sided p value of "no difference".
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    level: float
    t: float
    p_value: float


def concordance_index(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, *, weights: ArrayLike | None = None
) -> Score:
    """Harrell's C: of two samples of which one is known to fail first, how often it has the higher risk.

    Pairs whose order is not known, because the earlier time is censored, are left out; a sample censored at
    the time of another's event outlived it; two events at one time are no pair. Equal risks count half.

    Parameters
    ----------
    time : array-like, shape (samples,)
        Time of event or censoring.
    event : array-like of 0 and 1, shape (samples,)
        Whether the event was seen.
    risk : array-like, shape (samples,)
        Higher means earlier; for a predicted survival time pass its negative.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN without a pair.

    Raises
    ------
    UsageError
        Shapes differ, a number is not finite, or events are not 0 and 1.
    """
    times, seen, risks = _checked(time, event, risk)
    weight = as_weights(weights, times.size)
    return _concordance(times, seen, risks, weight, np.ones_like(weight))


def uno_concordance(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    horizon: float | None = None,
    weights: ArrayLike | None = None,
) -> Score:
    """Uno's C: as Harrell's, but it does not depend on how many samples were censored when.

    Pairs are weighted with the inverse squared probability of not being censored before the earlier event,
    from the Kaplan-Meier curve of the censoring, so censoring must not depend on the risk.

    Parameters
    ----------
    time, event, risk, weights
        As for `concordance_index`.
    horizon : float, optional
        Events after this time are not looked at; late ones have large weights. Default: all times.
    """
    times, seen, risks = _checked(time, event, risk)
    weight = as_weights(weights, times.size)
    free = _uncensored(times, seen, weight)
    counted = seen if horizon is None else seen & (times < horizon)
    factor = np.divide(1.0, free**2, out=np.zeros_like(free), where=free > 0)
    return _concordance(times, counted, risks, weight, factor)


def concordance_estimate(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Harrell's C with an interval over patients, from influence values on the logit scale.

    Parameters
    ----------
    time, event, risk
        As for `concordance_index`.
    groups : array-like, shape (samples,), optional
        Patient of each sample, where a patient has several.
    level : float
        Confidence level.
    """
    times, seen, risks = _checked(time, event, risk)
    value, influence = _influence(times, seen, risks)
    return linearised_estimate(
        "concordance_index", value, influence, groups=groups, level=level, scale="logit"
    )


def uno_estimate(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    horizon: float | None = None,
    groups: ArrayLike | None = None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Uno's C with a bootstrap interval over patients; the censoring curve is made anew in each replicate.

    Parameters are those of `uno_concordance` and `voxlake.metrics.resampling.resample`. The work grows with
    the square of the number of samples.
    """
    times, seen, risks = _checked(time, event, risk)
    name = "uno_concordance"
    return resample(
        {name: lambda weights: uno_concordance(times, seen, risks, horizon=horizon, weights=weights)},
        samples=times.size,
        groups=groups,
        replicates=replicates,
        level=level,
        seed=seed,
    )[name]


def concordance_test(
    time: ArrayLike,
    event: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> ConcordanceTest:
    """Compare Harrell's C of two risks on the same samples.

    Parameters
    ----------
    time, event
        As for `concordance_index`.
    first, second : array-like, shape (samples,)
        The two risks.
    groups, level
        As for `concordance_estimate`.
    """
    times, seen, one_risk = _checked(time, event, first)
    other_risk = _checked(time, event, second)[2]
    one, moved = _influence(times, seen, one_risk)
    other, other_moved = _influence(times, seen, other_risk)
    error, units = linearised_error(moved - other_moved, groups=groups)
    difference = one - other
    if not error > 1e-12:
        nan = math.nan
        return ConcordanceTest(one, other, difference, nan, nan, level, nan, nan)
    half = float(student.ppf(0.5 + level / 2, units - 1)) * error
    deviate = difference / error
    p_value = float(2 * student.sf(abs(deviate), units - 1))
    return ConcordanceTest(
        one, other, difference, difference - half, difference + half, level, deviate, p_value
    )


def _checked(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> tuple[Floats, NDArray[np.bool_], Floats]:
    labels = as_labels(time, "time")
    times = as_scores(labels, "time", labels.size)
    seen = as_binary(as_labels(event, "event", labels.size))
    risks = as_scores(as_labels(risk, "risk", labels.size), "risk", labels.size)
    return times, seen, risks


def _pairs(
    times: Floats, seen: NDArray[np.bool_], risks: Floats
) -> Iterator[tuple[NDArray[np.intp], Floats, Floats]]:
    """Events in blocks: numbers, who outlived them, whom of these they outrank, each (block, samples)."""
    events = np.flatnonzero(seen)
    block = max(1, _PAIRS // times.size)
    for start in range(0, events.size, block):
        chosen = events[start : start + block]
        later = times > times[chosen, np.newaxis]
        later |= (times == times[chosen, np.newaxis]) & ~seen
        above = risks[chosen, np.newaxis] - risks
        yield chosen, later.astype(np.float64), later * (0.5 + 0.5 * np.sign(above))


def _concordance(
    times: Floats, seen: NDArray[np.bool_], risks: Floats, weights: Floats, factor: Floats
) -> Score:
    """C with weights (..., samples) and a factor (..., samples) for the earlier sample of each pair."""
    won = np.zeros(weights.shape[:-1])
    known = np.zeros(weights.shape[:-1])
    for chosen, later, outranked in _pairs(times, seen, risks):
        earlier = weights[..., chosen] * factor[..., chosen]
        won += np.sum(earlier * (weights @ outranked.T), axis=-1)
        known += np.sum(earlier * (weights @ later.T), axis=-1)
    return ratio(won, known)


def _influence(times: Floats, seen: NDArray[np.bool_], risks: Floats) -> tuple[float, Floats]:
    """C, and its derivative by the weight of each sample."""
    won, known = np.zeros(times.size), np.zeros(times.size)
    for chosen, later, outranked in _pairs(times, seen, risks):
        # A pair moves with the weights of both its samples.
        won += outranked.sum(axis=0)
        known += later.sum(axis=0)
        won[chosen] += outranked.sum(axis=1)
        known[chosen] += later.sum(axis=1)
    pairs = float(known.sum()) / 2
    if pairs == 0:
        return math.nan, np.zeros(times.size)
    value = float(won.sum()) / 2 / pairs
    return value, (won - value * known) / pairs


def _uncensored(times: Floats, seen: NDArray[np.bool_], weights: Floats) -> Floats:
    """Kaplan-Meier probability of not being censored before each sample's time, (..., samples)."""
    known, code = np.unique(times, return_inverse=True)
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(known.size))
    leaving = np.add.reduceat(weights[..., order], starts, axis=-1)
    events = np.add.reduceat((weights * seen)[..., order], starts, axis=-1)
    at_risk = np.cumsum(leaving[..., ::-1], axis=-1)[..., ::-1]
    # Events at a time come before its censorings: who failed was no longer there to be censored.
    stayed = at_risk - events
    share = 1 - np.divide(leaving - events, stayed, out=np.zeros_like(stayed), where=stayed > 1e-12)
    after = np.cumprod(share, axis=-1)
    before = np.concatenate((np.ones_like(after[..., :1]), after[..., :-1]), axis=-1)
    return np.asarray(before[..., code])
