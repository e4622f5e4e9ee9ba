"""A scanner that remembers headers against the same functions without memory."""

from __future__ import annotations

import importlib.metadata
import json
import struct
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.header import Scanner, scan_bytes, scan_file

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless)
ITEM_END, SEQUENCE_END = bytes.fromhex("feff0de000000000"), bytes.fromhex("feffdde000000000")


def outcome(read, *arguments, **options) -> str:
    # Text, so that 1 and 1.0, and the parts of a list, count as different.
    try:
        return json.dumps(read(*arguments, **options), sort_keys=True)
    except ItemError as error:
        return error.reason


def compare(files: list[bytes]) -> None:
    for tags in (True, False):
        whole, ranges = Scanner(), Scanner()
        for data in files:

            def read(offset: int, length: int, data: bytes = data) -> bytes:
                return data[offset : offset + length]

            assert outcome(whole.scan_bytes, data, tags=tags) == outcome(scan_bytes, data, tags=tags)
            assert outcome(ranges.scan_file, read, size=len(data), tags=tags) == outcome(
                scan_file, read, size=len(data), tags=tags
            )


def compare_paths(paths: list[Path]) -> None:
    scanner = Scanner()
    for path in paths:
        for tags in (True, False):
            found = outcome(scanner.scan_file, path, tags=tags)
            assert found == outcome(scan_file, path, tags=tags), path.name


def test_packaged_files_give_the_same_rows():
    extra = importlib.metadata.files("pydicom-data") or []
    found = [Path(str(file.locate())) for file in extra]
    found += list((Path(pydicom.__file__).parent / "data").rglob("*"))
    compare_paths(sorted(path for path in found if path.is_file() and path.suffix not in (".py", ".pyc")))


@pytest.mark.realdata
def test_real_series_give_the_same_rows(realdata):
    folders: dict[Path, list[Path]] = {}
    for path in sorted(realdata.rglob("*.dcm")):
        if path.stat().st_size < 600_000:
            folders.setdefault(path.parent, []).append(path)
    compare_paths([path for files in folders.values() for path in files[:4]][:48])


@pytest.mark.slow
@pytest.mark.realdata
def test_all_real_files_give_the_same_rows(realdata):
    paths = sorted(realdata.rglob("*.dcm"))
    compare_paths(paths)
    for folder in sorted({path.parent for path in paths}):
        compare([path.read_bytes() for path in paths if path.parent == folder][:40])


def image(syntax: str = ExplicitVRLittleEndian, **values) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.1"
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.4", "1.2.5"
    dataset.Rows = dataset.Columns = 32
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def written(dataset: Dataset) -> bytes:
    stream = BytesIO()
    native = dataset.file_meta.TransferSyntaxUID != JPEG2000Lossless
    if "PixelData" not in dataset:
        dataset.PixelData = bytes(2048) if native else encapsulate([b"\xff\x4f" + bytes(60) + b"\xff\xd9"])
    dataset["PixelData"].VR = "OW" if native else "OB"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


# What differs within a series, and what seldom does; steering elements, on which others depend, among them.
VALUES = {
    "SOPInstanceUID": st.integers(1, 10**6).map(lambda number: f"1.2.3.{number}"),
    "SeriesInstanceUID": st.sampled_from(["1.2.4", "1.2.4.77", "1.2.4.9"]),
    "SpecificCharacterSet": st.sampled_from(["ISO_IR 100", "ISO_IR 100", "ISO_IR 100", "ISO_IR 192"]),
    "ImageType": st.sampled_from([["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY", "MOSAIC"]]),
    "InstanceNumber": st.integers(-5, 2000),
    "SliceLocation": st.floats(-500, 500).map(lambda value: round(value, 3)),
    "ImagePositionPatient": st.lists(st.integers(-9, 9), min_size=2, max_size=4),
    "PatientName": st.sampled_from(["A^B", "Müller^Ö", ""]),
    "PatientWeight": st.sampled_from([70, 70, 70, 81.5, None]),
    "PatientComments": st.text("aä\n", max_size=9),
    "AcquisitionTime": st.sampled_from(["101010", "101010.5", "111213"]),
    "SeriesTime": st.just("101000"),
    "SeriesDate": st.just("20200101"),
    "RescaleSlope": st.sampled_from([1, 1, 2.5, None]),
    "PixelRepresentation": st.sampled_from([1, 1, 1, 0]),
    "SmallestImagePixelValue": st.integers(0, 30_000),
    "Rows": st.sampled_from([32, 32, 32, 31, 64]),
    "NumberOfFrames": st.sampled_from([1, 1, 1, 2]),
    "DiffusionBValue": st.sampled_from([0.0, 1000.0]),
    "DimensionIndexPointer": st.sampled_from([0x00100010, 0x00200013]),
}
ALWAYS = {"SOPInstanceUID", "SeriesInstanceUID", "PixelRepresentation", "Rows"}


def add_nested(dataset: Dataset, draw: st.DrawFn, names: set[str]) -> None:
    if "sequence" in names:
        items = [Dataset() for _ in range(draw(st.integers(0, 2)))]
        for item in items:
            item.ReferencedSOPInstanceUID = f"1.2.{draw(st.integers(1, 300))}"
            item.is_undefined_length_sequence_item = draw(st.booleans())
        dataset.ReferencedImageSequence = items
        dataset["ReferencedImageSequence"].is_undefined_length = draw(st.sampled_from([True, True, False]))
    if "drug" in names:
        drug = Dataset()
        drug.RadiopharmaceuticalStartTime, drug.RadionuclideHalfLife = "090000", 6586.2
        drug.RadionuclideTotalDose = draw(st.sampled_from([3e8, 3e8, 4e8]))
        dataset.RadiopharmaceuticalInformationSequence = [drug]
        dataset.Modality, dataset.Units, dataset.DecayCorrection = "PT", "BQML", "START"
    if "private" in names:
        creator = draw(st.sampled_from(["SIEMENS CSA HEADER"] * 4 + ["SOMEBODY"]))
        dataset.add_new(0x00290010, "LO", creator)
        content = draw(st.sampled_from([b"SV10", b"SV10 B_value ", b"none"]))
        dataset.add_new(0x00291010, draw(st.sampled_from(["OB", "OB", "UN"])), content + bytes(20))
        dataset.add_new(0x00291020, "UN", b"1\\2 " * draw(st.integers(0, 3)))
    if "unknown" in names:
        # A public element under VR UN, whose VR is known again while it is short.
        text = b"7 " * draw(st.sampled_from([1, 2, 40_000]))
        dataset.add_new(0x00204000, "UN", text)


@st.composite
def series(draw: st.DrawFn) -> list[bytes]:
    """Files with the same elements, which differ in some of them."""
    syntax = draw(st.sampled_from(SYNTAXES))
    names = ALWAYS | draw(st.sets(st.sampled_from([*VALUES, "sequence", "drug", "private", "unknown"])))
    steady = draw(st.sets(st.sampled_from(sorted(names))))
    same = {name: draw(VALUES[name]) for name in sorted(steady & set(VALUES))}
    files = []
    for _ in range(draw(st.integers(3, 7))):
        values = {name: draw(VALUES[name]) for name in sorted(names & set(VALUES) - steady)}
        dataset = image(syntax, **same, **values)
        add_nested(dataset, draw, names)
        if draw(st.integers(0, 9)) == 0:
            dataset.DataSetTrailingPadding = bytes(6)
        try:
            files.append(written(dataset))
        except (ValueError, TypeError, AttributeError, struct.error, OverflowError):
            continue
    return files


@settings(max_examples=30, deadline=None)
@given(series())
def test_generated_series_give_the_same_rows(files):
    compare(files)


@settings(max_examples=20, deadline=None)
@given(series(), st.data())
def test_damaged_files_among_sound_ones_give_the_same_rows(files, draws):
    mixed = []
    for data in files:
        damaged = bytearray(data)
        end = max(133, len(data) - 2100)
        for _ in range(draws.draw(st.integers(0, 3))):
            damaged[draws.draw(st.integers(128, end))] = draws.draw(st.integers(0, 255))
        if draws.draw(st.integers(0, 5)) == 0:
            del damaged[draws.draw(st.integers(132, len(damaged))) :]
        mixed += [data, bytes(damaged)]
    compare([*mixed, *files])


def plain_series(count: int, syntax: str = ExplicitVRLittleEndian, **values) -> list[bytes]:
    return [
        written(
            image(
                syntax,
                **{
                    "SOPInstanceUID": f"1.2.3.{number}",
                    "InstanceNumber": number,
                    "ImagePositionPatient": [0, 0, number],
                    "PixelSpacing": [1, 2],
                    "WindowCenter": [40, 300],
                    "Modality": "CT",
                    **values,
                },
            )
        )
        for number in range(1, count + 1)
    ]


def refused(*_arguments, **_options):
    raise AssertionError("read in full")


@pytest.mark.parametrize("tags", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES[:3])
def test_later_files_of_a_series_are_not_read_in_full(monkeypatch, syntax, tags):
    files = plain_series(110, syntax)
    scanner = Scanner()
    expected = [scan_bytes(data, tags=tags) for data in files]
    # Numbers of one, two, and three digits have differing lengths.
    assert [scanner.scan_bytes(data, tags=tags) for data in files[:2]] == expected[:2]
    monkeypatch.setattr("voxlake.dicom.header.read_row", refused)
    assert [scanner.plain_row(data, tags=tags) for data in files[2:]] == expected[2:]


def test_series_in_turns_are_remembered_side_by_side(monkeypatch):
    kinds = [
        plain_series(5),
        plain_series(5, Modality="MR", EchoTime=3),
        plain_series(5, ImplicitVRLittleEndian),
    ]
    files = [data for turn in zip(*kinds, strict=True) for data in turn]
    scanner = Scanner()
    for data in files[:6]:
        scanner.scan_bytes(data)
    monkeypatch.setattr("voxlake.dicom.header.read_row", refused)
    assert [scanner.scan_bytes(data)["modality"] for data in files[6:9]] == ["CT", "MR", "CT"]


def test_what_steers_other_elements_is_never_taken_from_memory():
    files = plain_series(4, SpecificCharacterSet="ISO_IR 192", PatientID="ä")
    assert {scan_bytes(data)["patient_id"] for data in files} == {"ä"}
    other = [data.replace(b"ISO_IR 192", b"ISO_IR 100") for data in files]
    scanner = Scanner()
    found = [scanner.scan_bytes(data)["patient_id"] for data in (*files, *other, *files)]
    assert found == ["ä"] * 4 + ["Ã¤"] * 4 + ["ä"] * 4


def test_physics_follow_what_they_are_read_from():
    doses = [0.0, 50.0, 0.0, 1000.0, 50.0, 1000.0]
    files = [
        written(image(SOPInstanceUID=f"1.2.3.{number}", DiffusionBValue=dose))
        for number, dose in enumerate(doses)
    ]
    scanner = Scanner()
    assert [scanner.scan_bytes(data)["diffusion_b_value"] for data in files] == doses


def test_rows_share_nothing():
    files = plain_series(4)
    scanner = Scanner()
    for data in files:
        row = scanner.scan_bytes(data)
        assert row == scan_bytes(data)
        row["pixel_spacing"].append(3.0)
        row["image_position_patient"].clear()
        row["modality"] = "XX"


def test_long_headers_are_read_at_once_after_the_first():
    files = plain_series(6, TextValue="x" * 50_000, PixelData=bytes(2**20), Rows=512, Columns=1024)
    counts = []
    scanner = Scanner()
    for data in files:
        ranges = []

        def read(offset: int, length: int, data: bytes = data, ranges: list = ranges) -> bytes:
            ranges.append(length)
            return data[offset : offset + length]

        assert scanner.scan_file(read, size=len(data)) == scan_bytes(data)
        counts.append(len(ranges))
    assert counts[0] > 1
    assert counts[1:] == [1] * 5
