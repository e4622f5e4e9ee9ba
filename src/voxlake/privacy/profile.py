"""The tables of DICOM PS3.15 Annex E, as data files that are checked by digest when they are loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from voxlake.core.errors import IntegrityError

__all__ = [
    "PROFILE_DIGEST",
    "SAFE_PRIVATE_DIGEST",
    "Profile",
    "Row",
    "SafePrivate",
    "load_profile",
    "load_safe_private",
]

PROFILE_DIGEST = "eb9254a65c13e9423b6087a3bc9c5eb4ac1298fa89355ba6e718400071ac4c96"
SAFE_PRIVATE_DIGEST = "0e7a02e3c2ace08e8e2ba45f514b9b67468f21122666b39fabdfb451f7d7787b"
_PROFILE_FILE = "table_e1_1_2026d.json"
_SAFE_PRIVATE_FILE = "safe_private_2026a.json"


@dataclass(frozen=True)
class Row:
    """One row of Table E.1-1.

    Parameters
    ----------
    tag : str
        Eight hexadecimal digits; ``x`` stands for any digit; ``private`` for all odd groups.
    name : str
        Attribute name.
    basic : str
        Action code of the Basic Profile, for example ``"X/Z"``.
    options : mapping
        Option in snake case -> ``"K"`` or ``"C"``.
    """

    tag: str
    name: str
    basic: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class Profile:
    """Table E.1-1 of one edition."""

    edition: str
    source: str
    rows: tuple[Row, ...]
    _exact: Mapping[int, Row]
    _masked: tuple[tuple[int, int, Row], ...]
    _private: Row

    def row(self, tag: int) -> Row | None:
        """Return the row that covers a tag, or None.

        Parameters
        ----------
        tag : int
            ``group << 16 | element``.
        """
        if (tag >> 16) & 1:
            return self._private
        found = self._exact.get(tag)
        if found is not None:
            return found
        for mask, bits, row in self._masked:
            if tag & mask == bits:
                return row
        return None


@dataclass(frozen=True)
class SafePrivate:
    """Table E.3.10-1: private elements that are known to hold no identity."""

    edition: str
    source: str
    elements: Mapping[tuple[str, int, int], str]

    def vr(self, creator: str, tag: int) -> str | None:
        """Return the VR of a safe private element (``""`` where the table names none), or None if not listed.

        Parameters
        ----------
        creator : str
            Private creator of the block that the element lies in.
        tag : int
            ``group << 16 | element``.
        """
        return self.elements.get((creator, tag >> 16, tag & 0xFF))


@cache
def load_profile() -> Profile:
    """Load Table E.1-1.

    Raises
    ------
    IntegrityError
        The file that is installed is not the one that this version was made with.
    """
    table = _load(_PROFILE_FILE, PROFILE_DIGEST)
    rows = tuple(
        Row(tag, name, basic, MappingProxyType(options)) for tag, name, basic, options in table["rows"]
    )
    exact = {int(row.tag, 16): row for row in rows if "x" not in row.tag and row.tag != "private"}
    masked = tuple(_masked(row) for row in rows if "x" in row.tag)
    private = next(row for row in rows if row.tag == "private")
    return Profile(table["edition"], table["source"], rows, MappingProxyType(exact), masked, private)


@cache
def load_safe_private() -> SafePrivate:
    """Load Table E.3.10-1.

    Raises
    ------
    IntegrityError
        The file that is installed is not the one that this version was made with.
    """
    table = _load(_SAFE_PRIVATE_FILE, SAFE_PRIVATE_DIGEST)
    elements = {
        (creator, int(group, 16), int(element, 16)): vr.split("/")[0]
        for creator, group, element, vr in table["rows"]
    }
    return SafePrivate(table["edition"], table["source"], MappingProxyType(elements))


def _load(name: str, digest: str) -> dict[str, Any]:
    data = files("voxlake.privacy").joinpath(name).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise IntegrityError(f"{name} has digest {found}, expected {digest}; install voxlake again")
    loaded: dict[str, Any] = json.loads(data)
    return loaded


def _masked(row: Row) -> tuple[int, int, Row]:
    mask = int("".join("0" if digit == "x" else "f" for digit in row.tag), 16)
    return mask, int(row.tag.replace("x", "0"), 16), row
