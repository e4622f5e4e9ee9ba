"""Free-response ROC: lesions found against false marks per case, as the threshold on the marks moves.

References
----------
Bunch PC, Hamilton JF, Sanderson GK, Simmons AH. A free-response approach to the measurement and
characterization of radiographic observer performance. Proceedings of SPIE 127 (1977) 124-135.
van Ginneken B, et al. Comparing and combining algorithms for computer-aided detection of pulmonary nodules in
computed tomography scans: the ANODE09 study. Medical Image Analysis 14 (2010) 707-722.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.bootstrap import Metric
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, Score, as_scores, as_weights, ratio
from voxlake.metrics.resampling import resample

__all__ = ["FROC_RATES", "Candidates", "FrocCurve", "froc_curve", "froc_estimates", "froc_sensitivity"]

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False marks per case at which ANODE09 and later challenges read the curve."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Marks of a detector on a set of cases.

    Parameters
    ----------
    case : ndarray of int, shape (marks,)
        Number of the case, from 0.
    score : ndarray of float, shape (marks,)
        Higher means more certain.
    lesion : ndarray of int, shape (marks,)
        Number of the lesion within its case that the mark hits, from 0; -1 for a false mark.
    lesions : ndarray of int, shape (cases,)
        Number of lesions of each case; cases without marks or lesions count as cases all the same.

    Raises
    ------
    UsageError
        Lengths differ, or a mark names a case or lesion that is not there.
    """

    case: NDArray[np.int64]
    score: Floats
    lesion: NDArray[np.int64]
    lesions: NDArray[np.int64]

    def __post_init__(self) -> None:
        case, lesion, lesions = (
            np.asarray(values, dtype=np.int64) for values in (self.case, self.lesion, self.lesions)
        )
        if lesions.ndim != 1 or not lesions.size or lesions.min() < 0:
            raise UsageError("lesions must be the number of lesions of each case")
        if case.ndim != 1 or lesion.shape != case.shape:
            raise UsageError(f"marks have {case.shape} cases and {lesion.shape} lesions; pass one for each")
        score = as_scores(np.asarray(self.score, dtype=np.float64), "score", case.size)
        if not np.isin(case, np.arange(lesions.size)).all():
            raise UsageError(f"a mark names a case outside 0 to {lesions.size - 1}")
        if (lesion < -1).any() or (lesion >= lesions[case]).any():
            raise UsageError("a mark names a lesion that its case does not have")
        for name, values in (("case", case), ("score", score), ("lesion", lesion), ("lesions", lesions)):
            object.__setattr__(self, name, values)


@dataclass(frozen=True, eq=False)
class FrocCurve:
    """Points of the curve, from no marks to all; the first stands for no mark at all.

    Parameters
    ----------
    false_positives : ndarray of float64, shape (points,)
        False marks per case at or above the threshold.
    sensitivity : ndarray of float64, shape (points,)
        Share of the lesions hit at or above it.
    threshold : ndarray of float64, shape (points,)
        Scores, falling; infinite at first.
    """

    false_positives: Floats
    sensitivity: Floats
    threshold: Floats


def froc_curve(candidates: Candidates) -> FrocCurve:
    """Curve over all thresholds. Further marks on a lesion that is found already count neither way."""
    hits, false, threshold = _steps(candidates, np.ones((1, candidates.lesions.size)))
    return FrocCurve(
        np.concatenate(([0.0], false[0])),
        np.concatenate(([0.0], hits[0])),
        np.concatenate(([math.inf], threshold)),
    )


def froc_sensitivity(
    candidates: Candidates, rates: Sequence[float] = FROC_RATES, *, weights: ArrayLike | None = None
) -> Floats:
    """Share of the lesions found at no more than so many false marks per case.

    The curve is a staircase: it is read at the lowest threshold that keeps to the rate, without
    interpolation between thresholds that nobody can set.

    Parameters
    ----------
    candidates : Candidates
        Marks.
    rates : sequence of float
        False marks per case.
    weights : array-like, shape (cases,) or (replicates, cases), optional
        Weight of each case.

    Returns
    -------
    ndarray, shape (rates,) or (replicates, rates)
        NaN without lesions.

    Raises
    ------
    UsageError
        A rate is negative.
    """
    limits = np.asarray(rates, dtype=np.float64)
    if limits.ndim != 1 or not limits.size or not (limits >= 0).all():
        raise UsageError("rates must be false marks per case, 0 or more")
    weight = as_weights(weights, candidates.lesions.size)
    hits, false, _ = _steps(candidates, np.atleast_2d(weight))
    # Both only grow along the thresholds, so the best point within the rate is the last one.
    reached = np.stack([(false <= limit + 1e-12).sum(axis=1) for limit in limits], axis=1)
    padded = np.concatenate((np.zeros((len(hits), 1)), hits), axis=1)
    found = np.take_along_axis(padded, reached, axis=1)
    found[np.isnan(hits).any(axis=1) | ~(np.atleast_2d(weight) @ candidates.lesions > 0)] = np.nan
    return found if weight.ndim == 2 else np.asarray(found[0])


def froc_estimates(
    candidates: Candidates,
    *,
    rates: Sequence[float] = FROC_RATES,
    groups: ArrayLike | None = None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Sensitivity at each rate and their mean, with intervals over patients.

    Parameters
    ----------
    candidates : Candidates
        Marks.
    rates : sequence of float
        False marks per case.
    groups : array-like, shape (cases,), optional
        Patient of each case.
    replicates, level, seed
        As for `voxlake.metrics.resampling.resample`.

    Returns
    -------
    dict of str to Estimate
        ``sensitivity_at_0.125`` and so on, and ``froc_score``, the mean over the rates.
    """
    names = [f"sensitivity_at_{rate:g}" for rate in rates]
    whole = tuple(range(len(names)))
    columns = {name: (number,) for number, name in enumerate(names)} | {"froc_score": whole}
    last: list[tuple[Floats, Floats]] = []

    def read(weights: Floats) -> Floats:
        # All figures are read off the same curve; it is made once for each block of weights.
        if not last or last[0][0] is not weights:
            last[:] = [(weights, froc_sensitivity(candidates, rates, weights=weights))]
        return last[0][1]

    def metric(chosen: tuple[int, ...]) -> Metric:
        def value(weights: Floats) -> Score:
            return np.asarray(read(weights)[:, chosen].mean(axis=1))

        return value

    estimates = resample(
        {name: metric(chosen) for name, chosen in columns.items()},
        samples=candidates.lesions.size,
        groups=groups,
        replicates=replicates,
        level=level,
        seed=seed,
        interval="percentile",
    )
    return {name: replace(estimate, name=name) for name, estimate in estimates.items()}


def _steps(candidates: Candidates, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Lesions found and false marks per case at each distinct score, (replicates, scores); the scores."""
    order = np.argsort(-candidates.score, kind="stable")
    case, lesion = candidates.case[order], candidates.lesion[order]
    # The surest mark on a lesion finds it; the others are left out.
    offset = np.concatenate(([0], np.cumsum(candidates.lesions)))
    number = offset[case] + lesion
    first = np.zeros(case.size, dtype=bool)
    hit = np.flatnonzero(lesion >= 0)
    _, earliest = np.unique(number[hit], return_index=True)
    first[hit[earliest]] = True
    score = candidates.score[order]
    ends = np.flatnonzero(np.concatenate((score[1:] != score[:-1], [True]))) if score.size else hit
    each = weights[:, case]
    hits = np.cumsum(each * first, axis=1)[:, ends]
    false = np.cumsum(each * (lesion < 0), axis=1)[:, ends]
    lesions = (weights @ candidates.lesions)[:, np.newaxis]
    cases = weights.sum(axis=1, keepdims=True)
    return np.asarray(ratio(hits, lesions)), np.asarray(ratio(false, cases)), score[ends]
