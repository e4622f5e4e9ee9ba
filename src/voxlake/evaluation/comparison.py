"""Two models on the same subjects: differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxlake.core.errors import UsageError
from voxlake.evaluation.judged import Judged
from voxlake.evaluation.numbers import Numbers
from voxlake.evaluation.plain import figure
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.speaker import Speaker
from voxlake.metrics import regression
from voxlake.metrics.bootstrap import Metric
from voxlake.metrics.comparison import Comparison, compare, compare_binary, compare_multiclass
from voxlake.metrics.delong import DeLongTest, delong_test
from voxlake.metrics.mcnemar import McNemarTest, mcnemar_test
from voxlake.metrics.survival import concordance_test

__all__ = ["Paired", "compare_models"]

_FEWEST = 2
_NUMBERS = ("mean_absolute_error", "root_mean_squared_error", "r_squared", "spearman_correlation")


@dataclass(frozen=True)
class Paired:
    """How two models differ on the subjects that both have scored.

    Parameters
    ----------
    first, second : Speaker
        The models; a difference is first less second.
    samples, groups : int
        How many subjects and independent units both have scored.
    unit : str
        What is independent, in the plural.
    differences : tuple of Comparison
        One for each figure.
    area : DeLongTest or None
        DeLong's test, of two classes.
    decisions : McNemarTest or None
        McNemar's test of who decides right, of two classes.
    inputs : tuple of (str, str)
        Digests of what went in of both.
    """

    first: Speaker
    second: Speaker
    samples: int
    groups: int
    unit: str
    differences: tuple[Comparison, ...]
    area: DeLongTest | None
    decisions: McNemarTest | None
    inputs: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with null for what is not defined."""
        found: dict[str, Any] = {
            "against": self.second.model_id,
            "samples": self.samples,
            "groups": self.groups,
            **{each.name: _plain(each) for each in self.differences},
        }
        if self.area is not None:
            found["delong"] = {
                "difference": figure(self.area.difference),
                "low": figure(self.area.low),
                "high": figure(self.area.high),
                "z": figure(self.area.z),
                "p_value": figure(self.area.p_value),
            }
        if self.decisions is not None:
            found["mcnemar"] = {
                "only_first_right": self.decisions.first_only,
                "only_second_right": self.decisions.second_only,
                "p_value": figure(self.decisions.p_value),
            }
        return found


def compare_models(first: Judged, second: Judged) -> Paired:
    """Compare two models on the subjects that both have scored.

    Parameters
    ----------
    first, second : Judged
        Of one kind, target and level; both audited.

    Raises
    ------
    UsageError
        The models do not say the same sort of thing, disagree about the truth, or share too few subjects.
    """
    one, other = first.scored, second.scored
    if isinstance(one, Scored) and isinstance(other, Scored):
        return _classes(*_matched(one, other))
    if isinstance(one, Numbers) and isinstance(other, Numbers):
        return _numbers(*_matched(one, other))
    raise UsageError(
        f"models of kind '{first.model.task_kind}' and '{second.model.task_kind}' cannot be compared; "
        "compare two that predict the same target"
    )


def _matched(one: Scored | Numbers, other: Scored | Numbers) -> tuple[Any, Any]:
    """Both on the subjects that they share, in the same order."""
    if one.model.level != other.model.level or one.model.target != other.model.target:
        raise UsageError(
            f"'{one.model.name}' predicts '{one.model.target}' of each {one.model.level}, "
            f"'{other.model.name}' "
            f"'{other.model.target}' of each {other.model.level}: compare models of the same target and level"
        )
    if one.model.classes != other.model.classes or one.model.positive != other.model.positive:
        raise UsageError(
            f"the classes differ: {list(one.model.classes)} (positive {one.model.positive}) and "
            f"{list(other.model.classes)} (positive {other.model.positive})"
        )
    places = {subject: place for place, subject in enumerate(other.subjects)}
    shared = [place for place, subject in enumerate(one.subjects) if subject in places]
    if len(shared) < _FEWEST:
        raise UsageError(
            f"'{one.model.name}' and '{other.model.name}' have scored {len(shared)} subjects in common; let "
            "both predict the same cohort and name it"
        )
    mine, theirs = one.take(shared), other.take([places[one.subjects[place]] for place in shared])
    if not np.array_equal(mine.truth, theirs.truth):
        differ = int((mine.truth != theirs.truth).sum())
        raise UsageError(
            f"the two models know another truth of {differ} of {len(shared)} subjects: labels changed "
            "between "
            "them; train both on the same labels"
        )
    return mine, theirs


def _classes(one: Scored, other: Scored) -> Paired:
    groups = one.groups
    if one.thresholds is None or other.thresholds is None:
        differences = compare_multiclass(one.truth, one.probabilities, other.probabilities, groups=groups)
        return _paired(one, other, tuple(differences))
    differences = compare_binary(
        one.is_positive,
        one.score,
        other.score,
        groups=groups,
        first_threshold=one.thresholds,
        second_threshold=other.thresholds,
    )
    return _paired(
        one,
        other,
        tuple(differences),
        area=delong_test(one.is_positive, one.score, other.score, groups=groups),
        decisions=mcnemar_test(
            one.is_positive, one.called == one.positive, other.called == one.positive, groups=groups
        ),
    )


def _numbers(one: Numbers, other: Numbers) -> Paired:
    if one.event is not None:
        found = concordance_test(one.truth, one.event, one.value, other.value, groups=one.groups)
        difference = Comparison(
            name="concordance_index",
            first=found.first,
            second=found.second,
            difference=found.difference,
            low=found.low,
            high=found.high,
            level=found.level,
            p_value=found.p_value,
            method="influence values, summed by group",
            samples=len(one.subjects),
            groups=len(set(one.groups)),
        )
        return _paired(one, other, (difference,))
    # One label for all: numbers have no classes that every draw should hold in the same share.
    both = [{name: _bound(name, numbers) for name in _NUMBERS} for numbers in (one, other)]
    differences = compare(both[0], both[1], labels=np.zeros(len(one.subjects)), groups=one.groups)
    return _paired(one, other, tuple(differences))


def _bound(name: str, numbers: Numbers) -> Metric:
    function = getattr(regression, name)
    return lambda weights: function(numbers.truth, numbers.value, weights=weights)


def _paired(
    one: Scored | Numbers,
    other: Scored | Numbers,
    differences: tuple[Comparison, ...],
    *,
    area: DeLongTest | None = None,
    decisions: McNemarTest | None = None,
) -> Paired:
    return Paired(
        one.model,
        other.model,
        samples=len(one.subjects),
        groups=len(set(one.groups)),
        unit=one.unit,
        differences=differences,
        area=area,
        decisions=decisions,
        inputs=(one.digest(), other.digest()),
    )


def _plain(each: Comparison) -> Mapping[str, float | None]:
    names = ("first", "second", "difference", "low", "high", "p_value")
    return {name: figure(getattr(each, name)) for name in names}
