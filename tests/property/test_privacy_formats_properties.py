from __future__ import annotations

import bz2
import contextlib
import gzip
import tracemalloc
import zlib
from io import BytesIO

import imagecodecs
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from voxlake.core.errors import ItemError
from voxlake.privacy.images import strip_metadata

GREY = np.random.default_rng(7).integers(0, 255, (19, 21), dtype=np.uint8)
NRRD = b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 21 19\nspacings: 1 2\nendian: little\nencoding: %s\n\n"


def saved(kind: str, mode: str = "L", **options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(GREY).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def nifti() -> bytes:
    return nibabel.Nifti1Image(GREY[:, :, None].astype(np.int16), np.eye(4)).to_bytes()


FILES = {
    "png": [saved("PNG"), saved("PNG", "P"), saved("PNG", "1"), saved("PNG", "RGB", dpi=(9, 9))],
    "jpeg": [
        saved("JPEG", "RGB", comment=b"no"), saved("JPEG", progressive=True),
        saved("JPEG", restart_marker_blocks=2), imagecodecs.jpeg8_encode(GREY, lossless=True),
    ],
    "tiff": [
        saved("TIFF", tiffinfo={270: "no"}), saved("TIFF", "RGB", compression="tiff_lzw"), saved("TIFF", "1"),
        saved("TIFF", compression="tiff_adobe_deflate"), saved("TIFF", compression="packbits"),
        saved("TIFF", compression="jpeg"), saved("TIFF", big_tiff=True),
    ],
    "nifti": [nifti(), gzip.compress(nifti())],
    "nrrd": [
        NRRD % b"raw" + GREY.tobytes(), NRRD % b"gzip" + gzip.compress(GREY.tobytes()),
        NRRD % b"bzip2" + bz2.compress(GREY.tobytes()), NRRD % b"hex" + GREY.tobytes().hex().encode(),
        NRRD % b"text" + " ".join(map(str, GREY.ravel())).encode(),
    ],
}  # fmt: skip
CASES = [(name, number) for name, files in FILES.items() for number in range(len(files))]


def repaired(data: bytes) -> bytes:
    """A PNG with right checksums, so that mutations reach what lies behind them."""
    made, at = bytearray(data), 8
    while at + 12 <= len(made):
        end = at + 8 + int.from_bytes(made[at : at + 4], "big")
        made[end : end + 4] = zlib.crc32(made[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(made)


@pytest.mark.parametrize(("name", "number"), CASES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_or_clean(name, number, data):
    whole = FILES[name][number]
    damaged = bytearray(whole)
    places = st.integers(0, len(whole) - 1) | st.integers(0, min(400, len(whole) - 1))
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=5)):
        damaged[at] = value
    cut = data.draw(st.none() | st.tuples(places, places))
    if cut is not None:
        del damaged[min(cut) : max(cut)]
    file = bytes(damaged[: data.draw(st.none() | places)])
    if name == "png" and data.draw(st.booleans()):
        file = repaired(file)
    try:
        stripped = strip_metadata(file, name)
    except ItemError as error:
        refused = error.reason
    else:
        refused = ""
    if refused:
        assert refused in ("truncated", "too_large", "deidentify_failed")
        return
    assert strip_metadata(stripped, name) == stripped
    assert len(stripped) < 4 * len(file) + 4096


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=200), name=st.sampled_from(sorted(FILES)))
def test_noise_is_refused(data, name):
    heads = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "tiff": b"II*\0", "nrrd": b"NRRD0004\n"}
    for file in (data, heads.get(name, b"\x5c\1\0\0") + data):
        with pytest.raises(ItemError):
            strip_metadata(file, name)


def nifti_bomb() -> bytes:
    header = bytearray(nifti()[:352])
    header[40:56] = np.array([3, 1000, 1000, 40, 1, 1, 1, 1], "<i2").tobytes()
    return gzip.compress(bytes(header) + bytes(80_000_000), compresslevel=1)


def nrrd_bomb(encoding: bytes, packed: bytes) -> bytes:
    return NRRD.replace(b"21 19", b"10000 8000") % encoding + packed


def png_bomb() -> bytes:
    png = saved("PNG", "1")
    head = b"IHDR" + (99_000).to_bytes(4, "big") + (6_000).to_bytes(4, "big") + b"\1\0\0\0\0"
    parts = (head, b"IDAT" + zlib.compress(bytes(6_000 * 12_376), 1))
    chunks = [len(one[4:]).to_bytes(4, "big") + one + zlib.crc32(one).to_bytes(4, "big") for one in parts]
    return png[:8] + b"".join(chunks) + png[-12:]


BOMBS = {
    "nifti": ("nifti", nifti_bomb),
    "nrrd": ("nrrd", lambda: nrrd_bomb(b"gzip", gzip.compress(bytes(80_000_000), compresslevel=1))),
    "nrrd bzip2": ("nrrd", lambda: nrrd_bomb(b"bz2", bz2.compress(bytes(80_000_000)))),
    "png": ("png", png_bomb),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_stay_small(bomb):
    name, make = BOMBS[bomb]
    data = make()
    tracemalloc.start()
    try:
        with contextlib.suppress(ItemError):
            strip_metadata(data, name)
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 8 * len(data) + 16_000_000
