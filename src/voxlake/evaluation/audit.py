"""The leakage audit: no patient, study or image on two sides of a split, or the run stops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType

from voxlake.core.errors import LeakageError

__all__ = ["KINDS", "Audit", "Leak", "Marks", "audit"]

# What two parts must not share, and how a person calls it.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "patient": "patients",
        "study": "studies",
        "group": "groups that were to stay together",
        "identical": "images that are identical, byte for byte",
        "near_duplicate": "pairs of series that look the same",
    }
)

Marks = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Leak:
    """Something that stands in two parts of a fold.

    Parameters
    ----------
    kind : str
        Key of `KINDS`.
    fold : int
        Number of the fold, from 0.
    first, second : str
        The two parts.
    count : int
        How many patients, studies, images or pairs they share.
    example : str
        The smallest of them: an identifier of the lake.
    """

    kind: str
    fold: int
    first: str
    second: str
    count: int
    example: str


@dataclass(frozen=True)
class Audit:
    """What was compared and what was found.

    Parameters
    ----------
    folds : int
        Number of folds.
    parts : mapping of str to int
        Number of different subjects that stood in each part, over all folds.
    compared : mapping of str to int
        Number of different patients, studies, ... that were compared, for every kind.
    without_patient : int
        Subjects of which no patient is known.
    images, measured : int
        Stored images behind the subjects, and how many of them `check` has measured: only these can be
        recognised as near-duplicates.
    leaks : tuple of Leak
        Empty where the parts share nothing.
    """

    folds: int
    parts: Mapping[str, int]
    compared: Mapping[str, int]
    without_patient: int = 0
    images: int = 0
    measured: int = 0
    leaks: tuple[Leak, ...] = field(default=())

    @property
    def holds(self) -> bool:
        """Whether the parts share nothing."""
        return not self.leaks

    def require(self) -> None:
        """Stop where something leaks.

        Raises
        ------
        LeakageError
            Says what the parts share, worst kind first, and what to do.
        """
        if self.holds:
            return
        first = self.leaks[0]
        others = f", and {len(self.leaks) - 1} more findings" if len(self.leaks) > 1 else ""
        raise LeakageError(
            f"{first.count} {KINDS[first.kind]} stand both in '{first.first}' and in '{first.second}' of "
            "fold "
            f"{first.fold + 1} (for example {first.example[:40]}){others}: figures of such a split would be "
            "too "
            "good; run `voxlake check`, then train again, which keeps them on one side"
        )


def audit(
    folds: Sequence[Mapping[str, Sequence[str]]],
    marks: Mapping[str, Marks],
    *,
    images: int = 0,
    measured: int = 0,
) -> Audit:
    """Compare the parts of every fold with one another.

    Parameters
    ----------
    folds : sequence of mapping
        For each fold the subjects of each part.
    marks : mapping of subject to marks
        For each kind of `KINDS` what the subject must not share with a subject of another part.
    images, measured : int
        See `Audit`.

    Returns
    -------
    Audit
        Leaks are sorted by kind in the order of `KINDS`, then by fold and parts.
    """
    leaks = [
        leak
        for number, fold in enumerate(folds)
        for first, second in combinations(fold, 2)
        for leak in _leaks(number, (first, fold[first]), (second, fold[second]), marks)
    ]
    order = {kind: place for place, kind in enumerate(KINDS)}
    parts: defaultdict[str, set[str]] = defaultdict(set)
    for fold in folds:
        for part, subjects in fold.items():
            parts[part].update(subjects)
    everyone = set().union(*parts.values()) if parts else set()
    return Audit(
        folds=len(folds),
        parts={part: len(subjects) for part, subjects in parts.items()},
        compared={kind: len(_union(marks, everyone, kind)) for kind in KINDS},
        without_patient=sum(not marks.get(subject, {}).get("patient") for subject in everyone),
        images=images,
        measured=measured,
        leaks=tuple(sorted(leaks, key=lambda leak: (order[leak.kind], leak.fold, leak.first, leak.second))),
    )


def _leaks(
    fold: int, first: tuple[str, Sequence[str]], second: tuple[str, Sequence[str]], marks: Mapping[str, Marks]
) -> list[Leak]:
    found = []
    for kind in KINDS:
        shared = _union(marks, first[1], kind) & _union(marks, second[1], kind)
        if shared:
            found.append(Leak(kind, fold, first[0], second[0], len(shared), min(shared)))
    return found


def _union(marks: Mapping[str, Marks], subjects: Iterable[str], kind: str) -> set[str]:
    return {mark for subject in subjects for mark in marks.get(subject, {}).get(kind, ())}
