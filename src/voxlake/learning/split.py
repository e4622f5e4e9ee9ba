"""Training, validation and test parts of a task, checked for leakage before anything is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxlake.core.digest import digest_json
from voxlake.lake.splits import assign_folds, check_leakage
from voxlake.learning.data import derived_seed
from voxlake.learning.settings import SplitSettings

__all__ = ["Fold", "Split", "make_split"]


@dataclass(frozen=True)
class Fold:
    """Positions of the samples of one fold."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """All folds of a task, as they are stored with the model."""

    seed: int
    folds: tuple[Fold, ...]

    def to_dict(self, ids: Sequence[str]) -> dict[str, Any]:
        """Plain values: the identifiers of the volumes in each part of each fold."""
        return {
            "seed": self.seed,
            "folds": [
                {part: [ids[position] for position in positions] for part, positions in vars(fold).items()}
                for fold in self.folds
            ],
        }

    def digest(self, ids: Sequence[str]) -> str:
        """SHA-256 over `to_dict`."""
        return digest_json(self.to_dict(ids))


def make_split(
    groups: Sequence[str], labels: Sequence[str], contents: Sequence[Sequence[str]], settings: SplitSettings
) -> Split:
    """Deal groups out to training, validation and test.

    Parameters
    ----------
    groups : sequence of str
        What must stay together.
    labels : sequence of str
        Class of each sample.
    contents : sequence of sequence of str
        Digests of what each sample was made from.
    settings : SplitSettings
        How.

    Raises
    ------
    LeakageError
        A group or a piece of content stands in two parts.
    UsageError
        A class has fewer groups than there are parts.
    """
    strata = list(labels) if settings.stratify else ["all"] * len(labels)
    if settings.kind == "kfold":
        tested = assign_folds(groups, strata, settings.folds, seed=settings.seed)
        numbers = range(settings.folds)
    else:
        tested = assign_folds(
            groups, strata, 2, seed=settings.seed, shares=(1 - settings.test, settings.test)
        )
        numbers = range(1, 2)
    folds = tuple(_fold(groups, strata, tested, number, settings) for number in numbers)
    for fold in folds:
        _check(fold, groups, contents)
    return Split(settings.seed, folds)


def _fold(
    groups: Sequence[str], strata: Sequence[str], tested: Sequence[int], number: int, settings: SplitSettings
) -> Fold:
    rest = [position for position, fold in enumerate(tested) if fold != number]
    chooses = assign_folds(
        [groups[position] for position in rest],
        [strata[position] for position in rest],
        2,
        seed=derived_seed(settings.seed, "validation", number),
        shares=(1 - settings.validation, settings.validation),
    )
    return Fold(
        train=tuple(position for position, part in zip(rest, chooses, strict=True) if part == 0),
        validation=tuple(position for position, part in zip(rest, chooses, strict=True) if part == 1),
        test=tuple(position for position, fold in enumerate(tested) if fold == number),
    )


def _check(fold: Fold, groups: Sequence[str], contents: Sequence[Sequence[str]]) -> None:
    parts: Mapping[str, tuple[int, ...]] = vars(fold)
    check_leakage(
        {
            part: [(groups[position], contents[position]) for position in where]
            for part, where in parts.items()
        }
    )
