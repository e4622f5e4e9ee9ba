from __future__ import annotations

import itertools
import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import SimpleITK
from PIL import Image, ImageSequence

from voxlake.core.errors import ItemError
from voxlake.privacy.images import strip_metadata

SECRET = b"ZQXTOKEN"
RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 255, (37, 50), dtype=np.uint8)
CODES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 13: "I", 16: "Q"}
TEXTS = (269, 270, 271, 272, 285, 305, 306, 315, 316, 333, 337, 33432, 34737, 42112, 42113, 65000)
BYTES = (700, 33723, 34377, 34675, 37500, 50838, 50839, 33550, 33922, 34735, 34736, 37724)


def pages(data: bytes) -> list[np.ndarray]:
    if data.startswith(b"MM\0+"):
        return big_pages(data)
    with Image.open(BytesIO(data)) as image:
        return [np.asarray(page) for page in ImageSequence.Iterator(image)]


def big_pages(data: bytes) -> list[np.ndarray]:
    """Grey pages of a BigTIFF in the order of Motorola, which Pillow does not read."""
    found, (at,) = [], struct.unpack_from(">Q", data, 8)
    while at:
        tags = {}
        (entries,) = struct.unpack_from(">Q", data, at)
        for n in range(entries):
            tag, kind, count = struct.unpack_from(">HHQ", data, at + 8 + 20 * n)
            form = f">{count * (2 if kind == 5 else 1)}{CODES[kind]}"
            place = at + 20 + 20 * n
            place = place if struct.calcsize(form) <= 8 else struct.unpack_from(">Q", data, place)[0]
            tags[tag] = struct.unpack_from(form, data, place)
        (width,), (height,) = tags[256], tags[257]
        across, down = (tags[322][0], tags[323][0]) if 322 in tags else (width, tags[278][0])
        image = np.zeros((height + down, width + across), np.uint8)
        corners = itertools.product(range(0, height, down), range(0, width, across))
        offsets, lengths = (tags[n] for n in ((324, 325) if 322 in tags else (273, 279)))
        for (y, x), begin, length in zip(corners, offsets, lengths, strict=True):
            block = UNPACKERS[tags[259][0]](data[begin : begin + length])
            rows = np.frombuffer(block, np.uint8).reshape(-1, across)
            image[y : y + len(rows), x : x + across] = rows
        found.append(image[:height, :width])
        (at,) = struct.unpack_from(">Q", data, at + 8 + 20 * entries)
    return found


class Builder:
    """A TIFF file out of tags and blocks, with whatever offsets and counts a test wants."""

    def __init__(self, order: str = "<", *, big: bool = False) -> None:
        self.order, self.big = order, big
        self.offset, self.inline = ("Q", 8) if big else ("I", 4)
        self.data = bytearray(b"II" if order == "<" else b"MM")
        self.data += self.pack("HHH", 43, 8, 0) if big else self.pack("H", 42)
        self.link = len(self.data)
        self.data += bytes(self.inline)

    def pack(self, code: str, *values: int) -> bytes:
        return struct.pack(self.order + code, *values)

    def put(self, body: bytes) -> int:
        self.data += SECRET
        at = len(self.data)
        self.data += body
        return at

    def directory(self, tags: dict[int, tuple[int, list[int] | bytes]], *, linked: bool = True) -> int:
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            body = values if isinstance(values, bytes) else self.pack(f"{len(values)}{CODES[kind]}", *values)
            count = len(body) // (8 if kind == 5 else struct.calcsize(CODES[kind]))
            value = body.ljust(self.inline, b"Z") if len(body) <= self.inline else None
            entries += self.pack("HH" + self.offset, tag, kind, count)
            entries += value if value is not None else self.pack(self.offset, self.put(body))
        at = self.put(self.pack("Q" if self.big else "H", len(tags)) + entries)
        if linked:
            self.data[self.link : self.link + self.inline] = self.pack(self.offset, at)
            self.link = len(self.data)
        self.data += bytes(self.inline)
        return at

    def page(
        self, values: np.ndarray, *, rows: int = 16, tile: int = 0, pack=bytes, tags=None, **kind: int
    ) -> None:
        self.directory(self.tags(values, rows=rows, tile=tile, pack=pack, **kind) | (tags or {}))

    def tags(self, values: np.ndarray, *, rows: int, tile: int, pack, compression: int = 1) -> dict:
        height, width = values.shape[:2]
        stored = values.astype(values.dtype.newbyteorder(self.order))
        if tile:
            padded = np.full((-(-height // tile) * tile, -(-width // tile) * tile), 90, stored.dtype)
            padded[:height, :width] = stored
            corners = itertools.product(range(0, height, tile), range(0, width, tile))
            blocks = [pack(padded[y : y + tile, x : x + tile].tobytes()) for y, x in corners]
        else:
            blocks = [pack(stored[y : y + rows].tobytes()) for y in range(0, height, rows)]
        at, length = (324, 325) if tile else (273, 279)
        sizes = {322: (4, [tile]), 323: (4, [tile])} if tile else {278: (4, [rows])}
        samples = 1 if values.ndim == 2 else values.shape[2]
        offsets = [self.put(block) for block in blocks]
        return sizes | {
            256: (4, [width]), 257: (4, [height]), 258: (3, [8 * values.itemsize] * samples),
            259: (3, [compression]), 262: (3, [1 if samples == 1 else 2]), 277: (3, [samples]),
            at: (16 if self.big else 4, offsets), length: (4, [len(block) for block in blocks]),
        }  # fmt: skip


HIDDEN = (
    dict.fromkeys(TEXTS, (2, SECRET * 3))
    | dict.fromkeys(BYTES, (7, SECRET * 5))
    | {282: (5, SECRET), 283: (5, [300, 1]), 296: (3, [2]), 301: (3, [0x515A] * 768), 318: (5, SECRET * 2)}
)


def padded(block: bytes) -> bytes:
    return block + SECRET


UNPACKERS = {
    1: bytes, 5: imagecodecs.lzw_decode, 8: zlib.decompress, 32946: zlib.decompress,
    32773: imagecodecs.packbits_decode,
}  # fmt: skip
PACKERS = {
    1: padded,
    5: lambda block: imagecodecs.lzw_encode(block) + SECRET,
    8: lambda block: zlib.compress(block) + SECRET,
    32946: lambda block: zlib.compress(block + SECRET),
    32773: lambda block: imagecodecs.packbits_encode(block) + SECRET,
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("tile", [0, 16])
def test_only_what_pixels_need_is_left(order, big, compression, tile):
    builder = Builder(order, big=big)
    exif = builder.directory({36867: (2, SECRET * 2)}, linked=False)
    thumbnail = builder.directory(builder.tags(GREY[::4, ::4], rows=99, tile=0, pack=bytes), linked=False)
    hidden = HIDDEN | {34665: (13, [exif]), 34853: (4, [exif]), 330: (13, [thumbnail])}
    for values in (GREY, GREY[::-1]):
        builder.page(values, tile=tile, pack=PACKERS[compression], tags=hidden, compression=compression)
    builder.page(GREY[::2, ::2], tags=HIDDEN | {254: (4, [1])})
    data = bytes(builder.data) + SECRET
    stripped = strip_metadata(data, "tiff")
    for text in (SECRET, SECRET[:4], SECRET[4:], b"ZQ" * 4):
        assert text in data or text == b"ZQ" * 4
        assert text not in stripped
    found = pages(stripped)
    assert len(found) == 2
    np.testing.assert_array_equal(found[0], GREY)
    np.testing.assert_array_equal(found[1], GREY[::-1])
    assert strip_metadata(stripped, "tiff") == stripped
    if big and order == ">":
        return
    with Image.open(BytesIO(stripped)) as image:
        assert image.tag_v2[283] == 300
        assert set(image.tag_v2) <= {
            256,
            257,
            258,
            259,
            262,
            273,
            277,
            278,
            279,
            282,
            283,
            296,
            318,
            322,
            323,
            324,
            325,
        }


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16", "F"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_files_of_another_writer(mode, compression):
    if compression == "jpeg" and mode not in ("L", "RGB"):
        pytest.skip("JPEG in TIFF has 8 bits")
    values = {"I;16": GREY.astype("<u2") * 257, "F": GREY.astype("<f4") / 7}.get(mode)
    image = Image.fromarray(GREY).convert(mode) if values is None else Image.fromarray(values)
    stream = BytesIO()
    image.save(
        stream, "TIFF", compression=compression, dpi=(254, 100), tiffinfo={270: SECRET.decode(), 274: 6},
        icc_profile=SECRET * 20, description=SECRET.decode(), software=SECRET.decode(),
    )  # fmt: skip
    data = stream.getvalue()
    stripped = strip_metadata(data, "tiff")
    assert SECRET in data
    assert SECRET not in stripped
    np.testing.assert_array_equal(pages(stripped)[0], pages(data)[0])
    assert strip_metadata(stripped, "tiff") == stripped
    with Image.open(BytesIO(stripped)) as before:
        assert before.info["dpi"] == (254, 100)


def test_another_reader_sees_the_same_stack(tmp_path):
    values = RNG.integers(0, 60000, (5, 30, 40)).astype(np.uint16)
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.25, 2))
    SimpleITK.WriteImage(image, tmp_path / "a.tif", True)
    stripped = strip_metadata((tmp_path / "a.tif").read_bytes(), "tiff")
    (tmp_path / "b.tif").write_bytes(stripped)
    before, after = SimpleITK.ReadImage(tmp_path / "a.tif"), SimpleITK.ReadImage(tmp_path / "b.tif")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(after), values)
    assert after.GetSpacing() == pytest.approx(before.GetSpacing())


def test_jpeg_streams_lose_their_comments():
    stream = BytesIO()
    Image.fromarray(GREY).save(stream, "JPEG", comment=SECRET)
    builder = Builder()
    tags = builder.tags(GREY, rows=99, tile=0, pack=lambda _: stream.getvalue() + SECRET, compression=7)
    builder.directory(tags)
    stripped = strip_metadata(bytes(builder.data), "tiff")
    assert SECRET not in stripped
    np.testing.assert_array_equal(pages(stripped)[0], np.asarray(Image.open(stream)))


def test_pixels_outside_of_the_image_go():
    builder = Builder()
    builder.page(GREY, tile=32)
    stripped = strip_metadata(bytes(builder.data), "tiff")
    assert bytes([90] * 10) in bytes(builder.data)
    assert bytes([90] * 10) not in stripped
    np.testing.assert_array_equal(pages(stripped)[0], GREY)
    loose = Builder()
    tags = loose.tags(np.full((2, 1), 0xFF, np.uint8), rows=9, tile=0, pack=bytes)
    loose.directory(tags | {256: (4, [3]), 258: (3, [1])})
    stripped = strip_metadata(bytes(loose.data), "tiff")
    assert b"\xe0\xe0" in stripped
    assert b"\xff\xff" not in stripped


def test_labels_of_slides_go():
    builder = Builder()
    builder.page(GREY, tile=16)
    builder.page(GREY[:20, :30], rows=8)
    assert [page.shape for page in pages(strip_metadata(bytes(builder.data), "tiff"))] == [GREY.shape]


def test_broken_tiff():
    def built(big: bool = False, **tags: tuple[int, list[int] | bytes]) -> bytes:
        builder = Builder(big=big)
        builder.page(GREY, tags={int(name[1:]): value for name, value in tags.items()})
        return bytes(builder.data)

    def raw(tag: int, kind: int, count: int, value: int) -> bytes:
        data = bytearray(built())
        at = data.index(struct.pack("<H", tag), int.from_bytes(data[4:8], "little"))
        struct.pack_into("<HHII", data, at, tag, kind, count, value)
        return bytes(data)

    good = built()
    loop = bytearray(good)
    loop[-4:] = loop[4:8]
    failed = [
        b"", b"II*\0", b"II+\0" + bytes(20), b"PNG", bytes(loop), built(t273=(4, [8, 9, 10])),
        raw(258, 3, 1 << 31, 8), built(t259=(3, [4])), built(t259=(3, [34712])), built(t262=(3, [32803])),
        built(t256=(4, [0])), built(t258=(3, [99])), built(t254=(4, [1])), built(t317=(3, [9])),
        built(t270=(2, b"ImageJ=1.54f\nimages=20\nslices=20\n")), built(t284=(3, [7])),
        built(t259=(3, [32773])),
    ]  # fmt: skip
    truncated = [
        good[:-30], good[:6], built(t257=(4, [1 << 30])), built(t273=(4, [1 << 30] * 3)),
        raw(273, 4, 3, 1 << 30),
        built(t278=(4, [40])),
    ]  # fmt: skip
    assert strip_metadata(good, "tiff")
    for data in failed + truncated:
        with pytest.raises(ItemError) as caught:
            strip_metadata(data, "tiff")
        assert caught.value.reason in ("deidentify_failed", "truncated", "too_large")
