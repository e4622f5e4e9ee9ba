from __future__ import annotations

import hashlib
import hmac
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from voxlake.core.errors import ItemError
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.pixel_facts import dicom_facts
from voxlake.privacy.pixels import check_pixels
from voxlake.privacy.policy import Policy, load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser


class Key:
    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(b"o" * 32, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


PSEUDONYMS = Pseudonymiser(Key())
CLEAN = Policy(name="clean", options=("clean_graphics",))
BASIC = load_policy("basic")
SIZE = 160


def image(syntax: str = ExplicitVRLittleEndian) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = CTImageStorage, "1.2.3.4", "1.2.3"
    dataset.PatientID, dataset.PatientName = "4711", "Doe^John"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 2, 2, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.add_new(0x7FE00010, "OW", bytes(8))
    return dataset


def in_a_file(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def plane() -> np.ndarray:
    """An outline of 100 by 100 pixels, a line of letters and a dot."""
    pixels = np.zeros((SIZE, SIZE), np.uint8)
    pixels[10:110, 10], pixels[10:110, 109], pixels[10, 10:110], pixels[109, 10:110] = 1, 1, 1, 1
    pixels[130:140, 5:150:2] = 1
    pixels[139, 5:150] = 1
    pixels[60, 60] = 1
    return pixels


def with_overlay(pixels: np.ndarray, group: int = 0x6000, *, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    dataset = image(syntax)
    *frames, rows, columns = pixels.shape
    dataset.add_new(group << 16 | 0x0010, "US", rows)
    dataset.add_new(group << 16 | 0x0011, "US", columns)
    if frames:
        dataset.add_new(group << 16 | 0x0015, "IS", frames[0])
    dataset.add_new(group << 16 | 0x0022, "LO", "Ward Doe")
    dataset.add_new(group << 16 | 0x0040, "CS", "G")
    dataset.add_new(group << 16 | 0x0050, "SS", [1, 1])
    dataset.add_new(group << 16 | 0x0100, "US", 1)
    dataset.add_new(group << 16 | 0x0102, "US", 0)
    dataset.add_new(group << 16 | 0x3000, "OW", np.packbits(pixels.reshape(-1), bitorder="little").tobytes())
    dataset.add_new(group << 16 | 0x4000, "LT", "lesion of Doe 123456")
    return dataset


def bits(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: np.prod(shape)].reshape(shape)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("group", [0x6000, 0x601E])
def test_letters_go_and_outlines_stay(syntax, group):
    source = in_a_file(with_overlay(plane(), group, syntax=syntax))
    result = deidentify(source, CLEAN, PSEUDONYMS)
    expected = plane()
    expected[120:] = 0
    expected[60, 60] = 0
    kept = bits(result.dataset[group << 16 | 0x3000].value, (SIZE, SIZE))
    np.testing.assert_array_equal(kept, expected)
    assert result.dataset[group << 16 | 0x0010].value == SIZE
    assert result.dataset[group << 16 | 0x4000].value == "lesion of"
    assert b"Doe" not in result.data


def test_every_frame_is_cleaned_by_itself():
    # Two short strokes that would touch, if the end of one frame and the start of the next were one picture.
    frames = np.zeros((2, 80, 80), np.uint8)
    frames[0, 40:, 0], frames[1, :40, 0] = 1, 1
    frames[1, :70, 5:75] = 1
    result = deidentify(with_overlay(frames), CLEAN, PSEUDONYMS).dataset
    kept = bits(result[0x60003000].value, frames.shape)
    assert kept[0].sum() == 0
    assert kept[1].sum() == 70 * 70
    assert kept[1, :, 0].sum() == 0


def test_an_overlay_that_its_size_does_not_fit_goes_as_a_whole():
    for broken in ("rows", "data"):
        dataset = with_overlay(plane())
        if broken == "rows":
            del dataset[0x60000010]
        else:
            dataset[0x60003000].value = b"SECRET" * 2
        result = deidentify(dataset, CLEAN, PSEUDONYMS)
        assert not [element for element in result.dataset if element.tag.group == 0x6000]
        assert b"SECRET" not in result.data


def test_curves_cannot_be_cleaned():
    dataset = image()
    dataset.add_new(0x50000005, "US", 2)
    dataset.add_new(0x50003000, "OW", b"SECRET12")
    result = deidentify(dataset, CLEAN, PSEUDONYMS)
    assert not [element for element in result.dataset if element.tag.group == 0x5000]


@pytest.mark.parametrize("policy", [BASIC, load_policy("research")])
def test_without_the_option_the_whole_group_goes(policy):
    result = deidentify(in_a_file(with_overlay(plane(), 0x6002)), policy, PSEUDONYMS)
    assert not [element for element in result.dataset if element.tag.group == 0x6002]
    assert {change.action for change in result.report if change.path.startswith("(6002")} == {"removed"}


def embedded(syntax: str, values: np.ndarray, *, position: int = 12) -> Dataset:
    dataset = image(syntax)
    dataset.add_new(0x60000010, "US", 2)
    dataset.add_new(0x60000011, "US", 2)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", position)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset[0x7FE00010].value = values.astype(f"{order}u2").tobytes()
    return dataset


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("policy", [BASIC, CLEAN])
def test_overlays_in_unused_bits_are_set_to_zero(syntax, policy):
    values = np.array([0x1ABC, 0xF001, 0x0FFF, 0x8000])
    result = deidentify(in_a_file(embedded(syntax, values)), policy, PSEUDONYMS)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    kept = np.frombuffer(result.dataset.PixelData, f"{order}u2")
    np.testing.assert_array_equal(kept, values & 0x0FFF)
    assert not [element for element in result.dataset if element.tag.group == 0x6000]
    assert ("(7FE0,0010)", "PixelData", "cleaned", "overlays in unused bits") in result.report


def test_bits_below_the_image_are_unused_too():
    dataset = embedded(ExplicitVRLittleEndian, np.array([0xABCD, 0x000F, 0xFFF0, 0x1234]), position=1)
    dataset.HighBit = 15
    kept = np.frombuffer(deidentify(dataset, BASIC, PSEUDONYMS).dataset.PixelData, "<u2")
    np.testing.assert_array_equal(kept, [0xABC0, 0, 0xFFF0, 0x1230])


def test_objects_with_overlays_in_compressed_pixels_are_held_back():
    dataset = embedded(RLELossless, np.zeros(4))
    dataset.add_new(0x7FE00010, "OB", encapsulate([b"\1\2\3\4"]))
    dataset["PixelData"].is_undefined_length = True
    data = in_a_file(dataset)
    with pytest.raises(ItemError) as caught:
        check_pixels(dicom_facts(dcmread(BytesIO(data)), data), BASIC)
    assert caught.value.reason == "pixels_unchecked"
    # Where a waiver lets them in, the pixels stay as they are, without the description of an overlay.
    result = deidentify(data, BASIC, PSEUDONYMS)
    assert result.dataset.PixelData == dataset.PixelData
    assert not [element for element in result.dataset if element.tag.group == 0x6000]


@pytest.mark.parametrize("keyword", ["BitsAllocated", "BitsStored", "HighBit"])
def test_overlays_in_pixels_of_unknown_layout_are_refused(keyword):
    dataset = embedded(ExplicitVRLittleEndian, np.zeros(4))
    delattr(dataset, keyword)
    with pytest.raises(ItemError) as caught:
        deidentify(dataset, BASIC, PSEUDONYMS)
    assert caught.value.reason == "pixels_unchecked"


def test_a_plane_of_its_own_leaves_the_pixels_alone():
    dataset = with_overlay(plane())
    dataset[0x7FE00010].value = b"\xff\xff" * 4
    assert deidentify(dataset, CLEAN, PSEUDONYMS).dataset.PixelData == b"\xff\xff" * 4


@pytest.mark.parametrize("policy", [BASIC, CLEAN], ids=["basic", "clean_graphics"])
@pytest.mark.parametrize("undefined", [False, True])
def test_retired_pixel_groups_go_and_the_pixels_stay(policy, undefined):
    dataset = image()
    element = dataset[0x7FE00010].value
    secret = b"a second picture"
    dataset.add_new(0x7F600010, "OB", encapsulate([secret]) if undefined else secret)
    dataset[0x7F600010].is_undefined_length = undefined
    data = in_a_file(dataset)
    assert secret in data
    clean = deidentify(data, policy, PSEUDONYMS)
    assert secret not in clean.data
    assert 0x7F600010 not in clean.dataset
    assert clean.dataset[0x7FE00010].value == element
    assert [one.why for one in clean.report if "7F60" in one.path] == ["retired pixel data"]
