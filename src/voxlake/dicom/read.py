"""Bytes to a data set, with every fault as an `ItemError`."""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import dcmread
from pydicom.filereader import read_dataset as parse_elements
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from voxlake.core.errors import ItemError
from voxlake.dicom.elements import raw_values, text
from voxlake.dicom.guard import PYDICOM_ERRORS, quiet

__all__ = ["is_dicomdir", "looks_like_dicom", "read_dataset"]

UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
# What a deflated data set may grow to; a 10 MB file of zeros would otherwise ask for 10 GB.
INFLATED_LIMIT = 2 * 2**30

_PREAMBLE = 132
_UNDEFINED = 0xFFFFFFFF
_TRAILING_PADDING = 0xFFFCFFFC
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
# Groups that a file without preamble may begin with: meta information, or the first group of a data set.
_FIRST_GROUPS = (0x0002, 0x0008)
_VALUE_REPRESENTATIONS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW "
    b"PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


def looks_like_dicom(data: bytes) -> bool:
    """Whether the bytes begin like a DICOM file (PS3.10 section 7.1), or like a data set without preamble."""
    return data[128:_PREAMBLE] == b"DICM" or _starts_with_element(data)


def is_dicomdir(dataset: Dataset) -> bool:
    """Whether this is an index of a medium (Media Storage Directory, PS3.3 annex F), not an object."""
    meta = getattr(dataset, "file_meta", None)
    with quiet():
        kind = text(meta, "MediaStorageSOPClassUID") if meta is not None else None
    return kind == MediaStorageDirectoryStorage or "DirectoryRecordSequence" in dataset


def read_dataset(data: bytes) -> Dataset:
    """Parse a whole DICOM file: any native encoding, with or without preamble.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    pydicom.Dataset
        With `file_meta`; values are converted when they are touched.

    Raises
    ------
    ItemError
        ``not_dicom``, ``parse_error``, ``truncated``, ``missing_uid`` or ``invalid_uid``. An index of a
        medium (`is_dicomdir`) is returned without a look at its UIDs.
    """
    if not looks_like_dicom(data):
        raise ItemError("not_dicom", "neither a DICOM preamble nor the first element of a data set was found")
    with quiet():
        try:
            dataset = _parse(data)
        except (EOFError, OSError):
            # pydicom's OSError is "No tag to read": a sequence that the end of the file cuts off.
            raise ItemError("truncated", "the file ends inside a sequence or an element") from None
        except PYDICOM_ERRORS as error:
            # The type only: pydicom's messages quote values.
            kind = type(error).__name__
            raise ItemError("parse_error", f"the data set breaks its structure: {kind}") from None
        if not len(dataset):
            raise ItemError("parse_error", "no data element could be read")
        _check_complete(dataset)
        if not is_dicomdir(dataset):
            _check_uids(dataset)
    return dataset


def _parse(data: bytes) -> Dataset:
    if DeflatedExplicitVRLittleEndian.encode() in data[: 2**16]:
        deflated = _parse_deflated(data)
        if deflated is not None:
            return deflated
    stream = BytesIO(data)
    dataset = dcmread(stream, force=True)
    # pydicom swallows the end of the file inside a value of undefined length and goes back to its start.
    if stream.tell() < len(data) and any(data[stream.tell() :]):
        raise ItemError("truncated", "the file ends before the delimiter of the last element")
    return dataset


def _parse_deflated(data: bytes) -> Dataset | None:
    """Parse a deflated file (PS3.5 annex A.5); None if its meta information names another encoding."""
    start = _PREAMBLE if data[128:_PREAMBLE] == b"DICM" else 0
    stream = BytesIO(data)
    stream.seek(start)
    meta = parse_elements(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 0x0002)
    if text(meta, "TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[stream.tell() :], INFLATED_LIMIT)
    if inflater.unconsumed_tail:
        raise ItemError("parse_error", f"the deflated data set is larger than {INFLATED_LIMIT} bytes")
    if not inflater.eof:
        raise ItemError("truncated", "the deflated data set ends before its last block")
    body = parse_elements(BytesIO(inflated), False, True)
    # Not the original stream: positions in the inflated bytes mean nothing in the file.
    return FileDataset(
        BytesIO(), body, data[:128] if start else None, FileMetaDataset(meta), is_implicit_VR=False
    )


def _starts_with_element(data: bytes) -> bool:
    if len(data) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHI", data[:8])
        if group in _FIRST_GROUPS and element <= 0x0100:
            return data[4:6] in _VALUE_REPRESENTATIONS or (order == "<" and length <= len(data) - 8)
    return False


def _check_complete(dataset: Dataset) -> None:
    # pydicom hands out what is left of a value that the end of the file cuts off, and swallows the error.
    for element in dataset.values():
        if not isinstance(element, RawDataElement) or element.length in (0, _UNDEFINED):
            continue
        if element.tag == _TRAILING_PADDING:
            continue
        there = len(element.value or b"")
        if there < element.length:
            raise ItemError(
                "truncated",
                f"element {element.tag} announces {element.length} bytes, the file holds {there} of them",
            )


def _check_uids(dataset: Dataset) -> None:
    for keyword in UIDS:
        uid = text(dataset, keyword)
        if uid is None:
            raise ItemError("missing_uid", f"{keyword} is absent or empty")
        if len(uid) > _LONGEST_UID or not _UID.fullmatch(uid) or len(raw_values(dataset, keyword)) > 1:
            raise ItemError(
                "invalid_uid",
                f"{keyword} must be one UID of at most 64 digits and dots, got {len(uid)} characters",
            )
