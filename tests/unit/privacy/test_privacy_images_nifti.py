from __future__ import annotations

import bz2
import gzip
import struct
from io import BytesIO

import nibabel
import numpy as np
import pytest

from voxlake.core.errors import ItemError
from voxlake.privacy.images import strip_metadata

SECRET = b"ZQXTOKEN"
RNG = np.random.default_rng(7)
# (offset, length) of all that is no number of the geometry or the values: nifti1.h and nifti2.h.
UNUSED = {
    348: [(4, 34), (38, 1), (124, 8), (136, 4), (140, 8), (148, 80), (228, 24), (328, 16)],
    540: [(192, 16), (216, 8), (240, 80), (320, 24), (508, 16), (525, 15)],
}
# Sizes, spacings, intent parameters, slice timing, orientations that codes or dimensions say are not used.
UNREAD = {
    348: [(48, 8), (56, 12), (74, 2), (92, 16), (120, 2), (132, 4), (256, 24)],
    540: [(48, 32), (80, 24), (136, 32), (208, 8), (224, 16), (352, 48)],
}


def load(data: bytes):
    kind = nibabel.Nifti2Image if b"n+2" in data[:12] else nibabel.Nifti1Image
    return kind.from_bytes(data)


def plant(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    planted = bytearray(data)
    for offset, length in spans:
        planted[offset : offset + length] = (SECRET * 10)[:length]
    return bytes(planted)


@pytest.fixture(params=[(nibabel.Nifti1Image, "<"), (nibabel.Nifti1Image, ">"), (nibabel.Nifti2Image, "<")])
def nifti(request) -> bytes:
    kind, order = request.param
    values = RNG.integers(-100, 100, (5, 4, 3)).astype(order + "i2")
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    image = kind(values, affine, kind.header_class(endianness=order))
    image.set_sform(affine, 1)
    image.set_qform(None, 0)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", SECRET))
    return image.to_bytes()


def size(data: bytes) -> int:
    return 540 if b"n+2" in data[:12] else 348


def test_only_what_voxels_need_is_left(nifti):
    clean = load(strip_metadata(nifti, "nifti"))
    planted = plant(nifti, UNUSED[size(nifti)] + UNREAD[size(nifti)]) + SECRET
    stripped = strip_metadata(planted, "nifti")
    for length in (8, 4, 2):
        for text in (SECRET[:length], SECRET[:length][::-1]):
            assert text not in stripped[: size(nifti) + 4]
    assert SECRET not in stripped
    after = load(stripped)
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), np.asanyarray(load(nifti).dataobj))
    np.testing.assert_array_equal(after.affine, load(nifti).affine)
    assert after.header == clean.header
    assert after.header.get_zooms() == load(nifti).header.get_zooms()
    assert after.get_data_dtype() == load(nifti).get_data_dtype()
    assert not after.header.extensions
    assert len(stripped) == size(nifti) + 4 + 5 * 4 * 3 * 4
    assert strip_metadata(stripped, "nifti") == stripped


def test_what_voxels_need_stays(nifti):
    image = load(nifti)
    image.set_qform(np.diag([1.0, -2.0, 3.0, 1.0]), 2)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_dim_info(0, 1, 2)
    image.header["slice_code"], image.header["slice_end"], image.header["slice_duration"] = 1, 2, 0.5
    image.header.set_intent("t test", (12.0,))
    data = bytearray(image.to_bytes())
    order = "<" if data[0] else ">"
    # nibabel writes values that are scaled already.
    struct.pack_into(
        *((order + "2f", data, 112) if size(nifti) == 348 else (order + "2d", data, 176)), 2.5, -3
    )
    before, kept = load(bytes(data)), load(strip_metadata(bytes(data), "nifti"))
    np.testing.assert_array_equal(np.asanyarray(kept.dataobj), np.asanyarray(before.dataobj))
    assert np.asanyarray(kept.dataobj)[0, 0, 0] == 2.5 * load(nifti).dataobj[0, 0, 0] - 3
    fields = (
        "dim", "pixdim", "datatype", "bitpix", "qform_code", "sform_code", "quatern_b",
        "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_y", "srow_z", "xyzt_units", "dim_info",
        "slice_code", "slice_start", "slice_end", "slice_duration", "intent_code", "intent_p1",
    )  # fmt: skip
    for name in fields:
        np.testing.assert_array_equal(kept.header[name], before.header[name], err_msg=name)


def test_gzip_loses_names_times_and_tails(nifti):
    stream = BytesIO()
    with gzip.GzipFile(SECRET.decode(), "wb", fileobj=stream, mtime=12345) as packed:
        packed.write(plant(nifti, UNUSED[size(nifti)]))
    data = stream.getvalue() + SECRET
    stripped = strip_metadata(data, "nifti")
    assert SECRET in data
    assert SECRET not in stripped
    assert gzip.decompress(stripped) == strip_metadata(nifti, "nifti")
    assert stripped[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert stripped == strip_metadata(gzip.compress(nifti, mtime=99), "nifti")
    assert strip_metadata(stripped, "nifti") == stripped


def test_members_of_gzip_become_one(nifti):
    clean = strip_metadata(nifti, "nifti")
    members = [
        gzip.compress(part, mtime=7) for part in (nifti[:200], nifti[200:900], b"", nifti[900:], SECRET)
    ]
    assert gzip.decompress(strip_metadata(b"".join(members), "nifti")) == clean
    ready = gzip.compress(clean[:300], mtime=0) + gzip.compress(clean[300:] + SECRET, mtime=0)
    assert gzip.decompress(strip_metadata(ready, "nifti")) == clean


def test_a_clean_file_in_a_named_member_is_not_packed_anew(nifti):
    clean = strip_metadata(nifti, "nifti")
    packed = gzip.compress(clean, compresslevel=1, mtime=3)
    assert strip_metadata(packed, "nifti")[10:] == packed[10:]


def test_broken_nifti(nifti):
    for data in (nifti[:-1], nifti[:600], gzip.compress(nifti)[:-20], gzip.compress(nifti[:-1]), nifti[:200]):
        with pytest.raises(ItemError) as caught:
            strip_metadata(data, "nifti")
        assert caught.value.reason == "truncated"
    order = "<" if nifti[0] else ">"
    old = size(nifti) == 348
    at, code = (40, "8h") if old else (16, "8q")

    def changed(offset: int, form: str, *values: float) -> bytes:
        data = bytearray(nifti)
        struct.pack_into(order + form, data, offset, *values)
        return bytes(data)

    damaged = bytearray(gzip.compress(nifti))
    damaged[20] ^= 0xFF
    checksum = bytearray(gzip.compress(nifti))
    checksum[-8] ^= 0xFF
    offset = (108, "f") if old else (168, "q")
    cases = [
        b"", b"abcd" * 200, nifti.replace(b"n+", b"ni"), bytes(damaged), bytes(checksum), gzip.compress(b""),
        bz2.compress(nifti), changed(at, code, 3, 0, 1, 1, 1, 1, 1, 1), changed(at, code, 8, *[1] * 7),
        changed(70 if old else 12, "h", 1), changed(70 if old else 12, "h", 512), changed(*offset, -5),
        changed(*offset, 3), changed(*offset, float("nan") if old else 1 << 60),
    ]  # fmt: skip
    for data in cases:
        with pytest.raises(ItemError) as caught:
            strip_metadata(data, "nifti")
        assert caught.value.reason == "deidentify_failed"
    with pytest.raises(ItemError) as caught:
        strip_metadata(changed(at, code, 7, *[32767] * 7), "nifti")
    assert caught.value.reason == "too_large"


def test_a_gzip_bomb_is_refused(nifti):
    with pytest.raises(ItemError) as caught:
        strip_metadata(gzip.compress(nifti + bytes(50_000_000)), "nifti")
    assert caught.value.reason == "too_large"
