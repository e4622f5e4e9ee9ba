"""NRRD files of every kind that SimpleITK does not write, and those that are refused."""

from __future__ import annotations

import bz2
import gzip

import numpy as np
import pytest

from voxlake.core.errors import ItemError
from voxlake.sources.images import read_image, scan_image, sniff

VALUES = np.arange(24, dtype="<i2")
PLACE = "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (5,6,7)\n"


def nrrd(
    body: bytes, sizes: str = "4 3 2", kind: str = "short", encoding: str = "raw", more: str = PLACE
) -> bytes:
    dimension = len(sizes.split())
    return (
        f"NRRD0004\n# made by a test\ntype: {kind}\ndimension: {dimension}\nsizes: {sizes}\n"
        f"endian: little\nencoding: {encoding}\n{more}\n"
    ).encode() + body


def reason(data: bytes) -> str:
    with pytest.raises(ItemError) as caught:
        scan_image(data, "nrrd")
    with pytest.raises(ItemError) as again:
        read_image(data, "nrrd")
    assert again.value.reason == caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("raw", VALUES.tobytes()),
        ("gzip", gzip.compress(VALUES.tobytes())),
        ("gz", gzip.compress(VALUES.tobytes()[:20]) + gzip.compress(VALUES.tobytes()[20:])),
        ("bzip2", bz2.compress(VALUES.tobytes())),
        ("ascii", " ".join(map(str, VALUES)).encode()),
        ("text", "\n".join(map(str, VALUES)).encode() + b"\n"),
        ("hex", VALUES.tobytes().hex(" ").encode()),
    ],
    # Not by the bytes: gzip writes the time into them.
    ids=["raw", "gzip", "gz", "bzip2", "ascii", "text", "hex"],
)
def test_encodings(encoding: str, body: bytes) -> None:
    data = nrrd(body, encoding=encoding)
    assert sniff(data) == "nrrd"
    volume = read_image(data, "nrrd")
    np.testing.assert_array_equal(volume.numpy(), VALUES.reshape(2, 3, 4), strict=True)
    assert volume.grid.spacing == (2.0, 1.0, 1.0)
    assert volume.grid.origin.tolist() == [5, 6, 7]
    columns = scan_image(data, "nrrd")
    assert columns["frame_positions"] == [5, 6, 7, 5, 6, 9]
    assert columns["pixel_representation"] == 1


def test_skips() -> None:
    lines = nrrd(b"one line\nand another\n" + VALUES.tobytes(), more=f"line skip: 2\n{PLACE}")
    behind = nrrd(b"some header" + VALUES.tobytes(), more=f"byte skip: -1\n{PLACE}")
    inside = nrrd(gzip.compress(b"12345" + VALUES.tobytes()), encoding="gzip", more=f"byte skip: 5\n{PLACE}")
    for data in (lines, behind, inside):
        np.testing.assert_array_equal(read_image(data, "nrrd").numpy().ravel(), VALUES)


def test_colours_whichever_axis_they_are_on() -> None:
    values = np.arange(18, dtype=np.uint8)
    first = nrrd(values.tobytes(), "3 3 2", "uchar", more="kinds: RGB-color domain domain\n")
    volume = read_image(first, "nrrd")
    np.testing.assert_array_equal(volume.numpy(), values.reshape(1, 2, 3, 3))
    assert volume.grid.flat
    last = nrrd(values.tobytes(), "3 2 3", "uchar", more="kinds: domain domain RGB-color\n")
    np.testing.assert_array_equal(read_image(last, "nrrd").numpy()[0, ..., 1], values.reshape(3, 2, 3)[1])
    assert scan_image(first, "nrrd")["photometric_interpretation"] == "RGB"


def test_volumes_in_one_file_are_counted_and_not_mixed_up() -> None:
    more = "space: LPS\nspace directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: list domain domain domain\n"
    data = nrrd(np.arange(48, dtype="<i2").tobytes(), "2 4 3 2", more=more)
    assert scan_image(data, "nrrd")["number_of_frames"] == 4
    with pytest.raises(ItemError, match="2 volumes") as caught:
        read_image(data, "nrrd")
    assert caught.value.reason == "geometry_duplicates"
    one = nrrd(
        VALUES.tobytes(),
        "4 3 2 1",
        more=more.replace("none (1,0,0)", "(1,0,0)").replace("(0,0,1)", "(0,0,1) none"),
    )
    np.testing.assert_array_equal(read_image(one, "nrrd").numpy(), VALUES.reshape(2, 3, 4))


def test_units_and_spacings() -> None:
    metres = nrrd(VALUES.tobytes(), more=f'{PLACE}space units: "cm" "cm" "cm"\n')
    assert read_image(metres, "nrrd").grid.spacing == (20.0, 10.0, 10.0)
    spaced = read_image(nrrd(VALUES.tobytes(), more="spacings: 1 2 3\n"), "nrrd")
    assert spaced.grid.spacing == (3.0, 2.0, 1.0)
    assert "taken for LPS" in spaced.lineage.steps[0]
    bare = nrrd(VALUES.tobytes(), more="")
    assert read_image(bare, "nrrd").grid.flat
    assert "pixel_spacing" not in scan_image(bare, "nrrd")


def test_a_slice_in_space() -> None:
    more = "space: RAS\nspace directions: (0.5,0,0) (0,0,-0.5)\nspace origin: (1,2,3)\n"
    volume = read_image(nrrd(VALUES[:12].tobytes(), "4 3", more=more), "nrrd")
    assert volume.shape == (1, 3, 4)
    assert volume.grid.spacing == (1.0, 0.5, 0.5)
    assert volume.grid.origin.tolist() == [-1, -2, 3]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (nrrd(VALUES.tobytes()[:-1]), "truncated"),
        (nrrd(gzip.compress(VALUES.tobytes())[:-9], encoding="gzip"), "truncated"),
        (nrrd(gzip.compress(VALUES.tobytes()[:-2]), encoding="gzip"), "truncated"),
        (nrrd(b"\x1f\x8b" + bytes(50), encoding="gzip"), "decode_error"),
        (nrrd(b"", more=f"data file: other.raw\n{PLACE}"), "decode_error"),
        (b"NRRD0004\ntype: short\ndimension: 1\nsizes: 4\ndata file: x.raw\n", "decode_error"),
        (
            nrrd(VALUES.tobytes(), more="space: LPS\nspace directions: (1,0,0) (1,0,0) (0,0,2)\n"),
            "geometry_none",
        ),
        (nrrd(VALUES.tobytes(), "24"), "decode_error"),
        (nrrd(VALUES.tobytes(), "24", more=""), "geometry_none"),
        (nrrd(VALUES.tobytes(), "2 2 3 2", more=""), "geometry_none"),
        (nrrd(VALUES.tobytes(), "100000 100000 100000"), "too_large"),
        (nrrd(VALUES.tobytes(), kind="block"), "decode_error"),
        (nrrd(VALUES.tobytes(), encoding="zrl"), "decode_error"),
        (b"NRRD0004\ntype: short\n", "truncated"),
    ],
)
def test_refused(data: bytes, expected: str) -> None:
    assert reason(data) == expected


def test_text_that_is_no_number() -> None:
    data = nrrd(b"1 2 3 x" + b" 4" * 30, encoding="text")
    with pytest.raises(ItemError) as caught:
        read_image(data, "nrrd")
    assert caught.value.reason == "decode_error"
