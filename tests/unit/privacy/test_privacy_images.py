from __future__ import annotations

import gzip
import struct
import zlib
from io import BytesIO

import nibabel
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from voxlake.core.errors import ItemError
from voxlake.privacy.images import strip_metadata

SECRET = b"SECRETNAME"
RNG = np.random.default_rng(7)


def pixels(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image)


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def exif() -> bytes:
    values = Image.Exif()
    values[0x010E] = SECRET.decode()
    return values.tobytes()


@pytest.fixture(params=["L", "RGB", "P", "I;16"])
def png(request) -> bytes:
    values = RNG.integers(0, 255, (9, 11), dtype=np.uint8)
    match request.param:
        case "RGB":
            image = Image.fromarray(RNG.integers(0, 255, (9, 11, 3), dtype=np.uint8))
        case "P":
            image = Image.fromarray(values).convert("P")
        case "I;16":
            image = Image.fromarray(RNG.integers(0, 65535, (9, 11), dtype=np.uint16))
        case _:
            image = Image.fromarray(values)
    info = PngImagePlugin.PngInfo()
    info.add_text("Patient", SECRET.decode())
    info.add_text("Zipped", SECRET.decode(), zip=True)
    info.add_itxt("Intl", SECRET.decode())
    stream = BytesIO()
    image.save(stream, "PNG", pnginfo=info, exif=exif(), dpi=(72, 72))
    data = stream.getvalue()
    at = data.index(b"IDAT") - 4
    return data[:at] + chunk(b"tIME", bytes(7)) + chunk(b"prIv", SECRET) + data[at:] + SECRET


def test_png(png):
    stripped = strip_metadata(png, "png")
    assert SECRET in png
    assert SECRET not in stripped
    for kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME", b"prIv"):
        assert kind in png
        assert kind not in stripped
    assert b"pHYs" in stripped
    np.testing.assert_array_equal(pixels(stripped), pixels(png))
    assert stripped.endswith(b"IEND\xaeB`\x82")
    assert strip_metadata(stripped, "png") == stripped


def test_broken_png(png):
    cases = {
        "truncated": [png[:-30], png[:8], png[: png.index(b"IDAT") + 6]],
        "deidentify_failed": [b"", b"JFIF", png.replace(b"IDAT", b"IDAX", 1)],
    }
    for reason, files in cases.items():
        for data in files:
            with pytest.raises(ItemError) as caught:
                strip_metadata(data.removesuffix(SECRET), "png")
            assert caught.value.reason == reason


@pytest.fixture(params=[False, True], ids=["baseline", "progressive"])
def jpeg(request) -> bytes:
    image = Image.fromarray(RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8))
    stream = BytesIO()
    image.save(
        stream,
        "JPEG",
        exif=exif(),
        comment=SECRET,
        progressive=request.param,
        icc_profile=b"ICC bytes",
        quality=80,
    )
    data = stream.getvalue()
    thumbnail = SECRET + b"\0\0"
    jfif = b"\xff\xe0" + struct.pack(">H", 16 + 12) + b"JFIF\0\1\2\0\0\1\0\1\4\1" + thumbnail
    other = b"\xff\xed" + struct.pack(">H", 2 + len(SECRET)) + SECRET
    jfxx = b"\xff\xe0" + struct.pack(">H", 2 + 5 + len(SECRET)) + b"JFXX\0" + SECRET
    old = data[2 : 4 + int.from_bytes(data[4:6], "big")]
    assert old.startswith(b"\xff\xe0")
    return data[:2] + jfif + jfxx + other + data[2 + len(old) :] + SECRET


def test_jpeg(jpeg):
    stripped = strip_metadata(jpeg, "jpeg")
    assert jpeg.count(SECRET) == 6
    assert SECRET not in stripped
    assert b"Exif" not in stripped
    assert b"ICC bytes" in stripped
    assert stripped[:20] == b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\2\0\0\1\0\1\0\0"
    assert stripped.endswith(b"\xff\xd9")
    np.testing.assert_array_equal(pixels(stripped), pixels(jpeg))
    assert strip_metadata(stripped, "jpeg") == stripped


def test_jpeg_with_an_adobe_segment_keeps_its_colours():
    image = Image.fromarray(RNG.integers(0, 255, (20, 20, 4), dtype=np.uint8), "CMYK")
    stream = BytesIO()
    image.save(stream, "JPEG")
    data = stream.getvalue()
    assert b"Adobe" in data
    np.testing.assert_array_equal(pixels(strip_metadata(data, "jpeg")), pixels(data))


def test_broken_jpeg(jpeg):
    body = jpeg[: -len(SECRET)]
    scan = body.index(b"\xff\xda")
    for data in (body[:-2], body[: scan + 4], body[:30], b"\xff\xd8"):
        with pytest.raises(ItemError) as caught:
            strip_metadata(data, "jpeg")
        assert caught.value.reason == "truncated"
    for data in (b"", b"\x89PNG", b"\xff\xd8garbage", b"\xff\xd8\xff\xd8\xff\xd9"):
        with pytest.raises(ItemError) as caught:
            strip_metadata(data, "jpeg")
        assert caught.value.reason == "deidentify_failed"


@pytest.fixture(params=[(nibabel.Nifti1Image, "<"), (nibabel.Nifti1Image, ">"), (nibabel.Nifti2Image, "<")])
def nifti(request) -> bytes:
    kind, order = request.param
    values = RNG.integers(-100, 100, (5, 4, 3)).astype(order + "i2")
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    image = kind(values, affine, kind.header_class(endianness=order))
    image.set_sform(affine, 1)
    for name in ("descrip", "aux_file", "intent_name"):
        image.header[name] = SECRET
    if "db_name" in image.header:
        image.header["db_name"] = SECRET
        image.header["data_type"] = SECRET
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", SECRET))
    return image.to_bytes()


def load(data: bytes):
    kind = (
        nibabel.Nifti2Image
        if data[:4] in (struct.pack("<i", 540), struct.pack(">i", 540))
        else nibabel.Nifti1Image
    )
    return kind.from_bytes(data)


def test_nifti(nifti):
    assert SECRET in nifti
    stripped = strip_metadata(nifti + SECRET, "nifti")
    assert SECRET not in stripped
    before, after = load(nifti), load(stripped)
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), np.asanyarray(before.dataobj))
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.header["sform_code"] == before.header["sform_code"]
    assert after.get_data_dtype() == before.get_data_dtype()
    assert len(after.header.extensions) == 0
    assert len(stripped) == after.header.sizeof_hdr + 4 + 5 * 4 * 3 * after.get_data_dtype().itemsize
    assert strip_metadata(stripped, "nifti") == stripped


def test_gzipped_nifti(nifti):
    stream = BytesIO()
    with gzip.GzipFile(SECRET.decode(), "wb", fileobj=stream, mtime=12345) as packed:
        packed.write(nifti)
    data = stream.getvalue()
    assert SECRET in data
    stripped = strip_metadata(data, "nifti")
    assert SECRET not in stripped
    assert gzip.decompress(stripped) == strip_metadata(nifti, "nifti")
    assert stripped[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert stripped == strip_metadata(gzip.compress(nifti, mtime=99), "nifti")


def test_broken_nifti(nifti):
    truncated = [nifti[:-1], nifti[:600], gzip.compress(nifti)[:-20], gzip.compress(nifti[:-1])]
    for data in truncated:
        with pytest.raises(ItemError) as caught:
            strip_metadata(data, "nifti")
        assert caught.value.reason == "truncated"
    huge = bytearray(nifti)
    order = "<" if nifti[0] else ">"
    at, code = (40, "8h") if nifti[:4] in (struct.pack("<i", 348), struct.pack(">i", 348)) else (16, "8q")
    struct.pack_into(order + code, huge, at, 7, *[32767] * 7)
    none = bytearray(nifti)
    struct.pack_into(order + code, none, at, 3, 0, 1, 1, 1, 1, 1, 1)
    damaged = bytearray(gzip.compress(nifti))
    damaged[20] ^= 0xFF
    for data in (b"", b"abcd" * 200, nifti.replace(b"n+", b"ni"), bytes(huge), bytes(none), bytes(damaged)):
        with pytest.raises(ItemError) as caught:
            strip_metadata(data, "nifti")
        assert caught.value.reason in ("deidentify_failed", "truncated")


def test_a_gzip_bomb_is_read_only_as_far_as_the_header_says(nifti):
    bomb = gzip.compress(nifti + bytes(50_000_000))
    assert gzip.decompress(strip_metadata(bomb, "nifti")) == strip_metadata(nifti, "nifti")


@pytest.mark.realdata
def test_real_images(realdata):
    for pattern, name in (("*.jp*g", "jpeg"), ("*.png", "png"), ("*.nii*", "nifti")):
        paths = sorted(realdata.rglob(pattern))[::100]
        assert paths
        for path in paths[:6]:
            data = path.read_bytes()
            stripped = strip_metadata(data, name)
            if name == "nifti":
                plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
                clean = gzip.decompress(stripped) if data[:2] == b"\x1f\x8b" else stripped
                np.testing.assert_array_equal(
                    np.asanyarray(load(clean).dataobj), np.asanyarray(load(plain).dataobj)
                )
            else:
                np.testing.assert_array_equal(pixels(stripped), pixels(data))
