"""All elements of a data set as JSON text."""

from __future__ import annotations

import json
import math
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from voxlake.dicom.guard import PYDICOM_ERRORS

__all__ = ["tags_as_json"]

# Binary values longer than this are left out; they are in the pack, one range read away.
BULK_LIMIT = 1024
# Characters of a text, or number of values, beyond which an element is left out too: a row has to travel.
VALUE_LIMIT = 65_536
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW"})


def tags_as_json(dataset: Dataset) -> str:
    """Write every element, private and nested ones included, in the DICOM JSON model (PS3.18 annex F).

    Three things go beyond the model. A binary value over `BULK_LIMIT` bytes, and a text or list over
    `VALUE_LIMIT` characters or values, is written as ``{"vr": ..., "omitted": how many}``. An element that
    cannot be parsed is written as ``{"vr": ..., "error": "unreadable"}``. Numbers that JSON does not know are
    the texts ``"NaN"``, ``"inf"`` and ``"-inf"``.

    Returns
    -------
    str
        One JSON object with sorted keys, keyed by the eight hexadecimal digits of the tag. Without file meta
        information (group 0002), as PS3.18 wants it.
    """
    values = _data_set(dataset, checked=False)
    try:
        text = _dump(values)
    except (TypeError, ValueError):
        # Some value is none of JSON's; the second pass finds whose it is.
        text = _dump(_data_set(dataset, checked=True))
    # A lone surrogate of a wrongly declared character set cannot be stored as UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _data_set(dataset: Dataset, *, checked: bool) -> dict[str, Any]:
    return {f"{tag:08X}": _element(dataset, tag, checked) for tag in _tags(dataset)}


def _tags(dataset: Dataset) -> list[int]:
    # Not by iteration over the data set: that parses each element and stops at the first bad one.
    return sorted(int(tag) for tag in list(dataset.keys()) if int(tag) >> 16 > 0x0002)


def _element(dataset: Dataset, tag: int, checked: bool) -> dict[str, Any]:
    representation = "UN"
    try:
        element = dataset[tag]
        representation = str(element.VR)
        written = _written(element, checked)
        if checked:
            _dump(written)
    except PYDICOM_ERRORS:
        return {"vr": representation[:2], "error": "unreadable"}
    return written


def _written(element: DataElement, checked: bool) -> dict[str, Any]:
    representation = str(element.VR)
    if representation == "SQ":
        value = [_data_set(item, checked=checked) for item in element.value]
        return {"vr": "SQ", "Value": value} if value else {"vr": "SQ"}
    if representation in _BINARY and isinstance(element.value, bytes) and len(element.value) > BULK_LIMIT:
        return {"vr": representation[:2], "omitted": len(element.value)}
    if _length(element.value) > VALUE_LIMIT:
        return {"vr": representation[:2], "omitted": _length(element.value)}
    written: dict[str, Any] = element.to_json_dict(None, 0)
    if "Value" in written:
        written["Value"] = [_finite(value) for value in written["Value"]]
    return written


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | MultiValue) else 1


def _finite(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("inf" if value > 0 else "-inf")
