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
from voxlake.metrics.normal import normal_deviate

__all__ = ["Figures", "Metric", "bootstrap", "bootstrap_values", "group_weights", "percentile_estimate"]

# Weights (replicates, samples) in, values (replicates,) out; the data are bound in the callable.
Metric: TypeAlias = Callable[[Floats], Score]
# The same for many figures that share their work.
Figures: TypeAlias = Callable[[Floats], Mapping[str, Score]]

# Numbers in one block of weights: 2 MB, which stays in the cache between one step and the next.
_BLOCK = 250_000

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
    and none lacks a class; the interval is conditional on these numbers. Give all samples one label to draw
    without strata, where these numbers are themselves a matter of chance. A drawn group brings all its
    samples with it, which is expressed as a weight of each sample: how often its group was drawn.

    Parameters
    ----------
    metrics : mapping of str to callable
        Each takes weights of shape (replicates, samples) and gives values of shape (replicates,), for example
        ``lambda weights: roc_auc(truth, probability, weights=weights)``. A difference of two such calls gives
        the paired comparison of two models; see `voxlake.metrics.comparison`.
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
    normal_deviate(level)  # refuses a level before thousands of draws are made
    truth = as_labels(labels, "labels")
    whole = np.ones((1, truth.size))
    values = {name: float(np.asarray(metric(whole))[0]) for name, metric in metrics.items()}
    drawn = bootstrap_values(
        lambda weights: {name: metric(weights) for name, metric in metrics.items()},
        labels=truth,
        groups=groups,
        replicates=replicates,
        seed=seed,
    )
    units = truth.size if groups is None else np.unique(np.asarray(groups)).size
    unit = "samples" if groups is None else "groups"
    return {
        name: percentile_estimate(
            name, value, drawn[name], level=level, samples=truth.size, groups=units, unit=unit
        )
        for name, value in values.items()
    }


def bootstrap_values(
    figures: Figures, *, labels: ArrayLike, groups: ArrayLike | None, replicates: int = 2000, seed: int = 0
) -> dict[str, Floats]:
    """Values of many figures on resampled patients; the draws are those of `bootstrap`.

    Parameters
    ----------
    figures : callable
        Takes weights of shape (block, samples) and gives one array of shape (block,) for each name.
    labels, groups, replicates, seed
        As for `bootstrap`.

    Returns
    -------
    dict of str to ndarray, shape (replicates,)
        NaN where a figure is not defined; all NaN where there is one group only.

    Raises
    ------
    UsageError
        Lengths differ, or there are fewer than two replicates.
    """
    if replicates < 2:
        raise UsageError(f"expected 2 replicates or more, got {replicates}")
    truth = as_labels(labels, "labels")
    members = np.arange(truth.size) if groups is None else as_labels(groups, "groups", truth.size)
    if (members == members[0]).all():
        names = figures(np.ones((1, truth.size)))
        return {name: np.full(replicates, np.nan) for name in names}
    blocks = [figures(weights) for weights in group_weights(truth, members, replicates=replicates, seed=seed)]
    return {name: np.concatenate([np.asarray(block[name]) for block in blocks]) for name in blocks[0]}


def percentile_estimate(
    name: str,
    value: float,
    drawn: Floats,
    *,
    level: float,
    samples: int,
    groups: int,
    unit: str = "groups",
) -> Estimate:
    """Make an estimate of a value and its bootstrap replicates.

    Parameters
    ----------
    name : str
        Metric.
    value : float
        Its value on the data as they are.
    drawn : ndarray, shape (replicates,)
        Its values on the replicates; NaN where not defined.
    level : float
        Confidence level.
    samples, groups : int
        What the value rests on.
    unit : str
        What was drawn, for the description of the method.

    Raises
    ------
    UsageError
        The level does not lie between 0 and 1.
    """
    normal_deviate(level)  # refuses what is no level
    low, high, method = _interval(value, drawn, level, groups, unit)
    return Estimate(name, value, low, high, level, method, samples, groups)


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
        yield np.take(times, member, axis=1)


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
