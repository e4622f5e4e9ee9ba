"""Bytes to a data set, with every fault as an `ItemError`."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import dcmread
from pydicom.filereader import read_dataset as parse_elements
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.elements import raw_values, text
from voxlake.dicom.guard import PYDICOM_ERRORS, check_structure, quiet
from voxlake.dicom.layout import check_pixels
from voxlake.dicom.nodes import is_uid

__all__ = ["is_dicomdir", "looks_like_dicom", "read_dataset"]

UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
# What a deflated data set may grow to; a 10 MB file of zeros would otherwise ask for 10 GB. Three copies (as
# inflated, as values, as written again) fit the memory of a worker.
INFLATED_LIMIT = 512 * 2**20

_PREAMBLE = 132
# Explicit VR Little Endian in deflate, PS3.5 annex A.5, alone and as the header of JPIP references (A.7).
_DEFLATED = frozenset({DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
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
        ``not_dicom``, ``parse_error``, ``truncated``, ``missing_uid`` or ``invalid_uid``; ``too_large`` for
        text without end; ``decode_error`` if the pixel data are of another shape than the header says. An
        index of a medium (`is_dicomdir`) is returned without a look at its UIDs.
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
        if not is_dicomdir(dataset):
            _check_uids(dataset)
            check_pixels(dataset)
    return dataset


def _parse(data: bytes) -> Dataset:
    start = _PREAMBLE if data[128:_PREAMBLE] == b"DICM" else 0
    body = check_structure(data, start, implicit=False, group=0x0002)
    meta = parse_elements(BytesIO(data[start:body]), False, True)
    syntax = text(meta, "TransferSyntaxUID")
    if syntax is not None and not (is_uid(syntax) and len(raw_values(meta, "TransferSyntaxUID")) == 1):
        # Whoever writes the object again would have to pass it on as it is.
        raise ItemError("invalid_uid", "TransferSyntaxUID must be one UID of at most 64 digits and dots")
    if syntax in _DEFLATED:
        return _parse_deflated(data, body, FileMetaDataset(meta))
    try:
        _check_body(data, body, syntax)
    except ItemError as error:
        # An index is not stored; that it is one can be told from its beginning.
        if (
            error.reason != "truncated"
            or text(meta, "MediaStorageSOPClassUID") != MediaStorageDirectoryStorage
        ):
            raise
    stream = BytesIO(data)
    dataset = dcmread(stream, force=True)
    # pydicom ends at what it takes for the end of an item; what it left unread would be lost.
    if stream.tell() < len(data) and any(data[stream.tell() :]):
        raise ItemError("truncated", "the file ends before the delimiter of the last element")
    return dataset


def _check_body(data: bytes, start: int, syntax: str | None) -> None:
    # A command set (group 0000) may stand between meta information and data set, in implicit VR always.
    start = check_structure(data, start, implicit=True, group=0x0000)
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    if syntax is None:
        implicit = data[start + 4 : start + 6] not in _VALUE_REPRESENTATIONS
        # The first group in the wrong byte order: 0008 reads as 0800.
        little = implicit or int.from_bytes(data[start : start + 2], "little") < 0x0400
    check_structure(data, start, implicit=implicit, little=little)


def _parse_deflated(data: bytes, start: int, meta: FileMetaDataset) -> Dataset:
    """Parse a deflated file (PS3.5 annex A.5)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(memoryview(data)[start:], INFLATED_LIMIT)
    if inflater.unconsumed_tail:
        raise ItemError("parse_error", f"the deflated data set is larger than {INFLATED_LIMIT} bytes")
    if not inflater.eof:
        raise ItemError("truncated", "the deflated data set ends before its last block")
    check_structure(inflated, 0, implicit=False)
    body = parse_elements(BytesIO(inflated), False, True)
    preamble = data[:128] if data[128:_PREAMBLE] == b"DICM" else None
    # Not the original stream: positions in the inflated bytes mean nothing in the file.
    return FileDataset(BytesIO(), body, preamble, meta, is_implicit_VR=False)


def _starts_with_element(data: bytes) -> bool:
    if len(data) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHI", data[:8])
        if group in _FIRST_GROUPS and element <= 0x0100:
            return data[4:6] in _VALUE_REPRESENTATIONS or (order == "<" and length <= len(data) - 8)
    return False


def _check_uids(dataset: Dataset) -> None:
    for keyword in UIDS:
        uid = text(dataset, keyword)
        if uid is None:
            raise ItemError("missing_uid", f"{keyword} is absent or empty")
        if not is_uid(uid) or len(raw_values(dataset, keyword)) > 1:
            raise ItemError(
                "invalid_uid",
                f"{keyword} must be one UID of at most 64 digits and dots, got {len(uid)} characters",
            )
