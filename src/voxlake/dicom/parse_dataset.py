"""A pydicom data set to nodes: the tolerant way, also for data sets that were made in memory.

pydicom converts elements when they are first touched, some are converted already, some are not, and a VR of
UN hides what is inside. Here all of them become bytes under one VR again.
"""

from __future__ import annotations

from copy import copy

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element
from pydicom.uid import UID
from pydicom.values import convert_SQ

from voxlake.core.errors import ItemError
from voxlake.dicom.nodes import (
    MAX_DEPTH,
    Branch,
    Encoding,
    Item,
    Leaf,
    PrivateVr,
    codecs_of,
    decode,
    is_creator,
    known_vr,
    resolved_vr,
)

__all__ = ["parse_dataset", "transfer_syntax"]

_CHARACTER_SET = 0x00080005
_ITEM = (b"\xff\xfe\xe0\x00", b"\xfe\xff\x00\xe0")
_DELIMITER = (b"\xff\xfe\xe0\xdd", b"\xfe\xff\xdd\xe0")
_UNDEFINED = 0xFFFFFFFF


def parse_dataset(dataset: Dataset, private_vr: PrivateVr | None = None) -> Item:
    """Open a data set.

    Parameters
    ----------
    dataset : pydicom.Dataset
        As read or as made in memory; its values do not change.
    private_vr : callable, optional
        Says under which VR a private element is opened; without it they all stay unread.

    Raises
    ------
    ItemError
        ``deidentify_failed``: more than `MAX_DEPTH` nested sequences, or one that does not hold items.
    """
    return _parse(dataset, _encoding(dataset), private_vr, 0)


def transfer_syntax(dataset: Dataset) -> UID | None:
    """Return the transfer syntax that the file meta information states, or None."""
    meta = getattr(dataset, "file_meta", None)
    stated = meta.get("TransferSyntaxUID") if meta is not None else None
    return UID(str(stated)) if stated else None


def _encoding(dataset: Dataset) -> Encoding:
    implicit, little = dataset.original_encoding
    if implicit is None or little is None:
        syntax = transfer_syntax(dataset)
        known = syntax is not None and syntax.is_transfer_syntax and not syntax.is_private
        implicit = syntax.is_implicit_VR if known and syntax is not None else False
        little = syntax.is_little_endian if known and syntax is not None else True
    return Encoding(implicit, little, codecs_of(b""))


def _parse(dataset: Dataset, encoding: Encoding, private_vr: PrivateVr | None, depth: int) -> Item:
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
    for base_tag in sorted(dataset.keys()):
        tag, element = int(base_tag), dataset.get_item(base_tag)
        if is_creator(tag):
            leaf = Leaf(tag, "LO", _value(element, encoding))
            creators[tag >> 16 << 8 | tag & 0xFF] = decode(leaf, encoding).strip(" \0")
            item.nodes.append(leaf)
            continue
        creator = creators.get(tag >> 8) if tag & 0x10000 else None
        known = known_vr(tag)
        if tag & 0x10000:
            known = None if private_vr is None else private_vr(creator, tag, str(element.VR or "UN"))
        if known is None and tag & 0x10000:
            item.nodes.append(Leaf(tag, "UN", b"", creator=creator))
        else:
            item.nodes.append(_node(element, dataset, item.encoding, (private_vr, known, creator), depth))
    return item


def _node(
    element: DataElement | RawDataElement,
    dataset: Dataset,
    encoding: Encoding,
    private: tuple[PrivateVr | None, str | None, str | None],
    depth: int,
) -> Leaf | Branch:
    private_vr, known, creator = private
    if isinstance(element, DataElement) and " or " in element.VR:
        element = correct_ambiguous_vr_element(copy(element), dataset, encoding.little)
    stated = str(element.VR or "UN")
    opened = isinstance(element, DataElement) and stated == "SQ"
    vr = stated if opened else resolved_vr(stated, known, little=encoding.little)
    tag = int(element.tag)
    if vr == "SQ":
        items = tuple(
            _parse(child, encoding, private_vr, depth + 1) for child in _children(element, encoding)
        )
        return Branch(tag, items, creator)
    value = _value(element, encoding)
    undefined = (
        element.length == _UNDEFINED if isinstance(element, RawDataElement) else element.is_undefined_length
    )
    return Leaf(tag, vr, value, undefined, creator)


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
        return codecs_of(element.value or b"")
    value = element.value
    stated = [str(value or "")] if isinstance(value, str) or value is None else [str(part) for part in value]
    return tuple(convert_encodings(stated))
