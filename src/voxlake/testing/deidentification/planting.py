"""Values that are valid for their VR, unlike every other planted value, and found wherever they end up."""

from __future__ import annotations

import re
import struct
from collections import Counter
from datetime import date, timedelta
from types import MappingProxyType
from typing import Literal, NamedTuple

from pydicom.datadict import dictionary_has_tag, dictionary_VR, repeater_has_tag

__all__ = ["PlantedValue", "Traces", "planted_value", "vr_of"]

# Attributes of PS3.6 that came after the data dictionary of pydicom 3.0.
_NEWER = MappingProxyType(
    {
        0x00081301: "SQ", 0x00081302: "SQ", 0x00081303: "SQ", 0x00081304: "SQ", 0x00100011: "SQ",
        0x00100012: "LT", 0x00100013: "LT", 0x00100014: "SQ", 0x00100015: "SQ", 0x00100016: "LT",
        0x00100041: "SQ", 0x00100042: "LT", 0x00100043: "SQ", 0x00100044: "SQ", 0x00100045: "LT",
        0x00100046: "SQ", 0x00100047: "UR", 0x00102162: "UC", 0x0040A034: "DT", 0x0040A035: "DT",
        0x0040B034: "DT", 0x0040B036: "DT", 0x0040B03B: "LO", 0x0040B03F: "LO", 0x0040E012: "UR",
        0x3004007F: "LO",
    }
)  # fmt: skip
_FIRST_DAY = date(1931, 1, 1)
_WITH_DIGITS = MappingProxyType(
    dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), "Head {}")
    | dict.fromkeys(("AE", "CS"), "ID {}")
    | dict.fromkeys(("DS", "IS"), "{}")
    | {"PN": "Zerbini^{}", "UI": "1.9.8.7.{}", "UR": "https://pacs.example.org/{}/"}
)
_BYTES = frozenset({"OB", "OW", "UN"})
_RUN = re.compile(rb"\d+")
_WIDE_RUN = re.compile(rb"(?:\d\0){6,}|(?:\0\d){6,}")


class PlantedValue(NamedTuple):
    """A value to plant and how to recognise it.

    Parameters
    ----------
    value : str, bytes or int
        What pydicom takes for the VR.
    token : str
        The part that no other planted value has.
    search : {"digits", "text", "date", "place"}
        Digits stand alone somewhere; text and dates occur as bytes; two-byte numbers are compared in place.
    """

    value: str | bytes | int
    token: str
    search: Literal["digits", "text", "date", "place"]


def vr_of(tag: int) -> str:
    """Return the VR that a public tag has in PS3.6; the first one where several are allowed.

    Parameters
    ----------
    tag : int
        ``group << 16 | element``.
    """
    if tag in _NEWER:
        return _NEWER[tag]
    if dictionary_has_tag(tag) or repeater_has_tag(tag):
        return str(dictionary_VR(tag)).split(" or ")[0]
    raise KeyError(f"no VR is known for {tag:08x}")


def planted_value(vr: str, number: int) -> PlantedValue:
    """Make a value of a VR that is unlike that of any other number.

    Parameters
    ----------
    vr : str
        Value representation (PS3.5 6.2), no sequence.
    number : int
        0 to 9999.
    """
    digits = f"{700_000_000 + number}"
    if vr in _WITH_DIGITS:
        return PlantedValue(_WITH_DIGITS[vr].format(digits), digits, "digits")
    if vr in _BYTES:
        return PlantedValue(f"Head {digits}  ".encode(), digits, "digits")
    moment = f"{number % 24:02d}{number % 60:02d}{number % 59:02d}.{700_000 + number}"
    day = f"{_FIRST_DAY + timedelta(days=number):%Y%m%d}"
    texts = {"DA": day, "DT": day + moment, "TM": moment, "AS": f"{number % 1000:03d}M"}
    if vr in texts:
        return PlantedValue(texts[vr], texts[vr], "date" if vr == "DA" else "text")
    if vr == "US":
        return PlantedValue(30_000 + number, struct.pack("<H", 30_000 + number).decode("latin-1"), "place")
    raise ValueError(f"no planted value for VR {vr}")


class Traces:
    """All places of a file where a token can be: as bytes, as digits that stand alone, as UTF-16.

    Digits count as a token only where no other digits surround them, for otherwise the 39 digits of a new
    UID would be taken for a survivor now and then.

    Parameters
    ----------
    data : bytes
        The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._wide = data.replace(b"\0", b"")
        self._runs = {run.decode() for run in _RUN.findall(data)}
        self._runs.update(run.replace(b"\0", b"").decode() for run in _WIDE_RUN.findall(data))
        self._dates = Counter(run[:8].decode() for run in _RUN.findall(data) if len(run) >= 8)
        # The tag of the next element can look like one more digit: (0032,....) begins with "2".
        self._runs.update([run[:-1] for run in self._runs if len(run) in (9, 10)])

    def holds(self, token: str, search: str) -> bool:
        """Say whether a token is anywhere in the file.

        Parameters
        ----------
        token : str
            Of a `PlantedValue`.
        search : str
            How to look for it.
        """
        if search == "digits":
            return token in self._runs
        return search == "text" and (token.encode() in self._data or token.encode() in self._wide)

    def count(self, token: str) -> int:
        """Return how often a date of eight digits occurs, also as the beginning of a date and time."""
        return self._dates[token]
