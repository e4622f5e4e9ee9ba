"""Keyed pseudonyms: the same patient gets the same names in every run, and nobody without the key can try.

All are HMACs of the normalised original under a purpose of their own, so that no table of pairs is kept.
"""

from __future__ import annotations

import base64
import unicodedata
from functools import lru_cache
from typing import Protocol

from pydicom import config
from pydicom.uid import UID

__all__ = ["Mac", "Pseudonymiser", "is_well_known", "normalise_identifier"]


class Mac(Protocol):
    """A key that can authenticate messages under named purposes."""

    def mac(self, purpose: str, data: bytes) -> bytes:
        """Return at least 16 bytes that depend on the key, the purpose and the data."""
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
        The key of the lake.
    """

    def __init__(self, key: Mac) -> None:
        self._key = key

    def patient(self, original: str) -> str:
        """Return the pseudonym of a patient identifier, for example ``P-7KQ2M5XH4TRAB``.

        65 bits: among ten million patients the odds that any two share a pseudonym are about 1 in 740,000.
        """
        return "P-" + self._base32("patient", normalise_identifier(original))

    def uid(self, original: str) -> str:
        """Return the UID that stands for an original: ``2.25.`` and a 128-bit integer (PS3.5 B.2).

        Well-known UIDs of the standard come back unchanged.
        """
        normalised = normalise_identifier(original)
        if is_well_known(normalised):
            return normalised
        digest = self._key.mac("uid", normalised.encode())
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"

    def shift_days(self, original: str, *, maximum: int = 3650) -> int:
        """Return by how many days the dates of a patient move back: 1 to `maximum`, never 0.

        Parameters
        ----------
        original : str
            Patient identifier.
        maximum : int
            Largest shift in days.
        """
        digest = self._key.mac("date", normalise_identifier(original).encode())
        return 1 + int.from_bytes(digest[:16], "big") % maximum

    def token(self, purpose: str, text: str) -> str:
        """Return a token for any other value (accession number, file name, ...); equal texts, equal tokens.

        Parameters
        ----------
        purpose : str
            Keeps equal texts of different meaning apart.
        text : str
            The original.
        """
        return self._base32("token", f"{len(purpose)}:{purpose}{normalise_identifier(text)}")

    def _base32(self, purpose: str, text: str) -> str:
        return base64.b32encode(self._key.mac(purpose, text.encode())[:10]).decode()[:13]
