"""Dummy values: valid for their VR and the same for everyone."""

from __future__ import annotations

from types import MappingProxyType

from voxlake.dicom.write_nodes import padded

__all__ = ["dummy", "dummy_like"]

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

# VRs that are read as lists of numbers, whose length another element or the standard may prescribe.
_WIDTHS = MappingProxyType({"AT": 4, "FD": 8, "FL": 4, "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8})
_DECIMAL = frozenset({"DS", "IS"})


def dummy(vr: str) -> bytes:
    """Return a value of non-zero length that says nothing.

    Parameters
    ----------
    vr : str
        Value representation (PS3.5 6.2); of ``"US or SS"`` and the like the first counts.
    """
    return padded(vr[:2], _DUMMIES.get(vr[:2], b"\0" * 2))


def dummy_like(vr: str, value: bytes) -> bytes:
    """Return a value that says nothing, with as many numbers as there were; of anything else it has one.

    Parameters
    ----------
    vr : str
        As for `dummy`.
    value : bytes
        What it stands in for.
    """
    one = _DUMMIES.get(vr[:2], b"\0" * 2)
    if vr[:2] in _DECIMAL:
        return padded(vr[:2], b"\\".join([one] * (value.count(b"\\") + 1)))
    if vr[:2] in _WIDTHS:
        return one * max(1, len(value) // _WIDTHS[vr[:2]])
    return dummy(vr)
