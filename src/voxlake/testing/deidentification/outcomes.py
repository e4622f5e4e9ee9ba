"""What may become of a value by its code in Table E.1-1, and what did become of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from pydicom import config
from pydicom.valuerep import validate_value

from voxlake.privacy.profile import Row

__all__ = [
    "FULL_DATES",
    "MODIFIED_DATES",
    "Outcome",
    "code_of",
    "days_between",
    "is_shared_date",
    "is_valid",
    "permitted",
    "shift_of",
]

FULL_DATES, MODIFIED_DATES = "retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"
# What only a reader of meaning could clean may fall back to the action of the Basic Profile; so may overlays
# and curves (the masked rows), of which no part is valid without the rest.
_NOT_CLEANABLE = frozenset({"AE", "CS", "OB", "OW", "UN"})
# Dates of vocabularies, committees and products are shared by patients: shifted they tell everybody's shift.
_SHARED_DATES = frozenset(
    {
        "00080106", "00080107", "00120086", "00120087", "0040db06", "0040db07", "0044000b", "00686226",
        "00686270", "300a022c", "300a022e",
    }
)  # fmt: skip
_CHECKED = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UR"}
)
_TIMEZONE = "00080201"
_DATE = re.compile(r"\d{8}")


class Outcome(StrEnum):
    """What became of one planted value."""

    ABSENT = "absent"
    EMPTY = "empty"
    EQUAL = "equal"
    CHANGED = "changed"
    INVALID = "invalid"
    INCONSISTENT = "inconsistent"


_ABSENT, _EMPTY, _EQUAL, _CHANGED = Outcome.ABSENT, Outcome.EMPTY, Outcome.EQUAL, Outcome.CHANGED
# Z allows a dummy besides a zero length (PS3.15 Table E.1-1a); U* is the sequence with its UIDs mapped.
_BASIC = MappingProxyType(
    {"X": {_ABSENT}, "Z": {_EMPTY, _CHANGED}, "D": {_CHANGED}, "U": {_CHANGED}, "U*": {_CHANGED}}
)


def code_of(row: Row, options: Collection[str]) -> str:
    """Return the code that holds for a row: C of an option, else K of one, else that of the Basic Profile.

    Of two options that speak of one row the more protective wins.

    Parameters
    ----------
    row : Row
        Row of the table.
    options : collection of str
        Options in snake case.
    """
    codes = {row.options[option] for option in options if option in row.options}
    return "C" if "C" in codes else "K" if "K" in codes else row.basic


def permitted(row: Row, vr: str, options: Collection[str], *, safe_private: bool = False) -> set[Outcome]:
    """Return the outcomes that the table allows.

    Parameters
    ----------
    row : Row
        Row of the table.
    vr : str
        VR of the value.
    options : collection of str
        Options in snake case.
    safe_private : bool
        The element is listed in PS3.15 E.3.10.
    """
    basic = set().union(*(_BASIC[part] for part in row.basic.split("/")))
    code = code_of(row, options)
    if row.tag == "private":
        return {_EQUAL} if safe_private and code == "C" else {_ABSENT}
    if code == "K":
        return {_EQUAL}
    if code != "C":
        return basic
    if MODIFIED_DATES in options and MODIFIED_DATES in row.options:
        return _moved(row, vr, basic)
    falls_back = vr in _NOT_CLEANABLE or "x" in row.tag
    return {_CHANGED, _EMPTY} | (basic if falls_back else set())


def _moved(row: Row, vr: str, basic: set[Outcome]) -> set[Outcome]:
    if vr not in ("DA", "DT", "TM") and row.tag != _TIMEZONE:
        return basic | {_CHANGED, _EMPTY}
    # Whole days are moved, so a time of day and an offset from UTC may stay.
    moved = {_CHANGED, _EQUAL} if vr in ("TM", "SH") else {_CHANGED}
    return moved | (basic if is_shared_date(row) else set())


def is_shared_date(row: Row) -> bool:
    """Say whether a date is that of a device, vocabulary, committee or product: it must not move along."""
    return "retain_device_identity" in row.options or row.tag in _SHARED_DATES


def is_valid(vr: str, value: bytes) -> bool:
    """Say whether bytes are a valid value of a VR.

    Parameters
    ----------
    vr : str
        Value representation.
    value : bytes
        As in the file, with padding.
    """
    if vr not in _CHECKED:
        return len(value) % 2 == 0
    text = value.decode("utf-8", "replace").rstrip(" \0")
    if vr in ("DA", "DT") and not _is_date(text[:8]):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for part in text.split("\\"):
                validate_value(vr, part, config.RAISE)
    except ValueError:
        return False
    return "\ufffd" not in text


def shift_of(vr: str, before: str, after: str) -> int | None:
    """Return by how many days a date went back, None where it is no date any more or its time of day changed.

    Parameters
    ----------
    vr : str
        DA or DT.
    before, after : str
        Values without padding.
    """
    if not (_is_date(before[:8]) and _is_date(after[:8])) or before[8:] != after[8:]:
        return None
    if vr == "DA" and len(after) != 8:
        return None
    return (_date(before) - _date(after)).days


def days_between(earlier: str, later: str) -> int | None:
    """Return the days from one date (DA, or the date of a DT) to another, None where one is no date.

    Parameters
    ----------
    earlier, later : str
        ``YYYYMMDD``, with or without a time.
    """
    if not (_is_date(earlier[:8]) and _is_date(later[:8])):
        return None
    return (_date(later) - _date(earlier)).days


def _is_date(text: str) -> bool:
    if not (_DATE.fullmatch(text) and text.isascii()):
        return False
    try:
        _date(text)
    except ValueError:
        return False
    return True


def _date(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
