"""Free text: the patient's own identifiers go wherever they occur, then what looks like a date or number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files

__all__ = ["Cleaner", "cleaner_for", "name_parts", "telling_words"]

_MONTHS = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zä]*"
_PATTERNS = (
    r"\S+@\S+\.\S+",
    r"(?<![\d.])\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?![\d.])",
    r"(?<![\d.])\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})(?![\d.])",
    rf"\b\d{{1,2}}\.?[ -]{_MONTHS}\.?,?[ -]\d{{2,4}}\b",
    rf"\b{_MONTHS}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b",
    # Numbers of insurances and telephones: groups of digits with dashes, slashes or an area code between.
    r"(?<![\d.])(?:\+\d{1,3}[ /-]?)?\(?\d{2,5}\)?[ /-]\d{2,4}[-/]\d{3,5}(?![\d.])",
    # UIDs; then runs of digits, but not the fraction of a number.
    r"(?<![\d.])\d+(?:\.\d+){3,}",
    r"(?<!\d\.)(?<!\d)\d{5,}",
)
_SUSPECT = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)
# Versions of programs have fewer parts, or are shorter.
_UID = re.compile(r"(?<![\d.])(?=[\d.]{16})[0-2]\.\d+(?:\.\d+){3,}")
_NOTHING = re.compile(r"(?!)")
_TITLED = re.compile(r"\b(?:Dr|Prof)\b\.?,?[ ^]+[^\W\d_][\w'-]*")
_SPACES = re.compile(r"[ \t]{2,}")
_SEPARATORS = re.compile(r"[\s^=,;\\/._-]+")

_WORDS = re.compile(r"[^\W\d_]+")
_SHORTEST_PLACE = 4
_SHORTEST_NAME = 2
_SHORTEST_IDENTIFIER = 3
_REMEMBERED = 4096
_ANYWHERE = 5
"""Identifiers of this length are found inside longer words, shorter ones as words only."""


def name_parts(names: Iterable[str]) -> set[str]:
    """Split person names into the parts that are searched for: two letters or more."""
    parts = {part for name in names for part in _SEPARATORS.split(name)}
    return {part for part in parts if sum(map(str.isalpha, part)) >= _SHORTEST_NAME}


def telling_words(places: Iterable[str]) -> set[str]:
    """Return the words of institution names that tell one institution from others: ``Mercyvale``."""
    words = {word for place in places for word in _WORDS.findall(place)}
    return {word for word in words if len(word) >= _SHORTEST_PLACE and word.casefold() not in _common_words()}


@cache
def _common_words() -> frozenset[str]:
    # What says nothing of which institution it is (clinic, general), and what descriptions of images need:
    # a Chest Hospital must not cost every chest its name.
    return frozenset(files("voxlake.privacy").joinpath("common_words.txt").read_text("utf-8").split())


class Cleaner:
    """Takes the identifiers of one data set out of text.

    Parameters
    ----------
    names : iterable of str
        Person names as in PN values; every part is searched for.
    identifiers : iterable of str
        Numbers, addresses, institutions; searched for as a whole.
    uids : bool
        Take out all UIDs as well.
    """

    def __init__(self, names: Iterable[str], identifiers: Iterable[str], *, uids: bool = True) -> None:
        self._uid = _UID if uids else _NOTHING
        whole = {
            value for value in (item.strip() for item in identifiers) if len(value) >= _SHORTEST_IDENTIFIER
        }
        words = name_parts(names) | whole
        self._known = _any_of(words)
        self._long = _any_of(word for word in words if len(word) >= _ANYWHERE)
        self._values = frozenset(word.casefold() for word in whole if len(word) >= _ANYWHERE)
        # The objects of a series repeat most of their text.
        self._cleaned: dict[str, str] = {}

    def scrub(self, text: str) -> str:
        """Take out the known identifiers, and UIDs, only."""
        known = self._known is not None and self._known.search(text) is not None
        if not known and self._uid.search(text) is None:
            return text
        scrubbed = self._uid.sub(" ", text)
        return _tidy(scrubbed if self._known is None else self._known.sub(" ", scrubbed))

    def clean(self, text: str) -> str:
        """Take out the known identifiers, titled names, e-mail addresses, dates and long runs of digits."""
        found = self._cleaned.get(text)
        if found is None:
            scrubbed = self.scrub(text)
            cleaned = _SUSPECT.sub(" ", _TITLED.sub(" ", scrubbed))
            found = scrubbed if cleaned == scrubbed else _tidy(cleaned)
            if len(self._cleaned) < _REMEMBERED:
                self._cleaned[text] = found
        return found

    def is_identifier(self, values: Iterable[str]) -> bool:
        """Say whether one of the values is, as a whole, an identifier of five characters or more."""
        return bool(self._values) and any(value.casefold() in self._values for value in values)

    def occurs_in(self, data: bytes) -> bool:
        """Say whether a UID or an identifier of five characters or more occurs in bytes, as text."""
        # Half of UTF-16 Latin text are zeros.
        forms = (data.decode("latin-1"), data.replace(b"\0", b"").decode("utf-8", "ignore"))
        return any(
            self._uid.search(form) or (self._long is not None and self._long.search(form)) for form in forms
        )


@lru_cache(maxsize=512)
def cleaner_for(names: frozenset[str], identifiers: frozenset[str], *, uids: bool) -> Cleaner:
    """Return the cleaner of a set of identifiers; the objects of a study share one."""
    return Cleaner(names, identifiers, uids=uids)


def _any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    # Longest first, so that a part does not break up the whole that it belongs to.
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return re.compile("|".join(map(_pattern, ordered)), re.IGNORECASE) if ordered else None


def _pattern(word: str) -> str:
    pattern = r"[\s^,_-]+".join(re.escape(piece) for piece in word.split())
    if len(word) >= _ANYWHERE:
        return pattern
    return rf"(?<![^\W_]){pattern}(?![^\W_])"


def _tidy(text: str) -> str:
    return _SPACES.sub(" ", text).strip(" ^_-,;")
