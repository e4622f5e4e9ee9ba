"""Reading ranges of packs and of files registered in place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from voxlake.core.errors import IntegrityError, UsageError
from voxlake.store.objects import Objects
from voxlake.store.packs import read_member
from voxlake.store.ranges import in_place, open_pack, place_of, read_into, read_range


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a folder%20" / "grü#?n.dcm"
    path.parent.mkdir()
    path.write_bytes(bytes(range(100)))
    return path


def test_a_url_leads_back_to_its_file(file: Path, tmp_path: Path) -> None:
    assert in_place(file.as_uri())
    assert place_of(Path("/elsewhere"), file.as_uri()) == file
    odd = tmp_path / os.fsdecode(b"\xff\xfe.dcm")
    assert place_of(tmp_path, odd.as_uri()) == odd


@pytest.mark.parametrize("pack", ["file://host/x", "file:///x?y", "/etc/passwd", "packs/../../x"])
def test_what_is_no_place_of_this_machine_is_refused(pack: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        place_of(tmp_path, pack)


def test_buffers_are_filled_one_after_the_other(file: Path) -> None:
    descriptor = open_pack(Path("/"), file.as_uri(), size=100)
    buffers = [bytearray(size) for size in [3, 0, *[1] * 60, 7]]
    read_into(descriptor, 10, [memoryview(buffer) for buffer in buffers])
    assert b"".join(buffers) == bytes(range(10, 80))
    assert read_range(descriptor, 90, 10) == bytes(range(90, 100))
    with pytest.raises(IntegrityError, match="1 bytes before"):
        read_range(descriptor, 90, 11)
    os.close(descriptor)


def test_more_buffers_than_one_call_takes(file: Path) -> None:
    file.write_bytes(bytes(3000))
    descriptor = open_pack(Path("/"), file.as_uri())
    buffers = [bytearray(b"x") for _ in range(3000)]
    read_into(descriptor, 0, [memoryview(buffer) for buffer in buffers])
    os.close(descriptor)
    assert b"".join(buffers) == bytes(3000)


def test_a_changed_or_missing_file_is_told(file: Path) -> None:
    with pytest.raises(IntegrityError, match="99 bytes"):
        open_pack(Path("/"), file.as_uri(), size=99)
    file.unlink()
    with pytest.raises(IntegrityError, match="cannot be read") as caught:
        open_pack(Path("/"), file.as_uri())
    assert "dcm" not in str(caught.value)


def test_a_member_may_be_a_file_in_place(file: Path, tmp_path: Path) -> None:
    objects = Objects.open(tmp_path / "lake")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert read_member(objects, file.as_uri(), 0, 100, sha256=digest) == bytes(range(100))
    file.write_bytes(bytes(100))
    with pytest.raises(IntegrityError, match="SHA-256") as caught:
        read_member(objects, file.as_uri(), 0, 100, sha256=digest)
    assert "dcm" not in str(caught.value)
    with pytest.raises(IntegrityError, match="ends"):
        read_member(objects, file.as_uri(), 0, 101)
