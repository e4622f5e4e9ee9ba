"""A strict score of a de-identified set against its answer key: every check gives a row."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from voxlake.metrics.wilson import wilson_interval
from voxlake.testing.deidentification.answer_key import REMOVAL, AnswerKey, Category, Check
from voxlake.testing.deidentification.elements import Elements, read_elements
from voxlake.testing.deidentification.haystack import Haystack
from voxlake.testing.deidentification.outcomes import days_between, is_valid, shift_of

__all__ = ["CategoryScore", "CheckResult", "Score", "score"]

_SPACES = re.compile(r"\s+")
_Stated = TypeVar("_Stated", int, str)


class CheckResult(NamedTuple):
    """One check and whether it passed.

    Parameters
    ----------
    file : str
        Name of the file.
    path : str
        Element; ``""`` for the file as such.
    category : Category
        What was asked.
    passed : bool
        The answer.
    value : str
        Original value, as in the key.
    found : str
        What is there now.
    """

    file: str
    path: str
    category: Category
    passed: bool
    value: str
    found: str


class CategoryScore(NamedTuple):
    """Counts of one category, with the 95% interval of Wilson for the share that passed."""

    category: str
    passed: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Share that passed."""
        return self.passed / self.total


@dataclass(frozen=True)
class Score:
    """All answers."""

    results: tuple[CheckResult, ...]

    @property
    def share(self) -> float:
        """Share of all checks that passed."""
        return sum(result.passed for result in self.results) / len(self.results)

    def summary(self) -> tuple[CategoryScore, ...]:
        """Return the counts by category, then those of all checks as ``"all"``."""
        total = Counter(str(result.category) for result in self.results)
        passed = Counter(str(result.category) for result in self.results if result.passed)
        total["all"], passed["all"] = len(self.results), sum(result.passed for result in self.results)
        return tuple(
            CategoryScore(name, passed[name], count, *wilson_interval(passed[name], count))
            for name, count in total.items()
        )

    def failures(self, category: Category | None = None) -> tuple[CheckResult, ...]:
        """Return what failed, of one category or of all."""
        return tuple(
            result for result in self.results if not result.passed and category in (None, result.category)
        )

    def removal_failures(self) -> tuple[CheckResult, ...]:
        """Return the failures that leave an identity in the data."""
        return tuple(result for result in self.failures() if result.category in REMOVAL)


def score(outputs: Mapping[str, bytes], key: AnswerKey) -> Score:
    """Score a de-identified set.

    Stricter than the challenge whose categories it takes: a file that is missing or cannot be read fails
    all of its checks, a file that nobody expects fails too, values that must go are searched for in the
    whole file, and intervals between the dates of a patient are checked.

    Parameters
    ----------
    outputs : mapping of str to bytes
        Name of each *original* file -> what the tool wrote for it.
    key : AnswerKey
        Of the originals.
    """
    return Score(tuple(_Marker(outputs, key).results()))


class _Marker:
    """Knows what the whole set says about shifts, UIDs and patients, and answers check by check."""

    def __init__(self, outputs: Mapping[str, bytes], key: AnswerKey) -> None:
        self._outputs = outputs
        self._key = key
        self._objects = {name: read_elements(outputs[name]) for name in key.files if name in outputs}
        self._haystacks = {name: Haystack(data) for name, data in outputs.items()}
        self._shifts = self._usual(Category.DATE_SHIFTED, lambda check: check.patient, _shift)
        self._uids = self._usual(Category.UID_CONSISTENT, lambda check: check.value, _text)
        self._patients = self._usual(Category.PATIENT_ID_CONSISTENT, lambda check: check.patient, _text)
        self._uid_uses = Counter(self._uids.values())
        self._patient_uses = Counter(self._patients.values())
        self._answers: Mapping[Category, Callable[[Check, Elements], bool]] = {
            Category.TAG_RETAINED: lambda check, found: check.path in found.by_path,
            Category.TEXT_NOT_NULL: lambda check, found: bool(found.text(check.path).strip()),
            Category.TEXT_RETAINED: _retained,
            Category.TEXT_REMOVED: self._removed,
            Category.DATE_SHIFTED: self._shifted,
            Category.INTERVAL_KEPT: self._interval,
            Category.SHIFT_HIDDEN: self._hidden,
            Category.UID_CHANGED: self._uid_changed,
            Category.UID_CONSISTENT: self._uid_consistent,
            Category.PATIENT_ID_CONSISTENT: self._patient_consistent,
            Category.PIXELS_RETAINED: lambda check, found: found.pixels == check.value,
        }

    def results(self) -> Iterator[CheckResult]:
        for name in self._key.files:
            readable = self._objects.get(name) is not None
            yield CheckResult(name, "", Category.FILE_PRESENT, readable, "", "")
        for name in sorted(set(self._outputs) - set(self._key.files)):
            yield CheckResult(name, "", Category.FILE_EXPECTED, passed=False, value="", found="")
        for check in self._key.checks:
            found = self._objects.get(check.file)
            passed = found is not None and self._answers[check.category](check, found)
            text = found.text(check.path) if found is not None else ""
            yield CheckResult(check.file, check.path, check.category, passed, check.value, text)

    def _usual(
        self,
        category: Category,
        group: Callable[[Check], str],
        value: Callable[[Check, Elements], _Stated | None],
    ) -> dict[str, _Stated]:
        """Return what most checks of a group say: the shift of a patient, the new form of a UID."""
        seen: defaultdict[str, Counter[_Stated]] = defaultdict(Counter)
        for check in self._key.checks:
            found = self._objects.get(check.file)
            if check.category is category and found is not None:
                stated = value(check, found)
                if stated:
                    seen[group(check)][stated] += 1
        return {name: counts.most_common(1)[0][0] for name, counts in seen.items()}

    def _removed(self, check: Check, found: Elements) -> bool:
        where = Haystack(found.text(check.path).encode()) if check.path else self._haystacks[check.file]
        return not where.holds(check.value)

    def _shifted(self, check: Check, found: Elements) -> bool:
        text = found.text(check.path)
        shift = shift_of(check.vr, check.value, text)
        return is_valid(check.vr, text.encode()) and bool(shift) and shift == self._shifts.get(check.patient)

    def _interval(self, check: Check, found: Elements) -> bool:
        days, file, path = check.value.split(" ")
        other = self._objects.get(file)
        return other is not None and days_between(other.text(path), found.text(check.path)) == int(days)

    def _hidden(self, check: Check, found: Elements) -> bool:
        shift = shift_of(check.vr, check.value, found.text(check.path))
        return shift is None or shift != self._shifts.get(check.patient)

    def _uid_changed(self, check: Check, found: Elements) -> bool:
        text = found.text(check.path)
        changed = bool(text) and text != check.value and is_valid("UI", text.encode())
        return changed and not self._haystacks[check.file].holds(check.value)

    def _uid_consistent(self, check: Check, found: Elements) -> bool:
        text = found.text(check.path)
        return bool(text) and self._uids.get(check.value) == text and self._uid_uses[text] == 1

    def _patient_consistent(self, check: Check, found: Elements) -> bool:
        text = found.text(check.path)
        same = bool(text) and self._patients.get(check.patient) == text
        return same and text != check.value and self._patient_uses[text] == 1


def _shift(check: Check, found: Elements) -> int | None:
    return shift_of(check.vr, check.value, found.text(check.path))


def _text(check: Check, found: Elements) -> str:
    return found.text(check.path)


def _retained(check: Check, found: Elements) -> bool:
    return _spaced(check.value) in _spaced(found.text(check.path))


def _spaced(text: str) -> str:
    return _SPACES.sub(" ", text).strip()
