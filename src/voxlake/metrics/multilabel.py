"""Several findings at once: each sample has any number of labels, and some of them may not be known.

Truth has shape (samples, labels) and holds 0, 1, or NaN where nobody looked; what is not known counts neither
for nor against. Functions take ``weights`` as those of `voxlake.metrics.confusion` do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.bootstrap import Metric, bootstrap
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Average, Floats, Score, as_scores, as_weights, averaged, ratio
from voxlake.metrics.scores import average_precision, roc_auc
from voxlake.metrics.summary import binary_estimates

__all__ = [
    "Multilabel",
    "hamming_loss",
    "label_ranking_average_precision",
    "multilabel_average_precision",
    "multilabel_estimates",
    "multilabel_f1",
    "multilabel_precision",
    "multilabel_recall",
    "multilabel_roc_auc",
    "subset_accuracy",
]


@dataclass(frozen=True)
class Multilabel:
    """Figures of a model of several labels: over all labels, and of each label by itself."""

    overall: tuple[Estimate, ...]
    labels: Mapping[str, tuple[Estimate, ...]]


def multilabel_roc_auc(
    truth: ArrayLike, scores: ArrayLike, *, average: Average = "macro", weights: ArrayLike | None = None
) -> Score:
    """ROC AUC over labels: mean of the labels, one ranking of all pairs, or mean weighted by positives.

    Parameters
    ----------
    truth : array-like of 0, 1 and NaN, shape (samples, labels)
        Truth.
    scores : array-like, shape (samples, labels)
        Higher means more positive.
    average : {"macro", "micro", "weighted"}
        How the labels become one value.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN where a label has one class only.
    """
    return _ranked(roc_auc, truth, scores, average, weights)


def multilabel_average_precision(
    truth: ArrayLike, scores: ArrayLike, *, average: Average = "macro", weights: ArrayLike | None = None
) -> Score:
    """Average precision over labels; parameters are those of `multilabel_roc_auc`."""
    return _ranked(average_precision, truth, scores, average, weights)


def multilabel_recall(
    truth: ArrayLike, called: ArrayLike, *, average: Average = "macro", weights: ArrayLike | None = None
) -> Score:
    """Recall over labels.

    Parameters
    ----------
    truth : array-like of 0, 1 and NaN, shape (samples, labels)
        Truth.
    called : array-like of bool, shape (samples, labels)
        Decisions.
    average : {"macro", "micro", "weighted"}
        Mean of the labels, rate of the summed counts, or mean weighted by positives.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN where a rate has no denominator.
    """
    hit, _, missed = _counts(truth, called, average, weights)
    return averaged(ratio(hit, hit + missed), hit + missed, average)


def multilabel_precision(
    truth: ArrayLike, called: ArrayLike, *, average: Average = "macro", weights: ArrayLike | None = None
) -> Score:
    """Precision over labels; parameters are those of `multilabel_recall`."""
    hit, false, missed = _counts(truth, called, average, weights)
    return averaged(ratio(hit, hit + false), hit + missed, average)


def multilabel_f1(
    truth: ArrayLike, called: ArrayLike, *, average: Average = "macro", weights: ArrayLike | None = None
) -> Score:
    """F1 over labels; parameters are those of `multilabel_recall`."""
    hit, false, missed = _counts(truth, called, average, weights)
    return averaged(ratio(2 * hit, 2 * hit + false + missed), hit + missed, average)


def hamming_loss(truth: ArrayLike, called: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Share of known labels that were called wrong; parameters are those of `multilabel_recall`."""
    positive, known = _truth(truth)
    decisions = _decisions(called, positive.shape)
    weight = as_weights(weights, len(positive))
    wrong = ((decisions != positive) & known).sum(axis=1).astype(np.float64)
    return ratio(weight @ wrong, weight @ known.sum(axis=1).astype(np.float64))


def subset_accuracy(truth: ArrayLike, called: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Share of samples of which every known label was called right; samples without any are left out.

    Parameters are those of `multilabel_recall`.
    """
    positive, known = _truth(truth)
    decisions = _decisions(called, positive.shape)
    weight = as_weights(weights, len(positive))
    right = ((decisions == positive) | ~known).all(axis=1) & known.any(axis=1)
    return ratio(weight @ right.astype(np.float64), weight @ known.any(axis=1).astype(np.float64))


def label_ranking_average_precision(
    truth: ArrayLike, scores: ArrayLike, *, weights: ArrayLike | None = None
) -> Score:
    """Mean share of true labels among those ranked as high as each true one, within each sample.

    Samples whose known labels are all true or all false are ranked right by any order and count 1. Parameters
    are those of `multilabel_roc_auc`.

    References
    ----------
    Tsoumakas G, Katakis I, Vlahavas I. Mining multi-label data. Data Mining and Knowledge Discovery Handbook
    (2010) 667-685.
    """
    positive, known = _truth(truth)
    checked = _scores(scores, positive.shape)
    weight = as_weights(weights, len(positive))
    above = (checked[:, np.newaxis, :] >= checked[:, :, np.newaxis]) & known[:, np.newaxis, :]
    rank = above.sum(axis=2)
    share = np.where(positive, (above & positive[:, np.newaxis, :]).sum(axis=2) / np.maximum(rank, 1), 0.0)
    true = positive.sum(axis=1)
    plain = (true == 0) | (true == known.sum(axis=1))
    each = np.where(plain, 1.0, share.sum(axis=1) / np.maximum(true, 1))
    seen = known.any(axis=1).astype(np.float64)
    return ratio(weight @ (each * seen), weight @ seen)


def multilabel_estimates(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    names: Sequence[str],
    groups: ArrayLike | None,
    thresholds: ArrayLike = 0.5,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Multilabel:
    """Figures of a model of several labels, with intervals over patients.

    Patients are drawn without strata, as no single label could make them; a rare label may therefore be
    missing from replicates, and figures over all labels then have no interval.

    Parameters
    ----------
    truth : array-like of 0, 1 and NaN, shape (samples, labels)
        Truth.
    probability : array-like, shape (samples, labels)
        Probability of each label.
    names : sequence of str
        Name of each label.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent.
    thresholds : float or array-like, shape (labels,)
        Where each label is called.
    replicates, level, seed
        As for `voxlake.metrics.bootstrap.bootstrap`.

    Returns
    -------
    Multilabel
        Overall: macro_roc_auc, micro_roc_auc, macro_average_precision, macro_f1, micro_f1, hamming_loss,
        subset_accuracy, label_ranking_average_precision. Labels: the figures of two classes each, on the
        samples where the label is known.

    Raises
    ------
    UsageError
        Shapes differ, or truth holds other values.
    """
    positive, known = _truth(truth)
    certain = _scores(probability, positive.shape)
    cuts = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (positive.shape[1],))
    if len(names) != positive.shape[1] or len(set(names)) != len(names):
        raise UsageError(f"expected {positive.shape[1]} different names of labels, got {len(names)}")
    members = None if groups is None else np.asarray(groups)
    overall = bootstrap(
        _overall(truth, certain, certain >= cuts),
        labels=np.zeros(len(positive)),
        groups=members,
        replicates=replicates,
        level=level,
        seed=seed,
    )
    each = {}
    for column, name in enumerate(names):
        inside = known[:, column]
        if inside.any():
            found = binary_estimates(
                positive[inside, column],
                certain[inside, column],
                groups=None if members is None else members[inside],
                threshold=cuts[column],
                replicates=replicates,
                level=level,
                seed=seed,
            )
            each[name] = tuple(found)
        else:
            each[name] = ()
    return Multilabel(tuple(overall.values()), each)


def _overall(truth: ArrayLike, certain: Floats, called: NDArray[np.bool_]) -> dict[str, Metric]:
    return {
        "macro_roc_auc": lambda w: multilabel_roc_auc(truth, certain, weights=w),
        "micro_roc_auc": lambda w: multilabel_roc_auc(truth, certain, average="micro", weights=w),
        "macro_average_precision": lambda w: multilabel_average_precision(truth, certain, weights=w),
        "macro_f1": lambda w: multilabel_f1(truth, called, weights=w),
        "micro_f1": lambda w: multilabel_f1(truth, called, average="micro", weights=w),
        "hamming_loss": lambda w: hamming_loss(truth, called, weights=w),
        "subset_accuracy": lambda w: subset_accuracy(truth, called, weights=w),
        "label_ranking_average_precision": lambda w: label_ranking_average_precision(
            truth, certain, weights=w
        ),
    }


def _ranked(
    metric: Callable[..., Score],
    truth: ArrayLike,
    scores: ArrayLike,
    average: Average,
    weights: ArrayLike | None,
) -> Score:
    positive, known = _truth(truth)
    checked = _scores(scores, positive.shape)
    weight = as_weights(weights, len(positive))
    if average == "micro":
        # Row by row, as `known` picks its values.
        spread = np.repeat(weight, positive.shape[1], axis=-1)[..., known.ravel()]
        return metric(positive[known], checked[known], weights=spread)
    each, support = [], []
    for column, inside in enumerate(known.T):
        here = weight[..., inside]
        true = positive[inside, column]
        support.append(here @ true.astype(np.float64))
        if inside.any():
            each.append(metric(true, checked[inside, column], weights=here))
        else:
            each.append(np.full(weight.shape[:-1], np.nan)[()])
    return averaged(np.stack(each), np.stack(support), average)


def _counts(
    truth: ArrayLike, called: ArrayLike, average: Average, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    """Weights of hits, false calls and missed, shape (labels,) or (labels, replicates)."""
    positive, known = _truth(truth)
    decisions = _decisions(called, positive.shape)
    weight = as_weights(weights, len(positive))
    cells = (positive & decisions, ~positive & decisions & known, positive & ~decisions)
    hit, false, missed = ((weight @ cell.astype(np.float64)).T for cell in cells)
    if average == "micro":
        hit, false, missed = (each.sum(axis=0, keepdims=True) for each in (hit, false, missed))
    return hit, false, missed


def _truth(truth: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which labels are true, and which are known."""
    values = np.asarray(truth, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise UsageError(f"truth of several labels has shape (samples, labels), got {values.shape}")
    known = ~np.isnan(values)
    if not np.isin(values[known], (0, 1)).all():
        raise UsageError("truth must be 0 (absent), 1 (present) or NaN (not known)")
    return values == 1, known


def _decisions(called: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    decisions = np.asarray(called)
    if decisions.shape != shape or not np.isin(decisions, (0, 1)).all():
        raise UsageError(f"decisions must be 0 or 1 and of shape {shape}, got shape {decisions.shape}")
    return decisions.astype(bool)


def _scores(scores: ArrayLike, shape: tuple[int, ...]) -> Floats:
    checked = as_scores(scores, "scores", shape[0])
    if checked.shape != shape:
        raise UsageError(f"scores have shape {checked.shape} for truth of shape {shape}")
    return checked
