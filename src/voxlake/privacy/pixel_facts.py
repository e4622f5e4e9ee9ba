"""What a DICOM object says about its pixels, read from the original."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from voxlake.dicom.elements import text, texts
from voxlake.dicom.guard import PYDICOM_ERRORS, quiet
from voxlake.privacy.pixels import PixelFacts

__all__ = ["dicom_facts", "plain_facts"]

_PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_BURNED_IN = 0x00280301
_NATIVE = frozenset(
    {
        None,
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    }
)
# BurnedInAnnotation with a value as it lies in the bytes, at any depth, also in private sequences and in ones
# that nobody opened: explicit VR (also unknown) or implicit, in both byte orders. NO is no sign of text.
_LITTLE, _BIG = b"\x28\x00\x01\x03", b"\x00\x28\x03\x01"
_WRITTEN = re.compile(
    rb"(?:\x28\x00\x01\x03(?:CS[\x01-\x10]\x00|(?:UN\x00\x00)?[\x01-\x10]\x00\x00\x00)"
    rb"|\x00\x28\x03\x01(?:CS\x00[\x01-\x10]|(?:UN\x00\x00)?\x00\x00\x00[\x01-\x10]))"
    rb"(?![Nn][Oo](?:[^A-Za-z]|\Z)|[ \x00]{2})"
)

# BurnedInAnnotation NO as nearly all write it; of all else the whole value must be read.
_SURE_NO = MappingProxyType(
    {
        str(ImplicitVRLittleEndian): _LITTLE + b"\x02\x00\x00\x00NO",
        str(ExplicitVRLittleEndian): _LITTLE + b"CS\x02\x00NO",
    }
)


def dicom_facts(dataset: Dataset, data: bytes, *, modality: str | None = None) -> PixelFacts:
    """Read what `check_pixels` asks for.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The object as it came.
    data : bytes
        The same as a file.
    modality : str, optional
        What counts where the object states no modality, for example from a mapping.
    """
    with quiet():
        return PixelFacts(
            "dicom",
            modality=(text(dataset, "Modality") or modality or "").upper(),
            sop_class_uid=text(dataset, "SOPClassUID") or "",
            image_type=tuple(texts(dataset, "ImageType") or ()),
            burned_in=_burned_in(dataset, data),
            overlay_bits=_overlay_bits(dataset),
            has_pixels=any(tag in dataset for tag in _PIXEL_DATA),
        )


def plain_facts(row: Mapping[str, Any], data: bytes, *, modality: str | None = None) -> PixelFacts | None:
    """Read the same from the columns of a plain file with native pixels, in little endian.

    Parameters
    ----------
    row : mapping
        As `voxlake.dicom.header.plain_row` gives it, with or without tags.
    data : bytes
        The file.
    modality : str, optional
        As for `dicom_facts`.

    Returns
    -------
    PixelFacts or None
        None where only `dicom_facts` can tell.
    """
    sure = _SURE_NO.get(row["transfer_syntax_uid"])
    start, length = row["pixel_offset"], row["pixel_length"]
    if sure is None or start is None or length is None:
        return None
    # The pixels themselves are left out: what stands there are no elements.
    for header in (data[:start], data[start + length :]):
        if any(not header.startswith(sure, place) for place in _places(header, _LITTLE)):
            return None
    return PixelFacts(
        "dicom",
        modality=(row["modality"] or modality or "").upper(),
        sop_class_uid=row["sop_class_uid"],
        image_type=tuple(row["image_type"] or ()),
    )


def _burned_in(dataset: Dataset, data: bytes) -> bool:
    if any(value.strip().upper() not in ("", "NO") for value in texts(dataset, "BurnedInAnnotation") or ()):
        return True
    syntax = text(getattr(dataset, "file_meta", None) or Dataset(), "TransferSyntaxUID")
    if syntax is not None and UID(syntax).is_deflated:
        return _walked(dataset)
    tags = (_BIG,) if syntax == ExplicitVRBigEndian else (_LITTLE,) if syntax is not None else (_LITTLE, _BIG)
    return any(_WRITTEN.match(data, place) is not None for tag in tags for place in _places(data, tag))


def _places(data: bytes, tag: bytes) -> Iterator[int]:
    # A search by the pattern itself takes sixty times as long.
    place = data.find(tag)
    while place >= 0:
        yield place
        place = data.find(tag, place + 1)


def _walked(dataset: Dataset) -> bool:
    """Look at every depth of an object whose bytes are deflated."""
    try:
        found = [str(element.value) for element in dataset.iterall() if element.tag == _BURNED_IN]
    except PYDICOM_ERRORS:
        # What cannot be looked through has not been checked.
        return True
    return any(value.strip().upper() not in ("", "NO") for value in found)


def _overlay_bits(dataset: Dataset) -> bool:
    """Whether an overlay is described whose data lie in compressed pixel data (PS3.5 8.1.2, retired).

    In native pixel data they are taken out.
    """
    syntax = text(getattr(dataset, "file_meta", None) or Dataset(), "TransferSyntaxUID")
    if syntax in _NATIVE:
        return False
    tags = [int(tag) for tag in dataset.keys() if 0x6000 <= int(tag) >> 16 <= 0x60FF]  # noqa: SIM118
    groups = {tag >> 16 for tag in tags}
    return any((group << 16 | 0x3000) not in tags for group in groups)
