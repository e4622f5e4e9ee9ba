from __future__ import annotations

import logging
import struct
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from voxlake.core.errors import ItemError
from voxlake.dicom import read
from voxlake.dicom.parse_bytes import OddFileError, parse_file
from voxlake.dicom.read import is_dicomdir, looks_like_dicom, read_dataset

VALUES = np.arange(12, dtype=np.uint16).reshape(3, 4)


def reason_of(data: bytes) -> str:
    with pytest.raises(ItemError) as caught:
        read_dataset(data)
    return caught.value.reason


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_every_native_encoding_reads_the_same(make, written, syntax):
    dataset = make(VALUES.astype(">u2") if syntax == ExplicitVRBigEndian else VALUES, SeriesNumber=7)
    dataset.file_meta.TransferSyntaxUID = syntax
    result = read_dataset(written(dataset))
    assert result.SeriesNumber == 7
    assert result.SOPInstanceUID == dataset.SOPInstanceUID
    np.testing.assert_array_equal(result.pixel_array, VALUES)


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_reads_a_bare_data_set_without_preamble(make, implicit, little):
    dataset = make(SeriesNumber=7)
    del dataset.file_meta
    stream = BytesIO()
    dataset.save_as(stream, implicit_vr=implicit, little_endian=little)
    data = stream.getvalue()
    assert looks_like_dicom(data)
    assert read_dataset(data).SeriesNumber == 7


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x00",
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"just some text " * 20,
        bytes(400),
        # Right group, but a value representation that does not exist and a length beyond the end.
        b"\x08\x00\x05\x00\xff\xff\xff\x7f",
    ],
)
def test_other_bytes_are_not_dicom(data):
    assert not looks_like_dicom(data)
    assert reason_of(data) == "not_dicom"


def test_garbage_behind_a_preamble_is_an_item_error():
    assert reason_of(bytes(128) + b"DICM") == "parse_error"
    assert reason_of(bytes(128) + b"DICM" + b"\xff" * 50) in {"parse_error", "truncated", "missing_uid"}


@pytest.mark.parametrize("keyword", read.UIDS)
def test_each_missing_uid_is_named(make, written, keyword):
    dataset = make()
    del dataset[keyword]
    stream = BytesIO()
    dataset.save_as(stream, implicit_vr=False, little_endian=True)
    with pytest.raises(ItemError, match=keyword) as caught:
        read_dataset(stream.getvalue())
    assert caught.value.reason == "missing_uid"


@pytest.mark.parametrize(
    "uid", ["1.2.abc", "1..2", ".1.2", "1.2.", "1." * 32 + "1", r"1.2\1.3", "SMITH^JOHN"]
)
def test_bad_uids_are_refused_without_being_quoted(make, uid):
    # Written by hand: pydicom's own validation would be in the way.
    def element(group: int, number: int, value: str) -> bytes:
        raw = value.encode() + b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, b"UI", len(raw)) + raw

    data = (
        element(8, 0x16, "1.2.840.10008.5.1.4.1.1.2")
        + element(8, 0x18, uid)
        + element(0x20, 0xD, "1.2.3")
        + element(0x20, 0xE, "1.2.4")
    )
    with pytest.raises(ItemError) as caught:
        read_dataset(data)
    assert caught.value.reason == "invalid_uid"
    assert uid not in caught.value.message


@pytest.mark.parametrize(
    "syntax", [b"1.2.840\xd5\xce\xcf.1.2.4.50", b"1.2.840 Doe^Jane", b"1.2.840.10008.1.2.1.", b"1.2.840\\1.2"]
)
def test_a_transfer_syntax_that_is_no_uid_is_refused_by_both_readers(make, written, syntax):
    data = written(make())
    place = data.index(b"\x02\0\x10\0UI") + 6
    length = int.from_bytes(data[place : place + 2], "little")
    value = syntax + b"\0" * (len(syntax) % 2)
    changed = data[:place] + struct.pack("<H", len(value)) + value + data[place + 2 + length :]
    group_length = int.from_bytes(data[140:144], "little") + len(value) - length
    changed = changed[:140] + struct.pack("<I", group_length) + changed[144:]
    with pytest.raises(ItemError) as caught:
        read_dataset(changed)
    assert caught.value.reason == "invalid_uid"
    with pytest.raises(OddFileError):
        parse_file(changed)


def test_a_uid_may_be_padded_with_blanks(make, written):
    data = written(make()).replace(b"1.2.3.1\0", b"1.2.3.1 ")
    assert b"1.2.3.1 " in data
    assert str(read_dataset(data).SeriesInstanceUID).strip() == "1.2.3.1"


def test_cut_pixel_data_are_truncated(make, written):
    data = written(make(VALUES))
    for missing in (1, 2, 10, 20):
        assert reason_of(data[:-missing]) == "truncated"


def test_cut_encapsulated_pixel_data_are_truncated(make, written):
    dataset = make(VALUES)
    dataset.compress(pydicom.uid.RLELossless)
    data = written(dataset)
    read_dataset(data)
    for missing in (8, 9, 40):
        assert reason_of(data[:-missing]) == "truncated"


def test_cut_inside_a_sequence_is_truncated(make, written):
    item = Dataset()
    item.CodeValue = "12345678"
    dataset = make(ProcedureCodeSequence=[item])
    dataset["ProcedureCodeSequence"].is_undefined_length = True
    data = written(dataset)
    position = data.find(b"12345678")
    assert reason_of(data[: position + 8]) == "truncated"


def test_trailing_zeros_are_no_fault(make, written):
    assert read_dataset(written(make(VALUES)) + bytes(64)).Rows == 3


def test_deflated_size_is_capped(make, written, monkeypatch):
    dataset = make(np.zeros((256, 256), np.uint16))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = written(dataset)
    read_dataset(data)
    monkeypatch.setattr(read, "INFLATED_LIMIT", 1000)
    with pytest.raises(ItemError, match="larger than 1000 bytes"):
        read_dataset(data)


def test_cut_deflated_data_are_truncated(make, written):
    dataset = make(np.random.default_rng(1).integers(0, 9999, (64, 64)).astype(np.uint16))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = written(dataset)
    assert reason_of(data[:-500]) == "truncated"
    # All bits set is a block type that deflate does not have.
    start = 144 + int.from_bytes(data[140:144], "little")
    assert reason_of(data[:start] + b"\xff" * 100) == "parse_error"


def test_the_words_of_the_deflated_syntax_elsewhere_do_not_matter(make, written):
    data = written(make(VALUES, StudyDescription=DeflatedExplicitVRLittleEndian))
    np.testing.assert_array_equal(read_dataset(data).pixel_array, VALUES)


def test_dicomdir_is_recognised_and_not_asked_for_uids():
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.DirectoryRecordSequence = []
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    assert is_dicomdir(read_dataset(stream.getvalue()))


def test_an_image_is_no_dicomdir(make, written):
    assert not is_dicomdir(read_dataset(written(make(VALUES))))


def test_nothing_leaks_into_warnings_or_logs(make, written, caplog, capfd, recwarn):
    data = written(make(PatientAge="045Y")).replace(b"045Y", b"Joe?")
    with caplog.at_level(logging.DEBUG):
        result = read_dataset(data)
        from voxlake.dicom.scan import scan

        scan(result, data)
    assert not caplog.records
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")
