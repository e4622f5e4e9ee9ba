"""Pseudonyms that somebody else gave out, such as a trust centre: pairs that are never kept in a lake."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from voxlake.core.digest import digest_many
from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.privacy.pseudonyms import Mac, normalise_identifier

__all__ = ["PseudonymList", "PseudonymListReference", "Unlisted", "load_pseudonyms"]

Unlisted = Literal["keyed", "refuse"]

_COLUMNS = ("original", "pseudonym")
_LONGEST = 64
"""Characters of a PatientID (VR LO, PS3.5 6.2)."""


class PseudonymList:
    """Pseudonyms of patients by their original identifiers.

    Parameters
    ----------
    pairs : mapping of str to str
        Normalised original to pseudonym. Originals that share a pseudonym are one person.
    unlisted : {"keyed", "refuse"}
        What becomes of patients who are not in the list: a keyed pseudonym, or not let in.
    """

    def __init__(self, pairs: Mapping[str, str], *, unlisted: Unlisted = "keyed") -> None:
        self._pairs = MappingProxyType(dict(pairs))
        self.unlisted = unlisted

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"PseudonymList({len(self)} patients, unlisted={self.unlisted!r})"

    def find(self, original: str) -> str | None:
        """Return the pseudonym of a patient, None if it is not in the list."""
        return self._pairs.get(normalise_identifier(original))

    def digest(self, key: Mac) -> str:
        """Keyed digest (hex) of the pairs: names the list, and nobody without the key can try lists."""
        parts = [part for pair in sorted(self._pairs.items()) for part in pair]
        return key.mac("pseudonym list", bytes.fromhex(digest_many(parts))).hex()


@dataclass(frozen=True)
class PseudonymListReference:
    """Where a list lies and what it must hold: what a worker is told, never the list itself.

    Parameters
    ----------
    path : Path
        The file.
    unlisted : {"keyed", "refuse"}
        As for `PseudonymList`.
    digest : str
        Keyed digest of the list.
    """

    path: Path
    unlisted: Unlisted
    digest: str

    @classmethod
    def make(cls, path: str | Path, unlisted: Unlisted, key: Mac) -> PseudonymListReference:
        """Read a list and refer to it; errors are those of `load_pseudonyms`."""
        pairs = load_pseudonyms(path, unlisted=unlisted)
        return cls(Path(path).expanduser().absolute(), unlisted, pairs.digest(key))

    def open(self, key: Mac) -> PseudonymList:
        """Read the list.

        Raises
        ------
        SettingsError
            It was changed meanwhile: one patient would get two pseudonyms within one run.
        """
        pairs = load_pseudonyms(self.path, unlisted=self.unlisted)
        if pairs.digest(key) != self.digest:
            raise SettingsError(
                "the list of pseudonyms was changed while it was in use; run the command again"
            )
        return pairs


def load_pseudonyms(path: str | Path, *, unlisted: Unlisted = "keyed") -> PseudonymList:
    """Read a list of pseudonyms.

    Parameters
    ----------
    path : str or Path
        CSV in UTF-8 with the columns ``original`` and ``pseudonym``; other columns are passed over.
    unlisted : {"keyed", "refuse"}
        What becomes of patients who are not in the list.

    Raises
    ------
    NotFoundError
        There is no such file.
    SettingsError
        It is no such table, or a pseudonym in it cannot be one; lines are named, values never.
    """
    if unlisted not in ("keyed", "refuse"):
        raise SettingsError(f"unlisted is 'keyed' or 'refuse', got '{unlisted}'")
    file = Path(path).expanduser()
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise NotFoundError("there is no such list of pseudonyms; give the path of a CSV file") from None
    except OSError as error:
        raise SettingsError(f"the list of pseudonyms cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError("the list of pseudonyms is not UTF-8 text; save it as CSV in UTF-8") from None
    return PseudonymList(_pairs(text), unlisted=unlisted)


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, original, pseudonym in _rows(text):
        _check(number, original, pseudonym)
        if pairs.setdefault(original, pseudonym) != pseudonym:
            raise _refused(number, f"gives the original of line {lines[original]} another pseudonym")
        lines.setdefault(original, number)
    for original, pseudonym in pairs.items():
        if pseudonym in pairs:
            what = f"has a pseudonym that is the original of line {lines[pseudonym]}"
            raise _refused(lines[original], f"{what}; a pseudonym must not name anybody")
    if not pairs:
        raise SettingsError("the list of pseudonyms has a header line and no patients")
    return pairs


def _rows(text: str) -> Iterator[tuple[int, str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        places = [_place(header, name) for name in _COLUMNS]
        for row in reader:
            if any(cell.strip() for cell in row):
                original, pseudonym = (row[place] if place < len(row) else "" for place in places)
                yield reader.line_num, normalise_identifier(original), normalise_identifier(pseudonym)
    except csv.Error:
        # Its message may quote the line.
        raise _refused(reader.line_num, "is no CSV: check its quotes") from None


def _place(header: Sequence[str], name: str) -> int:
    if header.count(name) == 1:
        return header.index(name)
    if name in header:
        raise SettingsError(f"the list of pseudonyms has several columns '{name}'; expected one")
    # A file without a header begins with a patient, so nothing is quoted but what is nearly the name.
    near = difflib.get_close_matches(name, [column.lower() for column in header], n=1, cutoff=0.6)
    known = f"; did you mean '{near[0]}'?" if near else ""
    split = (
        "; its cells seem to be parted by ';', expected ','" if any(";" in cell for cell in header) else ""
    )
    raise SettingsError(
        f"the list of pseudonyms has no column '{name}'{split or known}; it needs a first line "
        f"'{','.join(_COLUMNS)}'"
    )


def _check(number: int, original: str, pseudonym: str) -> None:
    if not original:
        raise _refused(number, "has no original")
    if not pseudonym:
        raise _refused(number, "has no pseudonym")
    if len(pseudonym) > _LONGEST:
        raise _refused(
            number, f"has a pseudonym of {len(pseudonym)} characters, at most {_LONGEST} are allowed"
        )
    # Only these characters mean the same in every character set that an object may be written in.
    if "\\" in pseudonym or not (pseudonym.isascii() and pseudonym.isprintable()):
        raise _refused(number, "has a pseudonym with a backslash, a control character or one outside ASCII")


def _refused(number: int, why: str) -> SettingsError:
    return SettingsError(f"the list of pseudonyms cannot be used: line {number} {why}")
