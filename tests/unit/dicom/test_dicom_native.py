"""Native pixels of unusual sizes and colours, with values worked out by hand or read by GDCM."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.uid import ExplicitVRBigEndian

from voxlake.core.errors import ItemError
from voxlake.dicom.decode import decode_pixels, stored_values
from voxlake.dicom.decode_file import decode_file
from voxlake.dicom.read import read_dataset

RANDOM = np.random.default_rng(13)


def cells(values: np.ndarray, bits: int) -> bytes:
    """Cells without gaps, the lowest bit first, to a whole number of words."""
    number = 0
    for place, value in enumerate(values.ravel().tolist()):
        number |= (value & (2**bits - 1)) << (place * bits)
    size = -(-values.size * bits // 8)
    return number.to_bytes(size + size % 2, "little")


def by_gdcm(data: bytes, folder) -> np.ndarray:
    path = folder / "image.dcm"
    path.write_bytes(data)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("bits", [2, 4, 7, 10, 12, 14, 20, 24, 31])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("shape", [(6, 8), (3, 5, 7)])
def test_cells_of_any_number_of_bits(make, written, bits, signed, shape):
    word = 1 if bits <= 8 else 2 if bits <= 16 else 4
    low = -(2 ** (bits - 1)) if signed else 0
    values = RANDOM.integers(low, low + 2**bits, shape).astype(f"{'i' if signed else 'u'}{word}")
    dataset = make(values, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed)
    dataset.PixelData = cells(values, bits)
    found = decode_pixels(read_dataset(written(dataset)))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values.reshape(-1, *shape[-2:]))
    dataset.PixelData = dataset.PixelData[:-2]
    with pytest.raises(ItemError) as caught:
        decode_pixels(dataset)
    assert caught.value.reason == "truncated"


def test_twelve_bits_as_gdcm_reads_them(make, written, tmp_path):
    values = RANDOM.integers(0, 4096, (6, 8)).astype("u2")
    dataset = make(values, BitsAllocated=12, BitsStored=12, HighBit=11)
    dataset.PixelData = cells(values, 12)
    data = written(dataset)
    np.testing.assert_array_equal(by_gdcm(data, tmp_path), values[np.newaxis])
    np.testing.assert_array_equal(decode_pixels(read_dataset(data)), values[np.newaxis])


@pytest.mark.parametrize("high", [3, 12, 15, 31])
@pytest.mark.parametrize("signed", [0, 1])
def test_the_lowest_bits_count_whatever_high_bit_says(make, written, tmp_path, high, signed):
    # PS3.3 section C.7.6.3 leaves no choice but BitsStored - 1; other values are slips of writers.
    values = RANDOM.integers(-2048 * signed, 4096 - 2048 * signed, (6, 8)).astype("i2" if signed else "u2")
    data = written(make(values, BitsStored=12, HighBit=high, PixelRepresentation=signed))
    np.testing.assert_array_equal(decode_pixels(read_dataset(data))[0], values)
    if 12 <= high < 16:
        np.testing.assert_array_equal(by_gdcm(data, tmp_path), values[np.newaxis])


def test_odd_sizes_in_big_endian_order_are_refused(make):
    values = RANDOM.integers(0, 4096, (6, 8)).astype("u2")
    dataset = make(values, BitsAllocated=12, BitsStored=12, HighBit=11)
    dataset.PixelData = cells(values, 12)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    with pytest.raises(ItemError, match="big-endian"):
        decode_pixels(dataset)


def reference_rgb(values: np.ndarray, bits: int) -> np.ndarray:
    """The inverse of the printed matrix of PS3.3 section C.7.6.3.1.2."""
    printed = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    shifted = values.astype(float) - [0, 2 ** (bits - 1), 2 ** (bits - 1)]
    return np.clip(shifted @ np.linalg.inv(printed).T, 0, 2**bits - 1)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_ybr_full_of_any_depth(make, bits):
    values = RANDOM.integers(0, 2**bits, (4, 9, 11, 3)).astype("u1" if bits == 8 else "u2")
    dataset = make(values, PhotometricInterpretation="YBR_FULL", BitsStored=bits, HighBit=bits - 1)
    found = decode_pixels(dataset)
    assert found.dtype == values.dtype
    # The printed factors have four digits.
    assert np.abs(found - reference_rgb(values, bits)).max() <= 0.5 + 2**bits / 4000
    np.testing.assert_array_equal(stored_values(dataset), values)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_colour_that_two_pixels_share(make, written, photometric):
    values = RANDOM.integers(16, 236, (2, 6, 8, 3)).astype("u1")
    values[:, :, 1::2, 1:] = values[:, :, ::2, 1:]
    dataset = make(values, PhotometricInterpretation=photometric)
    pairs = [values[:, :, ::2, 0], values[:, :, 1::2, 0], values[:, :, ::2, 1], values[:, :, ::2, 2]]
    dataset.PixelData = np.stack(pairs, axis=-1).tobytes()
    found = decode_pixels(read_dataset(written(dataset))).astype(float)
    scaled = values.astype(float)
    if photometric == "YBR_PARTIAL_422":
        scaled[..., 0] = (scaled[..., 0] - 16) * 255 / 219
        scaled[..., 1:] = (scaled[..., 1:] - 128) * 255 / 224 + 128
    assert np.abs(found - reference_rgb(scaled, 8)).max() <= 0.6


def test_ranges_of_partial_colour(make):
    # Black, white and the brightest grey of ITU-R BT.601.
    dataset = make(np.zeros((1, 4, 3), np.uint8), PhotometricInterpretation="YBR_PARTIAL_422")
    dataset.PixelData = bytes([16, 235, 128, 128, 255, 0, 128, 128])
    np.testing.assert_array_equal(decode_pixels(dataset)[0, 0], [[0] * 3, [255] * 3, [255] * 3, [0] * 3])


@pytest.mark.parametrize(
    ("photometric", "dtype"), [("YBR_PARTIAL_422", "u2"), ("YBR_FULL", "i2"), ("YBR_PARTIAL_420", "u1")]
)
def test_colours_that_are_not_defined(make, photometric, dtype):
    values = np.zeros((4, 4, 3), dtype)
    with pytest.raises(ItemError) as caught:
        decode_pixels(make(values, PhotometricInterpretation=photometric))
    assert caught.value.reason == "unsupported_photometric"


@pytest.mark.parametrize("bits", [8, 16])
def test_segmented_palette(make, bits, tmp_path):
    # PS3.3 section C.7.9.2: three discrete values, a line of four steps, and both again from the beginning.
    dataset = make(np.arange(14, dtype=np.uint8).reshape(1, 14), PhotometricInterpretation="PALETTE COLOR")
    top = 2**bits - 1
    parts = [0, 3, 0, top // 5, 7, 1, 4, 7 + 4 * 20]
    again = [2, 2, *([0, 0] if bits == 16 else [0, 0, 0, 0])]
    table = np.array([*parts, *again], f"<u{bits // 8}")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [14, 0, bits])
        dataset[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", table.tobytes())
    once = [0, top // 5, 7, 27, 47, 67, 87]
    found = decode_pixels(dataset)[0, 0, :, 0]
    assert found.tolist() == [*once, *once]


def test_float_pixels_are_never_compressed(make, written):
    dataset = make(np.zeros((3, 4), np.uint16))
    del dataset.PixelData
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = np.full((3, 4), 1.5, "<f4").tobytes()
    np.testing.assert_array_equal(decode_file(written(dataset)), np.full((1, 3, 4), 1.5, "f4"))
