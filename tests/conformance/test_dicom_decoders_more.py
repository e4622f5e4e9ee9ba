"""Every transfer syntax x bits x sign x samples x frames: known values, and an independent decoder."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import jpeg_ls
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    CTImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.decode_file import decode_file
from voxlake.dicom.layout import (
    DEFLATED_FRAMES,
    JPEG_FULL_PROGRESSION,
    JPEG_SPECTRAL_SELECTION,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
    UNCOMPRESSED_FRAMES,
)
from voxlake.dicom.read import read_dataset

ROWS, COLUMNS = 19, 26
DEPTHS = [(8, False), (8, True), (10, False), (12, False), (12, True), (16, False), (16, True)]

Encoder = Callable[[np.ndarray, int], bytes]


def values_of(bits: int, signed: bool, samples: int = 1, frames: int = 2) -> np.ndarray:
    """Smooth values that reach both ends of the range."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    step = max(1, (high - low) // 40)
    random = np.random.default_rng(bits * 2 + signed)
    drift = np.cumsum(random.integers(-step, step + 1, (frames, ROWS, COLUMNS, samples)), axis=2)
    values = np.clip(drift + (low + high) // 2, low, high)
    values[:, 0, 0], values[:, 0, 1] = low, high
    word = 1 if bits <= 8 else 2 if bits <= 16 else 4
    return np.ascontiguousarray(values.squeeze(-1) if samples == 1 else values).astype(
        f"{'i' if signed else 'u'}{word}"
    )


def header(values: np.ndarray, syntax: str, stored: int, **elements) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2.4", "1.2.5", "CT"
    colour = values.ndim == 4
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = values.shape[:3]
    dataset.BitsAllocated = values.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = stored, stored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def packed(values: np.ndarray, syntax: str, stored: int, frames: list[bytes], **elements) -> Dataset:
    dataset = header(values, syntax, stored, **elements)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def raw_of(values: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement of the stored bits, for codecs without a sign."""
    unsigned = values.view(f"u{values.dtype.itemsize}")
    return unsigned & unsigned.dtype.type(2**bits - 1)


def file_of(dataset: Dataset) -> bytes:
    """The file; pydicom writes no transfer syntax that it does not know, so another one stands in for it."""
    syntax = dataset.file_meta.TransferSyntaxUID
    stand_in = HTJ2KLossless if len(syntax) == len(HTJ2KLossless) else JPEGBaseline8Bit
    known = syntax.is_transfer_syntax
    dataset.file_meta.TransferSyntaxUID = syntax if known else stand_in
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    dataset.file_meta.TransferSyntaxUID = syntax
    data = stream.getvalue()
    if known:
        return data
    return data.replace(stand_in.encode(), syntax.encode().ljust(len(stand_in), b"\0"), 1)


def ours(dataset: Dataset) -> np.ndarray:
    """By both ways, which must agree."""
    data = file_of(dataset)
    found = decode_pixels(read_dataset(data))
    quick = decode_file(data)
    assert quick.dtype == found.dtype
    np.testing.assert_array_equal(quick, found)
    return found


def by_pydicom(dataset: Dataset, plugin: str) -> np.ndarray:
    return pixel_array(BytesIO(file_of(dataset)), raw=True, decoding_plugin=plugin)


def by_gdcm(dataset: Dataset, folder) -> np.ndarray:
    path = folder / "image.dcm"
    path.write_bytes(file_of(dataset))
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def lossless_jpeg(frame: np.ndarray, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=max(bits, 8)))


def jpeg_2000(frame: np.ndarray, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(frame, reversible=True, bitspersample=bits, mct=False))


def htj2k(frame: np.ndarray, _bits: int) -> bytes:
    return bytes(imagecodecs.htj2k_encode(frame, reversible=True, rgb=False))


@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_jpeg_lossless(bits, signed, samples, syntax, tmp_path):
    values = values_of(bits, signed, samples)
    encoded = [lossless_jpeg(frame, bits) for frame in raw_of(values, bits)]
    dataset = packed(values, syntax, bits, encoded)
    np.testing.assert_array_equal(ours(dataset), values)
    if not signed or bits == 8 * values.dtype.itemsize:
        # GDCM leaves the sign of fewer bits aside.
        np.testing.assert_array_equal(by_gdcm(dataset, tmp_path), values)


@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
@pytest.mark.parametrize("samples", [1, 3])
def test_jpeg_ls(bits, signed, samples):
    values = values_of(bits, signed, samples)
    encoded = [bytes(imagecodecs.jpegls_encode(frame)) for frame in raw_of(values, bits)]
    dataset = packed(values, JPEGLSLossless, bits, encoded)
    np.testing.assert_array_equal(ours(dataset), values)
    # pydicom leaves the sign of fewer bits aside.
    np.testing.assert_array_equal(raw_of(by_pydicom(dataset, "pyjpegls"), bits), raw_of(values, bits))


@pytest.mark.parametrize(("bits", "samples"), [(8, 1), (8, 3), (12, 1), (16, 1)])
def test_near_lossless_jpeg_ls(bits, samples):
    values = values_of(bits, False, samples)
    encoded = [bytes(imagecodecs.jpegls_encode(frame, level=3)) for frame in values]
    dataset = packed(values, JPEGLSNearLossless, bits, encoded)
    found = ours(dataset)
    assert 0 < np.abs(found.astype(int) - values).max() <= 3
    np.testing.assert_array_equal(
        found, np.stack([jpeg_ls.decode(np.frombuffer(one, "u1")) for one in encoded])
    )


@pytest.mark.parametrize(("bits", "signed"), [*DEPTHS, (20, False), (24, True)])
@pytest.mark.parametrize("samples", [1, 3])
def test_jpeg_2000(bits, signed, samples):
    values = values_of(bits, signed, samples)
    dataset = packed(values, JPEG2000Lossless, bits, [jpeg_2000(frame, bits) for frame in values])
    np.testing.assert_array_equal(ours(dataset), values)
    np.testing.assert_array_equal(by_pydicom(dataset, "pylibjpeg"), values)


@pytest.mark.parametrize("bits", [25, 31])
def test_jpeg_2000_that_openjpeg_cannot_do_exactly_is_refused(bits):
    values = values_of(bits, False)
    dataset = packed(values, JPEG2000Lossless, bits, [jpeg_2000(frame, bits) for frame in values])
    with pytest.raises(ItemError, match="up to 24") as caught:
        decode_pixels(dataset)
    assert caught.value.reason == "decode_error"


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (16, True)])
def test_lossy_jpeg_2000(bits, signed):
    values = values_of(bits, signed)
    frames = [bytes(imagecodecs.jpeg2k_encode(frame, 40, bitspersample=bits)) for frame in values]
    dataset = packed(values, JPEG2000, bits, frames)
    found = ours(dataset).astype(int)
    assert np.abs(found - by_pydicom(dataset, "pylibjpeg")).max() <= 1
    assert (found != values).any()


@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL])
def test_htj2k(bits, signed, samples, syntax):
    values = values_of(bits, signed, samples)
    dataset = packed(values, syntax, bits, [htj2k(frame, bits) for frame in values])
    np.testing.assert_array_equal(ours(dataset), values)
    np.testing.assert_array_equal(by_pydicom(dataset, "pylibjpeg"), values)


@pytest.mark.parametrize("signed", [False, True])
def test_htj2k_of_32_bits(signed):
    # OpenJPEG cannot read these; the values are known.
    values = values_of(32, signed)
    dataset = packed(values, HTJ2KLossless, 32, [htj2k(frame, 32) for frame in values])
    np.testing.assert_array_equal(ours(dataset), values)


def test_lossy_htj2k():
    values = values_of(12, False)
    frames = [bytes(imagecodecs.htj2k_encode(frame, 0.01, reversible=False)) for frame in values]
    dataset = packed(values, HTJ2K, 12, frames)
    found = ours(dataset).astype(int)
    assert np.abs(found - by_pydicom(dataset, "pylibjpeg")).max() <= 1
    assert (found != values).any()


def literal_runs(frame: np.ndarray) -> bytes:
    """RLE without any run: a segment for each byte of each sample, the highest byte first (PS3.5 annex G)."""
    size = frame.dtype.itemsize
    planes = np.moveaxis(frame.reshape(ROWS * COLUMNS, -1), -1, 0)
    segments = []
    for plane in planes:
        for byte in reversed(range(size)):
            raw = np.ascontiguousarray(plane).view("u1")[byte::size].tobytes()
            runs = [raw[start : start + 128] for start in range(0, len(raw), 128)]
            coded = b"".join(bytes([len(run) - 1]) + run for run in runs)
            segments.append(coded + b"\x80" * (len(coded) % 2))
    offsets = np.zeros(16, "<u4")
    offsets[0] = len(segments)
    offsets[1 : len(segments) + 1] = 64 + np.cumsum([0, *map(len, segments[:-1])])
    return offsets.tobytes() + b"".join(segments)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("samples", [1, 3])
def test_rle_of_32_bits(signed, samples):
    values = values_of(32, signed, samples)
    dataset = packed(values, RLELossless, 32, [literal_runs(frame) for frame in values])
    np.testing.assert_array_equal(ours(dataset), values)
    np.testing.assert_array_equal(by_pydicom(dataset, "pylibjpeg"), values)


@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
@pytest.mark.parametrize("samples", [1, 3])
def test_rle(bits, signed, samples):
    values = values_of(bits, signed, samples)
    if signed and samples == 3:
        # pydicom does not write these.
        dataset = packed(values, RLELossless, bits, [literal_runs(frame) for frame in values])
    else:
        dataset = header(values, ExplicitVRLittleEndian, bits)
        dataset.PixelData = values.tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    np.testing.assert_array_equal(ours(dataset), values)
    for plugin in ("pydicom", "pylibjpeg"):
        np.testing.assert_array_equal(by_pydicom(dataset, plugin), values)


def by_pillow(frames: list[bytes], mode: str) -> np.ndarray:
    opened = [Image.open(BytesIO(frame)) for frame in frames]
    return np.stack([np.asarray(image.convert(mode)) for image in opened]).astype(int)


@pytest.mark.parametrize(("samples", "mode"), [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize(
    ("syntax", "progressive"),
    [
        (JPEGBaseline8Bit, False),
        (JPEGExtended12Bit, False),
        (JPEG_SPECTRAL_SELECTION, True),
        (JPEG_FULL_PROGRESSION, True),
    ],
)
def test_lossy_jpeg_of_eight_bits(samples, mode, syntax, progressive):
    values = values_of(8, False, samples)
    frames = []
    for frame in values:
        stream = BytesIO()
        Image.fromarray(frame).save(stream, "JPEG", quality=90, progressive=progressive, subsampling=0)
        frames.append(stream.getvalue())
    photometric = "YBR_FULL" if samples == 3 else "MONOCHROME2"
    dataset = packed(values, syntax, 8, frames, PhotometricInterpretation=photometric)
    assert np.abs(ours(dataset) - by_pillow(frames, mode)).max() <= 1


def test_extended_jpeg_of_twelve_bits_and_several_frames(tmp_path):
    values = values_of(12, False)
    frames = [bytes(imagecodecs.jpeg8_encode(frame, level=95, bitspersample=12)) for frame in values]
    dataset = packed(values, JPEGExtended12Bit, 12, frames)
    found = ours(dataset).astype(int)
    assert np.abs(found - by_gdcm(dataset, tmp_path)).max() <= 1


@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("syntax", [JPEG_XL_LOSSLESS, JPEG_XL])
def test_lossless_jpeg_xl(bits, signed, samples, syntax):
    values = values_of(bits, signed, samples)
    frames = [
        bytes(imagecodecs.jpegxl_encode(frame, lossless=True, bitspersample=bits))
        for frame in raw_of(values, bits)
    ]
    np.testing.assert_array_equal(ours(packed(values, syntax, bits, frames)), values)


@pytest.mark.parametrize("stated", ["YBR_FULL_422", "RGB"])
def test_recompressed_jpeg(stated):
    values = values_of(8, False, 3)
    jpegs, frames = [], []
    for frame in values:
        stream = BytesIO()
        Image.fromarray(frame).save(stream, "JPEG", quality=95, subsampling=0)
        jpegs.append(stream.getvalue())
        frames.append(bytes(imagecodecs.jpegxl_encode_jpeg(jpegs[-1])))
    dataset = packed(values, JPEG_XL_RECOMPRESSION, 8, frames, PhotometricInterpretation=stated)
    assert np.abs(ours(dataset) - by_pillow(jpegs, "RGB")).max() <= 1


def test_jpeg_xl_of_another_size_is_not_decoded():
    values = values_of(8, False)
    big = bytes(imagecodecs.jpegxl_encode(np.zeros((3000, 2000), np.uint8), lossless=True))
    for frame in (big, b"\xff\x0a", b"no codestream at all"):
        dataset = packed(values[:1], JPEG_XL_LOSSLESS, 8, [frame])
        with pytest.raises(ItemError) as caught:
            decode_pixels(dataset)
        assert caught.value.reason == "decode_error"


def deflated(raw: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()


FRAMED = {UNCOMPRESSED_FRAMES: lambda raw: raw, DEFLATED_FRAMES: deflated}


@pytest.mark.parametrize("syntax", list(FRAMED))
@pytest.mark.parametrize(("bits", "signed"), [*DEPTHS, (32, True)])
@pytest.mark.parametrize(("samples", "planar"), [(1, 0), (3, 0), (3, 1)])
def test_native_frames_one_by_one(syntax, bits, signed, samples, planar):
    values = values_of(bits, signed, samples)
    ordered = np.moveaxis(values, -1, 1) if planar else values
    frames = [FRAMED[syntax](frame.tobytes()) for frame in ordered]
    elements = {"PlanarConfiguration": planar} if samples == 3 else {}
    np.testing.assert_array_equal(ours(packed(values, syntax, bits, frames, **elements)), values)


@pytest.mark.parametrize("syntax", list(FRAMED))
def test_single_bits_frame_by_frame(syntax):
    # 19 x 26 bits do not fill the last byte: each frame has its own.
    bits = np.random.default_rng(1).integers(0, 2, (3, ROWS, COLUMNS)).astype("u1")
    frames = [FRAMED[syntax](np.packbits(frame, bitorder="little").tobytes()) for frame in bits]
    dataset = packed(bits, syntax, 1, frames, BitsAllocated=1)
    np.testing.assert_array_equal(ours(dataset), bits)


def test_deflated_frames_that_are_not_what_the_header_says():
    values = values_of(8, False)
    good = [frame.tobytes() for frame in values]
    for frames, reason in (
        ([deflated(good[0]), deflated(good[1][:-9])], "truncated"),
        ([deflated(good[0]), deflated(good[1])[:-6]], "truncated"),
        ([deflated(good[0]), deflated(bytes(2**24))], "decode_error"),
        ([deflated(good[0]), b"\xff" * 20], "decode_error"),
    ):
        with pytest.raises(ItemError) as caught:
            decode_pixels(packed(values, DEFLATED_FRAMES, 8, frames))
        assert caught.value.reason == reason


def outcome(read: Callable[[bytes], np.ndarray], data: bytes) -> np.ndarray | str:
    try:
        return read(data)
    except ItemError as error:
        return error.reason


SMALL = [
    path
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
    if path.stat().st_size < 200_000 and b"1.2.840.10008.1.2." in path.read_bytes()[:2000]
]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_the_quick_way_gives_what_the_other_gives(path):
    data = path.read_bytes()
    quick = outcome(decode_file, data)
    other = outcome(lambda raw: decode_pixels(read_dataset(raw)), data)
    assert type(quick) is type(other)
    np.testing.assert_array_equal(quick, other)
