"""Two models on the same samples: the difference of any metric, with an interval over patients.

Both models are scored on the same resampled patients, so that what makes a patient hard for both falls out of
the difference. The difference of two intervals that were made apart would be far too wide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voxlake.core.errors import UsageError
from voxlake.metrics.bootstrap import Figures, Metric, bootstrap_values, percentile_estimate
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.figures import BinaryFigures
from voxlake.metrics.inputs import Floats, as_binary, as_labels
from voxlake.metrics.names import METRICS
from voxlake.metrics.summary import multiclass_metrics

__all__ = [
    "Comparison",
    "bootstrap_p_value",
    "compare",
    "compare_binary",
    "compare_figures",
    "compare_multiclass",
]


@dataclass(frozen=True)
class Comparison:
    """A metric of two models on the same samples.

    Parameters
    ----------
    name : str
        Metric.
    first, second : float
        Its value for both.
    difference, low, high : float
        ``first - second`` and its interval; NaN ends where there is none, and `method` says why.
    level : float
        Confidence level.
    p_value : float
        Two-sided p value of "no difference" that belongs to the interval; NaN without one.
    method : str
        How the interval was made.
    samples, groups : int
        What it rests on.
    """

    name: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    level: float
    p_value: float
    method: str
    samples: int
    groups: int


def compare(
    first: Mapping[str, Metric],
    second: Mapping[str, Metric],
    *,
    labels: ArrayLike,
    groups: ArrayLike | None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Compare any metrics of two models on the same resampled patients.

    Parameters
    ----------
    first, second : mapping of str to callable
        The metrics of both models, under the same names; each takes weights of shape (replicates, samples)
        and gives values of shape (replicates,).
    labels, groups, replicates, level, seed
        As for `voxlake.metrics.bootstrap.bootstrap`.

    Returns
    -------
    list of Comparison
        In the order of `first`.

    Raises
    ------
    UsageError
        The names differ, or as for `bootstrap`.
    """
    if set(first) != set(second):
        raise UsageError(f"both models need the same metrics, got {sorted(first)} and {sorted(second)}")
    return compare_figures(
        lambda weights: {name: metric(weights) for name, metric in first.items()},
        lambda weights: {name: metric(weights) for name, metric in second.items()},
        labels=labels,
        groups=groups,
        replicates=replicates,
        level=level,
        seed=seed,
    )


def compare_figures(
    first: Figures,
    second: Figures,
    *,
    labels: ArrayLike,
    groups: ArrayLike | None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Compare figures that each model works out together.

    Parameters
    ----------
    first, second : callable
        Each takes weights of shape (block, samples) and gives one array of shape (block,) for each name; the
        names of both are the same.
    labels, groups, replicates, level, seed
        As for `voxlake.metrics.bootstrap.bootstrap`.

    Returns
    -------
    list of Comparison
        In the order of the names of `first`.
    """
    truth = as_labels(labels, "labels")
    whole = np.ones((1, truth.size))
    one, other = first(whole), second(whole)

    def differences(weights: Floats) -> dict[str, Floats]:
        here, there = first(weights), second(weights)
        return {name: np.asarray(here[name]) - np.asarray(there[name]) for name in one}

    drawn = bootstrap_values(differences, labels=truth, groups=groups, replicates=replicates, seed=seed)
    units = truth.size if groups is None else np.unique(np.asarray(groups)).size
    unit = "samples" if groups is None else "groups"
    found = []
    for name, apart in drawn.items():
        pair = float(np.asarray(one[name])[0]), float(np.asarray(other[name])[0])
        estimate = percentile_estimate(
            name, pair[0] - pair[1], apart, level=level, samples=truth.size, groups=units, unit=unit
        )
        found.append(_comparison(estimate, *pair, apart))
    return found


def compare_binary(  # noqa: PLR0913 - what two models differ in, and what `bootstrap` takes
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike | None,
    first_threshold: ArrayLike = 0.5,
    second_threshold: ArrayLike = 0.5,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Compare all figures of two two-class models.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    first, second : array-like, shape (samples,)
        Probability of the positive class, by both models.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent.
    first_threshold, second_threshold : float or array-like, shape (samples,)
        Where each model calls a sample positive.
    replicates, level, seed
        As for `voxlake.metrics.bootstrap.bootstrap`.

    Returns
    -------
    list of Comparison
        The figures of `voxlake.metrics.names.METRICS`.
    """
    positive = as_binary(truth)
    one = BinaryFigures(positive, first, threshold=first_threshold)
    other = BinaryFigures(positive, second, threshold=second_threshold)
    found = compare_figures(
        lambda weights: one(np.take(weights, one.order, axis=1)),
        lambda weights: other(np.take(weights, other.order, axis=1)),
        labels=positive,
        groups=groups,
        replicates=replicates,
        level=level,
        seed=seed,
    )
    return sorted(found, key=lambda each: METRICS.index(each.name))


def compare_multiclass(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike | None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Compare all figures of two models of several classes.

    Parameters
    ----------
    truth : array-like of int, shape (samples,)
        Class numbers, 0 to K - 1.
    first, second : array-like, shape (samples, K)
        Probabilities by both models.
    groups, replicates, level, seed
        As for `compare_binary`.

    Returns
    -------
    list of Comparison
        The figures of `voxlake.metrics.summary.multiclass_estimates`.
    """
    return compare(
        multiclass_metrics(truth, first),
        multiclass_metrics(truth, second),
        labels=truth,
        groups=groups,
        replicates=replicates,
        level=level,
        seed=seed,
    )


def bootstrap_p_value(differences: Floats) -> float:
    """Two-sided p value of "no difference" from replicates of a difference, the inverse of their interval.

    The smaller share of replicates on one side of 0, doubled; one is added to both counts, as the data
    themselves are one more replicate. NaN replicates are left out.
    """
    defined = differences[~np.isnan(differences)]
    fewer = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return float(min(1.0, 2 * (fewer + 1) / (defined.size + 1)))


def _comparison(estimate: Estimate, first: float, second: float, apart: Floats) -> Comparison:
    return Comparison(
        name=estimate.name,
        first=first,
        second=second,
        difference=estimate.value,
        low=estimate.low,
        high=estimate.high,
        level=estimate.level,
        p_value=bootstrap_p_value(apart) if estimate.has_interval else math.nan,
        method=estimate.method,
        samples=estimate.samples,
        groups=estimate.groups,
    )
