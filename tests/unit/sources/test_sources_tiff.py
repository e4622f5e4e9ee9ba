"""TIFF: what kinds of pixels mean, stacks, and what is refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from voxlake.core.errors import ItemError
from voxlake.sources.images import read_image, scan_image, sniff

RANDOM = np.random.default_rng(3)


def saved(*images: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    images[0].save(buffer, "TIFF", save_all=True, append_images=images[1:], **options)
    return buffer.getvalue()


def grey(rows: int = 20, columns: int = 30) -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 255, (rows, columns), dtype=np.uint8))


def tagged(tags: dict[int, tuple[int, ...]], pixels: bytes) -> bytes:
    """A file of one strip, tag by tag, all of them LONG."""
    tags = {273: (8,), 279: (len(pixels),), 262: (1,), **tags}
    at = 8 + len(pixels) + 2 + 12 * len(tags) + 4
    entries, behind = b"", b""
    for tag, values in sorted(tags.items()):
        body = struct.pack(f"<{len(values)}I", *values)
        value = body.ljust(4, b"\0") if len(body) <= 4 else struct.pack("<I", at + len(behind))
        behind += body if len(body) > 4 else b""
        entries += struct.pack("<HHI", tag, 4, len(values)) + value
    head = b"II*\0" + struct.pack("<I", 8 + len(pixels))
    return head + pixels + struct.pack("<H", len(tags)) + entries + bytes(4) + behind


def reason(data: bytes) -> str:
    with pytest.raises(ItemError) as caught:
        scan_image(data, "tiff")
    with pytest.raises(ItemError) as again:
        read_image(data, "tiff")
    assert again.value.reason == caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4"])
def test_black_and_white(compression: str | None) -> None:
    image = grey().convert("1")
    data = saved(image, compression=compression)
    if compression == "group4":
        assert reason(data) == "decode_error"
        return
    np.testing.assert_array_equal(read_image(data, "tiff").numpy()[0], np.array(image.convert("L")))
    assert scan_image(data, "tiff")["bits_stored"] == 1


def test_palettes_become_rgb() -> None:
    image = grey().convert("RGB").quantize(16)
    image.putpalette(RANDOM.integers(0, 255, 48, dtype=np.uint8).tobytes())
    data = saved(image)
    np.testing.assert_array_equal(read_image(data, "tiff").numpy()[0], np.array(image.convert("RGB")))
    assert scan_image(data, "tiff")["samples_per_pixel"] == 3


def test_alpha_is_dropped() -> None:
    values = RANDOM.integers(0, 255, (9, 8, 4), dtype=np.uint8)
    data = saved(Image.fromarray(values))
    np.testing.assert_array_equal(read_image(data, "tiff").numpy()[0], values[..., :3])


def test_white_is_zero_is_turned_round() -> None:
    pixels = bytes(range(12))
    tags = {256: (4,), 257: (3,), 258: (8,), 262: (0,)}
    volume = read_image(tagged(tags, pixels), "tiff")
    np.testing.assert_array_equal(volume.numpy().ravel(), 255 - np.arange(12))


def test_jpeg_in_tiff() -> None:
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    colour = Image.fromarray(np.stack([smooth, smooth.T, 255 - smooth], axis=-1))
    data = saved(colour, compression="jpeg", quality=95)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.array(image.convert("RGB")).astype(int)
    assert np.abs(read_image(data, "tiff").numpy()[0].astype(int) - expected).max() <= 2
    assert scan_image(data, "tiff")["lossy_image_compression"] == "01"


def test_pages_are_slices_without_a_place() -> None:
    pages = [grey() for _ in range(4)]
    data = saved(*pages, compression="tiff_lzw", dpi=(300, 300))
    volume = read_image(data, "tiff")
    assert volume.grid.flat
    np.testing.assert_array_equal(volume.numpy(), np.stack([np.array(page) for page in pages]))
    columns = scan_image(data, "tiff")
    assert columns["number_of_frames"] == 4
    assert "pixel_spacing" not in columns


def test_three_equal_channels_are_one() -> None:
    data = saved(grey().convert("RGB"))
    volume = read_image(data, "tiff")
    assert volume.channels == 1
    assert "equal colour channels" in volume.lineage.steps[0]


@pytest.mark.parametrize("mode", ["II", "MM"])
def test_both_orders_are_sniffed(mode: str) -> None:
    head = b"II*\0" if mode == "II" else b"MM\0*"
    assert sniff(head + bytes(200)) == "tiff"
    assert reason(head + bytes(200)) == "decode_error"


SIZED = {256: (4,), 257: (3,), 258: (8,)}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tagged(SIZED, bytes(11)), "truncated"),
        (tagged({**SIZED, 279: (10_000,)}, bytes(12)), "truncated"),
        (tagged({**SIZED, 256: (100_000,), 257: (100_000,)}, bytes(12)), "too_large"),
        (tagged({**SIZED, 256: (8_000,), 257: (8_000,), 259: (8,)}, bytes(12)), "truncated"),
        (tagged({**SIZED, 258: (12,)}, bytes(18)), "decode_error"),
        (tagged({**SIZED, 262: (5,), 277: (4,), 258: (8, 8, 8, 8)}, bytes(48)), "decode_error"),
        (tagged({**SIZED, 262: (6,), 277: (3,), 258: (8, 8, 8)}, bytes(36)), "decode_error"),
        (tagged({**SIZED, 259: (34712,)}, bytes(12)), "decode_error"),
        (saved(grey(), grey(10, 10)), "geometry_mixed"),
        (b"II*\0\x08\0\0\0", "truncated"),
    ],
)
def test_refused(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_damaged_streams(compression: str) -> None:
    data = bytearray(saved(grey(200, 200), compression=compression))
    for at in range(20, 4000, 200):
        data[at] ^= 0x55
    with pytest.raises(ItemError) as caught:
        read_image(bytes(data), "tiff")
    assert caught.value.reason in ("decode_error", "truncated")
