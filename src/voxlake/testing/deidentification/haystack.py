"""Looking for a piece of text anywhere in a file, however it is written."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["Haystack"]

_ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be", "iso8859-2", "iso8859-5", "shift_jis")
_JIS_SHIFTS = re.compile(rb"\x1b[$(][B@J]")


class Haystack:
    """All places of a file where a text can be.

    ASCII text is found in any case and also with NULs between its letters; other text in several character
    sets and cases. A number is not found inside a longer one, for random digits of new UIDs would match.

    Parameters
    ----------
    data : bytes
        The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._lower = data.lower()
        self._narrow = self._lower.replace(b"\0", b"")

    def holds(self, text: str) -> bool:
        """Say whether a text is anywhere in the file.

        Parameters
        ----------
        text : str
            At least two characters.
        """
        if text.isascii():
            pattern = _pattern(text)
            return bool(pattern.search(self._lower) or pattern.search(self._narrow))
        return any(written in self._data for written in _written(text))


@lru_cache(maxsize=65536)
def _pattern(text: str) -> re.Pattern[bytes]:
    before = r"(?<![\d.])" if text[0].isdigit() else ""
    # One digit more may be the tag of the next element: (0032,....) begins with "2".
    after = r"(?!\d\d)" if text[-1].isdigit() else ""
    return re.compile(f"{before}{re.escape(text.lower())}{after}".encode())


@lru_cache(maxsize=65536)
def _written(text: str) -> frozenset[bytes]:
    found = set()
    for form in (text, text.upper(), text.lower()):
        for encoding in _ENCODINGS:
            try:
                found.add(form.encode(encoding))
            except UnicodeEncodeError:
                continue
        try:
            found.add(_JIS_SHIFTS.sub(b"", form.encode("iso2022_jp")))
        except UnicodeEncodeError:
            continue
    return frozenset(piece for piece in found if piece)
