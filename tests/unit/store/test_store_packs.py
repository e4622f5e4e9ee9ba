"""Packs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from voxlake.core.errors import IntegrityError, UsageError
from voxlake.store.objects import Objects
from voxlake.store.packs import pack_name, read_member, read_members, write_pack

MEMBERS = [b"first", b"", b"\x00" * 100, b"first"]


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.open(tmp_path)


def test_a_pack_is_the_bare_concatenation(objects: Objects) -> None:
    entries = write_pack(objects, MEMBERS)
    assert objects.get(entries[0].pack) == b"".join(MEMBERS)
    assert [(entry.offset, entry.length) for entry in entries] == [(0, 5), (5, 0), (5, 100), (105, 5)]
    assert [entry.sha256 for entry in entries] == [hashlib.sha256(member).hexdigest() for member in MEMBERS]
    for entry, member in zip(entries, MEMBERS, strict=True):
        assert read_member(objects, entry.pack, entry.offset, entry.length, sha256=entry.sha256) == member


def test_the_name_is_a_digest_over_the_members(objects: Objects) -> None:
    name = write_pack(objects, MEMBERS)[0].pack
    identity = name.removesuffix(".pack").rsplit("/", 1)[1]
    assert name == f"packs/{identity[:2]}/{identity}.pack"
    assert name == pack_name([hashlib.sha256(member).hexdigest() for member in MEMBERS])
    assert write_pack(objects, MEMBERS)[0].pack == name
    # The same bytes, cut elsewhere or in another order, are another pack.
    assert write_pack(objects, [b"firs", b"t" + b"\x00" * 100, b"first"])[0].pack != name
    assert write_pack(objects, MEMBERS[::-1])[0].pack != name
    assert len(list(objects.list("packs"))) == 3


def test_writing_again_leaves_the_file_alone_unless_it_is_cut(objects: Objects) -> None:
    name = write_pack(objects, MEMBERS)[0].pack
    path = objects.local_path(name)
    assert path is not None
    before = path.stat().st_mtime_ns
    write_pack(objects, MEMBERS)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"cut")
    write_pack(objects, MEMBERS)
    assert path.read_bytes() == b"".join(MEMBERS)


def test_damage_is_found(objects: Objects) -> None:
    entry = write_pack(objects, MEMBERS)[2]
    path = objects.local_path(entry.pack)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[entry.offset + 50] ^= 1
    path.write_bytes(data)
    assert read_member(objects, entry.pack, entry.offset, entry.length) == bytes(data[5:105])
    with pytest.raises(IntegrityError, match="SHA-256"):
        read_member(objects, entry.pack, entry.offset, entry.length, sha256=entry.sha256)
    path.write_bytes(data[:50])
    with pytest.raises(IntegrityError, match="ends"):
        read_member(objects, entry.pack, entry.offset, entry.length)
    path.unlink()
    with pytest.raises(IntegrityError, match="not in the lake"):
        read_member(objects, entry.pack, entry.offset, entry.length)


def test_many_members_at_once(objects: Objects) -> None:
    entries = write_pack(objects, [b"%d" % n for n in range(50)])
    ranges = [(entry.offset, entry.length) for entry in reversed(entries)]
    digests = [entry.sha256 for entry in reversed(entries)]
    assert read_members(objects, entries[0].pack, ranges, sha256=digests) == [
        b"%d" % n for n in range(49, -1, -1)
    ]
    with pytest.raises(IntegrityError):
        read_members(objects, entries[0].pack, ranges, sha256=digests[::-1])


def test_an_empty_pack_is_refused(objects: Objects) -> None:
    with pytest.raises(UsageError):
        write_pack(objects, [])
