"""Values of header elements, read tolerantly.

An element that is absent, empty, of the wrong type or not to be parsed gives None, never an exception:
one odd value must not cost the whole image. Of several values a scalar takes the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pydicom.dataset import Dataset

from voxlake.dicom.guard import PYDICOM_ERRORS

__all__ = ["Key", "items", "number", "numbers", "private", "raw_values", "text", "texts", "whole"]

Key = str | int

_LARGEST = 2**63 - 1


def raw_values(dataset: Dataset, key: Key) -> list[Any]:
    """All values of an element as pydicom gives them; empty if there are none.

    Parameters
    ----------
    dataset : Dataset
        Data set or item.
    key : str or int
        Keyword, or tag for a private element.
    """
    try:
        value = dataset[key].value
    except PYDICOM_ERRORS:
        return []
    if value is None or isinstance(value, str | bytes):
        return [] if not value else [value]
    if isinstance(value, Iterable) and not isinstance(value, Dataset):
        return list(value)
    return [value]


def items(dataset: Dataset, key: Key) -> list[Dataset]:
    """Items of a sequence; empty if it is absent or cannot be parsed."""
    return [item for item in raw_values(dataset, key) if isinstance(item, Dataset)]


def private(dataset: Dataset, group: int, creator: str, element: int) -> int | None:
    """Tag of a private element, found through the private creator (PS3.5 section 7.8.1), or None."""
    # By the keys: pydicom's own search makes a copy of the group at every call.
    for key in list(dataset.keys()):
        block = key & 0xFFFF
        if key >> 16 != group or not 0x10 <= block <= 0xFF:
            continue
        tag = group << 16 | block << 8 | element
        if tag in dataset and text(dataset, int(key)) == creator:
            return tag
    return None


def texts(dataset: Dataset, key: Key) -> list[str] | None:
    """All values as text without padding; empty ones between others are kept."""
    values = [_as_text(value) for value in raw_values(dataset, key)]
    return values if any(values) else None


def text(dataset: Dataset, key: Key) -> str | None:
    """The first value as text without padding."""
    values = raw_values(dataset, key)
    return (_as_text(values[0]) or None) if values else None


def numbers(dataset: Dataset, key: Key, count: int | None = None) -> list[float] | None:
    """All values as finite numbers; None if one is not, or if there are not `count` of them."""
    values = [_as_number(value) for value in _split(raw_values(dataset, key))]
    found = [value for value in values if value is not None]
    if not found or len(found) != len(values) or (count is not None and len(found) != count):
        return None
    return found


def number(dataset: Dataset, key: Key) -> float | None:
    """The first value as a finite number."""
    values = _split(raw_values(dataset, key))
    return _as_number(values[0]) if values else None


def whole(dataset: Dataset, key: Key) -> int | None:
    """The first value as an integer of at most 64 bits; None for a fraction."""
    value = number(dataset, key)
    if value is None or value != int(value) or abs(value) > _LARGEST:
        return None
    return int(value)


def _split(values: list[Any]) -> list[Any]:
    # Private elements of a file in implicit VR come as bytes: text with backslashes.
    if len(values) == 1 and isinstance(values[0], bytes | str):
        return list(_as_text(values[0]).split("\\"))
    return values


def _as_text(value: Any) -> str:
    raw = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    # A lone surrogate cannot be stored as UTF-8.
    return raw.strip(" \0\t\r\n").encode("utf-8", "replace").decode("utf-8")


def _as_number(value: Any) -> float | None:
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None
