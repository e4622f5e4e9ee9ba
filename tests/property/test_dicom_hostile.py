"""Damaged bytes give an `ItemError` or a data set whose every further use gives an `ItemError` or a value."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import TypeVar

import numpy as np
import pytest
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
from voxlake.testing.hostile import (
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    CtFiles,
    element,
    item,
    wrapped,
)

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


REAL_VRS = ("CS", "DA", "DS", "FD", "IS", "LO", "OB", "OW", "PN", "SQ", "UI", "UN", "US", "UT")
WRONG_VRS = ("  ", "ZZ", "sq", "\0\0")
TAGS = (
    0x00080005,
    0x00081030,
    0x00081140,
    0x00091001,
    0x00280008,
    0x00280010,
    0x300A00B0,
    0x52009230,
    0xFFFCFFFC,
)
LIES = (0, 1, 7, 0x7FFF, 0xFFFF, 2**31, 2**32 - 2, 2**32 - 1)


def leaves(
    vrs: tuple[str, ...], lies: st.SearchStrategy[int | None], implicit: bool
) -> st.SearchStrategy[bytes]:
    def made(tag: int, vr: str, value: bytes, lie: int | None) -> bytes:
        wide = implicit or vr in {"OB", "OW", "SQ", "UN", "UT"}
        length = lie if lie is None or wide else lie & 0xFFFF
        return element(tag, vr, value, length=length, implicit=implicit)

    return st.builds(made, st.sampled_from(TAGS), st.sampled_from(vrs), st.binary(max_size=12), lies)


def sequences(inside: st.SearchStrategy[bytes], lies: st.SearchStrategy[int | None], implicit: bool):
    def one(content: bytes, undefined: bool, lie: int | None) -> bytes:
        return item(content, UNDEFINED) + ITEM_END if undefined else item(content, lie)

    def made(tag: int, parts: list[bytes], undefined: bool, lie: int | None) -> bytes:
        joined = b"".join(parts)
        if undefined:
            return element(tag, "SQ", joined, length=UNDEFINED, implicit=implicit) + SEQUENCE_END
        return element(tag, "SQ", joined, length=lie, implicit=implicit)

    items = st.lists(st.builds(one, inside, st.booleans(), lies), max_size=3)
    return st.builds(made, st.sampled_from((0x00081140, 0x300A00B0, 0x52009230)), items, st.booleans(), lies)


def trees(
    vrs: tuple[str, ...], lies: st.SearchStrategy[int | None], implicit: bool
) -> st.SearchStrategy[bytes]:
    """Elements and sequences of them, in any order, some of which lie about their length."""
    return st.recursive(
        leaves(vrs, lies, implicit),
        lambda inside: st.lists(inside | sequences(inside, lies, implicit), max_size=4).map(b"".join),
        max_leaves=6,
    )


def file_with(tree: bytes, implicit: bool) -> bytes:
    made = CtFiles().elements(implicit=implicit)
    body = b"".join(made[tag] for tag in sorted(made))
    return wrapped(body + tree, IMPLICIT if implicit else EXPLICIT)


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.data())
def test_any_structure(implicit, data):
    lies = st.none() | st.sampled_from(LIES)
    use(file_with(data.draw(trees(REAL_VRS + WRONG_VRS, lies, implicit)), implicit))


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.data())
def test_a_structure_that_does_not_lie_is_read_and_cut_anywhere_it_is_not(implicit, data):
    honest = tuple(vr for vr in REAL_VRS if vr not in {"SQ", "UN"})
    leaf = st.builds(
        lambda vr, value: element(0x00081030, vr, value, implicit=implicit),
        st.sampled_from(honest),
        st.binary(max_size=12),
    )
    inside = st.recursive(
        leaf,
        lambda inner: st.lists(inner | sequences(inner, st.none(), implicit)).map(b"".join),
        max_leaves=4,
    )
    tree = data.draw(sequences(inside, st.none(), implicit))
    whole = file_with(tree, implicit)
    assert attempt(lambda: read_dataset(whole)) is not None
    # One byte may be left of a tag that begins with zero, and zeros behind a data set are no fault.
    cut = data.draw(st.integers(1, len(tree) - 2))
    with pytest.raises(ItemError) as caught:
        read_dataset(whole[:-cut])
    assert caught.value.reason == "truncated"
