"""HTJ2K storage: what is compressed decodes to the same pixels and comes back to the same bytes."""

from __future__ import annotations

import struct
from hashlib import sha256
from io import BytesIO

import numpy as np
import openjpeg
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    RLELossless,
)

from voxlake.core.errors import IntegrityError, ItemError
from voxlake.dicom.compress import compress_htj2k, restore
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.read import read_dataset

RANDOM = np.random.default_rng(3)


def smooth(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    limits = np.iinfo(dtype)
    steps = RANDOM.integers(-3, 4, shape)
    return np.clip(np.cumsum(steps, axis=-1 if len(shape) < 4 else -2) + 20, limits.min, limits.max).astype(
        dtype
    )


def file_of(make, written, values: np.ndarray, syntax: str = ExplicitVRLittleEndian, **elements) -> bytes:
    dataset = make(values, **elements)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.remove_private_tags()
    return written(dataset)


def by_openjpeg(data: bytes) -> np.ndarray:
    dataset = dcmread(BytesIO(data))
    count = int(dataset.get("NumberOfFrames", 1))
    return np.stack(
        [openjpeg.decode(one) for one in generate_frames(dataset.PixelData, number_of_frames=count)]
    )


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(37, 53), (3, 37, 53), (3, 37, 54)])
def test_pixels_and_bytes_come_back(make, written, syntax, dtype, shape):
    values = smooth(shape, dtype)
    data = file_of(make, written, values, syntax, BitsStored=8 if dtype[1] == "1" else 16)
    found = compress_htj2k(data)
    assert found is not None
    assert len(found.data) < len(data)
    assert found.original_transfer_syntax_uid == syntax
    assert found.original_sha256 == sha256(data).hexdigest()
    frames = values.reshape(-1, *shape[-2:])
    assert found.frame_digests == tuple(sha256(frame.tobytes()).hexdigest() for frame in frames)
    np.testing.assert_array_equal(decode_pixels(read_dataset(found.data)), frames)
    np.testing.assert_array_equal(by_openjpeg(found.data), frames)
    assert restore(found.data, syntax) == data


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_the_vr_of_the_pixels_comes_back(make, written, vr):
    dataset = make(smooth((40, 40), "u1"))
    dataset["PixelData"].VR = vr
    data = written(dataset)
    found = compress_htj2k(data)
    assert b"\xe0\x7f\x10\x00" + vr.encode() in data
    assert restore(found.data, ExplicitVRLittleEndian) == data


def test_colour_stays_rgb(make, written):
    colours = smooth((2, 40, 40, 3), "u1")
    data = file_of(make, written, colours)
    found = compress_htj2k(data)
    again = read_dataset(found.data)
    assert again.PhotometricInterpretation == "RGB"
    np.testing.assert_array_equal(decode_pixels(again), colours)
    np.testing.assert_array_equal(by_openjpeg(found.data), colours)
    assert restore(found.data, ExplicitVRLittleEndian) == data


def test_every_other_element_is_the_same(make, written):
    data = written(full_header(make, ImplicitVRLittleEndian))
    found = compress_htj2k(data)
    before, after = dcmread(BytesIO(data)), dcmread(BytesIO(found.data))
    assert after.file_meta.TransferSyntaxUID == HTJ2KLossless
    for element in before:
        # Without a VR in the file, private elements are unknown there and here.
        if element.keyword != "PixelData" and not element.tag.is_private:
            assert after[element.tag].value == element.value, element.tag
            assert after[element.tag].VR == element.VR
    assert after[0x7FE10010].value == "vendor"
    assert "LossyImageCompression" not in after
    assert len(after) == len(before)
    assert restore(found.data, ImplicitVRLittleEndian) == data


def full_header(make, syntax: str) -> Dataset:
    """Sequences with and without length, private elements, ambiguous VRs, elements after the pixels."""
    dataset = make(smooth((64, 64), "i2"), SmallestImagePixelValue=-5)
    dataset["SmallestImagePixelValue"].VR = "SS"
    dataset.file_meta.TransferSyntaxUID = syntax
    inner, deeper = Dataset(), Dataset()
    deeper.CodeValue, deeper.CodeMeaning = "1", "one"
    inner.ConceptNameCodeSequence = Sequence([deeper])
    inner.add_new(0x00091001, "LO", "odd")
    inner.is_undefined_length_sequence_item = True
    dataset.AnatomicRegionSequence = Sequence([inner, Dataset()])
    dataset["AnatomicRegionSequence"].is_undefined_length = True
    dataset.ReferencedImageSequence = Sequence([deeper])
    block = dataset.private_block(0x0029, "vendor", create=True)
    block.add_new(0x10, "OB", b"\1\2\3\4")
    dataset.private_block(0x7FE1, "vendor", create=True).add_new(0x01, "LO", "behind")
    dataset.DataSetTrailingPadding = bytes(10)
    return dataset


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_full_header_comes_back(make, written, syntax):
    data = written(full_header(make, syntax))
    assert restore(compress_htj2k(data).data, syntax) == data


@pytest.mark.parametrize(
    "elements",
    [
        {"PlanarConfiguration": 1},
        {"PhotometricInterpretation": "YBR_FULL"},
    ],
)
def test_other_orders_and_colours_stay(make, written, elements):
    assert compress_htj2k(file_of(make, written, smooth((2, 40, 40, 3), "u1"), **elements)) is None


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings_stay(make, written, syntax):
    assert compress_htj2k(file_of(make, written, smooth((40, 40), "u1"), syntax)) is None


def test_what_stays_as_it_is(make, written):
    compressed = make(smooth((40, 40), "u2"))
    compressed.compress(RLELossless)
    assert compress_htj2k(written(compressed)) is None
    assert compress_htj2k(file_of(make, written, smooth((40, 40), "u4"))) is None
    noise = RANDOM.integers(0, 2**16, (40, 40)).astype("u2")
    assert compress_htj2k(file_of(make, written, noise)) is None, "it would not become smaller"
    overlay = smooth((40, 40), "u2")
    assert compress_htj2k(file_of(make, written, overlay, BitsStored=12, HighBit=11)) is not None
    overlay[3, 3] |= 0x1000
    assert compress_htj2k(file_of(make, written, overlay, BitsStored=12, HighBit=11)) is None, "unused bits"
    longer = make(smooth((40, 40), "u2"))
    longer.PixelData += b"\0\0"
    assert compress_htj2k(written(longer)) is None
    assert compress_htj2k(written(make())) is None
    signed = make(smooth((40, 40), "u2"))
    signature = Dataset()
    signature.MACIDNumber = 1
    signed.DigitalSignaturesSequence = Sequence([signature])
    assert compress_htj2k(written(signed)) is None
    odd = file_of(make, written, smooth((5, 5), "u1") % 2)
    assert odd[-1:] == b"\0"
    wide = bytearray(file_of(make, written, smooth((51, 51), "u1")))
    wide[-1] = 7
    assert compress_htj2k(bytes(wide)) is None, "a padding byte that is not zero"


def test_group_lengths_stay(make, written):
    dataset = make(smooth((40, 40), "u2"))
    data = file_of(make, written, smooth((40, 40), "u2"), ImplicitVRLittleEndian)
    start = data.index(b"\x08\x00\x16\x00")
    lengths = struct.pack("<HHII", 8, 0, 4, 100)
    assert compress_htj2k(data[:start] + lengths + data[start:]) is None
    assert dataset.Rows == 40


def test_a_file_that_breaks_its_structure_is_refused(make, written):
    data = file_of(make, written, smooth((40, 40), "u2"))
    with pytest.raises(ItemError) as caught:
        compress_htj2k(data[:-100])
    assert caught.value.reason == "truncated"


def test_what_was_not_compressed_here_is_not_restored(make, written):
    data = file_of(make, written, smooth((40, 40), "u2"))
    with pytest.raises(IntegrityError, match="no note"):
        restore(data, ExplicitVRLittleEndian)
    with pytest.raises(IntegrityError, match=r"not 1\.2\.840\.10008\.1\.2$"):
        restore(compress_htj2k(data).data, ImplicitVRLittleEndian)


def test_a_proof_that_fails_keeps_the_file(make, written, monkeypatch):
    data = file_of(make, written, smooth((40, 40), "u2"))
    assert compress_htj2k(data) is not None
    import imagecodecs

    real = imagecodecs.htj2k_encode
    monkeypatch.setattr(imagecodecs, "htj2k_encode", lambda frame, **options: real(frame ^ 1, **options))
    assert compress_htj2k(data) is None
