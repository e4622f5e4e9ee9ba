"""Free text: the patient's own identifiers go wherever they occur, then what looks like a date or number."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["Cleaner", "name_parts"]

_MONTHS = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zä]*"
_PATTERNS = (
    r"\S+@\S+\.\S+",
    r"(?<![\d.])\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?![\d.])",
    r"(?<![\d.])\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})(?![\d.])",
    rf"\b\d{{1,2}}\.?[ -]{_MONTHS}\.?,?[ -]\d{{2,4}}\b",
    rf"\b{_MONTHS}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b",
    # UIDs; then runs of digits, but not the fraction of a number.
    r"(?<![\d.])\d+(?:\.\d+){3,}",
    r"(?<!\d\.)(?<!\d)\d{5,}",
)
_SUSPECT = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)
_TITLED = re.compile(r"\b(?:Dr|Prof)\b\.?,?[ ^]+[^\W\d_][\w'-]*")
_SPACES = re.compile(r"[ \t]{2,}")
_SEPARATORS = re.compile(r"[\s^=,;\\/._-]+")

_SHORTEST_NAME = 2
_SHORTEST_IDENTIFIER = 3
_ANYWHERE = 5
"""Identifiers of this length are found inside longer words, shorter ones as words only."""


def name_parts(names: Iterable[str]) -> set[str]:
    """Split person names into the parts that are searched for: two letters or more."""
    parts = {part for name in names for part in _SEPARATORS.split(name)}
    return {part for part in parts if sum(map(str.isalpha, part)) >= _SHORTEST_NAME}


class Cleaner:
    """Takes the identifiers of one data set out of text.

    Parameters
    ----------
    names : iterable of str
        Person names as in PN values; every part is searched for.
    identifiers : iterable of str
        Numbers, addresses, institutions; searched for as a whole.
    """

    def __init__(self, names: Iterable[str], identifiers: Iterable[str]) -> None:
        words = name_parts(names) | {
            value for value in (item.strip() for item in identifiers) if len(value) >= _SHORTEST_IDENTIFIER
        }
        # Longest first, so that a part does not break up the whole that it belongs to.
        ordered = sorted(words, key=lambda word: (-len(word), word))
        self._known = re.compile("|".join(map(_pattern, ordered)), re.IGNORECASE) if ordered else None

    def scrub(self, text: str) -> str:
        """Take out the known identifiers only."""
        if self._known is None or self._known.search(text) is None:
            return text
        return _tidy(self._known.sub(" ", text))

    def clean(self, text: str) -> str:
        """Take out the known identifiers, titled names, e-mail addresses, dates and long runs of digits."""
        scrubbed = self.scrub(text)
        cleaned = _SUSPECT.sub(" ", _TITLED.sub(" ", scrubbed))
        return scrubbed if cleaned == scrubbed else _tidy(cleaned)


def _pattern(word: str) -> str:
    pattern = r"[\s^,_-]+".join(re.escape(piece) for piece in word.split())
    if len(word) >= _ANYWHERE:
        return pattern
    return rf"(?<![^\W_]){pattern}(?![^\W_])"


def _tidy(text: str) -> str:
    return _SPACES.sub(" ", text).strip(" ^_-,;")
