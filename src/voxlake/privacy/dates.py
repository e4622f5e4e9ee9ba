"""Moving dates by whole days: times of day stay, and so do all intervals of a patient."""

from __future__ import annotations

import re
from datetime import date, timedelta
from types import MappingProxyType

__all__ = [
    "cap_age",
    "shift_date",
    "shift_datetime",
    "valid_date",
    "valid_datetime",
    "valid_time",
    "valid_timezone",
]

_DATE = re.compile(r"\d{8}")
# Full date, then whatever part of the time and the offset from UTC is given (PS3.5 6.2, DT).
_DATETIME = re.compile(r"(\d{8})((?:\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?(?:[+-]\d{4})?)")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_AGE = re.compile(r"(\d{3})([DWMY])")
_PER_YEAR = MappingProxyType({"Y": 1, "M": 12, "W": 52.1775, "D": 365.2425})
_TIMEZONE = re.compile(r"[+-]\d{4}")


def shift_date(text: str, days: int) -> str:
    """Move a DICOM date (DA) back.

    Parameters
    ----------
    text : str
        ``YYYYMMDD``.
    days : int
        By how many days.

    Returns
    -------
    str
        ``YYYYMMDD``, or ``""`` for anything that is not one full date of the calendar.
    """
    if not (_DATE.fullmatch(text) and text.isascii()):
        return ""
    try:
        moved = date(int(text[:4]), int(text[4:6]), int(text[6:])) - timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"


def shift_datetime(text: str, days: int) -> str:
    """Move a DICOM date and time (DT) back; the time of day and the offset from UTC stay.

    Returns ``""`` for a range, a partial date or an impossible one.
    """
    match = _DATETIME.fullmatch(text)
    if match is None or not text.isascii():
        return ""
    moved = shift_date(match.group(1), days)
    return moved + match.group(2) if moved else ""


def valid_date(text: str) -> str:
    """Return a DICOM date (DA) unchanged, or ``""`` for anything but one full date of the calendar."""
    return text if shift_date(text, 0) else ""


def valid_datetime(text: str) -> str:
    """Return a DICOM date and time (DT) unchanged, or ``""`` for a range, a partial or impossible one."""
    return text if shift_datetime(text, 0) else ""


def valid_time(text: str) -> str:
    """Return a DICOM time (TM) unchanged, or ``""`` for anything that is not one time."""
    return text if _TIME.fullmatch(text) and text.isascii() else ""


def valid_timezone(text: str) -> str:
    """Return an offset from UTC (``&ZZXX``) unchanged, or ``""`` for anything else."""
    return text if _TIMEZONE.fullmatch(text) and text.isascii() else ""


def cap_age(text: str, maximum: int | None = 89) -> str:
    """Return an age (AS), ages over the maximum as one year more, and ``""`` for anything that is no age.

    People over 89 are so few that their age points at them (HIPAA safe harbour, 45 CFR 164.514(b)(2)).

    Parameters
    ----------
    text : str
        ``nnnD``, ``nnnW``, ``nnnM`` or ``nnnY``.
    maximum : int or None
        In years; None leaves all ages.
    """
    match = _AGE.fullmatch(text)
    if match is None or not text.isascii():
        return ""
    years = int(match.group(1)) / _PER_YEAR[match.group(2)]
    return text if maximum is None or years < maximum + 1 else f"{maximum + 1:03d}Y"
