"""Pictures, volumes and archives that announce more than they hold, or hold more than they announce."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from voxlake.core.errors import ItemError
from voxlake.sources import zip_directory
from voxlake.sources.images import read_image, scan_image, sniff
from voxlake.sources.open import open_source
from voxlake.testing.hostile import MIB, codestream, nifti, picture_of, zipped


def reason_of(data: bytes) -> str:
    kind = sniff(data)
    assert kind is not None
    with pytest.raises(ItemError) as caught:
        scan_image(data, kind)
    return caught.value.reason


def saved(kind: str, **options) -> bytes:
    stream = io.BytesIO()
    values = np.random.default_rng(1).integers(0, 255, (40, 30), dtype=np.uint8)
    Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 1}])
def test_a_jpeg_that_is_cut_anywhere_is_noticed_at_its_header(options):
    data = saved("jpeg", **options)
    assert scan_image(data, "jpeg")["rows"] == 40
    for cut in range(2, len(data) - 4, 37):
        assert reason_of(data[:-cut]) in {"truncated", "decode_error"}


def test_blank_pictures_are_no_bombs():
    for kind in ("png", "jpeg"):
        stream = io.BytesIO()
        Image.new("L", (5000, 5000)).save(stream, kind)
        assert scan_image(stream.getvalue(), kind)["columns"] == 5000


def test_pixels_that_so_few_bytes_cannot_hold():
    assert reason_of(codestream("jpeg", 8000, 8000)) == "truncated"
    assert reason_of(picture_of(8000, 8000, zlib.compress(bytes(MIB)))) == "truncated"
    assert reason_of(picture_of(4, 4, b"")) == "truncated"
    assert reason_of(picture_of(65535, 65535, b"")) == "decode_error"
    assert reason_of(codestream("jpeg", 65535, 65535)) == "decode_error"
    # Arithmetic codes may be as short as they like.
    arithmetic = codestream("jpeg", 8000, 8000).replace(b"\xff\xc0", b"\xff\xc9")
    assert scan_image(arithmetic, "jpeg")["rows"] == 8000


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_of_a_picture_is_not_inflated(kind):
    bomb = zlib.compress(bytes(32 * MIB))
    content = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind] + bomb
    # A row of 16-bit colour has a filter byte in front.
    data = picture_of(4, 4, zlib.compress(bytes(4 * 25)), (kind, content))
    tracemalloc.start()
    assert scan_image(data, "png")["rows"] == 4
    assert read_image(data, "png").data.shape == (1, 4, 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB


def test_a_gzipped_volume_is_counted_without_being_held():
    data = nifti((128, 512, 512), bytes(32 * MIB))
    tracemalloc.start()
    assert scan_image(data, "nifti")["number_of_frames"] == 512
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * MIB


def test_a_gzipped_volume_that_is_not_there():
    assert reason_of(nifti((30_000, 30_000, 30_000), b"")) == "too_large"
    assert reason_of(nifti((1500, 1500, 1500), b"")) == "truncated"
    assert reason_of(nifti((4, 4, 4), bytes(63))) == "truncated"
    random = np.random.default_rng(2).bytes(4096)
    whole = nifti((16, 16, 16), random)
    for cut in (1, 8, 100, 3000):
        assert reason_of(whole[:-cut]) == "truncated"
    damaged = bytearray(whole)
    damaged[-6] ^= 1
    assert reason_of(bytes(damaged)) == "decode_error"


def test_the_directory_of_an_archive_is_capped(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(zipped({"n" * 60_000: b"1", "m" * 60_000: b"2"}))
    assert len(list(open_source(tmp_path))) == 2
    monkeypatch.setattr(zip_directory, "_LONGEST_DIRECTORY", 100_000)
    (item,) = open_source(tmp_path)
    with pytest.raises(ItemError) as caught:
        item.read(100)
    assert caught.value.reason == "archive_limit"


def test_a_directory_of_four_gigabytes_in_a_few_bytes(tmp_path):
    data = bytearray(zipped({"a": b"1"}))
    struct.pack_into("<I", data, data.index(b"PK\5\6") + 12, 0xFFFFFFF0)
    (tmp_path / "a.zip").write_bytes(data)
    (item,) = open_source(tmp_path)
    with pytest.raises(ItemError) as caught:
        item.read(100)
    assert caught.value.reason == "archive_member"
