"""The usual figures of a classifier, each with an interval that survives small and perfect results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics import classification as metrics
from voxlake.metrics.bootstrap import Metric, bootstrap, bootstrap_values, percentile_estimate
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.figures import BinaryFigures
from voxlake.metrics.inputs import as_labels, as_scores
from voxlake.metrics.names import METRICS
from voxlake.metrics.newcombe import newcombe_auc_interval
from voxlake.metrics.wilson import wilson_interval

__all__ = ["binary_estimates", "multiclass_estimates", "multiclass_metrics"]


def binary_estimates(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    groups: ArrayLike | None,
    threshold: ArrayLike = 0.5,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Estimate]:
    """Figures of a two-class model with intervals over patients.

    Where all replicates agree (a perfect score above all), the bootstrap has no interval. Then the number of
    *groups* that a metric rests on gives one: Wilson's for accuracy, recall, specificity and precision; the
    same carried over to F1 by ``F1 = 2 J / (1 + J)``, J being a proportion (Jaccard's index); the method
    of variance estimates recovery (Zou and Donner 2008) for balanced accuracy; Newcombe's for ROC AUC.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent.
    threshold : float or array-like, shape (samples,)
        A sample is called positive at or above it; one per sample where folds chose their own.
    replicates, level, seed
        As for `voxlake.metrics.bootstrap.bootstrap`.

    Returns
    -------
    list of Estimate
        roc_auc, average_precision, accuracy, balanced_accuracy, recall, specificity, precision, f1,
        matthews_corrcoef, brier_score, log_loss.
    """
    figures = BinaryFigures(truth, probability, threshold=threshold, groups=groups)
    drawn = bootstrap_values(
        figures, labels=figures.positive, groups=figures.groups, replicates=replicates, seed=seed
    )
    values = figures.values()
    units, unit = np.unique(figures.groups).size, "samples" if groups is None else "groups"
    found = [
        percentile_estimate(
            name,
            values[name],
            drawn[name],
            level=level,
            samples=figures.positive.size,
            groups=units,
            unit=unit,
        )
        for name in METRICS
    ]
    return [_rescued(each, values, figures.positive, figures.called, figures.groups) for each in found]


def multiclass_estimates(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    groups: ArrayLike | None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Estimate]:
    """Figures of a model of several classes, with intervals over patients.

    Parameters
    ----------
    truth : array-like of int, shape (samples,)
        Class numbers, 0 to K - 1.
    probability : array-like, shape (samples, K)
        Probability of each class; the most probable one is the call.
    groups, replicates, level, seed
        As for `binary_estimates`.

    Returns
    -------
    list of Estimate
        roc_auc and average_precision (mean over classes, each against all others), accuracy,
        balanced_accuracy (the mean recall), specificity, precision and f1 (means over classes),
        matthews_corrcoef, brier_score, log_loss.
    """
    labels = as_labels(truth, "truth")
    chosen = multiclass_metrics(labels, probability)
    found = bootstrap(chosen, labels=labels, groups=groups, replicates=replicates, level=level, seed=seed)
    return list(found.values())


def multiclass_metrics(truth: ArrayLike, probability: ArrayLike) -> dict[str, Metric]:
    """Figures of a model of several classes as functions of weights, ready for `bootstrap`.

    Parameters and figures are those of `multiclass_estimates`.

    Raises
    ------
    UsageError
        Truth does not hold class numbers, or the probabilities have not one column for each class.
    """
    labels = as_labels(truth, "truth")
    certain = as_scores(probability, "probability", labels.size)
    if certain.ndim != 2:
        raise UsageError(f"probability has shape {certain.shape}; pass one column for each class")
    called = certain.argmax(axis=1)
    return {
        "roc_auc": lambda w: metrics.roc_auc(labels, certain, weights=w),
        "average_precision": lambda w: metrics.average_precision(labels, certain, weights=w),
        "accuracy": lambda w: metrics.accuracy(labels, called, weights=w),
        "balanced_accuracy": lambda w: metrics.balanced_accuracy(labels, called, weights=w),
        "specificity": lambda w: metrics.specificity(labels, called, positive=None, weights=w),
        "precision": lambda w: metrics.precision(labels, called, positive=None, weights=w),
        "f1": lambda w: metrics.f1(labels, called, positive=None, weights=w),
        "matthews_corrcoef": lambda w: metrics.matthews_corrcoef(labels, called, weights=w),
        "brier_score": lambda w: metrics.brier_score(labels, certain, weights=w),
        "log_loss": lambda w: metrics.log_loss(labels, certain, weights=w),
    }


def _rescued(
    estimate: Estimate,
    values: Mapping[str, float],
    positive: NDArray[np.bool_],
    called: NDArray[np.bool_],
    members: NDArray[Any],
) -> Estimate:
    """Give an interval that rests on the number of groups where the bootstrap could not give one."""
    if estimate.has_interval or math.isnan(estimate.value) or estimate.groups < 2:
        return estimate
    bases = {
        "accuracy": np.ones_like(positive),
        "recall": positive,
        "specificity": ~positive,
        "precision": called,
        "f1": positive | called,
    }
    counts = {name: int(np.unique(members[mask]).size) for name, mask in bases.items()}
    value, level = estimate.value, estimate.level
    if estimate.name == "balanced_accuracy" and not (counts["recall"] and counts["specificity"]):
        # Of one class, it is the recall of that class, which is the accuracy.
        counts["balanced_accuracy"] = counts["accuracy"]
    if estimate.name == "roc_auc":
        low, high = newcombe_auc_interval(value, counts["recall"], counts["specificity"], level)
        return replace(estimate, low=low, high=high, method="Newcombe's score interval over groups")
    if estimate.name == "balanced_accuracy" and estimate.name not in counts:
        low, high = _mean_of_two(values["recall"], values["specificity"], counts, level)
        return replace(estimate, low=low, high=high, method="Wilson over groups, combined by MOVER")
    if estimate.name not in counts:
        return estimate
    total = counts[estimate.name]
    share = value / (2 - value) if estimate.name == "f1" else value
    low, high = wilson_interval(min(share, 1.0) * total, total, level)
    if estimate.name == "f1":
        low, high = 2 * low / (1 + low), 2 * high / (1 + high)
    return replace(estimate, low=low, high=high, method=f"Wilson over {total} groups")


def _mean_of_two(
    recall: float, specificity: float, counts: Mapping[str, int], level: float
) -> tuple[float, float]:
    """Interval of the mean of two independent proportions from their Wilson intervals."""
    first = wilson_interval(recall * counts["recall"], counts["recall"], level)
    second = wilson_interval(specificity * counts["specificity"], counts["specificity"], level)
    middle = (recall + specificity) / 2
    down = math.hypot(recall - first[0], specificity - second[0]) / 2
    up = math.hypot(first[1] - recall, second[1] - specificity) / 2
    return max(0.0, middle - down), min(1.0, middle + up)
