"""Confidence intervals by resampling patients, not images.

Images of one patient resemble each other. Resampling images would count each of them as new evidence and give
intervals that are too short; here all images of a drawn patient come along together.

References
----------
Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall, 1993, chapters 8 and 13.
Field CA, Welsh AH. Bootstrapping clustered data. Journal of the Royal Statistical Society B
69 (2007) 369-390.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, Score, as_labels

__all__ = ["Metric", "bootstrap", "group_weights"]

# Weights (replicates, samples) in, values (replicates,) out; the data are bound in the callable.
Metric: TypeAlias = Callable[[Floats], Score]

# Numbers in one block of weights: 32 MB, so that memory does not grow with replicates times samples.
_BLOCK = 4_000_000

# More undefined replicates than this, and the rest would no longer stand for the whole.
_MOST_UNDEFINED = 0.05


def bootstrap(
    metrics: Mapping[str, Metric],
    *,
    labels: ArrayLike,
    groups: ArrayLike | None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Percentile intervals of any number of metrics over the same resampled patients.

    Groups are drawn with replacement within strata, a stratum being all groups with the same majority label
    (ties go to the label that sorts first). So every replicate has as many groups of each class as the data,
    and none lacks a class; the interval is conditional on these numbers. A drawn group brings all its samples
    with it, which is expressed as a weight of each sample: how often its group was drawn.

    Parameters
    ----------
    metrics : mapping of str to callable
        Each takes weights of shape (replicates, samples) and gives values of shape (replicates,), for example
        ``lambda weights: roc_auc(truth, probability, weights=weights)``. A difference of two such calls gives
        the paired comparison of two models.
    labels : array-like, shape (samples,)
        Truth, for the strata.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent, and the method says so.
    replicates : int
        Number of resampled data sets.
    level : float
        Confidence level.
    seed : int
        Seed of the draws; equal input gives equal intervals.

    Returns
    -------
    dict of str to Estimate
        The interval is NaN, and `Estimate.method` begins with ``"none: "`` and says why, where there is one
        group only, where the metric is not defined on the data or on more than 5% of the replicates (those
        below that share are left out), or where it has the same value on all of them.

    Raises
    ------
    UsageError
        Lengths differ, or replicates or level are out of range.
    """
    if replicates < 2 or not 0 < level < 1:
        raise UsageError(f"expected 2 replicates or more and a level in (0, 1), got {replicates} and {level}")
    truth = as_labels(labels, "labels")
    members = np.arange(truth.size) if groups is None else as_labels(groups, "groups", truth.size)
    count = np.unique(members).size
    unit = "samples" if groups is None else "groups"
    values = {
        name: float(np.asarray(metric(np.ones((1, truth.size))))[0]) for name, metric in metrics.items()
    }
    drawn = {name: np.full(replicates, np.nan) for name in metrics}
    if count > 1:
        done = 0
        for weights in group_weights(truth, members, replicates=replicates, seed=seed):
            for name, metric in metrics.items():
                drawn[name][done : done + len(weights)] = metric(weights)
            done += len(weights)
    estimates = {}
    for name, value in values.items():
        low, high, method = _interval(value, drawn[name], level, count, unit)
        estimates[name] = Estimate(name, value, low, high, level, method, truth.size, count)
    return estimates


def group_weights(labels: ArrayLike, groups: ArrayLike, *, replicates: int, seed: int) -> Iterator[Floats]:
    """Draw groups within strata and give, block by block, how often each sample was drawn.

    Parameters
    ----------
    labels, groups : array-like, shape (samples,)
        Label and group of each sample.
    replicates : int
        Number of resampled data sets.
    seed : int
        Seed of the draws.

    Yields
    ------
    ndarray of float64, shape (block, samples)
        Weights; the blocks add up to `replicates` rows. The rows do not depend on the size of the blocks.
    """
    truth = as_labels(labels, "labels")
    _, member = np.unique(as_labels(groups, "groups", truth.size), return_inverse=True)
    strata = _strata(truth, member)
    # One generator per stratum: the stream of each is consumed in order, whatever the blocks are.
    generators = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(len(strata))]
    block = max(1, _BLOCK // truth.size)
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        times = np.zeros((rows, int(member.max()) + 1))
        for stratum, generator in zip(strata, generators, strict=True):
            picks = generator.integers(0, stratum.size, size=(rows, stratum.size))
            picks += np.arange(rows)[:, np.newaxis] * stratum.size
            drawn = np.bincount(picks.ravel(), minlength=rows * stratum.size)
            times[:, stratum] = drawn.reshape(rows, stratum.size)
        yield times[:, member]


def _strata(truth: NDArray[np.generic], member: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Numbers of the groups of each majority label."""
    known, code = np.unique(truth, return_inverse=True)
    table = np.zeros((int(member.max()) + 1, known.size), dtype=np.int64)
    np.add.at(table, (member, code), 1)
    majority = table.argmax(axis=1)
    return [np.flatnonzero(majority == label) for label in np.unique(majority)]


def _interval(value: float, drawn: Floats, level: float, count: int, unit: str) -> tuple[float, float, str]:
    if count < 2:
        return math.nan, math.nan, "none: one group only, so there is nothing to resample"
    if math.isnan(value):
        return math.nan, math.nan, "none: the metric is not defined on these data"
    defined = drawn[~np.isnan(drawn)]
    undefined = drawn.size - defined.size
    if undefined > _MOST_UNDEFINED * drawn.size:
        return math.nan, math.nan, f"none: not defined in {undefined} of {drawn.size} replicates"
    if np.ptp(defined) <= 1e-12:
        return math.nan, math.nan, "none: all replicates have the same value"
    tail = (1 - level) / 2
    low, high = np.quantile(defined, (tail, 1 - tail))
    left_out = f", {undefined} undefined left out" if undefined else ""
    return float(low), float(high), f"percentile bootstrap over {unit}, {drawn.size} replicates{left_out}"
