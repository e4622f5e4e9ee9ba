"""Round trips: whatever the header, what `compress_htj2k` takes comes back to the same bytes and pixels."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import imagecodecs
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, HTJ2KLossless, ImplicitVRLittleEndian

from voxlake.core.errors import ItemError
from voxlake.dicom.compress import compress_htj2k, restore
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.decode_file import decode_file
from voxlake.dicom.encapsulated import encapsulate_frames, split_frames
from voxlake.dicom.layout import Layout
from voxlake.dicom.native import cut_bits, unpack_frames
from voxlake.dicom.read import read_dataset
from voxlake.dicom.reencode import to_explicit, to_implicit

TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\^="), max_size=20)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24))


@st.composite
def items(draw: st.DrawFn, depth: int = 0) -> Dataset:
    """Elements of many VRs, private ones, sequences with lengths and without."""
    dataset = Dataset()
    dataset.SeriesDescription = draw(TEXT)
    dataset.ImageComments = draw(TEXT)
    dataset.SliceThickness = draw(st.sampled_from(["1", "0.5", None]))
    dataset.RescaleIntercept = draw(st.sampled_from(["-1024", "0"]))
    dataset.SmallestImagePixelValue = draw(st.integers(0, 2**15 - 1))
    dataset["SmallestImagePixelValue"].VR = "US"
    dataset.EventTimeOffset = draw(st.floats(-1e6, 1e6))
    dataset.private_block(draw(st.sampled_from([0x0009, 0x7FE1])), "somebody", create=True).add_new(
        draw(st.integers(0, 255)),
        "OB",
        draw(st.binary(max_size=9).map(lambda raw: raw + bytes(len(raw) % 2))),
    )
    if depth < 2 and draw(st.booleans()):
        inner = draw(st.lists(items(depth + 1), max_size=2))
        for item in inner:
            item.is_undefined_length_sequence_item = draw(st.booleans())
        dataset.ReferencedImageSequence = Sequence(inner)
        dataset["ReferencedImageSequence"].is_undefined_length = draw(st.booleans())
    return dataset


def completed(dataset: Dataset, values: np.ndarray, syntax: str) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.4", "1.2.5"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated = dataset.BitsStored = values.dtype.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(values.dtype.kind == "i")
    raw = values.tobytes()
    dataset.PixelData = raw + bytes(len(raw) % 2)
    dataset["PixelData"].VR = "OW"
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@given(
    items(),
    st.sampled_from(["u1", "i1", "u2", "i2"]),
    SHAPES,
    st.integers(0, 7),
    st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian]),
)
@settings(max_examples=20, deadline=None)
def test_bytes_and_pixels_come_back(dataset, dtype, shape, seed, syntax):
    # Large and smooth enough that compression is worth it.
    ramp = np.arange(seed, seed + shape[2] + 50)
    values = np.broadcast_to(ramp, (shape[0], shape[1] + 50, len(ramp))).astype(dtype)
    data = completed(dataset, values, syntax)
    found = compress_htj2k(data)
    assert found is not None
    assert restore(found.data, syntax) == data
    np.testing.assert_array_equal(decode_pixels(read_dataset(found.data)), values)
    np.testing.assert_array_equal(decode_file(found.data), values)


@given(items(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_explicit_and_back(dataset, signed):
    data = completed(dataset, np.zeros((1, 2, 2), np.uint16), ImplicitVRLittleEndian)
    body = data[132 + 12 + int.from_bytes(data[140:144], "little") :]
    explicit = to_explicit(body, signed)
    assert explicit != body
    assert to_implicit(explicit) == body


@given(st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_bytes_that_are_no_file_fail_as_items_at_worst(junk):
    for data in (junk, bytes(128) + b"DICM" + junk):
        with suppress(ItemError):
            assert compress_htj2k(data) is None


@given(st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4"]).flatmap(lambda kind: arrays(kind, SHAPES)))
@settings(max_examples=20, deadline=None)
def test_htj2k_of_any_values(values):
    dataset = Dataset()
    data = completed(dataset, values, ExplicitVRLittleEndian)
    frames = [bytes(imagecodecs.htj2k_encode(frame, reversible=True)) for frame in values]
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    np.testing.assert_array_equal(decode_file(stream.getvalue()), decode_file(data))
    np.testing.assert_array_equal(decode_file(data), values)


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_frames_come_out_of_their_fragments(frames):
    found = split_frames(encapsulate_frames(frames), len(frames))
    assert found == [frame + bytes(len(frame) % 2) for frame in frames]


@given(st.integers(1, 32), st.booleans(), SHAPES, st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_cells_of_any_size(bits, signed, shape, seed):
    low = -(2 ** (bits - 1)) if signed else 0
    values = np.random.default_rng(seed).integers(low, low + 2**bits, shape)
    number = sum(
        (value & (2**bits - 1)) << place * bits for place, value in enumerate(values.ravel().tolist())
    )
    raw = number.to_bytes(-(-values.size * bits // 8), "little")
    layout = Layout(*shape, 1, "MONOCHROME2", bits, bits, signed)
    assert len(raw) == layout.native_bytes
    np.testing.assert_array_equal(
        cut_bits(unpack_frames(raw, layout, shape[0], planar=False), layout), values
    )
