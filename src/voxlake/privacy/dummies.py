"""Dummy values: valid for their VR and the same for everyone."""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["dummy", "padded"]

_TEXT = b"ANONYMIZED"
_DUMMIES = MappingProxyType(
    {
        "AE": _TEXT,
        "AS": b"000D",
        "AT": b"\0" * 4,
        "CS": _TEXT,
        "DA": b"19000101",
        "DS": b"0",
        "DT": b"19000101000000",
        "FD": b"\0" * 8,
        "FL": b"\0" * 4,
        "IS": b"0",
        "LO": _TEXT,
        "LT": _TEXT,
        "OB": b"\0" * 2,
        "OD": b"\0" * 8,
        "OF": b"\0" * 4,
        "OL": b"\0" * 4,
        "OV": b"\0" * 8,
        "OW": b"\0" * 2,
        "PN": _TEXT,
        "SH": _TEXT,
        "SL": b"\0" * 4,
        "SS": b"\0" * 2,
        "ST": _TEXT,
        "SV": b"\0" * 8,
        "TM": b"000000",
        "UC": _TEXT,
        "UI": b"2.25.0",
        "UL": b"\0" * 4,
        "UN": b"\0" * 2,
        "UR": b"urn:anonymized",
        "US": b"\0" * 2,
        "UT": _TEXT,
        "UV": b"\0" * 8,
    }
)


def dummy(vr: str) -> bytes:
    """Return a value of non-zero length that says nothing.

    Parameters
    ----------
    vr : str
        Value representation (PS3.5 6.2); of ``"US or SS"`` and the like the first counts.
    """
    return padded(vr[:2], _DUMMIES.get(vr[:2], b"\0" * 2))


def padded(vr: str, value: bytes) -> bytes:
    """Bring a value to even length, as PS3.5 7.1.1 asks: NUL after UIDs and bytes, a space after text."""
    if len(value) % 2 == 0:
        return value
    return value + (b"\0" if vr in ("UI", "OB", "UN") else b" ")
