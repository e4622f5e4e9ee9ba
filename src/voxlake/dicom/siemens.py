"""The CSA header of Siemens: a small table of named texts in a private element.

The layout is not published; this reads what the format description in NiBabel's documentation
("Siemens format DICOM with CSA header") calls CSA2: ``SV10``, a count, and for each tag a name of 64
bytes, a count of items and the items, each with its length, padded to four bytes.
"""

from __future__ import annotations

import struct

__all__ = ["csa_values"]

_SIGNATURE = b"SV10"
_TAG = struct.Struct("<64si4siii")
_ITEM = struct.Struct("<4i")
# Caps far above what scanners write (about 100 tags of at most some hundred items).
_MOST_TAGS = 1024
_MOST_ITEMS = 4096


def csa_values(data: bytes, wanted: frozenset[str]) -> dict[str, list[str]]:
    """Texts of some tags of a CSA2 header; without the empty ones, and without tags behind a damaged one.

    Parameters
    ----------
    data : bytes
        Value of (0029,xx10) or (0029,xx20) of the creator ``SIEMENS CSA HEADER``.
    wanted : frozenset of str
        Names, for example ``B_value``.
    """
    found: dict[str, list[str]] = {}
    if not data.startswith(_SIGNATURE) or len(data) < 16:
        return found
    (count,) = struct.unpack_from("<I", data, 8)
    position = 16
    for _ in range(min(count, _MOST_TAGS)):
        if position + _TAG.size > len(data):
            break
        name, _multiplicity, _representation, _type, number, _check = _TAG.unpack_from(data, position)
        values, position = _items(data, position + _TAG.size, min(number, _MOST_ITEMS))
        text = _text(name)
        if text in wanted:
            found[text] = values
    return found


def _items(data: bytes, position: int, number: int) -> tuple[list[str], int]:
    values: list[str] = []
    for _ in range(number):
        if position + _ITEM.size > len(data):
            return values, len(data)
        length = _ITEM.unpack_from(data, position)[1]
        position += _ITEM.size
        if length < 0 or position + length > len(data):
            return values, len(data)
        value = _text(data[position : position + length])
        if value:
            values.append(value)
        position += (length + 3) // 4 * 4
    return values, position


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1").strip()
