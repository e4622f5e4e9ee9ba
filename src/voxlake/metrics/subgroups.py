"""Subgroup tables: how a model does for women and men, young and old, one scanner and another.

Each subgroup has its figures with intervals, and their difference from all other samples of the same variable
with an interval of its own: two intervals that overlap do not show that two subgroups are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.bootstrap import Figures
from voxlake.metrics.comparison import Comparison, compare_figures
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.figures import BinaryFigures
from voxlake.metrics.inputs import as_binary, as_labels, as_probability, as_scores
from voxlake.metrics.summary import binary_estimates, multiclass_estimates, multiclass_metrics

__all__ = ["MISSING", "Subgroup", "multiclass_subgroup_table", "subgroup_table"]

MISSING = "missing"
"""Name of the subgroup of samples whose value is not known."""

Select = Callable[[NDArray[np.bool_]], Figures]
Score = Callable[[NDArray[np.bool_]], list[Estimate]]


@dataclass(frozen=True)
class Subgroup:
    """One row of a subgroup table.

    Parameters
    ----------
    variable, value : str
        What the samples have in common; `value` is ``"missing"`` where it is not known.
    samples, groups : int
        How many samples and patients.
    positives : int or None
        Samples that are truly positive; None with more than two classes.
    estimates : tuple of Estimate
        Figures inside the subgroup.
    differences : tuple of Comparison
        The same figures less those of all other samples of the variable; empty where there are none.
    """

    variable: str
    value: str
    samples: int
    groups: int
    positives: int | None
    estimates: tuple[Estimate, ...]
    differences: tuple[Comparison, ...]


def subgroup_table(
    truth: ArrayLike,
    probability: ArrayLike,
    subgroups: Mapping[str, Sequence[Any] | NDArray[Any]],
    *,
    groups: ArrayLike | None,
    threshold: ArrayLike = 0.5,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Subgroup]:
    """Figures of a two-class model in subgroups.

    Parameters
    ----------
    truth : array-like of 0 and 1, shape (samples,)
        Truth.
    probability : array-like, shape (samples,)
        Probability of the positive class.
    subgroups : mapping of str to sequence, length samples
        Value of each variable for each sample; None or NaN where it is not known. Cut numbers such as age
        into bands first.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent.
    threshold : float or array-like, shape (samples,)
        A sample is called positive at or above it.
    replicates, level, seed
        As for `voxlake.metrics.bootstrap.bootstrap`. Levels hold for each interval by itself: of
        twenty, one is expected to miss.

    Returns
    -------
    list of Subgroup
        With the figures of `voxlake.metrics.names.METRICS`; variables as given, values sorted, missing ones
        last. A figure that a subgroup cannot have (ROC AUC with one class) is NaN and says so.

    Raises
    ------
    UsageError
        Lengths differ.
    """
    positive = as_binary(truth)
    certain = as_probability(probability, positive.size)
    cuts = np.broadcast_to(np.asarray(threshold, dtype=np.float64), positive.shape)
    members = None if groups is None else as_labels(groups, "groups", positive.size)

    def score(inside: NDArray[np.bool_]) -> list[Estimate]:
        return binary_estimates(
            positive[inside],
            certain[inside],
            groups=None if members is None else members[inside],
            threshold=cuts[inside],
            replicates=replicates,
            level=level,
            seed=seed,
        )

    def select(inside: NDArray[np.bool_]) -> Figures:
        figures = BinaryFigures(positive[inside], certain[inside], threshold=cuts[inside])
        places = np.flatnonzero(inside)[figures.order]
        return lambda weights: figures(np.take(weights, places, axis=1))

    table = _Table(positive, members, score, select, replicates, level, seed)
    return table.rows(subgroups, positive)


def multiclass_subgroup_table(
    truth: ArrayLike,
    probability: ArrayLike,
    subgroups: Mapping[str, Sequence[Any] | NDArray[Any]],
    *,
    groups: ArrayLike | None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Subgroup]:
    """Figures of a model of several classes in subgroups.

    Parameters
    ----------
    truth : array-like of int, shape (samples,)
        Class numbers, 0 to K - 1.
    probability : array-like, shape (samples, K)
        Probability of each class.
    subgroups, groups, replicates, level, seed
        As for `subgroup_table`.

    Returns
    -------
    list of Subgroup
        As for `subgroup_table`, with the figures of `multiclass_estimates` and without positives.
    """
    labels = as_labels(truth, "truth")
    certain = as_scores(probability, "probability", labels.size)
    members = None if groups is None else as_labels(groups, "groups", labels.size)

    def score(inside: NDArray[np.bool_]) -> list[Estimate]:
        return multiclass_estimates(
            labels[inside],
            certain[inside],
            groups=None if members is None else members[inside],
            replicates=replicates,
            level=level,
            seed=seed,
        )

    def select(inside: NDArray[np.bool_]) -> Figures:
        figures = multiclass_metrics(labels[inside], certain[inside])
        return lambda weights: {name: metric(weights[:, inside]) for name, metric in figures.items()}

    table = _Table(labels, members, score, select, replicates, level, seed)
    return table.rows(subgroups, None)


@dataclass(frozen=True)
class _Table:
    """What all rows of a table share."""

    labels: NDArray[Any]
    members: NDArray[Any] | None
    score: Score
    select: Select
    replicates: int
    level: float
    seed: int

    def rows(
        self, subgroups: Mapping[str, Sequence[Any] | NDArray[Any]], positive: NDArray[np.bool_] | None
    ) -> list[Subgroup]:
        found = []
        for variable, values in subgroups.items():
            texts = _texts(values, variable, self.labels.size)
            ordered = sorted(set(texts.tolist()), key=lambda value: (value == MISSING, value))
            found += [self._row(variable, value, texts == value, positive) for value in ordered]
        return found

    def _row(
        self, variable: str, value: str, inside: NDArray[np.bool_], positive: NDArray[np.bool_] | None
    ) -> Subgroup:
        estimates = tuple(self.score(inside))
        samples = int(inside.sum())
        groups = samples if self.members is None else np.unique(self.members[inside]).size
        positives = None if positive is None else int(positive[inside].sum())
        differences = () if inside.all() else self._differences(inside, estimates)
        return Subgroup(variable, value, samples, groups, positives, estimates, differences)

    def _differences(
        self, inside: NDArray[np.bool_], estimates: Sequence[Estimate]
    ) -> tuple[Comparison, ...]:
        # Subgroup and rest are drawn together, as a patient may have samples in both.
        found = compare_figures(
            self.select(inside),
            self.select(~inside),
            labels=self.labels,
            groups=self.members,
            replicates=self.replicates,
            level=self.level,
            seed=self.seed,
        )
        order = {each.name: place for place, each in enumerate(estimates)}
        return tuple(sorted(found, key=lambda each: order[each.name]))


def _texts(values: Sequence[Any] | NDArray[Any], variable: str, samples: int) -> NDArray[np.str_]:
    """Value of each sample as text."""
    listed = list(values)
    if len(listed) != samples:
        raise UsageError(f"subgroup variable {variable!r} has {len(listed)} values for {samples} samples")
    return np.array([MISSING if _unknown(value) else str(value) for value in listed])


def _unknown(value: object) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))
