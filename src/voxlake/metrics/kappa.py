"""Agreement of readers beyond chance, for categories.

References
----------
Cohen J. Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit.
Psychological Bulletin 70 (1968) 213-220.
Fleiss JL, Cohen J, Everitt BS. Large sample standard errors of kappa and weighted kappa. Psychological
Bulletin 72 (1969) 323-327.
Fleiss JL. Measuring nominal scale agreement among many raters. Psychological Bulletin 76 (1971) 378-382.
Gwet KL. Large-sample variance of Fleiss generalized kappa. Educational and Psychological Measurement 81
(2021) 781-790.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, Score, as_labels, as_weights, ratio
from voxlake.metrics.linearised import linearised_estimate

__all__ = [
    "Weighting",
    "cohen_kappa",
    "cohen_kappa_estimate",
    "fleiss_kappa",
    "fleiss_kappa_estimate",
    "rating_counts",
]

Weighting: TypeAlias = Literal["linear", "quadratic"] | None


def cohen_kappa(
    first: ArrayLike,
    second: ArrayLike,
    *,
    weighting: Weighting = None,
    categories: Sequence[Any] | None = None,
    weights: ArrayLike | None = None,
) -> Score:
    """Cohen's kappa of two readers.

    Parameters
    ----------
    first, second : array-like, shape (subjects,)
        Category that each reader gave.
    weighting : {None, "linear", "quadratic"}
        How much a disagreement counts: all alike, by its distance, or by the square of its distance, in steps
        between the categories.
    categories : sequence, optional
        All categories in their order; needed for weighting where one was never given. Default: those that
        occur, sorted.
    weights : array-like, shape (subjects,) or (replicates, subjects), optional
        Weight of each subject.

    Returns
    -------
    float or ndarray, shape (replicates,)
        1 is full agreement, 0 what chance would give; NaN where both readers gave one and the same category
        throughout.

    Raises
    ------
    UsageError
        Lengths differ, or a rating is not among the categories.
    """
    one, other, penalty = _coded(first, second, weighting, categories)
    weight = as_weights(weights, one.size)
    observed, expected, _, _ = _disagreement(one, other, penalty, weight)
    kappa = 1 - ratio(observed, expected)
    return kappa if kappa.ndim else np.float64(kappa)


def cohen_kappa_estimate(
    first: ArrayLike,
    second: ArrayLike,
    *,
    weighting: Weighting = None,
    categories: Sequence[Any] | None = None,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Cohen's kappa with its interval.

    Without groups the variance is that of Fleiss, Cohen and Everitt (times ``n / (n - 1)``); with groups the
    same influence values are summed by patient. The interval is made on Fisher's z scale.

    Parameters
    ----------
    first, second, weighting, categories
        As for `cohen_kappa`.
    groups : array-like, shape (subjects,), optional
        Patient of each subject, where a patient has several.
    level : float
        Confidence level.
    """
    one, other, penalty = _coded(first, second, weighting, categories)
    observed, expected, one_share, other_share = _disagreement(one, other, penalty, np.ones(one.size))
    name = "cohen_kappa" if weighting is None else f"cohen_kappa_{weighting}"
    value = 1 - ratio(observed, expected)
    # Expected disagreement moves with both margins: a subject adds to the one what the other makes of it.
    each_observed = penalty[one, other]
    each_expected = (penalty @ other_share)[one] + (one_share @ penalty)[other]
    slope = each_observed - observed - (1 - value) * (each_expected - 2 * expected)
    influence = -ratio(slope, np.broadcast_to(expected, slope.shape)) / one.size
    return linearised_estimate(name, float(value), influence, groups=groups, level=level, scale="fisher")


def rating_counts(
    ratings: ArrayLike, *, categories: Sequence[Any] | None = None
) -> tuple[NDArray[np.int64], tuple[Any, ...]]:
    """How many raters put each subject into each category, for `fleiss_kappa`.

    Parameters
    ----------
    ratings : array-like, shape (subjects, raters)
        Categories; None or NaN where a rater did not rate the subject.
    categories : sequence, optional
        All categories in their order. Default: those that occur, sorted.

    Returns
    -------
    counts : ndarray of int64, shape (subjects, categories)
        Numbers of raters.
    categories : tuple
        What the columns stand for.

    Raises
    ------
    UsageError
        The array is not two-dimensional or a rating is not among the categories.
    """
    table = np.asarray(ratings, dtype=object)
    if table.ndim != 2:
        raise UsageError(f"ratings must be (subjects, raters), got shape {table.shape}")
    missing = np.array([_is_missing(item) for item in table.ravel()], dtype=bool).reshape(table.shape)
    known = tuple(sorted(set(table[~missing].tolist()))) if categories is None else tuple(categories)
    place = {category: number for number, category in enumerate(known)}
    counts = np.zeros((len(table), len(known)), dtype=np.int64)
    for subject, rater in zip(*np.nonzero(~missing), strict=True):
        if table[subject, rater] not in place:
            raise UsageError("a rating is not among the categories; pass all of them")
        counts[subject, place[table[subject, rater]]] += 1
    return counts, known


def fleiss_kappa(counts: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Fleiss' kappa of several readers, who need not be the same for each subject.

    Parameters
    ----------
    counts : array-like, shape (subjects, categories)
        How many raters put the subject into the category; see `rating_counts`. Two raters at least for each
        subject. Where their number differs, every subject counts alike (Gwet 2021).
    weights : array-like, shape (subjects,) or (replicates, subjects), optional
        Weight of each subject.

    Returns
    -------
    float or ndarray, shape (replicates,)
        NaN where only one category occurs.

    Raises
    ------
    UsageError
        The shape is another, or a subject has fewer than two ratings.
    """
    share, agreed = _shares(counts)
    weight = as_weights(weights, len(share))
    total = weight.sum(axis=-1)
    observed = ratio(weight @ agreed, total)
    chance = np.sum(ratio(weight @ share, total[..., np.newaxis]) ** 2, axis=-1)
    return ratio(observed - chance, np.where(1 - chance > 1e-12, 1 - chance, 0.0))


def fleiss_kappa_estimate(
    counts: ArrayLike, *, groups: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """Fleiss' kappa with Gwet's large-sample interval, patients being the units where groups are given.

    Parameters
    ----------
    counts
        As for `fleiss_kappa`.
    groups : array-like, shape (subjects,), optional
        Patient of each subject, where a patient has several.
    level : float
        Confidence level.
    """
    share, agreed = _shares(counts)
    margin = share.mean(axis=0)
    observed, chance = float(agreed.mean()), float(np.sum(margin**2))
    value = float(fleiss_kappa(counts))
    moved = (agreed - observed) - 2 * (1 - value) * (share @ margin - chance)
    influence = np.asarray(ratio(moved, np.full(moved.shape, 1 - chance))) / len(share)
    return linearised_estimate("fleiss_kappa", value, influence, groups=groups, level=level, scale="fisher")


def _is_missing(item: object) -> bool:
    return item is None or (isinstance(item, float | np.floating) and bool(np.isnan(item)))


def _coded(
    first: ArrayLike, second: ArrayLike, weighting: Weighting, categories: Sequence[Any] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Number of the category that each reader gave, and the penalty (categories, categories)."""
    one = as_labels(first, "first")
    other = as_labels(second, "second", one.size)
    known = np.unique(np.concatenate((one, other))) if categories is None else np.asarray(list(categories))
    if len(set(known.tolist())) != known.size:
        raise UsageError("a category is named twice")
    order = np.argsort(known)
    codes = []
    for given in (one, other):
        place = np.minimum(np.searchsorted(known, given, sorter=order), known.size - 1)
        code = order[place]
        if not np.array_equal(known[code], given):
            raise UsageError("a rating is not among the categories; pass all of them, without missing values")
        codes.append(code)
    steps = np.abs(np.subtract.outer(np.arange(known.size), np.arange(known.size))).astype(np.float64)
    if weighting not in (None, "linear", "quadratic"):
        raise UsageError(f"weighting must be None, 'linear' or 'quadratic', got {weighting!r}")
    penalty = (steps > 0).astype(np.float64) if weighting is None else steps
    return codes[0], codes[1], penalty**2 if weighting == "quadratic" else penalty


def _disagreement(
    one: NDArray[np.intp], other: NDArray[np.intp], penalty: Floats, weights: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Observed and expected disagreement, and the share of each category for both readers."""
    total = weights.sum(axis=-1)[..., np.newaxis]
    indicator = np.eye(len(penalty))
    one_share = np.asarray(ratio(weights @ indicator[one], total))
    other_share = np.asarray(ratio(weights @ indicator[other], total))
    observed = np.asarray(ratio(weights @ penalty[one, other], total[..., 0]))
    expected = np.einsum("...i,ij,...j->...", one_share, penalty, other_share)
    return observed, np.asarray(expected), one_share, other_share


def _shares(counts: ArrayLike) -> tuple[Floats, Floats]:
    """Share of each category among the ratings of each subject, and the share of its pairs that agree."""
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or not (np.isfinite(table).all() and table.min() >= 0):
        raise UsageError(f"counts must be numbers of raters (subjects, categories), got shape {table.shape}")
    raters = table.sum(axis=1)
    if raters.min() < 2:
        raise UsageError("a subject has fewer than two ratings; leave such subjects out and count them")
    agreed = np.sum(table * (table - 1), axis=1) / (raters * (raters - 1))
    return table / raters[:, np.newaxis], agreed
