"""More figures of models of several classes: pairs of classes, best guesses, each class by itself."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, Score, as_labels, as_scores, as_weights, ratio
from voxlake.metrics.scores import roc_auc
from voxlake.metrics.summary import binary_estimates

__all__ = ["pairwise_roc_auc", "per_class_estimates", "top_k_accuracy"]


def top_k_accuracy(
    truth: ArrayLike, probability: ArrayLike, *, k: int = 2, weights: ArrayLike | None = None
) -> Score:
    """Share of samples whose class is among the `k` most probable; of equal ones the first goes first.

    Parameters
    ----------
    truth : array-like of int, shape (samples,)
        Class numbers, 0 to K - 1.
    probability : array-like, shape (samples, K)
        Probability of each class.
    k : int
        How many guesses, 1 to K.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Raises
    ------
    UsageError
        `k` is out of range, or truth holds no class numbers.
    """
    labels, certain = _classes(truth, probability)
    if not 1 <= k <= certain.shape[1]:
        raise UsageError(f"k must lie between 1 and the {certain.shape[1]} classes, got {k}")
    best = np.argsort(-certain, axis=1, kind="stable")[:, :k]
    hit = (best == labels[:, np.newaxis]).any(axis=1)
    weight = as_weights(weights, labels.size)
    return ratio(weight @ hit.astype(np.float64), weight.sum(axis=-1))


def pairwise_roc_auc(truth: ArrayLike, probability: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Mean ROC AUC over all pairs of classes (Hand and Till's M), however common each of them is.

    Parameters are those of `top_k_accuracy`.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN where a class has no sample.

    References
    ----------
    Hand DJ, Till RJ. A simple generalisation of the area under the ROC curve for multiple class
    classification problems. Machine Learning 45 (2001) 171-186.
    """
    labels, certain = _classes(truth, probability)
    weight = as_weights(weights, labels.size)
    areas: list[Score] = []
    for first, second in combinations(range(certain.shape[1]), 2):
        inside = (labels == first) | (labels == second)
        if not inside.any():
            return np.full(weight.shape[:-1], np.nan)[()]
        areas.extend(
            roc_auc(labels[inside] == own, certain[inside, own], weights=weight[..., inside])
            for own in (first, second)
        )
    mean: Score = np.mean(np.stack(areas), axis=0)
    return mean if np.ndim(mean) else np.float64(mean)


def per_class_estimates(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    groups: ArrayLike | None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[int, list[Estimate]]:
    """Figures of each class against all others, with intervals over patients.

    Parameters
    ----------
    truth, probability
        As for `top_k_accuracy`. A sample is called a class where that class is its most probable one.
    groups, replicates, level, seed
        As for `voxlake.metrics.summary.binary_estimates`.

    Returns
    -------
    dict of int to list of Estimate
        For each class number the figures of `voxlake.metrics.names.METRICS`.
    """
    labels, certain = _classes(truth, probability)
    called = certain.argmax(axis=1)
    found = {}
    for number in range(certain.shape[1]):
        # The own probability as threshold where the class is called, one that none reaches elsewhere.
        cuts = np.where(called == number, certain[:, number], np.inf)
        found[number] = binary_estimates(
            labels == number,
            certain[:, number],
            groups=groups,
            threshold=cuts,
            replicates=replicates,
            level=level,
            seed=seed,
        )
    return found


def _classes(
    truth: ArrayLike, probability: ArrayLike
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Floats]:
    labels = as_labels(truth, "truth")
    certain = as_scores(probability, "probability", labels.size)
    if certain.ndim != 2 or not np.isin(labels, np.arange(certain.shape[1])).all():
        raise UsageError(
            f"expected class numbers and one column of probabilities for each, got shape {certain.shape}"
        )
    return labels.astype(np.intp), certain
