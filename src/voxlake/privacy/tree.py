"""A data set as plain nodes: every element as bytes under one VR, every sequence opened, at every depth.

pydicom converts elements when they are first touched, some are converted already, some are not, and a VR of
UN hides what is inside. The rules work on one form only, so that nothing slips past them.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.datadict import dictionary_has_tag, dictionary_VR, repeater_has_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element
from pydicom.tag import BaseTag
from pydicom.values import convert_SQ

from voxlake.core.errors import ItemError
from voxlake.privacy.profile import SafePrivate

__all__ = [
    "MAX_DEPTH",
    "TEXT_VRS",
    "Branch",
    "Encoding",
    "Item",
    "Leaf",
    "decode",
    "encode",
    "known_vr",
    "parse",
]

MAX_DEPTH = 64
TEXT_VRS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC"})
_SINGLE_VALUED = frozenset({"ST", "LT", "UT", "UR"})
_OPAQUE = frozenset({"UN", "OB", "OW", "OD", "OF", "OL", "OV"})
_CHARACTER_SET = 0x00080005
_ITEM = (b"\xff\xfe\xe0\x00", b"\xfe\xff\x00\xe0")
_DELIMITER = (b"\xff\xfe\xe0\xdd", b"\xfe\xff\xdd\xe0")


class Encoding(NamedTuple):
    """How the bytes of a data set are written."""

    implicit: bool
    little: bool
    charset: tuple[str, ...]


class Leaf(NamedTuple):
    """One element that is no sequence.

    Parameters
    ----------
    tag : BaseTag
        Tag.
    vr : str
        VR that the value has, also where the file says UN or nothing.
    value : bytes
        As in the file.
    undefined : bool
        Encapsulated pixel data, whose length is not stated.
    creator : str or None
        Private creator; None for public elements and for blocks without one.
    """

    tag: BaseTag
    vr: str
    value: bytes
    undefined: bool = False
    creator: str | None = None


class Branch(NamedTuple):
    """One sequence element."""

    tag: BaseTag
    items: tuple[Item, ...]
    creator: str | None = None


@dataclass
class Item:
    """One data set: the top level or an item of a sequence."""

    encoding: Encoding
    nodes: list[Leaf | Branch] = field(default_factory=list)

    def leaf(self, tag: int) -> Leaf | None:
        """Return the element with this tag on this level, or None."""
        return next((node for node in self.nodes if node.tag == tag and isinstance(node, Leaf)), None)

    def text(self, tag: int) -> str:
        """Return the decoded value of an element of this level, ``""`` where it is absent."""
        found = self.leaf(tag)
        return "" if found is None else decode(found, self.encoding).strip(" \0")

    def walk(self) -> Iterator[tuple[Item, Leaf]]:
        """Iterate all leaves of this level and below, each with the level it lies on."""
        for node in self.nodes:
            if isinstance(node, Leaf):
                yield self, node
            else:
                for item in node.items:
                    yield from item.walk()


def decode(leaf: Leaf, encoding: Encoding) -> str:
    """Decode a text value by the character set of its level."""
    delimiters = {0x0A, 0x0C, 0x0D, 0x09} if leaf.vr in _SINGLE_VALUED else {0x0D, 0x0A, 0x09, 0x0C, 0x5C}
    if leaf.vr == "PN":
        delimiters = {0x5C, 0x5E, 0x3D}
    return decode_bytes(leaf.value, list(encoding.charset), delimiters)


def encode(text: str, encoding: Encoding) -> bytes:
    """Encode text in the character set of its level."""
    return encode_string(text, list(encoding.charset))


@lru_cache(maxsize=8192)
def known_vr(tag: int) -> str | None:
    """Return the VR of a public tag in the data dictionary (PS3.6), None for unknown tags."""
    if dictionary_has_tag(tag) or repeater_has_tag(tag):
        return str(dictionary_VR(tag))
    return None


def parse(dataset: Dataset, encoding: Encoding, safe: SafePrivate | None, *, depth: int = 0) -> Item:
    """Open a data set.

    Parameters
    ----------
    dataset : pydicom.Dataset
        As read or as made in memory; its values do not change.
    encoding : Encoding
        Of the file, or of the data set around this one.
    safe : SafePrivate or None
        Private elements to be opened; of the others only tag and creator are noted, they are removed anyway.
    depth : int
        0 at the top.

    Raises
    ------
    ItemError
        ``deidentify_failed``: more than `MAX_DEPTH` nested sequences.
    """
    if depth > MAX_DEPTH:
        raise ItemError(
            "deidentify_failed", f"sequences are nested deeper than {MAX_DEPTH} levels; not stored"
        )
    implicit, little = dataset.original_encoding
    if implicit is not None and little is not None:
        encoding = encoding._replace(implicit=implicit, little=little)
    character_set = dataset.get_item(_CHARACTER_SET)
    if character_set is not None:
        encoding = encoding._replace(charset=_charset(character_set))
    item = Item(encoding)
    creators: dict[int, str] = {}
    for tag in sorted(dataset.keys()):
        creator = creators.get(tag >> 8) if tag.is_private else None
        element = dataset.get_item(tag)
        if tag.is_private and 0x10 <= tag.element <= 0xFF:
            leaf = Leaf(tag, "LO", _value(element, encoding))
            creators[(tag.group << 8) | tag.element] = decode(leaf, encoding).strip(" \0")
            item.nodes.append(leaf)
        elif tag.is_private and (safe is None or creator is None or safe.vr(creator, tag) is None):
            item.nodes.append(Leaf(tag, "UN", b"", creator=creator))
        else:
            safe_vr = safe.vr(creator, tag) if safe is not None and creator is not None else None
            item.nodes.append(_node(element, dataset, item.encoding, (safe, safe_vr, creator), depth))
    return item


def _node(
    element: DataElement | RawDataElement,
    dataset: Dataset,
    encoding: Encoding,
    private: tuple[SafePrivate | None, str | None, str | None],
    depth: int,
) -> Leaf | Branch:
    safe, safe_vr, creator = private
    if isinstance(element, DataElement) and " or " in element.VR:
        element = correct_ambiguous_vr_element(copy(element), dataset, encoding.little)
    vr = _vr(element, encoding, safe_vr)
    if vr == "SQ":
        items = tuple(parse(child, encoding, safe, depth=depth + 1) for child in _children(element, encoding))
        return Branch(element.tag, items, creator)
    value = _value(element, encoding)
    undefined = (
        element.length == 0xFFFFFFFF if isinstance(element, RawDataElement) else element.is_undefined_length
    )
    return Leaf(element.tag, vr, value, undefined, creator)


def _vr(element: DataElement | RawDataElement, encoding: Encoding, safe_vr: str | None) -> str:
    stated = str(element.VR or "UN")
    if isinstance(element, DataElement) and stated == "SQ":
        return stated
    known = safe_vr if element.tag.is_private else known_vr(int(element.tag))
    if not known or stated not in _OPAQUE:
        return stated
    if element.VR == "UN" and not encoding.little and known not in TEXT_VRS:
        # UN is little endian always (PS3.5 6.2.2); as a number of this file it would read wrongly.
        return "UN"
    if stated != "UN" and known[0] == "O":
        return stated
    return known


def _children(element: DataElement | RawDataElement, encoding: Encoding) -> list[Dataset]:
    if isinstance(element, DataElement) and not isinstance(element.value, bytes):
        return list(element.value)
    if isinstance(element, RawDataElement) and element.VR in (None, "SQ"):
        implicit, little = encoding.implicit, encoding.little
    else:
        # The content of an unknown VR is implicit little endian, whatever the file is (PS3.5 6.2.2).
        implicit, little = True, True
    value = bytes(element.value or b"")
    if value and value[:4] not in (_ITEM[little], _DELIMITER[little]):
        # pydicom would take the bytes for an odd item and go on.
        raise ItemError("deidentify_failed", "a sequence does not start with an item; not stored")
    return list(convert_SQ(value, implicit, little, list(encoding.charset)))


def _value(element: DataElement | RawDataElement | None, encoding: Encoding) -> bytes:
    if element is None:
        return b""
    if isinstance(element, RawDataElement):
        return element.value or b""
    if element.is_undefined_length and isinstance(element.value, bytes):
        return element.value
    stream = DicomBytesIO()
    stream.is_implicit_VR = True
    stream.is_little_endian = encoding.little
    write_data_element(stream, element, list(encoding.charset))
    return bytes(stream.getvalue()[8:])


def _charset(element: DataElement | RawDataElement) -> tuple[str, ...]:
    if isinstance(element, RawDataElement):
        stated = [part.strip(" \0") for part in (element.value or b"").decode("ascii", "replace").split("\\")]
    else:
        value = element.value
        stated = (
            [str(value or "")] if isinstance(value, str) or value is None else [str(part) for part in value]
        )
    return tuple(convert_encodings(stated))
