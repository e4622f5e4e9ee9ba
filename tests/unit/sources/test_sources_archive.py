from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from voxlake.core.errors import ItemError
from voxlake.sources import archive as archive_module
from voxlake.sources.archive import ArchiveLimits
from voxlake.sources.open import open_source


def packed(members: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def source_of(tmp_path: Path, data: bytes, **limits):
    (tmp_path / "x.zip").write_bytes(data)
    return list(open_source(tmp_path / "x.zip", limits=ArchiveLimits(**limits)))


def failure(item, limit=1 << 20):
    with pytest.raises(ItemError) as caught:
        item.read(limit)
    return caught.value.reason


def patch_directory(data: bytes, at: int, layout: str, *values: int) -> bytes:
    """Change a field of the first entry of the central directory."""
    start = data.index(b"PK\x01\x02")
    changed = bytearray(data)
    struct.pack_into(layout, changed, start + at, *values)
    return bytes(changed)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_come_sorted_with_their_bytes(tmp_path, method):
    members = {"b/2.dcm": b"two" * 99, "a/": b"", "a/1.dcm": b"one", "DICOMDIR": b"x", "__MACOSX/._1": b"x"}
    items = source_of(tmp_path, packed(members, method))
    assert [(item.name, item.size, item.ignored) for item in items] == [
        ("x.zip/DICOMDIR", 1, "ignored_system_file"),
        ("x.zip/__MACOSX/._1", 1, "ignored_system_file"),
        ("x.zip/a/1.dcm", 3, None),
        ("x.zip/b/2.dcm", 297, None),
    ]
    copies = pickle.loads(pickle.dumps(items))
    assert copies[2].read(3) == b"one"
    assert copies[3].read(297) == b"two" * 99
    assert "1.dcm" not in repr(items)


def test_archives_in_a_folder_are_opened_up_and_those_inside_are_not(tmp_path):
    inner = packed({"deep": b"1"})
    (tmp_path / "one.ZIP").write_bytes(packed({"a": b"1", "inner.zip": inner}))
    (tmp_path / "two.dcm").write_bytes(b"2")
    items = list(open_source(tmp_path))
    assert [item.name for item in items] == ["one.ZIP/a", "one.ZIP/inner.zip", "two.dcm"]
    assert items[1].read(1000) == inner


def test_listing_opens_no_member(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a member was unpacked while listing")

    monkeypatch.setattr(archive_module.zlib, "decompressobj", refuse)
    assert len(source_of(tmp_path, packed({"a": b"1" * 999}))) == 1


def test_sizes_that_are_refused(tmp_path):
    empty, large = source_of(tmp_path, packed({"a-empty": b"", "large": b"x" * 101}))
    assert failure(empty) == "empty_file"
    assert failure(large, 100) == "too_large"
    assert large.read(101) == b"x" * 101


@pytest.mark.parametrize("announced", [1, 99_999])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_forged_size(tmp_path, announced, method):
    data = patch_directory(packed({"a": b"x" * 50_000}, method), 24, "<I", announced)
    (item,) = source_of(tmp_path, data)
    assert item.size == announced
    assert failure(item) == "archive_member"


def test_unpacking_stops_at_the_announced_size(tmp_path, monkeypatch):
    data = patch_directory(packed({"a": bytes(50_000_000)}), 24, "<I", 1000)
    (item,) = source_of(tmp_path, data)
    made = []
    original = archive_module.zlib.decompressobj

    class Counting:
        def __init__(self, bits):
            self.inner = original(bits)

        def decompress(self, chunk, room):
            part = self.inner.decompress(chunk, room)
            made.append(len(part))
            return part

        unconsumed_tail = property(lambda self: self.inner.unconsumed_tail)
        eof = property(lambda self: self.inner.eof)

    monkeypatch.setattr(archive_module.zlib, "decompressobj", Counting)
    assert failure(item) == "archive_member"
    assert sum(made) == 1001


def test_a_wrong_checksum(tmp_path):
    (item,) = source_of(tmp_path, patch_directory(packed({"a": b"x" * 100}), 16, "<I", 12345))
    assert failure(item) == "archive_member"


def test_damaged_data(tmp_path):
    data = bytearray(packed({"a": bytes(range(256)) * 9}))
    data[45:60] = b"\xff" * 15
    (item,) = source_of(tmp_path, bytes(data))
    assert failure(item) == "archive_member"


@pytest.mark.parametrize(
    ("at", "layout", "value"), [(8, "<H", 1), (10, "<H", 12), (42, "<I", 5), (42, "<I", 0xFFFFFFF0)]
)
def test_encrypted_unknown_or_misplaced(tmp_path, at, layout, value):
    (item,) = source_of(tmp_path, patch_directory(packed({"a": b"x" * 100}), at, layout, value))
    assert failure(item) == "archive_member"


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04 no end", b"x", packed({"a": b"1" * 99})[:-30]], ids=["no end", "no zip", "cut"]
)
def test_a_broken_archive_is_one_item_that_fails(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "b.dcm").write_bytes(b"1")
    first, second = open_source(tmp_path)
    assert (first.name, failure(first)) == ("a.zip", "archive_member")
    assert second.read(1) == b"1"


def test_an_empty_file_named_zip_is_an_empty_file(tmp_path):
    (item,) = source_of(tmp_path, b"")
    assert failure(item) == "empty_file"


def test_an_archive_without_members_has_no_items(tmp_path):
    assert source_of(tmp_path, packed({})) == []


def test_part_of_a_directory_is_not_taken_for_the_whole(tmp_path):
    data = packed({"a": b"1", "b": b"2"})
    second = data.rindex(b"PK\x01\x02")
    (item,) = source_of(tmp_path, data[:second] + b"PKxx" + data[second + 4 :])
    assert (item.name, failure(item)) == ("x.zip", "archive_member")


@pytest.mark.parametrize("limits", [{"members": 2}, {"total_bytes": 29}])
def test_caps_on_members_and_bytes(tmp_path, limits):
    data = packed({"a": b"1" * 10, "b": b"2" * 10, "c": b"3" * 10})
    (item,) = source_of(tmp_path, data, **limits)
    assert (item.name, failure(item)) == ("x.zip", "archive_limit")
    assert len(source_of(tmp_path, data, members=3, total_bytes=30)) == 3


def test_the_cap_on_the_ratio(tmp_path):
    data = packed({f"{n}": bytes(40 << 20) for n in range(2)})
    (item,) = source_of(tmp_path, data)
    assert failure(item) == "archive_limit"
    assert len(source_of(tmp_path, data, ratio=2000)) == 2


def test_names_are_only_names(tmp_path):
    members = {"../../up": b"1", "/etc/passwd": b"2", "a\\b.dcm": b"3", "ä.dcm": b"4"}
    items = source_of(tmp_path, packed(members))
    assert [item.name for item in items] == [
        "x.zip/../../up", "x.zip//etc/passwd", "x.zip/a/b.dcm", "x.zip/ä.dcm",
    ]  # fmt: skip
    assert [item.read(9) for item in items] == [b"1", b"2", b"3", b"4"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_the_same_name_twice_is_two_items(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a", b"first")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a", b"second")
    items = source_of(tmp_path, buffer.getvalue())
    assert {item.name: item.read(9) for item in items} == {"x.zip/a": b"first", "x.zip/a#2": b"second"}


def test_bytes_in_front_and_a_comment_behind(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a", b"data")
        file.comment = b"made by a PACS"
    (item,) = source_of(tmp_path, b"#!/bin/sh\n" * 9 + buffer.getvalue())
    assert item.read(4) == b"data"


def test_zip64(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    data = packed({"a": b"x" * 100, "b": b"y" * 100}, zipfile.ZIP_STORED)
    assert b"PK\x06\x06" in data
    items = source_of(tmp_path, data)
    assert [(item.size, item.read(100)[:1]) for item in items] == [(100, b"x"), (100, b"y")]
