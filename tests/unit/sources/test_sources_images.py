from __future__ import annotations

import gzip
import io
import struct
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import ItemError, UsageError
from voxlake.sources import nifti, pictures
from voxlake.sources.images import read_image, scan_image, sniff
from voxlake.store.schema import DERIVED_COLUMNS, HEADER_COLUMNS

COLUMNS = {column.name for column in (*HEADER_COLUMNS, *DERIVED_COLUMNS)}
GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = GENERATOR.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(array: np.ndarray, **options) -> bytes:
    return saved(Image.fromarray(array), **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(columns: int, rows: int, depth: int, colour: int, lines: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">2I5B", columns, rows, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def volume(shape=(3, 4, 5), kind=np.int16, version=1, affine=None, **header) -> nibabel.Nifti1Image:
    values = GENERATOR.integers(0, 100, shape).astype(kind)
    maker = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = maker(values, np.diag([1.5, 2.0, 3.0, 1.0]) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    return image


def failure(function, *arguments) -> str:
    with pytest.raises(ItemError) as caught:
        function(*arguments)
    return caught.value.reason


def test_formats_are_told_by_content():
    image = volume()
    assert sniff(b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0") == "dicom"
    assert sniff(png(GREY), "scan.dcm") == "png"
    assert sniff(saved(Image.fromarray(GREY), "JPEG"), "x.png") == "jpeg"
    assert sniff(image.to_bytes()) == sniff(gzip.compress(image.to_bytes())) == "nifti"
    assert sniff(volume(version=2).to_bytes()) == "nifti"
    assert sniff(b"\x08\0\x05\0CS\x0a\0ISO_IR 100") == "dicom"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"patient,label\n1,2\n",
        gzip.compress(b"text", mtime=0),
        b"\x1f\x8b",
        b"PK\3\4",
        b"%PDF-1.7",
    ],
)
def test_other_files_are_of_no_format(data):
    assert sniff(data) is None


def test_an_image_pair_is_of_no_format():
    pair = nibabel.Nifti1Pair(np.zeros((2, 2, 2), np.int16), np.eye(4))
    assert sniff(pair.header.binaryblock + b"\0" * 4) is None


def test_bytes_that_pass_for_dicom_are_not_taken_for_it_if_named_otherwise():
    data = b"\x08\0\x05\0CS\x0a\0ISO_IR 100"
    assert sniff(data, "notes.txt") is None
    assert sniff(data, "1.2.840.10008") == "dicom"


def test_grey_png():
    data = png(GREY)
    image = read_image(data, "png")
    np.testing.assert_array_equal(image.numpy(), GREY[None])
    assert image.grid.flat
    assert image.unit == "arbitrary"
    assert image.lineage.inputs == (digest_bytes(data),)
    assert image.lineage.steps == ()
    assert scan_image(data, "png") == {
        "rows": 5, "columns": 7, "number_of_frames": 1, "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2", "bits_allocated": 8, "bits_stored": 8,
        "pixel_representation": 0, "lossy_image_compression": "00",
    }  # fmt: skip


def test_sixteen_bit_grey_png():
    values = GENERATOR.integers(0, 65536, (5, 7), dtype=np.uint16)
    image = read_image(png(values), "png")
    np.testing.assert_array_equal(image.numpy(), values[None])
    assert image.dtype == np.uint16
    assert scan_image(png(values), "png")["bits_stored"] == 16


@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_png_keeps_all_bits(colour, samples):
    values = GENERATOR.integers(0, 65536, (5, 7, samples)).astype(">u2")
    data = raw_png(7, 5, 16, colour, b"".join(b"\0" + row.tobytes() for row in values))
    expected = values[..., :3] if samples > 2 else values[..., 0]
    np.testing.assert_array_equal(read_image(data, "png").numpy(), expected[None])


def test_colour_png_with_and_without_alpha():
    np.testing.assert_array_equal(read_image(png(COLOUR), "png").numpy(), COLOUR[None])
    alpha = np.dstack([COLOUR, GREY])
    np.testing.assert_array_equal(read_image(png(alpha), "png").numpy(), COLOUR[None])
    grey_alpha = np.dstack([GREY, GREY[::-1]])
    np.testing.assert_array_equal(read_image(png(grey_alpha), "png").numpy(), GREY[None])


def test_few_bits_are_spread_over_eight():
    bits = GENERATOR.integers(0, 2, (5, 7)).astype(bool)
    image = read_image(png(bits), "png")
    np.testing.assert_array_equal(image.numpy(), 255 * bits[None].astype(np.uint8))
    lines = b"".join(b"\0" + bytes([0b00011011]) for _ in range(2))
    np.testing.assert_array_equal(
        read_image(raw_png(4, 2, 2, 0, lines), "png").numpy()[0, 0], [0, 85, 170, 255]
    )


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(256))])
def test_palette_png(transparency):
    image = Image.fromarray(GREY).convert("P")
    palette = GENERATOR.integers(0, 256, 768, dtype=np.uint8)
    image.putpalette(palette.tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    data = saved(image, **options)
    indices = np.asarray(image)
    np.testing.assert_array_equal(read_image(data, "png").numpy(), palette.reshape(256, 3)[indices][None])
    assert scan_image(data, "png")["samples_per_pixel"] == 3


def test_grey_stored_as_colour_is_reduced_and_says_so():
    image = read_image(png(np.dstack([GREY] * 3)), "png")
    np.testing.assert_array_equal(image.numpy(), GREY[None])
    assert image.lineage.steps == ("three equal colour channels reduced to one",)
    almost = np.dstack([GREY] * 3)
    almost[2, 3, 1] ^= 1
    assert read_image(png(almost), "png").channels == 3


def test_jpeg_grey_colour_and_cmyk():
    smooth = np.add.outer(np.arange(32) * 3, np.arange(40) * 2).astype(np.uint8)
    grey = read_image(saved(Image.fromarray(smooth), "JPEG", quality=95), "jpeg")
    assert np.abs(grey.numpy()[0].astype(int) - smooth).max() <= 3
    colour = Image.merge("RGB", [Image.fromarray(each) for each in (smooth, 255 - smooth, smooth // 2)])
    data = saved(colour, "JPEG", quality=95, subsampling=0, progressive=True)
    assert np.abs(read_image(data, "jpeg").numpy()[0].astype(int) - np.asarray(colour)).max() <= 6
    assert scan_image(data, "jpeg")["samples_per_pixel"] == 3
    assert scan_image(data, "jpeg")["lossy_image_compression"] == "01"
    inks = saved(colour.convert("CMYK"), "JPEG", quality=95, subsampling=0)
    assert np.abs(read_image(inks, "jpeg").numpy()[0].astype(int) - np.asarray(colour)).max() <= 12


def test_the_orientation_of_a_camera_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(np.zeros((8, 16), np.uint8)), "JPEG", exif=exif)
    assert read_image(data, "jpeg").shape == (1, 8, 16)
    assert (scan_image(data, "jpeg")["rows"], scan_image(data, "jpeg")["columns"]) == (8, 16)


def test_too_many_pixels_are_refused_before_any_is_decoded(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 34)
    for data, kind in ((png(GREY), "png"), (saved(Image.fromarray(GREY), "JPEG"), "jpeg")):
        assert failure(scan_image, data, kind) == "decode_error"
        assert failure(read_image, data, kind) == "decode_error"
    assert pictures.MAX_PIXELS < Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_files_that_are_cut_off(kind):
    noise = GENERATOR.integers(0, 256, (64, 64), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind.upper())
    assert failure(scan_image, data[:20], kind) == "truncated"
    assert failure(read_image, data[: len(data) // 2], kind) == "truncated"


def test_damaged_pixels():
    data = bytearray(png(GENERATOR.integers(0, 256, (64, 64), dtype=np.uint8)))
    data[200:300] = bytes(100)
    assert failure(read_image, bytes(data), "png") in {"decode_error", "truncated"}
    assert failure(scan_image, raw_png(0, 5, 8, 0, b""), "png") == "decode_error"
    deep = raw_png(7, 5, 16, 2, b"too little")
    assert failure(read_image, deep, "png") == "decode_error"


def test_two_sizes_in_one_file():
    small = chunk(b"IHDR", struct.pack(">2I5B", 2, 2, 8, 0, 0, 0, 0))
    data = png(GREY)
    forged = data[:33] + small + data[33:]
    with pytest.raises(ItemError):
        read_image(forged, "png")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_nifti(version, pack):
    image = volume(version=version)
    data = pack(image.to_bytes())
    found = read_image(data, "nifti")
    np.testing.assert_array_equal(found.numpy(), np.asarray(image.dataobj).transpose(2, 1, 0))
    assert found.dtype == np.int16
    assert found.numpy().flags.c_contiguous
    assert found.grid.spacing == (3.0, 2.0, 1.5)
    assert found.grid.orientation == "SAR"
    assert found.lineage.inputs == (digest_bytes(data),)


def test_nifti_header():
    affine = np.array([[-2.0, 0, 0, 10], [0, 0, 3.0, 20], [0, 1.5, 0, 30], [0, 0, 0, 1]])
    image = volume(affine=affine)
    columns = scan_image(gzip.compress(image.to_bytes()), "nifti")
    assert columns == {
        "rows": 4, "columns": 3, "number_of_frames": 5, "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2", "bits_allocated": 16, "bits_stored": 16,
        "pixel_representation": 1, "rescale_slope": 1.0, "rescale_intercept": 0.0,
        "spacing_between_slices": 3.0, "pixel_spacing": [1.5, 2.0],
        "image_position_patient": [-10.0, -20.0, 30.0],
        "image_orientation_patient": [1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        "frame_positions": [v for n in range(5) for v in (-10.0, -20.0 - 3 * n, 30.0)],
        "frame_orientations": [1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    }  # fmt: skip


def test_every_column_is_one_of_the_table():
    for data, kind in (
        (png(GREY), "png"),
        (saved(Image.fromarray(GREY), "JPEG"), "jpeg"),
        (volume().to_bytes(), "nifti"),
    ):
        assert set(scan_image(data, kind)) <= COLUMNS


def test_nifti_slope_and_intercept():
    image = volume(kind=np.uint8)
    data = bytearray(image.to_bytes())
    struct.pack_into("<2f", data, 112, 0.5, -3.0)
    expected = nibabel.Nifti1Image.from_bytes(bytes(data)).get_fdata().transpose(2, 1, 0)
    np.testing.assert_array_equal(read_image(bytes(data), "nifti").numpy(), expected)
    columns = scan_image(bytes(data), "nifti")
    assert (columns["rescale_slope"], columns["rescale_intercept"]) == (0.5, -3.0)


def test_nifti_of_other_byte_order_becomes_native():
    values = GENERATOR.integers(0, 9999, (3, 4, 5)).astype(">i2")
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(values, np.eye(4), header)
    data = image.to_bytes()
    assert data[:4] == b"\0\0\x01\x5c"
    found = read_image(data, "nifti")
    np.testing.assert_array_equal(found.numpy(), values.transpose(2, 1, 0))
    assert found.dtype.isnative


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("meter", 1000.0), ("micron", 0.001)])
def test_nifti_in_other_units_becomes_millimetres(unit, factor):
    image = volume()
    image.header.set_xyzt_units(unit)
    np.testing.assert_allclose(
        read_image(image.to_bytes(), "nifti").grid.spacing, np.array([3, 2, 1.5]) * factor
    )


@pytest.mark.parametrize(
    ("shape", "expected"), [((6, 7), (1, 7, 6)), ((6, 7, 8, 1), (8, 7, 6)), ((6, 7, 8, 1, 1), (8, 7, 6))]
)
def test_nifti_of_fewer_or_more_dimensions(shape, expected):
    image = volume(shape)
    found = read_image(image.to_bytes(), "nifti")
    assert found.shape == expected
    np.testing.assert_array_equal(
        found.numpy(), np.asarray(image.dataobj).reshape(expected[::-1]).transpose(2, 1, 0)
    )


def test_four_dimensions_are_refused_but_scanned():
    data = volume((3, 4, 5, 2)).to_bytes()
    assert failure(read_image, data, "nifti") == "geometry_duplicates"
    columns = scan_image(data, "nifti")
    assert columns["number_of_frames"] == 10
    assert columns["frame_positions"][:15] == columns["frame_positions"][15:]


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_nifti(channels):
    kind = np.dtype([(name, "u1") for name in "RGBA"[:channels]])
    values = GENERATOR.integers(0, 256, (3, 4, 5, channels), dtype=np.uint8)
    image = nibabel.Nifti1Image(values.view(kind)[..., 0], np.eye(4))
    found = read_image(image.to_bytes(), "nifti")
    np.testing.assert_array_equal(found.numpy(), values[..., :3].transpose(2, 1, 0, 3))
    assert scan_image(image.to_bytes(), "nifti")["samples_per_pixel"] == 3


def test_nifti_that_cannot_be_read():
    data = volume().to_bytes()
    assert failure(read_image, data[:-1], "nifti") == "truncated"
    assert failure(scan_image, data[:-1], "nifti") == "truncated"
    packed = gzip.compress(volume((20, 20, 20)).to_bytes())
    assert failure(read_image, packed[:-50], "nifti") == "truncated"
    assert failure(read_image, packed[:-8] + b"12345678", "nifti") == "decode_error"
    assert failure(read_image, volume(kind=np.complex64).to_bytes(), "nifti") == "decode_error"


def test_an_affine_that_cannot_be_inverted():
    data = bytearray(volume().to_bytes())
    struct.pack_into("<4f", data, 296, 0, 0, 0, 0)
    assert failure(read_image, bytes(data), "nifti") == "geometry_none"
    assert failure(scan_image, bytes(data), "nifti") == "geometry_none"


def test_a_header_that_announces_too_much(monkeypatch):
    data = bytearray(volume().to_bytes())
    struct.pack_into("<3h", data, 42, 32767, 32767, 32767)
    assert failure(scan_image, bytes(data), "nifti") == "too_large"
    assert failure(read_image, gzip.compress(bytes(data)), "nifti") == "too_large"
    monkeypatch.setattr(nifti, "MAX_BYTES", 1 << 60)
    assert failure(read_image, gzip.compress(bytes(data)), "nifti") == "truncated"


def test_nothing_is_logged_about_headers_that_are_repaired(caplog, capfd):
    data = bytearray(volume().to_bytes())
    struct.pack_into("<f", data, 76, 7.0)
    read_image(bytes(data), "nifti")
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_an_unknown_format():
    with pytest.raises(UsageError, match="did you mean 'nifti'"):
        read_image(b"", "nifty")
    with pytest.raises(UsageError, match="png"):
        scan_image(b"", "dicom")
