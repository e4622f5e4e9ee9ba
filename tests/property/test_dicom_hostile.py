"""Damaged bytes give an `ItemError` or a data set whose every further use gives an `ItemError` or a value."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import TypeVar

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from voxlake.core.errors import ItemError
from voxlake.core.reasons import REASONS
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.geometry import judge
from voxlake.dicom.read import looks_like_dicom, read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.siemens import csa_values

KINDS = ("explicit", "implicit", "compressed")


@cache
def sample(kind: str) -> bytes:
    code = Dataset()
    code.CodeValue = "T-A0100"
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if kind == "implicit" else ExplicitVRLittleEndian
    )
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.4", "1.2.5"
    dataset.Modality, dataset.ImageType = "MR", ["ORIGINAL", "PRIMARY"]
    dataset.AnatomicRegionSequence = [code]
    dataset.SliceThickness, dataset.PixelSpacing = "2.5", [0.5, 0.5]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 1], [1, 0, 0, 0, 1, 0]
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    dataset.Rows = dataset.Columns = 6
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.arange(36, dtype=np.uint16).tobytes()
    dataset["PixelData"].VR = "OW"
    if kind == "compressed":
        dataset.compress(RLELossless)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


Value = TypeVar("Value")


def attempt(call: Callable[[], Value]) -> Value | None:
    """The value, or None for an item error with a known reason; any other exception is a failure."""
    try:
        return call()
    except ItemError as error:
        if error.reason not in REASONS:
            raise
        return None


def use(data: bytes) -> None:
    dataset = attempt(lambda: read_dataset(data))
    if dataset is None:
        return
    row = scan(dataset, data)
    json.loads(row["tags"])
    assert judge([row]).kind in {"regular", "flat", "none"}
    if row["pixel_length"] is not None:
        assert row["pixel_offset"] + row["pixel_length"] <= len(data)
    values = attempt(lambda: decode_pixels(dataset, limit=10**7))
    assert values is None or values.ndim in (3, 4)


def test_the_samples_are_sound():
    for kind in KINDS:
        dataset = read_dataset(sample(kind))
        np.testing.assert_array_equal(decode_pixels(dataset).ravel(), np.arange(36))
        assert scan(dataset, sample(kind))["diffusion_b_value"] == 1000.0


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_cut_anywhere(kind, data):
    whole = sample(kind)
    use(whole[: data.draw(st.integers(0, len(whole) - 1))])


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_changed_anywhere(kind, data):
    changed = bytearray(sample(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(128, len(changed) - 1))
        changed[position] = data.draw(st.integers(0, 255))
    use(bytes(changed))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(tail, preamble):
    data = bytes(128) + b"DICM" + tail if preamble else tail
    assert looks_like_dicom(data) or not preamble
    use(data)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_csa_header(tail):
    assert isinstance(csa_values(b"SV10" + tail, frozenset({"B_value"})), dict)
