"""Decision curves: what acting on a model is worth, for every price of a false alarm.

References
----------
Vickers AJ, Elkin EB. Decision curve analysis: a novel method for evaluating prediction models. Medical
Decision Making 26 (2006) 565-574.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voxlake.core.errors import UsageError
from voxlake.metrics.bootstrap import bootstrap_values
from voxlake.metrics.inputs import Floats, Score, as_binary, as_labels, as_probability, as_weights, ratio
from voxlake.metrics.normal import normal_deviate

__all__ = ["DecisionCurve", "decision_curve", "net_benefit"]


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit over thresholds; all arrays have shape (thresholds,). Treating nobody is worth 0.

    Parameters
    ----------
    thresholds : ndarray
        Probability from which one would act.
    net_benefit, low, high : ndarray
        Worth of acting on the model, with its interval.
    treat_all, treat_all_low, treat_all_high : ndarray
        Worth of acting on everybody.
    gain, gain_low, gain_high : ndarray
        Net benefit of the model less that of acting on everybody.
    level : float
        Confidence level of each interval by itself.
    method : str
        How the intervals were made, or why they are NaN.
    """

    thresholds: Floats
    net_benefit: Floats
    low: Floats
    high: Floats
    treat_all: Floats
    treat_all_low: Floats
    treat_all_high: Floats
    gain: Floats
    gain_low: Floats
    gain_high: Floats
    level: float
    method: str


def net_benefit(
    truth: ArrayLike, probability: ArrayLike, threshold: float, *, weights: ArrayLike | None = None
) -> Score:
    """True positives per sample, less the false ones at their price, ``TP / n - FP / n * t / (1 - t)``.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.
    threshold : float
        Probability at and above which one acts; it says how many false positives one true positive is worth.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Raises
    ------
    UsageError
        A threshold that does not lie between 0 and 1, or input that is not what is asked for.
    """
    worth = _worth(truth, probability, np.array([threshold]))[:, 0]
    weight = as_weights(weights, worth.size)
    total = weight.sum(axis=-1)
    return ratio(weight @ worth, total)


def decision_curve(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    groups: ArrayLike | None,
    thresholds: ArrayLike | None = None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> DecisionCurve:
    """Net benefit over thresholds with percentile intervals over patients.

    Patients are drawn without strata: the benefit depends on how common the positive class is, and that is
    itself known from these data only.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent.
    thresholds : array-like, shape (thresholds,), optional
        Rising, between 0 and 1; 0.01 to 0.99 if not given.
    replicates, level, seed
        As for `voxlake.metrics.bootstrap.bootstrap`.

    Raises
    ------
    UsageError
        Thresholds that do not rise between 0 and 1, or input that is not what is asked for.
    """
    normal_deviate(level)  # refuses what is no level
    cuts = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    worth = np.hstack((_worth(truth, probability, cuts), _worth(truth, np.ones(np.size(truth)), cuts)))
    size = len(worth)
    members = np.arange(size) if groups is None else as_labels(groups, "groups", size)
    _, place, counts = np.unique(members, return_inverse=True, return_counts=True)
    # All images of a patient are drawn together, so their sum is all that is needed of them.
    first = np.cumsum(counts) - counts
    table = np.add.reduceat(worth[np.argsort(place, kind="stable")], first, axis=0)
    drawn = bootstrap_values(
        lambda weights: {"worth": np.asarray((weights @ table) / (weights @ counts)[:, np.newaxis])},
        labels=np.zeros(counts.size),
        groups=None,
        replicates=replicates,
        seed=seed,
    )["worth"]
    unit = "samples" if groups is None else "groups"
    method = f"percentile bootstrap over {unit}, {replicates} replicates"
    if counts.size < 2:
        method, drawn = "none: one group only", np.full((replicates, worth.shape[1]), np.nan)
    model, everybody = np.split(worth.mean(axis=0), 2)
    drawn_model, drawn_everybody = np.split(drawn, 2, axis=1)
    tails = (1 - level) / 2, (1 + level) / 2
    ends = np.quantile(drawn_model, tails, axis=0)
    ends_all = np.quantile(drawn_everybody, tails, axis=0)
    ends_gain = np.quantile(drawn_model - drawn_everybody, tails, axis=0)
    return DecisionCurve(
        thresholds=cuts,
        net_benefit=model,
        low=ends[0],
        high=ends[1],
        treat_all=everybody,
        treat_all_low=ends_all[0],
        treat_all_high=ends_all[1],
        gain=model - everybody,
        gain_low=ends_gain[0],
        gain_high=ends_gain[1],
        level=level,
        method=method,
    )


def _worth(truth: ArrayLike, probability: ArrayLike, thresholds: Floats) -> Floats:
    """What acting on each sample adds at each threshold, shape (samples, thresholds)."""
    positive = as_binary(truth)
    certain = as_probability(probability, positive.size)
    if thresholds.ndim != 1 or not thresholds.size or (np.diff(thresholds) <= 0).any():
        raise UsageError("thresholds must be a rising list of numbers")
    if thresholds[0] <= 0 or thresholds[-1] >= 1:
        raise UsageError(f"thresholds must lie between 0 and 1, got {thresholds[0]} to {thresholds[-1]}")
    price = thresholds / (1 - thresholds)
    return np.where(certain[:, np.newaxis] >= thresholds, np.where(positive[:, np.newaxis], 1.0, -price), 0.0)
