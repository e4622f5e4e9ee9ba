"""What a de-identified set has to look like, check by check; written by the generator while it plants."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["REMOVAL", "AnswerKey", "Category", "Check"]


class Category(StrEnum):
    """Kinds of checks, in the terms of the MIDI-B challenge, and those that it does not make."""

    TAG_RETAINED = "tag_retained"
    TEXT_NOT_NULL = "text_not_null"
    TEXT_RETAINED = "text_retained"
    TEXT_REMOVED = "text_removed"
    DATE_SHIFTED = "date_shifted"
    INTERVAL_KEPT = "interval_kept"
    SHIFT_HIDDEN = "shift_hidden"
    UID_CHANGED = "uid_changed"
    UID_CONSISTENT = "uid_consistent"
    PATIENT_ID_CONSISTENT = "patient_id_consistent"
    PIXELS_RETAINED = "pixels_retained"
    FILE_PRESENT = "file_present"
    FILE_EXPECTED = "file_expected"


REMOVAL = frozenset(
    {Category.TEXT_REMOVED, Category.DATE_SHIFTED, Category.SHIFT_HIDDEN, Category.UID_CHANGED}
)
"""Categories whose failure leaves an identity in the data."""


class Check(NamedTuple):
    """One question that is asked of one file.

    Parameters
    ----------
    file : str
        Name of the file.
    path : str
        Element, for example ``(0008,1115)[0].(0020,000E)``; ``""`` for the whole file.
    category : Category
        What is asked.
    value : str
        Original text to remove or to retain, original date, UID or patient identifier, digest of the pixels.
    vr : str
        DA or DT of a date.
    patient : str
        Whose dates or identifier these are.
    """

    file: str
    path: str
    category: Category
    value: str = ""
    vr: str = ""
    patient: str = ""


@dataclass(frozen=True)
class AnswerKey:
    """All checks of a set.

    Parameters
    ----------
    files : tuple of str
        Names of the files that must come out.
    checks : tuple of Check
        In the order of the files.
    """

    files: tuple[str, ...]
    checks: tuple[Check, ...]

    def to_json(self) -> str:
        """Write the key as JSON."""
        return json.dumps({"files": self.files, "checks": self.checks}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> AnswerKey:
        """Read a key that `to_json` wrote."""
        stored = json.loads(text)
        checks = (
            Check(file, path, Category(category), *rest) for file, path, category, *rest in stored["checks"]
        )
        return cls(tuple(stored["files"]), tuple(checks))

    def part(self, files: Iterable[str]) -> AnswerKey:
        """Return the key of some of the files."""
        chosen = set(files)
        return AnswerKey(
            tuple(name for name in self.files if name in chosen),
            tuple(check for check in self.checks if check.file in chosen),
        )
