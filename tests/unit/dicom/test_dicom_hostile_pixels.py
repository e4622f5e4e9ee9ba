"""Pixel data that are not what the header says: refused before a decoder is called, never filled up."""

from __future__ import annotations

import struct
import time
import tracemalloc

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import HTJ2KLossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from voxlake.core.errors import ItemError
from voxlake.dicom.codecs import decode_frame
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.layout import MOST_SAMPLES
from voxlake.dicom.read import read_dataset
from voxlake.testing.hostile import (
    EXPLICIT,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    MIB,
    RLE,
    SEQUENCE_END,
    CtFiles,
    codestream,
    element,
    fragments,
)

VALUES = np.random.default_rng(5).integers(0, 255, (64, 48), dtype=np.uint8)
CODED = (("jpeg", JPEG), ("jls", JPEG_LS), ("j2k", JPEG_2000))


def reason_of(data: bytes) -> str:
    with pytest.raises(ItemError) as caught:
        read_dataset(data)
    return caught.value.reason


def test_good_files_pass():
    for name, syntax in CODED:
        data = CtFiles().file(syntax=syntax, pixels=fragments(codestream(name, 4, 4)))
        assert read_dataset(data).file_meta.TransferSyntaxUID == syntax
    assert read_dataset(CtFiles().file(frames=1)).NumberOfFrames == 1


@pytest.mark.parametrize(
    "sizes",
    [{"rows": 5}, {"columns": 65535}, {"frames": 2}, {"frames": 2**31 - 1, "rows": 65535, "columns": 65535}],
)
def test_native_pixels_that_are_not_there(sizes):
    assert reason_of(CtFiles().file(**sizes)) == "truncated"


@pytest.mark.parametrize("bits", [1, 16, 64])
def test_bits_count(bits):
    allocated = {0x00280100: element(0x00280100, "US", struct.pack("<H", bits))}
    allocated[0x00280101] = element(0x00280101, "US", struct.pack("<H", bits))
    data = CtFiles().file(allocated)
    if bits == 1:
        assert read_dataset(data).BitsAllocated == 1
    else:
        assert reason_of(data) == "truncated"


@pytest.mark.parametrize("value", [b"1e300", b"9" * 20, b"2147483648"])
@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG, "1.2.840.113619.5.2", "1.2.840.10008.1.2.4.102"])
def test_a_number_of_frames_beyond_its_type(value, syntax):
    frames = {0x00280008: element(0x00280008, "IS", value)}
    assert reason_of(CtFiles().file(frames, syntax=syntax)) == "decode_error"


@pytest.mark.parametrize(("name", "syntax"), CODED)
def test_a_codestream_of_another_shape(name, syntax):
    for rows, columns in ((65535, 65535), (4, 5), (1, 1)):
        data = CtFiles().file(syntax=syntax, pixels=fragments(codestream(name, rows, columns)))
        assert reason_of(data) == "decode_error"


@pytest.mark.parametrize(("name", "syntax"), CODED)
def test_a_frame_without_end_is_truncated(name, syntax):
    whole = codestream(name, 4, 4)
    for parts in ((whole[:-2],), (whole, whole[:-2])):
        data = CtFiles().file(syntax=syntax, frames=len(parts), pixels=fragments(*parts))
        assert reason_of(data) == "truncated"
    two = CtFiles().file(syntax=syntax, pixels=fragments(whole[:10], whole[10:]))
    assert read_dataset(two).Rows == 4


@pytest.mark.parametrize(("name", "syntax"), [*CODED, ("rle", RLE)])
def test_nothing_stands_between_fragments_and_delimiter(name, syntax):
    coded = struct.pack("<16I", 1, 64, *[0] * 14) if name == "rle" else codestream(name, 4, 4)
    for junk in (b"\1", b"\1" * 8, b"\1" * 41):
        data = CtFiles().file(syntax=syntax, pixels=fragments(coded, end=junk + SEQUENCE_END))
        assert reason_of(data) == "decode_error"


@pytest.mark.parametrize(("name", "syntax"), [*CODED, ("rle", RLE)])
def test_dimension_bombs_cost_no_memory(name, syntax):
    coded = struct.pack("<16I", 1, 64, *[0] * 14) if name == "rle" else codestream(name, 65535, 65535)
    data = CtFiles().file(syntax=syntax, rows=65535, columns=65535, pixels=fragments(coded))
    tracemalloc.start()
    assert reason_of(data) == "decode_error"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MIB


def test_decoding_checks_again(make):
    # A data set that was made in memory, or read by someone else.
    dataset = read_dataset(CtFiles().file(syntax=JPEG, pixels=fragments(codestream("jpeg", 4, 4))))
    for side, reason in ((9000, "truncated"), (30_000, "decode_error")):
        dataset.Rows = dataset.Columns = side
        with pytest.raises(ItemError) as caught:
            decode_pixels(dataset, limit=2**40)
        assert caught.value.reason == reason
    assert 9000**2 < MOST_SAMPLES < 30_000**2


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, HTJ2KLossless])
def test_codecs_that_fill_up_are_not_asked(syntax):
    encode = {JPEGBaseline8Bit: imagecodecs.jpeg8_encode, HTJ2KLossless: imagecodecs.htj2k_encode}[syntax]
    encoded = bytes(encode(VALUES))
    whole = decode_frame(encoded, syntax, (64, 48, 1), 8)
    assert whole.values.shape == (64, 48)
    for cut in (2, 3, 10, len(encoded) // 2):
        with pytest.raises(ItemError, match="no end") as caught:
            decode_frame(encoded[:-cut], syntax, (64, 48, 1), 8)
        assert caught.value.reason == "truncated"


def test_a_jpeg_ls_frame_that_is_cut_fails_at_once():
    values = np.random.default_rng(0).integers(0, 4096, (30, 30)).astype(np.uint16)
    encoded = bytes(imagecodecs.jpegls_encode(values))
    start = time.perf_counter()
    for cut in (*range(2, 40), len(encoded) // 2):
        with pytest.raises(ValueError, match="no end"):
            decode_frame(encoded[:-cut] + b"\0", JPEGLSLossless, (30, 30, 1), 16)
    assert time.perf_counter() - start < 2


def test_rle_that_is_cut_is_never_filled_up(make):
    dataset = make(VALUES)
    dataset.compress(RLELossless)
    encoded = bytes(dataset.PixelData)[20:]
    np.testing.assert_array_equal(decode_frame(encoded, RLELossless, (64, 48, 1), 8).values, VALUES)
    for cut in (1000, 2000, len(encoded) - 64, len(encoded) - 10):
        with pytest.raises((RuntimeError, ValueError)):
            decode_frame(encoded[:-cut], RLELossless, (64, 48, 1), 8)
