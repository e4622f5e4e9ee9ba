"""Training, validation and test parts of a task, checked for leakage before anything is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxlake.core.digest import digest_json
from voxlake.core.errors import UsageError
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

    def only(self, wanted: Callable[[int], bool]) -> Fold:
        """The same fold, learning from what is wanted; the test part stays."""
        return Fold(tuple(filter(wanted, self.train)), tuple(filter(wanted, self.validation)), self.test)


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
    groups: Sequence[str],
    strata: Sequence[str],
    contents: Sequence[Sequence[str]],
    settings: SplitSettings,
    given: Sequence[str] = (),
) -> Split:
    """Deal groups out to training, validation and test.

    Parameters
    ----------
    groups : sequence of str
        What must stay together.
    strata : sequence of str
        Class of each sample.
    contents : sequence of sequence of str
        Digests of what each sample was made from.
    settings : SplitSettings
        How.
    given : sequence of str
        Value of the label that decides who is tested, for each sample, where there is one.

    Raises
    ------
    LeakageError
        A group or a piece of content stands in two parts.
    UsageError
        A class has fewer groups than there are parts, or nothing is left to learn from.
    """
    samples = _Samples(groups, strata if settings.stratify else ["all"] * len(strata), contents, settings)
    folds = _folds(samples, given)
    for fold in folds:
        _check(fold, samples)
    return Split(settings.seed, folds)


def _folds(samples: _Samples, given: Sequence[str]) -> tuple[Fold, ...]:
    match samples.settings.kind:
        case "given":
            return (_given(samples, given),)
        case "leave_one_out":
            return _each_left_out(samples, given)
    return _dealt(samples)


@dataclass(frozen=True)
class _Samples:
    groups: Sequence[str]
    strata: Sequence[str]
    contents: Sequence[Sequence[str]]
    settings: SplitSettings

    def about(self, positions: Sequence[int]) -> list[tuple[str, Sequence[str]]]:
        """Group and content of some."""
        return [(self.groups[position], self.contents[position]) for position in positions]


def _dealt(samples: _Samples) -> tuple[Fold, ...]:
    settings = samples.settings
    if settings.kind == "kfold":
        tested = assign_folds(samples.groups, samples.strata, settings.folds, seed=settings.seed)
        numbers = range(settings.folds)
    else:
        shares = (1 - settings.test, settings.test)
        tested = assign_folds(samples.groups, samples.strata, 2, seed=settings.seed, shares=shares)
        numbers = range(1, 2)
    return tuple(
        _with_validation(
            samples,
            [position for position, fold in enumerate(tested) if fold != number],
            [position for position, fold in enumerate(tested) if fold == number],
            number,
        )
        for number in numbers
    )


def _with_validation(samples: _Samples, rest: Sequence[int], test: Sequence[int], number: int) -> Fold:
    """A fold whose validation part is drawn from what is not tested."""
    settings = samples.settings
    chooses = assign_folds(
        [samples.groups[position] for position in rest],
        [samples.strata[position] for position in rest],
        2,
        seed=derived_seed(settings.seed, "validation", number),
        shares=(1 - settings.validation, settings.validation),
    )
    return Fold(
        train=tuple(position for position, part in zip(rest, chooses, strict=True) if part == 0),
        validation=tuple(position for position, part in zip(rest, chooses, strict=True) if part == 1),
        test=tuple(test),
    )


def _given(samples: _Samples, parts: Sequence[str]) -> Fold:
    where = {part: _where(parts, part) for part in ("train", "validation", "test")}
    if not where["train"]:
        raise UsageError(f"no sample has the label {samples.settings.label} = 'train'")
    test = where["test"]
    if not where["validation"]:
        rest = _unshared(samples, where["train"], test)
        return _with_validation(samples, rest, test, 0)
    validation = _unshared(samples, where["validation"], test)
    return Fold(_unshared(samples, where["train"], (*validation, *test)), validation, test)


def _each_left_out(samples: _Samples, values: Sequence[str]) -> tuple[Fold, ...]:
    names = sorted(set(values))
    if len(names) < 2:
        raise UsageError(
            f"all samples have the same label {samples.settings.label} = {names}; two values are needed to "
            "leave one out"
        )
    folds = []
    for number, name in enumerate(names):
        test = _where(values, name)
        others = [position for position, value in enumerate(values) if value != name]
        folds.append(_with_validation(samples, _unshared(samples, others, test), test, number))
    return tuple(folds)


def _where(values: Sequence[str], wanted: str) -> tuple[int, ...]:
    return tuple(position for position, value in enumerate(values) if value == wanted)


def _unshared(samples: _Samples, positions: Sequence[int], later: Sequence[int]) -> tuple[int, ...]:
    """Without those that share a patient or an image with a later part, where that is asked for."""
    if samples.settings.shared == "stop":
        return tuple(positions)
    groups = {group for group, _ in samples.about(later)}
    contents = {digest for _, made_from in samples.about(later) for digest in made_from}
    kept = tuple(
        position
        for position in positions
        if samples.groups[position] not in groups and contents.isdisjoint(samples.contents[position])
    )
    if not kept:
        raise UsageError("every sample of a part shares a patient or an image with a later part")
    return kept


def _check(fold: Fold, samples: _Samples) -> None:
    parts: Mapping[str, tuple[int, ...]] = vars(fold)
    check_leakage({part: samples.about(where) for part, where in parts.items()})
