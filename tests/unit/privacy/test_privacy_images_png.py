from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from voxlake.core.errors import ItemError
from voxlake.privacy.images import strip_metadata

SECRET = b"ZQXTOKEN"
RNG = np.random.default_rng(7)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pixels(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image)


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def put_together(*parts: tuple[bytes, bytes]) -> bytes:
    return SIGNATURE + b"".join(chunk(*part) for part in parts)


def image_of(
    columns: int, rows: int, depth: int, colour: int, raw: bytes, *more: tuple[bytes, bytes]
) -> bytes:
    head = struct.pack(">2I5B", columns, rows, depth, colour, 0, 0, 0)
    return put_together((b"IHDR", head), *more, (b"IDAT", zlib.compress(raw)), (b"IEND", b""))


def unpacked(data: bytes) -> bytes:
    return zlib.decompress(b"".join(body for kind, body in chunks(data) if kind == b"IDAT"))


@pytest.fixture(params=["L", "RGB", "P", "I;16", "1"])
def planted(request) -> tuple[bytes, np.ndarray]:
    """A file full of tokens, and its pixels."""
    values = RNG.integers(0, 255, (9, 11), dtype=np.uint8)
    match request.param:
        case "RGB":
            image = Image.fromarray(RNG.integers(0, 255, (9, 11, 3), dtype=np.uint8))
        case "I;16":
            image = Image.fromarray(RNG.integers(0, 65535, (9, 11), dtype=np.uint16))
        case mode:
            image = Image.fromarray(values).convert(mode)
    info = PngImagePlugin.PngInfo()
    info.add_text("Patient", SECRET.decode())
    info.add_text("Zipped", SECRET.decode(), zip=True)
    info.add_itxt("Intl", SECRET.decode())
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    stream = BytesIO()
    image.save(stream, "PNG", pnginfo=info, exif=exif.tobytes(), dpi=(72, 72), icc_profile=SECRET * 20)
    data = stream.getvalue()
    values = pixels(data)
    at = data.index(b"IDAT") - 4
    hidden = [
        (b"tIME", bytes(7)), (b"prIv", SECRET), (b"bKGD", SECRET), (b"hIST", SECRET), (b"sPLT", SECRET),
        (b"cHRM", SECRET * 4), (b"gAMA", SECRET[:4]), (b"sRGB", b"Z"), (b"sBIT", SECRET[:3]),
        (b"sCAL", b"\1" + SECRET + b"\0001"), (b"sTER", b"\0"),
        (b"oFFs", SECRET + b"\0"), (b"caNv", SECRET * 2), (b"acTL", SECRET),
        (b"fcTL", SECRET + bytes(18)),
    ]  # fmt: skip
    behind = chunk(b"fdAT", bytes(4) + zlib.compress(SECRET)) + chunk(b"tEXt", b"Late\0" + SECRET)
    data = data[:at] + b"".join(chunk(*one) for one in hidden) + data[at:]
    return data[:-12] + behind + data[-12:] + SECRET + data, values


def test_only_what_pixels_need_is_left(planted):
    png, values = planted
    stripped = strip_metadata(png, "png")
    assert SECRET in png
    kinds = [kind for kind, _ in chunks(stripped)]
    assert set(kinds) <= {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"pHYs"}
    assert b"pHYs" in kinds
    assert kinds[-1] == b"IEND"
    for text in (SECRET, SECRET.decode().encode("utf-16-le"), b"Patient"):
        assert text not in stripped
        assert text not in unpacked(stripped)
    np.testing.assert_array_equal(pixels(stripped), values)
    before = b"".join(body for kind, body in chunks(png[: png.index(b"IEND") + 8]) if kind == b"IDAT")
    assert b"".join(body for kind, body in chunks(stripped) if kind == b"IDAT") == before
    assert strip_metadata(stripped, "png") == stripped


def test_sound_colours_and_transparency_stay():
    more = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        (b"sRGB", b"\0"),
        (b"sBIT", b"\5\6\5"),
        (b"tRNS", struct.pack(">3H", 1, 2, 3)),
        (b"pHYs", struct.pack(">2IB", 2835, 2835, 1)),
        (b"sCAL", b"\1.5\x001E-5"),
    ]
    data = image_of(1, 1, 8, 2, b"\0abc", *more)
    assert sorted(chunks(strip_metadata(data, "png"))) == sorted(chunks(data))


@pytest.mark.parametrize("tail", ["behind the stream", "within the stream", "in a chunk of its own"])
def test_bytes_behind_the_pixels_go(tail):
    raw = b"".join(b"\0" + bytes(RNG.integers(0, 255, 20, dtype=np.uint8)) for _ in range(10))
    head = (b"IHDR", struct.pack(">2I5B", 20, 10, 8, 0, 0, 0, 0))
    parts = {
        "behind the stream": [(b"IDAT", zlib.compress(raw) + SECRET)],
        "within the stream": [(b"IDAT", zlib.compress(raw + SECRET * 3))],
        "in a chunk of its own": [(b"IDAT", zlib.compress(raw)), (b"IDAT", b""), (b"IDAT", SECRET)],
    }[tail]
    data = put_together(head, *parts, (b"IEND", b""))
    stripped = strip_metadata(data, "png")
    assert SECRET not in stripped
    assert unpacked(stripped) == raw
    assert strip_metadata(stripped, "png") == stripped


@pytest.mark.parametrize("kind", range(5))
def test_bits_behind_the_end_of_a_row_go(kind):
    # 4 columns of 1 bit: the lower half of each byte is not shown.
    rows = [0b1010_1101, 0b0101_0110, 0b1111_0001]
    coded, above = [], 0
    for value in rows:
        guess = {0: 0, 1: 0, 2: above, 3: above // 2, 4: above}[kind]
        coded.append(bytes((kind, (value - guess) & 0xFF)))
        above = value
    data = image_of(4, 3, 1, 0, b"".join(coded))
    stripped = strip_metadata(data, "png")
    assert unpacked(stripped) == b"\0\xa0\0\x50\0\xf0"
    np.testing.assert_array_equal(pixels(stripped), pixels(data))
    assert strip_metadata(stripped, "png") == stripped


def test_palette_entries_that_no_pixel_uses_are_black():
    palette = b"abc" + SECRET + b"x"
    data = image_of(2, 1, 2, 3, b"\0\x30", (b"PLTE", palette), (b"tRNS", b"\1ZQX"))
    stripped = dict(chunks(strip_metadata(data, "png")))
    assert stripped[b"PLTE"] == b"abc" + bytes(6) + palette[9:]
    assert stripped[b"tRNS"] == b"\1\0\0X"
    eight = dict(chunks(strip_metadata(image_of(2, 1, 8, 3, b"\1\1\1", (b"PLTE", palette)), "png")))
    assert eight[b"PLTE"] == b"\0\0\0" + palette[3:9] + b"\0\0\0"


def test_interlaced():
    # Adam7 of 5 columns and 1 row: passes of 1, 1, 1 and 2 pixels.
    raw = b"\0a\0b\0c\0de"
    head = (b"IHDR", struct.pack(">2I5B", 5, 1, 8, 0, 0, 0, 1))
    data = put_together(head, (b"IDAT", zlib.compress(raw + SECRET)), (b"IEND", b""))
    stripped = strip_metadata(data, "png")
    assert unpacked(stripped) == raw
    assert pixels(stripped).tobytes() == pixels(data).tobytes()


def test_broken_png(planted):
    png, _ = planted
    body = png[: png.index(b"IEND") + 8]
    assert strip_metadata(body, "png")
    truncated = [body[:-9], body[:8], body[: body.index(b"IDAT") + 6], image_of(20, 20, 8, 0, b"\0")]
    failed = [
        b"", b"JFIF", body.replace(b"IDAT", b"IDAX", 1), image_of(4, 1, 3, 0, b"\0a"),
        image_of(0, 1, 8, 0, b""), image_of(1, 1, 8, 3, b"\0a"),
        put_together((b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0)), (b"CgBI", b""), (b"IEND", b"")),
        put_together((b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0)), (b"IDAT", b"zz"), (b"IEND", b"")),
        put_together((b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0)), (b"IEND", b"")),
        put_together((b"IHDR", b""), (b"IEND", b"")),
        put_together((b"IEND", b"")),
        image_of(1, 1, 8, 0, b"\0a", (b"IHDR", bytes(13))),
        image_of(1, 1, 4, 3, b"\7\0", (b"PLTE", b"abc")),
        image_of(1, 1, 8, 0, b"\0a")[:-12] + chunk(b"gAMA", b"abcd") + chunk(b"IDAT", b"x")
        + chunk(b"IEND", b""),
    ]  # fmt: skip
    for reason, files in (("truncated", truncated), ("deidentify_failed", failed)):
        for data in files:
            with pytest.raises(ItemError) as caught:
                strip_metadata(data, "png")
            assert caught.value.reason == reason


def test_sizes_that_nobody_can_hold_are_refused():
    for columns, rows in ((1_000_000, 1_000_000), (2_000_000, 1)):
        with pytest.raises(ItemError):
            strip_metadata(image_of(columns, rows, 8, 0, b"\0"), "png")
    with pytest.raises(ItemError, match="holds more than"):
        strip_metadata(image_of(1, 1, 8, 0, bytes(30_000_000)), "png")
