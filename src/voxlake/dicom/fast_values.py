"""Bytes of one value to what pydicom makes of them, without pydicom.

Each reader gives the values of an element as a list, empty where the element counts as empty. What pydicom
would only make sense of by trying other VRs raises `OddFileError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

from pydicom.charset import convert_encodings, decode_bytes, python_encoding

from voxlake.dicom.guard import quiet
from voxlake.dicom.parse_bytes import OddFileError

__all__ = ["DEFAULT_CHARSET", "NUMBERS", "PLAIN_TEXTS", "TEXTS", "Charset", "charset_of", "decode", "names"]

Charset: TypeAlias = tuple[str, ...]
"""Python codecs of a data set, the first of them in use until an escape sequence."""
TextReader: TypeAlias = Callable[[bytes, Charset], list[str]]
NumberReader: TypeAlias = Callable[[bytes, bool], list[Any]]

DEFAULT_CHARSET: Charset = ("iso8859",)
_DELIMITERS = frozenset({0x0D, 0x0A, 0x09, 0x0C})
# Above, pydicom's integer strings become floats.
_MOST_EXACT = 2**53
# The same codecs by the names that Python finds without a look-up.
_QUICK = MappingProxyType({"iso8859": "latin-1", "latin_1": "latin-1", "UTF8": "utf-8"})


@lru_cache(maxsize=256)
def charset_of(value: bytes) -> Charset:
    """Codecs that a value of (0008,0005) Specific Character Set names; odd if one is not the standard's."""
    terms = value.decode("latin-1").rstrip(" \0").split("\\")
    if any(term not in python_encoding for term in terms):
        raise OddFileError
    with quiet():
        return tuple(convert_encodings(terms if len(terms) > 1 else terms[0]))


def decode(value: bytes, charset: Charset) -> str:
    """Text of a value, with replacement characters for what the codecs do not have."""
    if b"\x1b" not in value:
        try:
            return value.decode(_QUICK.get(charset[0], charset[0]))
        except UnicodeError:
            pass
    with quiet():
        return decode_bytes(value, charset, set(_DELIMITERS))


def _plain(value: bytes, _charset: Charset) -> list[str]:
    text = value.decode("latin-1").rstrip(" \0")
    if "\\" in text:
        return text.split("\\")
    return [text] if text else []


def _titles(value: bytes, _charset: Charset) -> list[str]:
    return _values([part.strip() for part in value.decode("latin-1").split("\\")])


def _uids(value: bytes, _charset: Charset) -> list[str]:
    return _values([part.strip() for part in value.decode("latin-1").rstrip("\0 ").split("\\")])


def _texts(value: bytes, charset: Charset) -> list[str]:
    text = decode(value, charset)
    if "\\" in text:
        return [part.rstrip("\0 ") for part in text.split("\\")]
    text = text.rstrip("\0 ")
    return [text] if text else []


def _paragraph(value: bytes, charset: Charset) -> list[str]:
    return _values([decode(value, charset).rstrip("\0 ")])


def _locator(value: bytes, _charset: Charset) -> list[str]:
    return _values([value.decode("latin-1").rstrip()])


def _values(parts: list[str]) -> list[str]:
    return parts if len(parts) > 1 or parts[0] else []


def names(value: bytes, charset: Charset) -> list[tuple[str, ...]]:
    """Person names (VR PN), each as its component groups: alphabetic, ideographic, phonetic."""
    parts = decode(value.rstrip(b"\0 "), charset).split("\\")
    found = [tuple(part.rstrip("=").split("=")) if part.rstrip("=") else () for part in parts]
    return found if len(found) > 1 or found[0] else []


def _decimals(value: bytes, _little: bool) -> list[float | None]:
    text = value.decode("latin-1").strip().rstrip(" \0")
    if not text:
        return []
    try:
        if "\\" not in text:
            return [float(text)]
        return [float(part) if part.strip() else None for part in text.split("\\")]
    except ValueError:
        raise OddFileError from None


def _integers(value: bytes, _little: bool) -> list[int | float | None]:
    text = value.decode("latin-1").rstrip(" \0")
    if not text:
        return []
    parts = text.split("\\")
    if len(parts) == 1 and not text.strip():
        raise OddFileError
    return [_integer(part) if part.strip() else None for part in parts]


def _integer(text: str) -> int | float:
    try:
        found = int(text)
    except ValueError:
        return _fraction(text)
    if abs(found) >= _MOST_EXACT:
        raise OddFileError
    return found


def _fraction(text: str) -> int | float:
    try:
        value = float(text)
        found = int(value)
    except (ValueError, OverflowError):
        raise OddFileError from None
    if abs(value) >= _MOST_EXACT:
        raise OddFileError
    return found if found == value else value


def _binary(code: str) -> NumberReader:
    size = struct.calcsize(f"={code}")
    one = {True: struct.Struct(f"<{code}").unpack, False: struct.Struct(f">{code}").unpack}

    def read(value: bytes, little: bool) -> list[Any]:
        if len(value) == size:
            return list(one[little](value))
        if len(value) % size:
            raise OddFileError
        return list(struct.unpack(f"{'<' if little else '>'}{len(value) // size}{code}", value))

    return read


PLAIN_TEXTS = frozenset({"AS", "CS", "DA", "DT", "TM"})
TEXTS: Mapping[str, TextReader] = MappingProxyType(
    dict.fromkeys(sorted(PLAIN_TEXTS), _plain)
    | dict.fromkeys(("LO", "SH", "UC"), _texts)
    | dict.fromkeys(("LT", "ST", "UT"), _paragraph)
    | {"AE": _titles, "UI": _uids, "UR": _locator}
)
"""Readers of text by VR."""

NUMBERS: Mapping[str, NumberReader] = MappingProxyType(
    {"DS": _decimals, "IS": _integers}
    | {
        vr: _binary(code)
        for vr, code in {
            "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
        }.items()
    }
)  # fmt: skip
"""Readers of numbers by VR; None stands for an empty one between others."""
