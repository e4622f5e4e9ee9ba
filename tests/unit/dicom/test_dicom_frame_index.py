"""Ranges of frames: native ones computed, encapsulated ones from their fragments."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from voxlake.dicom.frame_index import frame_bytes, frame_ranges, strip_items

JPEG = "1.2.840.10008.1.2.4.70"
RLE = "1.2.840.10008.1.2.5"
DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


def row(syntax: str = JPEG, frames: int = 2, **changes: Any) -> dict[str, Any]:
    return {
        "pixel_offset": 10,
        "pixel_length": None,
        "transfer_syntax_uid": syntax,
        "number_of_frames": frames,
        "rows": 4,
        "columns": 6,
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "photometric_interpretation": "MONOCHROME2",
    } | changes


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(value)) + value


def file(*fragments: bytes, table: bytes = b"") -> bytes:
    return b"h" * 10 + item(table) + b"".join(map(item, fragments)) + DELIMITER


def frames(data: bytes, offsets: list[int], lengths: list[int]) -> list[bytes]:
    each = lengths * len(offsets) if len(lengths) == 1 else lengths
    return [strip_items(data[10 + o : 10 + o + n]) for o, n in zip(offsets, each, strict=True)]


def test_native_frames_follow_each_other() -> None:
    native = row("1.2.840.10008.1.2.1", 3, pixel_length=144)
    assert frame_ranges(b"", native) == ([0, 48, 96], [48])
    assert frame_ranges(b"", native | {"pixel_length": 143}) == (None, None)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"samples_per_pixel": 3, "bits_allocated": 8}, 72),
        ({"samples_per_pixel": 3, "bits_allocated": 8, "photometric_interpretation": "YBR_FULL_422"}, 48),
        ({"bits_allocated": 1}, 3),
        ({"bits_allocated": 1, "rows": 5, "columns": 5}, None),
        ({"bits_allocated": 1, "rows": 5, "columns": 5, "number_of_frames": 1}, 4),
        ({"bits_allocated": None}, None),
    ],
)
def test_bytes_of_a_frame(changes: dict[str, Any], size: int | None) -> None:
    assert frame_bytes(row() | changes) == size


def test_one_fragment_for_each_frame_needs_no_table() -> None:
    data = file(b"\1\0first!", b"\1\0second")
    offsets, lengths = frame_ranges(data, row(RLE))
    assert lengths == [8]
    assert frames(data, offsets or [], lengths or []) == [b"\1\0first!", b"\1\0second"]


def test_fragments_are_grouped_by_the_offset_table() -> None:
    data = file(b"ab", b"cd", b"efgh", table=struct.pack("<II", 0, 20))
    offsets, lengths = frame_ranges(data, row(RLE))
    assert frames(data, offsets or [], lengths or []) == [b"abcd", b"efgh"]


def test_fragments_are_grouped_by_what_codestreams_begin_with() -> None:
    data = file(b"\xff\xd8ab", b"cd", b"\xff\xd8ef", b"gh", b"ij")
    offsets, lengths = frame_ranges(data, row())
    assert frames(data, offsets or [], lengths or []) == [b"\xff\xd8abcd", b"\xff\xd8efghij"]


def test_a_single_frame_takes_all_fragments() -> None:
    data = file(b"\xff\xd8ab", b"cd", b"ef")
    offsets, lengths = frame_ranges(data, row(frames=1))
    assert frames(data, offsets or [], lengths or []) == [b"\xff\xd8abcdef"]


@pytest.mark.parametrize(
    "data",
    [
        file(b"\xff\xd8ab", b"\xff\xd8cd", b"\xff\xd8ef"),
        file(b"ab", b"cd", b"ef"),
        file(b"ab", b"cd", b"ef", table=struct.pack("<II", 0, 9)),
        file(b"ab", b"cd", b"ef", table=struct.pack("<II", 10, 20)),
        file(b"ab", b"cd")[:-10],
        file(b"ab"),
        b"h" * 10,
    ],
)
def test_what_cannot_be_told_is_null(data: bytes) -> None:
    assert frame_ranges(data, row()) == (None, None)


def test_a_frame_that_holds_two_codestreams_is_null() -> None:
    assert frame_ranges(file(b"\xff\xd8ab", b"\xff\xd8cd"), row(frames=1)) == (None, None)


def test_deflated_or_without_pixels_is_null() -> None:
    assert frame_ranges(b"", row("1.2.840.10008.1.2.1.99")) == (None, None)
    assert frame_ranges(b"", row(pixel_offset=None)) == (None, None)


def test_fragments_that_do_not_fill_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="fill"):
        strip_items(item(b"abcd") + b"ef")
