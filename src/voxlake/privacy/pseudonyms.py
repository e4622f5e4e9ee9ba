"""Keyed pseudonyms: the same patient gets the same names in every run, and nobody without the key can try.

All are HMACs of the normalised original under a purpose of their own, so that no table of pairs is kept. A
key of several generations is applied one after the other: each gives a name to the name that the one before
gave, so that what was stored under the first can be moved on by the last alone.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pydicom import config
from pydicom.uid import UID

from voxlake.core.errors import ItemError
from voxlake.privacy.dates import shift_date

if TYPE_CHECKING:
    # That module needs this one to bring identifiers to one form.
    from voxlake.privacy.pseudonym_list import PseudonymList

__all__ = ["Chain", "Mac", "Pseudonymiser", "is_well_known", "normalise_identifier"]

_LARGEST_SHARED_SHIFT = 3650
# Full date, then whatever part of the time and the offset from UTC is given (PS3.5 6.2, DT).
_DATETIME = re.compile(r"(\d{8})((?:\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?(?:[+-]\d{4})?)", re.ASCII)


class Mac(Protocol):
    """A key that can authenticate messages under named purposes."""

    def mac(self, purpose: str, data: bytes) -> bytes:
        """Return at least 16 bytes that depend on the key, the purpose and the data."""
        ...


@runtime_checkable
class Chain(Protocol):
    """A key of several generations, oldest first."""

    @property
    def generations(self) -> Sequence[Mac]:
        """The generations, at least one."""
        ...


def normalise_identifier(original: str) -> str:
    """Bring an identifier to the form that is hashed: NFC, without padding (spaces, NUL) at the ends."""
    return unicodedata.normalize("NFC", original).strip(" \0\t\r\n")


@lru_cache(maxsize=4096)
def is_well_known(uid: str) -> bool:
    """Say whether a UID is one of PS3.6 Annex A (SOP classes, transfer syntaxes, coding schemes, ...)."""
    # Only UIDs in the dictionary have a type.
    return bool(UID(uid, validation_mode=config.IGNORE).type)


class Pseudonymiser:
    """Originals to pseudonyms under one key.

    Parameters
    ----------
    key : Mac
        The key of the lake; if it has `generations`, they are applied one after the other.
    patients : PseudonymList, optional
        Pseudonyms of patients that somebody else gave out. They stand in the place of those of the first
        generation: a key of one generation gives them as they are listed.
    """

    def __init__(self, key: Mac, patients: PseudonymList | None = None) -> None:
        self._generations: tuple[Mac, ...] = tuple(key.generations) if isinstance(key, Chain) else (key,)
        self._patients = patients

    @property
    def newest(self) -> Pseudonymiser:
        """The newest generation alone: what moves stored pseudonyms, UIDs and dates on to it."""
        return Pseudonymiser(self._generations[-1])

    def patient(self, original: str) -> str:
        """Return the pseudonym of a patient identifier, for example ``P-7KQ2M5XH4TRAB``.

        65 bits: among ten million patients the odds that any two share a pseudonym are about 1 in 740,000.

        Raises
        ------
        ItemError
            ``unlisted_patient``: the list of pseudonyms does not have this one and refuses all others.
        """
        return list(self._names(original))[-1][1]

    def uid(self, original: str) -> str:
        """Return the UID that stands for an original: ``2.25.`` and a 128-bit integer (PS3.5 B.2).

        Well-known UIDs of the standard come back unchanged.
        """
        uid = normalise_identifier(original)
        if is_well_known(uid):
            return uid
        for generation in self._generations:
            uid = f"2.25.{_number(generation, 'uid', uid)}"
        return uid

    def shift_days(self, original: str, *, maximum: int = 3650) -> int:
        """Return by how many days the dates of a patient move back: 1 to `maximum`, never 0.

        With several generations it is the sum of theirs, so at most `maximum` for each. Patients who share
        a listed pseudonym share the shift.

        Parameters
        ----------
        original : str
            Patient identifier.
        maximum : int
            Largest shift of one generation in days.

        Raises
        ------
        ItemError
            ``unlisted_patient``, as for `patient`.
        """
        seen = [self._listed(original) or normalise_identifier(original)]
        seen += [name for _, name in self._names(original)][:-1]
        pairs = zip(self._generations, seen, strict=True)
        return sum(1 + _number(generation, "date", text) % maximum for generation, text in pairs)

    def token(self, purpose: str, text: str) -> str:
        """Return a token for any other value (accession number, file name, ...); equal texts, equal tokens.

        Parameters
        ----------
        purpose : str
            Keeps equal texts of different meaning apart.
        text : str
            The original.
        """
        token = normalise_identifier(text)
        for generation in self._generations:
            token = _base32(generation, "token", f"{len(purpose)}:{purpose}{token}")
        return token

    def shared_date(self, text: str) -> str:
        """Return the date that stands for one that many patients share, such as that of a device or product.

        It moves back by 1 to 3,650 days (with each generation) by the date itself, whoever the patient is:
        whoever knows the original learns nothing of any patient's shift.

        Parameters
        ----------
        text : str
            ``YYYYMMDD``.

        Returns
        -------
        str
            Another date ``YYYYMMDD``, or ``""`` for anything that is not one full date of the calendar.
        """
        for generation in self._generations:
            if not shift_date(text, 0):
                return ""
            days = date(int(text[:4]), int(text[4:6]), int(text[6:])).toordinal()
            # The first day of the calendar has none before it; it goes.
            span = min(_LARGEST_SHARED_SHIFT, days - 1)
            text = shift_date(text, 1 + _number(generation, "shared date", text) % span) if span else ""
        return text

    def shared_datetime(self, text: str) -> str:
        """Return a date and time (DT) with its date as by `shared_date`; the time of day and offset stay.

        Returns ``""`` for a range, a partial date or an impossible one.
        """
        match = _DATETIME.fullmatch(text)
        moved = self.shared_date(match.group(1)) if match is not None else ""
        return moved + match.group(2) if match is not None and moved else ""

    def check_listed(self, original: str | None) -> None:
        """Refuse whom the list of pseudonyms does not have, if it refuses all others.

        Raises
        ------
        ItemError
            ``unlisted_patient``.
        """
        refuses = self._patients is not None and self._patients.unlisted == "refuse"
        if refuses and self._listed(original or "") is None:
            raise ItemError(
                "unlisted_patient",
                "the patient of this object is not in the list of pseudonyms, which is to cover all; add the "
                "patient to the list, or allow keyed pseudonyms for the others (unlisted 'keyed')",
            )

    def _listed(self, original: str) -> str | None:
        return None if self._patients is None else self._patients.find(original)

    def _names(self, original: str) -> Iterator[tuple[Mac, str]]:
        """Each generation with the name that it gives."""
        self.check_listed(original)
        name = normalise_identifier(original)
        for number, generation in enumerate(self._generations):
            listed = self._listed(original) if number == 0 else None
            name = listed or "P-" + _base32(generation, "patient", name)
            yield generation, name


def _number(generation: Mac, purpose: str, text: str) -> int:
    return int.from_bytes(generation.mac(purpose, text.encode())[:16], "big")


def _base32(generation: Mac, purpose: str, text: str) -> str:
    return base64.b32encode(generation.mac(purpose, text.encode())[:10]).decode()[:13]
