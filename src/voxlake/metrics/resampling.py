"""Intervals by resampling patients where the figure is skewed: bias-corrected and accelerated.

A root mean squared error or a kappa of sixty patients is not spread evenly about its value, and plain
percentiles then miss more often on one side. The correction shifts them by the bias of the replicates and by
how the spread changes with the value, which is read off from leaving patients out one by one.

References
----------
Efron B. Better bootstrap confidence intervals. Journal of the American Statistical Association 82 (1987)
171-185. Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall, 1993, chapter 14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from voxlake.core.errors import UsageError
from voxlake.metrics.bootstrap import Metric, bootstrap_values, percentile_estimate
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, as_labels
from voxlake.metrics.normal import normal_deviate

__all__ = ["Interval", "as_groups", "resample"]

Interval: TypeAlias = Literal["bca", "percentile"]

# With more groups than this, several are left out at a time: the acceleration is small then anyway.
_MOST_FOLDS = 200
# Numbers in one block of weights, 2 MB.
_BLOCK = 250_000


def resample(
    metrics: Mapping[str, Metric],
    *,
    samples: int,
    groups: ArrayLike | None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    interval: Interval = "bca",
) -> dict[str, Estimate]:
    """Bootstrap intervals of any number of metrics over the same resampled patients, without strata.

    Parameters
    ----------
    metrics : mapping of str to callable
        Each takes weights of shape (replicates, samples) and gives values of shape (replicates,).
    samples : int
        Number of samples.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent, and the method says so.
    replicates, level, seed
        As for `voxlake.metrics.bootstrap.bootstrap`.
    interval : {"bca", "percentile"}
        ``"bca"`` for smooth figures; ``"percentile"`` for medians, ranks and anything else that leaving out
        one patient changes in jumps.

    Returns
    -------
    dict of str to Estimate
        Without an interval where there is no honest one; `Estimate.method` says why.

    Raises
    ------
    UsageError
        Lengths differ, or replicates or level are out of range.
    """
    normal_deviate(level)  # refuses a level before thousands of draws are made
    members, units = as_groups(groups, samples)
    whole = np.ones((1, samples))
    values = {name: float(np.asarray(metric(whole))[0]) for name, metric in metrics.items()}

    def figures(weights: Floats) -> dict[str, Any]:
        return {name: metric(weights) for name, metric in metrics.items()}

    drawn = bootstrap_values(
        figures, labels=np.zeros(samples), groups=members, replicates=replicates, seed=seed
    )
    unit = "samples" if groups is None else "groups"
    estimates = {
        name: percentile_estimate(
            name, value, drawn[name], level=level, samples=samples, groups=units, unit=unit
        )
        for name, value in values.items()
    }
    if interval == "percentile" or units < 2:
        return estimates
    left_out = _leave_out(figures, members, units)
    return {name: _accelerate(made, drawn[name], left_out[name]) for name, made in estimates.items()}


def as_groups(groups: ArrayLike | None, samples: int) -> tuple[NDArray[np.intp], int]:
    """Number of the group of each sample and how many groups there are; None makes each sample a group.

    Raises
    ------
    UsageError
        There are no samples, or not one group for each.
    """
    if samples < 1:
        raise UsageError("there are no samples; pass one value for each at least")
    if groups is None:
        return np.arange(samples), samples
    known, member = np.unique(as_labels(groups, "groups", samples), return_inverse=True)
    return member, int(known.size)


def _leave_out(
    figures: Callable[[Floats], Mapping[str, Any]], members: NDArray[np.intp], units: int
) -> dict[str, Floats]:
    """Values with each group (or, of many groups, each of 200 sets of them) left out."""
    # Groups are dealt out in an order of their own, so that neighbours in the data do not go together.
    fold = np.random.default_rng(0).permutation(units) % min(units, _MOST_FOLDS)
    found = [figures(weights) for weights in _without(fold[members])]
    return {name: np.concatenate([np.asarray(block[name]) for block in found]) for name in found[0]}


def _without(fold: NDArray[np.intp]) -> Iterator[Floats]:
    folds = int(fold.max()) + 1
    block = max(1, _BLOCK // fold.size)
    for start in range(0, folds, block):
        numbers = np.arange(start, min(folds, start + block))
        yield (fold != numbers[:, np.newaxis]).astype(np.float64)


def _accelerate(made: Estimate, drawn: Floats, left_out: Floats) -> Estimate:
    """Move the ends of a percentile interval by bias and acceleration."""
    if not made.has_interval or np.isnan(left_out).any():
        return made
    defined = np.sort(drawn[~np.isnan(drawn)])
    # Replicates at the value itself count half on either side; never all on one side.
    below = 0.5 * float(np.mean(defined < made.value) + np.mean(defined <= made.value))
    bias = float(ndtri(np.clip(below, 0.5 / defined.size, 1 - 0.5 / defined.size)))
    deviation = left_out.mean() - left_out
    spread = float(np.sum(deviation**2))
    acceleration = float(np.sum(deviation**3)) / (6 * spread**1.5) if spread > 0 else 0.0
    deviates = bias + np.array([-1.0, 1.0]) * normal_deviate(made.level)
    stretch = 1 - acceleration * deviates
    if stretch.min() <= 0:
        return made
    low, high = np.quantile(defined, ndtr(bias + deviates / stretch))
    method = made.method.replace("percentile bootstrap", "BCa bootstrap")
    return replace(made, low=float(low), high=float(high), method=method)
