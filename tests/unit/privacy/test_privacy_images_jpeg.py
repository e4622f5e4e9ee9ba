from __future__ import annotations

import struct
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from voxlake.core.errors import ItemError
from voxlake.privacy.images import strip_metadata

SECRET = b"ZQXTOKEN"
RNG = np.random.default_rng(7)
pytestmark = pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO file")
SOI, EOI = b"\xff\xd8", b"\xff\xd9"


def pixels(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image)


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def segments(data: bytes) -> list[tuple[int, bytes]]:
    """Up to the first scan."""
    found, at = [], 2
    while not found or found[-1][0] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return found


def saved(mode: str = "RGB", size: tuple[int, int] = (41, 50), **options: object) -> bytes:
    shape = size if mode == "L" else (*size, len(mode))
    stream = BytesIO()
    Image.fromarray(RNG.integers(0, 255, shape, dtype=np.uint8), mode).save(
        stream, "JPEG", quality=80, **options
    )
    return stream.getvalue()


def behind_jfif(data: bytes) -> int:
    return 4 + int.from_bytes(data[4:6], "big")


@pytest.fixture(params=["baseline", "progressive", "restarts", "grey"])
def jpeg(request) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif[0x0112] = 6
    more = {"progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 3}}
    mode = "L" if request.param == "grey" else "RGB"
    icc = SECRET * 20
    options = {"exif": exif, "comment": SECRET, "icc_profile": icc, **more.get(request.param, {})}
    data = saved(mode, **options)
    jfif = segment(0xE0, b"JFIF\0\1\2\1\0\x48\0\x48\4\1" + SECRET + bytes(4))
    hidden = [
        jfif, segment(0xE0, b"JFXX\0" + SECRET), b"between " + SECRET, b"\xff\xff\xff",
        segment(0xED, b"Photoshop 3.0\0" + SECRET), segment(0xE2, b"MPF\0" + SECRET),
        segment(0xDB, b"\3" + SECRET * 8), segment(0xC4, b"\3" + bytes(15) + b"\x08" + SECRET),
        segment(0xEE, SECRET),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + SECRET.decode().encode("utf-16")),
    ]  # fmt: skip
    scan = data.index(b"\xff\xda")
    data = data[:scan] + segment(0xFE, SECRET) + data[scan:]
    return SOI + b"".join(hidden) + data[behind_jfif(data) :] + SECRET + data


def test_only_what_pixels_need_is_left(jpeg):
    stripped = strip_metadata(jpeg, "jpeg")
    assert jpeg.count(SECRET) > 10
    for text in (SECRET, SECRET.decode().encode("utf-16-le"), b"Exif", b"ICC", b"MPF"):
        assert text not in stripped
    assert {marker for marker, _ in segments(stripped)} <= {0xE0, 0xC0, 0xC2, 0xDB, 0xC4, 0xDA, 0xDD}
    assert stripped[:20] == SOI + segment(0xE0, b"JFIF\0\1\2\1\0\x48\0\x48\0\0")
    assert stripped.endswith(EOI)
    np.testing.assert_array_equal(pixels(stripped), pixels(jpeg))
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(stripped), imagecodecs.jpeg8_decode(jpeg))
    assert strip_metadata(stripped, "jpeg") == stripped
    first = jpeg.index(b"\xff\xda")
    assert jpeg[first + 20 : first + 200] in stripped


def test_orientation_is_dropped_and_rows_stay_as_stored(jpeg):
    with Image.open(BytesIO(jpeg)) as before, Image.open(BytesIO(strip_metadata(jpeg, "jpeg"))) as after:
        assert before.getexif()[0x0112] == 6
        assert after.size == before.size
        assert not after.getexif()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("length", [8, 9, 100, 5000])
def test_bytes_behind_the_last_value_of_a_scan_go(progressive, length):
    data = saved(progressive=progressive)
    hidden = (SECRET * 1000)[:length]
    planted = data[:-2] + hidden + EOI
    stripped = strip_metadata(planted, "jpeg")
    assert SECRET not in stripped
    assert abs(len(stripped) - len(strip_metadata(data, "jpeg"))) <= 1
    np.testing.assert_array_equal(pixels(stripped), pixels(data))
    assert strip_metadata(stripped, "jpeg") == stripped


def test_bytes_behind_a_scan_that_is_not_the_last_go():
    data = saved(progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    at = data.rindex(b"\xff\xc4", 0, second)
    planted = data[:at] + SECRET * 2 + data[at:]
    stripped = strip_metadata(planted, "jpeg")
    assert SECRET not in stripped
    np.testing.assert_array_equal(pixels(stripped), pixels(data))


def test_adobe_colours():
    data = saved("CMYK")
    at = data.index(b"Adobe")
    assert data[at + 5 : at + 11] != b"ZQXTOK"
    planted = data[: at + 5] + b"ZQXTOK" + data[at + 11 :]
    stripped = strip_metadata(planted, "jpeg")
    assert b"ZQXTOK" not in stripped
    np.testing.assert_array_equal(pixels(stripped), pixels(data))


def test_names_of_components_are_not_kept():
    data = strip_metadata(saved(), "jpeg")
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    planted = bytearray(data)
    for n, name in enumerate(b"JOE"):
        planted[frame + 10 + 3 * n] = planted[scan + 5 + 2 * n] = name
    assert strip_metadata(bytes(planted), "jpeg") == data


@pytest.mark.parametrize(
    "options",
    [{"bitspersample": 12}, {"lossless": True}, {"lossless": True, "bitspersample": 16}],
    ids=["12 bits", "lossless", "lossless 16 bits"],
)
def test_other_processes(options):
    values = RNG.integers(0, 1 << options.get("bitspersample", 8), (30, 41))
    data = imagecodecs.jpeg8_encode(values.astype("u2" if "bitspersample" in options else "u1"), **options)
    planted = SOI + segment(0xFE, SECRET) + data[2:] + SECRET
    stripped = strip_metadata(planted, "jpeg")
    assert SECRET not in stripped
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(stripped), imagecodecs.jpeg8_decode(data))
    assert strip_metadata(stripped, "jpeg") == stripped


def test_odd_restart_markers_are_refused():
    plain, often = saved(), saved(restart_marker_blocks=3)
    for data in (plain[:-2] + b"\xff\xd0" + SECRET + EOI, often[:-2] + b"\xff\xd0" + SECRET + EOI):
        with pytest.raises(ItemError, match="restart"):
            strip_metadata(data, "jpeg")
    with pytest.raises(ItemError) as caught:
        strip_metadata(often[: often.index(b"\xff\xd1")] + EOI, "jpeg")
    assert caught.value.reason == "truncated"


def test_a_second_picture_in_one_file_is_refused():
    data = strip_metadata(saved("L"), "jpeg")
    scan = data[data.index(b"\xff\xda") : -2]
    frame = data[data.index(b"\xff\xc0") : data.index(b"\xff\xda")]
    for more in (scan, frame + scan):
        with pytest.raises(ItemError) as caught:
            strip_metadata(data[:-2] + more + EOI, "jpeg")
        assert caught.value.reason == "deidentify_failed"


def test_broken_jpeg():
    body = saved()
    scan, frame = body.index(b"\xff\xda"), body.index(b"\xff\xc0")
    no_height = body[: frame + 5] + b"\0\0" + body[frame + 7 :]
    huge = body[: frame + 5] + b"\xff\xff\xff\xff" + body[frame + 9 :]
    files = {
        "truncated": [body[:-2], body[: scan + 4], body[:30], SOI, SOI + b"garbage", SOI + EOI],
        "deidentify_failed": [b"", b"\x89PNG", SOI + SOI + EOI, no_height, SOI + body[scan:],
                              SOI + segment(0xDB, b"\0" + bytes(65)) + EOI, SOI + segment(0xF7, b"") + EOI],
        "too_large": [huge],
    }  # fmt: skip
    for reason, cases in files.items():
        for data in cases:
            with pytest.raises(ItemError) as caught:
                strip_metadata(data, "jpeg")
            assert caught.value.reason == reason
