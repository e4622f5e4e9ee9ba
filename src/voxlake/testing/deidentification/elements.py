"""A written object as paths to values, read leniently: what it holds is to be judged, not refused."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag

__all__ = ["Element", "Elements", "element_path", "read_elements", "stored_element"]

_CHARACTER_SET, _PIXEL_DATA = 0x00080005, "(7FE0,0010)"
_BINARY = frozenset(
    {"OB", "OD", "OF", "OL", "OV", "OW", "AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"}
)


class Element(NamedTuple):
    """One element: decoded text, and whether its value is of zero length (a sequence: has no items)."""

    text: str
    empty: bool


@dataclass(frozen=True)
class Elements:
    """All elements of one object by their paths.

    Parameters
    ----------
    by_path : dict of str to Element
        Paths as in `element_path`.
    pixels : str
        SHA-256 of the pixel data, ``""`` where there are none.
    """

    by_path: dict[str, Element]
    pixels: str

    def text(self, path: str) -> str:
        """Return the text at a path, ``""`` where there is none."""
        found = self.by_path.get(path)
        return found.text if found is not None else ""


def element_path(*steps: int) -> str:
    """Write a path: tags of sequences and numbers of items in turn, then the tag of the element.

    Parameters
    ----------
    *steps : int
        For example ``0x00081115, 0, 0x0020000E``.
    """
    parts = [
        f"[{step}]." if place % 2 else f"({step >> 16:04X},{step & 0xFFFF:04X})"
        for place, step in enumerate(steps)
    ]
    return "".join(parts)


def read_elements(data: bytes) -> Elements | None:
    """Read an object; None where pydicom cannot.

    Parameters
    ----------
    data : bytes
        In the DICOM file format.
    """
    with warnings.catch_warnings():
        # Odd values are no reason to stop: they fail their checks.
        warnings.simplefilter("ignore")
        try:
            dataset = dcmread(BytesIO(data))
            found = dict(_walk(dataset, "", ["iso8859"]))
        except (InvalidDicomError, ValueError, EOFError, OSError, LookupError, TypeError, AttributeError):
            return None
        pixels = dataset.get("PixelData")
        return Elements(found, hashlib.sha256(pixels).hexdigest() if isinstance(pixels, bytes) else "")


def stored_element(dataset: Dataset, tag: int) -> DataElement | RawDataElement:
    """Return an element as it was read, before pydicom makes a value of its bytes.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Where it is.
    tag : int
        ``group << 16 | element``.

    Raises
    ------
    KeyError
        There is none.
    """
    found = dataset.get_item(Tag(tag))
    if found is None:
        raise KeyError(f"no element {tag:08x}")
    return found


def _walk(dataset: Dataset, prefix: str, charset: list[str]) -> Iterator[tuple[str, Element]]:
    if _CHARACTER_SET in dataset:
        stated = dataset[_CHARACTER_SET].value
        charset = convert_encodings(
            stated if isinstance(stated, str) else [str(part) for part in stated or ""]
        )
    for tag in sorted(dataset.keys()):
        path = f"{prefix}({tag.group:04X},{tag.element:04X})"
        items = _items(dataset, tag)
        if items is not None:
            yield path, Element("", not items)
            for number, item in enumerate(items):
                yield from _walk(item, f"{path}[{number}].", charset)
        elif path != _PIXEL_DATA:
            yield path, _element(dataset, tag, charset)


def _items(dataset: Dataset, tag: BaseTag) -> list[Dataset] | None:
    if _vr(stored_element(dataset, tag).VR, tag) != "SQ":
        return None
    value = dataset[tag].value
    return list(value) if isinstance(value, Iterable) and not isinstance(value, bytes | str) else None


def _element(dataset: Dataset, tag: BaseTag, charset: list[str]) -> Element:
    stored = stored_element(dataset, tag)
    if not isinstance(stored, RawDataElement):
        return Element(str(stored.value), stored.is_empty)
    raw = bytes(stored.value or b"")
    if _vr(stored.VR, tag) in _BINARY:
        value = dataset[tag].value
        return Element(value.decode("latin-1") if isinstance(value, bytes) else str(value), not raw)
    text = decode_bytes(raw, charset, {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}).rstrip(" \0")
    return Element(text, not text)


def _vr(stated: str | None, tag: BaseTag) -> str:
    if stated in (None, "UN") and dictionary_has_tag(tag):
        return str(dictionary_VR(tag))
    return stated or "UN"
