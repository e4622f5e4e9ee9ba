from __future__ import annotations

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.codestream import Codestream, jpeg2000_header, jpeg_header
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.read import read_dataset

RANDOM = np.random.default_rng(7)


def reason_of(dataset, **options) -> str:
    with pytest.raises(ItemError) as caught:
        decode_pixels(dataset, **options)
    return caught.value.reason


def packed(make, values: np.ndarray, syntax: str, frames: list[bytes], **elements):
    """An object whose header describes `values` and whose pixel data are the encoded frames."""
    dataset = make(values, **elements)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
def test_native_values_of_every_size(make, dtype, shape):
    limits = np.iinfo(dtype)
    values = RANDOM.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    result = decode_pixels(make(values))
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result, values.reshape(-1, 5, 7))


def test_big_endian_comes_in_native_order(make, written):
    values = RANDOM.integers(0, 2**16, (5, 7)).astype(">u2")
    dataset = make(values)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    result = decode_pixels(read_dataset(written(dataset)))
    assert result.dtype.isnative
    np.testing.assert_array_equal(result[0], values)


def test_single_bits_run_on_over_the_frames(make):
    bits = RANDOM.integers(0, 2, (3, 5, 7)).astype(np.uint8)
    dataset = make(bits, BitsAllocated=1, BitsStored=1, HighBit=0)
    raw = np.packbits(bits.ravel(), bitorder="little").tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    result = decode_pixels(dataset)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, bits)


@pytest.mark.parametrize("signed", [0, 1])
def test_unused_bits_are_cut_off(make, signed):
    # 12 bits stored; an overlay or rubbish stands in the upper four.
    dataset = make(
        np.array([[0xF001, 0x0FFF]], np.uint16), BitsStored=12, HighBit=11, PixelRepresentation=signed
    )
    expected = [[1, -1]] if signed else [[1, 4095]]
    np.testing.assert_array_equal(decode_pixels(dataset)[0], expected)


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
def test_float_pixels(make, keyword, dtype):
    values = RANDOM.normal(size=(2, 3, 4)).astype(dtype)
    dataset = make(np.zeros((2, 3, 4), np.uint16))
    del dataset.PixelData, dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit
    dataset.BitsAllocated = values.dtype.itemsize * 8
    setattr(dataset, keyword, values.tobytes())
    result = decode_pixels(dataset)
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result, values)


def test_planes_of_colour_become_pixels(make):
    colours = RANDOM.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    dataset = make(colours, PlanarConfiguration=1)
    dataset.PixelData = np.moveaxis(colours, -1, 0).tobytes() + b"\0"
    np.testing.assert_array_equal(decode_pixels(dataset)[0], colours)


def test_ybr_full_becomes_rgb(make):
    # White, black and pure red (PS3.3 section C.7.6.3.1.2).
    values = np.array([[[255, 128, 128], [0, 128, 128], [76, 85, 255]]], np.uint8)
    result = decode_pixels(make(values, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(result[0, 0], [[255, 255, 255], [0, 0, 0], [254, 0, 0]], atol=1)


def test_subsampled_native_colour_is_spread(make):
    # Y1 Y2 Cb Cr: two pixels share their colour.
    dataset = make(np.zeros((1, 2, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    dataset.PixelData = bytes([255, 0, 128, 128])
    np.testing.assert_array_equal(decode_pixels(dataset)[0, 0], [[255] * 3, [0] * 3])


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_becomes_rgb(make, bits):
    # An odd number of entries, and an index beyond the table, which takes the last colour.
    dataset = make(np.array([[5, 6, 300, 6]], np.uint16), PhotometricInterpretation="PALETTE COLOR")
    table = (np.array([10, 20, 30]) * (257 if bits == 16 else 1)).astype(f"u{bits // 8}")
    for colour, factor in (("Red", 1), ("Green", 2), ("Blue", 3)):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [3, 5, bits])
        raw = (table * factor).astype(table.dtype).tobytes()
        setattr(dataset, f"{colour}PaletteColorLookupTableData", raw + b"\0" * (len(raw) % 2))
        dataset[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
    result = decode_pixels(dataset)[0, 0]
    step = 257 if bits == 16 else 1
    np.testing.assert_array_equal(result, np.array([[1, 2, 3]]) * np.array([[10], [20], [30], [20]]) * step)


def test_palette_of_a_big_endian_file(make, written):
    dataset = make(np.array([[0, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [2, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", np.array([1, 0xABCD], ">u2").tobytes())
        dataset[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    result = decode_pixels(read_dataset(written(dataset)))
    np.testing.assert_array_equal(result[0, 0], [[1] * 3, [0xABCD] * 3])


def test_a_palette_that_is_too_short_is_refused(make):
    dataset = make(np.array([[0, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    assert reason_of(dataset) == "decode_error"
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", bytes(100))
    assert reason_of(dataset) == "decode_error"


def test_monochrome1_is_left_alone(make):
    values = np.array([[1, 200]], np.uint8)
    result = decode_pixels(make(values, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(result[0], values)


LOSSLESS = {
    JPEGLossless: lambda values: imagecodecs.jpeg8_encode(
        values, lossless=True, predictor=1, bitspersample=16
    ),
    JPEGLSLossless: imagecodecs.jpegls_encode,
}


@pytest.mark.parametrize("syntax", list(LOSSLESS))
def test_signed_values_in_codecs_without_a_sign(make, syntax):
    values = RANDOM.integers(-2000, 3000, (2, 9, 11)).astype(np.int16)
    frames = [bytes(LOSSLESS[syntax](frame.view(np.uint16))) for frame in values]
    np.testing.assert_array_equal(decode_pixels(packed(make, values, syntax, frames)), values)


@pytest.mark.parametrize("stored", [12, 16])
def test_signed_values_of_twelve_bits_without_a_sign(make, stored):
    values = RANDOM.integers(-2048, 2048, (9, 11)).astype(np.int16)
    raw = (values & 0xFFF).astype(np.uint16)
    encoded = bytes(imagecodecs.jpeg8_encode(raw, lossless=True, predictor=1, bitspersample=12))
    dataset = packed(make, values, JPEGLossless, [encoded], BitsStored=stored, HighBit=stored - 1)
    np.testing.assert_array_equal(decode_pixels(dataset)[0], values)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
@pytest.mark.parametrize("dtype", ["i2", "u2", "u1"])
def test_jpeg_2000_and_its_high_throughput_kin(make, syntax, dtype):
    limits = np.iinfo(dtype)
    values = RANDOM.integers(limits.min, limits.max, (2, 9, 11), endpoint=True).astype(dtype)
    encode = imagecodecs.jpeg2k_encode if syntax == JPEG2000Lossless else imagecodecs.htj2k_encode
    frames = [bytes(encode(frame, reversible=True)) for frame in values]
    np.testing.assert_array_equal(decode_pixels(packed(make, values, syntax, frames)), values)


@pytest.mark.parametrize("transformed", [True, False])
def test_high_throughput_colour(make, transformed):
    # As small as can be confused: three rows, three columns, three samples.
    colours = RANDOM.integers(0, 256, (3, 3, 3)).astype(np.uint8)
    encoded = bytes(imagecodecs.htj2k_encode(colours, reversible=True, rgb=transformed))
    dataset = packed(make, colours, HTJ2KLossless, [encoded])
    if transformed:
        dataset.PhotometricInterpretation = "YBR_RCT"
    np.testing.assert_array_equal(decode_pixels(dataset)[0], colours)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_rle(make, dtype):
    limits = np.iinfo(dtype)
    values = RANDOM.integers(limits.min, limits.max, (2, 9, 11), endpoint=True).astype(dtype)
    dataset = make(values)
    dataset.compress(RLELossless)
    np.testing.assert_array_equal(decode_pixels(dataset), values)


def test_rle_colour(make):
    colours = RANDOM.integers(0, 256, (2, 9, 11, 3)).astype(np.uint8)
    dataset = make(colours)
    dataset.compress(RLELossless)
    np.testing.assert_array_equal(decode_pixels(dataset), colours)


@pytest.mark.parametrize(("stated", "tolerance"), [("YBR_FULL_422", 3), ("RGB", 3)])
def test_colour_of_jpeg_follows_the_codestream(make, stated, tolerance):
    # libjpeg writes a JFIF marker: the samples are YCbCr, whatever the header says.
    colours = np.broadcast_to(np.array([200, 60, 90], np.uint8), (16, 16, 3)).copy()
    encoded = bytes(imagecodecs.jpeg8_encode(colours, level=98))
    dataset = packed(make, colours, JPEGBaseline8Bit, [encoded], PhotometricInterpretation=stated)
    np.testing.assert_allclose(decode_pixels(dataset)[0].astype(int), colours, atol=tolerance)


def test_no_pixels(make):
    assert reason_of(make()) == "no_pixels"


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Rows": 0}, "decode_error"),
        ({"BitsAllocated": 12, "BitsStored": 12}, "decode_error"),
        ({"BitsStored": 17}, "decode_error"),
        ({"PhotometricInterpretation": "CMYK"}, "unsupported_photometric"),
        ({"PhotometricInterpretation": "RGB"}, "unsupported_photometric"),
        ({"PhotometricInterpretation": ""}, "unsupported_photometric"),
        ({"Rows": 4}, "truncated"),
        ({"NumberOfFrames": 2}, "truncated"),
        ({"Rows": 1}, "decode_error"),
    ],
)
def test_headers_that_do_not_fit_the_pixels(make, elements, reason):
    dataset = make(np.arange(12, dtype=np.uint16).reshape(3, 4))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    assert reason_of(dataset) == reason


def test_the_announced_size_is_capped(make):
    dataset = make(np.zeros((4, 4), np.uint16), NumberOfFrames=1000)
    assert reason_of(dataset, limit=31_999) == "decode_error"
    assert reason_of(dataset, limit=32_000) == "truncated"
    dataset.Rows = dataset.Columns = 65535
    assert reason_of(dataset) == "decode_error"


@pytest.mark.parametrize("syntax", [MPEG2MPML, "1.2.840.10008.1.2.4.92", "1.2.3.4"])
def test_syntaxes_without_a_decoder(make, syntax):
    dataset = make(np.zeros((4, 4), np.uint16))
    dataset.file_meta.TransferSyntaxUID = syntax
    assert reason_of(dataset) == "unsupported_transfer_syntax"


@pytest.mark.parametrize("announced", [1, 2, 4])
def test_another_number_of_compressed_frames(make, announced):
    values = RANDOM.integers(0, 4096, (3, 9, 11)).astype(np.uint16)
    frames = [bytes(imagecodecs.jpegls_encode(frame)) for frame in values]
    for has_offsets in (True, False):
        dataset = packed(make, values, JPEGLSLossless, frames)
        dataset.PixelData = encapsulate(frames, has_bot=has_offsets)
        dataset.NumberOfFrames = announced
        assert reason_of(dataset) == "decode_error"
        dataset.NumberOfFrames = 3
        np.testing.assert_array_equal(decode_pixels(dataset), values)


def test_one_frame_may_lie_in_several_fragments(make):
    values = RANDOM.integers(0, 4096, (40, 40)).astype(np.uint16)
    encoded = bytes(imagecodecs.jpegls_encode(values))
    dataset = packed(make, values, JPEGLSLossless, [encoded])
    dataset.PixelData = encapsulate([encoded], fragments_per_frame=4, has_bot=False)
    np.testing.assert_array_equal(decode_pixels(dataset)[0], values)


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(make):
    huge = bytearray(imagecodecs.jpegls_encode(np.zeros((8, 8), np.uint8)))
    position = huge.index(b"\xff\xf7")
    huge[position + 5 : position + 9] = b"\xff\xff\xff\xff"
    dataset = packed(make, np.zeros((8, 8), np.uint8), JPEGLSLossless, [bytes(huge)])
    assert reason_of(dataset) == "decode_error"


def test_a_damaged_codestream_is_a_decode_error(make):
    values = RANDOM.integers(0, 4096, (30, 30)).astype(np.uint16)
    encoded = bytes(imagecodecs.jpegls_encode(values))
    for broken in (b"\xff\xd8", encoded[:20], encoded[: len(encoded) // 2], bytes(100)):
        assert reason_of(packed(make, values, JPEGLSLossless, [broken])) == "decode_error"


def test_more_bits_than_allocated_are_refused(make):
    encoded = bytes(imagecodecs.jpegls_encode(np.full((8, 8), 4000, np.uint16)))
    dataset = packed(make, np.zeros((8, 8), np.uint8), JPEGLSLossless, [encoded])
    assert reason_of(dataset) == "decode_error"


def test_codestream_headers():
    grey = np.zeros((6, 9), np.uint16)
    assert jpeg_header(bytes(imagecodecs.jpegls_encode(grey + 300))) == Codestream(6, 9, 1, 16)
    colour = np.zeros((6, 9, 3), np.uint8)
    assert jpeg_header(bytes(imagecodecs.jpeg8_encode(colour))) == Codestream(6, 9, 3, 8, None, "YBR_FULL")
    signed = bytes(imagecodecs.htj2k_encode(grey.astype(np.int16), reversible=True))
    assert jpeg2000_header(signed) == Codestream(6, 9, 1, 16, True)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"\xff\xd8\x00\x00\x00\x00", b"\xff\xd8\xff\xda\x00\x02"]
)
def test_no_codestream_header(data):
    with pytest.raises(ValueError, match="JPEG"):
        jpeg_header(data)
    with pytest.raises(ValueError, match="SIZ"):
        jpeg2000_header(data)


def test_messages_do_not_quote_pydicom(make):
    dataset = make(np.zeros((4, 4), np.uint16))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    dataset.PixelData = b"JOHN SMITH"
    with pytest.raises(ItemError) as caught:
        decode_pixels(dataset)
    assert "JOHN" not in caught.value.message
