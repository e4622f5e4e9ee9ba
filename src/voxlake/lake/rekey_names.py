"""Names in rows that are carried from one lake to the next: subjects, and what texts say of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from voxlake.lake.lake import Lake
from voxlake.privacy.pseudonyms import Pseudonymiser

__all__ = ["Names"]

_UID = re.compile(r"(?<![\d.])2\.25\.\d{1,39}(?![\d.])")
_PATIENT = re.compile(r"(?<![A-Za-z0-9-])P-[A-Z2-7]{13}(?![A-Za-z0-9])")
# The one sentence of voxlake that names patients, who may have any pseudonym of a list.
_TWO_PATIENTS = re.compile(r"(came in as patient )(.+?)(; they stay with )(.+)")
_LITERAL = re.compile(r"'((?:[^']|'')*)'")


class Names:
    """Maps pseudonyms and UIDs of a lake to those of the lake that is made from it.

    Parameters
    ----------
    old, new : Lake
        The lakes; the objects of `new` are there already.
    """

    def __init__(self, old: Lake, new: Lake) -> None:
        self._old = old
        self._new = new
        self._newest = Pseudonymiser(new.key).newest
        self._kept: set[str] = set()

    def learn(self, uids: Iterable[str | None]) -> None:
        """Find out which of these UIDs a policy kept, so that they are the same in both lakes."""
        asked = sorted({uid for uid in uids if uid})
        parts = " union ".join(
            f"select {column} from instances where {column} in (select unnest($uids))"
            for column in ("sop_instance_uid", "series_instance_uid", "study_instance_uid")
        )
        self._kept = {row[0] for row in self._new.sql(parts, {"uids": asked}).rows()} if asked else set()

    def uid(self, uid: str) -> str:
        """Return a UID of the new lake."""
        return uid if uid in self._kept else self._newest.uid(uid)

    def patient(self, pseudonym: str | None) -> str | None:
        """Return a pseudonym of the new lake."""
        return None if pseudonym is None else self._newest.patient(pseudonym)

    def subject(self, level: str, subject: str | None) -> str | None:
        """Return the subject of a label or finding."""
        if subject is None:
            return None
        return self.patient(subject) if level == "patient" else self.uid(subject)

    def text(self, text: str | None) -> str | None:
        """Return a sentence of voxlake with the names of the new lake in it."""
        if text is None:
            return None
        two = _TWO_PATIENTS.search(text)
        if two is not None:
            first, second = (name if name == "None" else self.patient(name) for name in two.group(2, 4))
            return f"{text[: two.start()]}{two[1]}{first}{two[3]}{second}"
        return _PATIENT.sub(self._found_patient, _UID.sub(lambda found: self.uid(found[0]), text))

    def condition(self, condition: str) -> str:
        """Return an SQL condition with the names of the new lake in its literals."""
        literals = sorted({found[1].replace("''", "'") for found in _LITERAL.finditer(condition)})
        asked = "select distinct patient_id from instances where patient_id in (select unnest($names))"
        listed = {row[0] for row in self._old.sql(asked, {"names": literals}).rows()} if literals else set()

        def renamed(found: re.Match[str]) -> str:
            literal = found[1].replace("''", "'")
            new = self.patient(literal) if literal in listed else self.text(literal)
            return "'" + str(new).replace("'", "''") + "'"

        return _LITERAL.sub(renamed, condition)

    def _found_patient(self, found: re.Match[str]) -> str:
        return self._newest.patient(found[0])
