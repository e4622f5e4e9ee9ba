"""All figures of a two-class model from one pass over the weights, for thousands of replicates.

The bootstrap asks for ten figures of the same data again and again. What they share is done once: the samples
are put into falling order of probability before anything is drawn, so that both rank metrics come from one
running sum; all others are quotients of a few weighted sums, which one matrix product gives.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.inputs import Floats, Score, as_binary, as_labels, as_probability, as_weights, ratio

__all__ = ["BinaryFigures"]


class BinaryFigures:
    """Figures of a two-class model as a function of weights, ready for `bootstrap_values`.

    The figures are those of `voxlake.metrics.names.METRICS`, and equal to the functions of
    `voxlake.metrics.classification` with the same weights.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.
    threshold : float or array-like, shape (samples,)
        A sample is called positive at or above it.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent.

    Attributes
    ----------
    order : ndarray of int, shape (samples,)
        Place in the given arrays of each sample, in the order in which weights are expected.
    positive, called : ndarray of bool, shape (samples,)
        Truth and decision, in that order.
    groups : ndarray, shape (samples,)
        Group of each sample, in that order; every sample its own where none were given.

    Raises
    ------
    UsageError
        Truth is not 0 and 1, a probability lies outside 0 to 1, or lengths differ.
    """

    def __init__(
        self,
        truth: ArrayLike,
        probability: ArrayLike,
        *,
        threshold: ArrayLike = 0.5,
        groups: ArrayLike | None = None,
    ) -> None:
        positive = as_binary(truth)
        certain = as_probability(probability, positive.size)
        called = certain >= _thresholds(threshold, positive.size)
        members = np.arange(positive.size) if groups is None else as_labels(groups, "groups", positive.size)
        self.order: NDArray[np.intp] = np.argsort(-certain, kind="stable")
        self.positive, self.called = positive[self.order], called[self.order]
        self.groups = members[self.order]
        falling = certain[self.order]
        self._sums = _summands(self.positive, self.called, falling)
        places = np.flatnonzero(self.positive)
        self._places = places
        # First and last place with the probability of each positive sample: rank metrics treat ties alike.
        self._start = np.searchsorted(-falling, -falling[places], side="left")
        self._stop = np.searchsorted(-falling, -falling[places], side="right")
        self._stop_among = np.searchsorted(places, self._stop, side="left")
        self._start_among = np.searchsorted(places, self._start, side="left")

    def values(self) -> dict[str, float]:
        """Figures of the data as they are."""
        found = self(np.ones((1, self.positive.size)))
        return {name: float(np.asarray(value)[0]) for name, value in found.items()}

    def __call__(self, weights: Floats) -> Mapping[str, Score]:
        """Figures for weights of shape (replicates, samples), samples in `order`; each (replicates,)."""
        checked = np.atleast_2d(as_weights(weights, self.positive.size))
        hit, false, missed, left, squared, lost = (checked @ self._sums).T
        ill, well = hit + missed, false + left
        total = ill + well
        found = {
            "accuracy": ratio(hit + left, total),
            "recall": ratio(hit, ill),
            "specificity": ratio(left, well),
            "precision": ratio(hit, hit + false),
            "f1": ratio(2 * hit, 2 * hit + false + missed),
            "matthews_corrcoef": ratio(
                hit * left - false * missed, np.sqrt(ill * well) * np.sqrt((hit + false) * (missed + left))
            ),
            "brier_score": ratio(squared, total),
            "log_loss": ratio(lost, total),
        }
        area, mean_precision = self._ranks(checked, well)
        balanced = (np.asarray(found["recall"]) + found["specificity"]) / 2
        if not self.positive.any() or self.positive.all():
            # Of one class, the mean over the classes that occur is what there is.
            balanced = np.asarray(found["recall"] if self.positive.any() else found["specificity"])
        return {
            "roc_auc": area,
            "average_precision": mean_precision,
            "balanced_accuracy": balanced,
            **found,
        }

    def _ranks(self, weights: Floats, well: Floats) -> tuple[Score, Score]:
        """ROC AUC and average precision from running sums; only the places of positives are looked at."""
        above = np.take(weights, self._places, axis=1)
        calls, hits = _running(weights), _running(above)
        hits_stop = np.take(hits, self._stop_among, axis=1)
        calls_stop = np.take(calls, self._stop, axis=1)
        # Negatives ahead of a positive sample, those with the same probability counted half.
        ahead = calls_stop + np.take(calls, self._start, axis=1)
        ahead -= hits_stop
        ahead -= np.take(hits, self._start_among, axis=1)
        ill = hits[:, -1]
        lost = 0.5 * np.einsum("ri,ri->r", above, ahead)
        precision = np.divide(hits_stop, calls_stop, out=np.zeros_like(hits_stop), where=calls_stop > 0)
        gained = np.einsum("ri,ri->r", above, precision)
        return ratio(ill * well - lost, ill * well), ratio(gained, ill)


def _running(values: Floats) -> Floats:
    """Sums of all values before each place, and of all: shape (replicates, samples + 1)."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _summands(positive: NDArray[np.bool_], called: NDArray[np.bool_], certain: Floats) -> Floats:
    """What each sample adds to hits, false calls, missed, rightly left, squared distance and log loss."""
    given = np.clip(np.where(positive, certain, 1 - certain), np.finfo(np.float64).eps, 1.0)
    return np.column_stack(
        (
            positive & called,
            ~positive & called,
            positive & ~called,
            ~positive & ~called,
            (certain - positive) ** 2,
            -np.log(given),
        )
    )


def _thresholds(threshold: ArrayLike, samples: int) -> Floats:
    cuts = np.asarray(threshold, dtype=np.float64)
    if cuts.shape not in ((), (samples,)):
        raise UsageError(f"threshold must be one number or {samples}, one per sample; got shape {cuts.shape}")
    return cuts
