"""Tar files that can be seeked: listing, names, what is refused, what is cut."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import pytest

from voxlake.core.errors import ItemError
from voxlake.sources.archive import ArchiveLimits
from voxlake.sources.item import Item
from voxlake.sources.open import open_source
from voxlake.sources.tar import TarItem

LIMIT = 2**20


def tarred(members: dict[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def items(
    tmp_path: Path, data: bytes, name: str = "a.tar", limits: ArchiveLimits | None = None
) -> list[Item]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(open_source(path, limits=limits))


def outcome(item: Item) -> bytes | str:
    try:
        return item.read(LIMIT)
    except ItemError as error:
        return error.reason


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_read_by_range(tmp_path: Path, form: int) -> None:
    long = "/".join(["folder" * 5] * 4) + "/image.dcm"
    data = tarred({"b.dcm": b"2" * 700, "./a.dcm": b"1", long: b"3" * 512}, form=form)
    found = items(tmp_path, data)
    assert [item.name for item in found] == ["a.tar/b.dcm", "a.tar/a.dcm", f"a.tar/{long}"]
    assert all(isinstance(item, TarItem) for item in found)
    assert [pickle.loads(pickle.dumps(item)).read(LIMIT) for item in found] == [b"2" * 700, b"1", b"3" * 512]
    assert [item.size for item in found] == [700, 1, 512]
    assert "dcm" not in repr(found)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_any_length_and_script(tmp_path: Path, form: int) -> None:
    names = ["ä" * 300, "日本/画像.dcm", "../../etc/passwd", "/absolute", "blank in name"]
    found = items(tmp_path, tarred(dict.fromkeys(names, b"x"), form=form))
    assert [item.name for item in found] == [f"a.tar/{name}" for name in names]


def test_a_name_that_comes_twice_is_two_items(tmp_path: Path) -> None:
    one, two = tarred({"a": b"first"}), tarred({"a": b"second"})
    joined = one[:1024] + two
    assert [(item.name, outcome(item)) for item in items(tmp_path, joined)] == [
        ("a.tar/a", b"first"),
        ("a.tar/a#2", b"second"),
    ]


def test_what_is_no_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    kinds = {
        "soft": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE, "disk": tarfile.BLKTYPE,
        "folder": tarfile.DIRTYPE, "sparse": tarfile.GNUTYPE_SPARSE, "odd": b"Z",
    }  # fmt: skip
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "target" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(info)
        last = tarfile.TarInfo("last")
        last.size = 3
        archive.addfile(last, io.BytesIO(b"end"))
    found = {item.name: item for item in items(tmp_path, buffer.getvalue())}
    assert sorted(found) == [f"a.tar/{n}" for n in ("disk", "hard", "last", "odd", "pipe", "soft", "sparse")]
    for name in ("hard", "soft", "sparse", "odd"):
        assert outcome(found[f"a.tar/{name}"]) == "archive_member"
        assert found[f"a.tar/{name}"].ignored is None
    assert found["a.tar/pipe"].ignored == found["a.tar/disk"].ignored == "ignored_system_file"
    assert outcome(found["a.tar/last"]) == b"end"


def test_pax_sparse_files_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("hollow")
        info.size, info.pax_headers = 3, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        archive.addfile(info, io.BytesIO(b"abc"))
    (item,) = items(tmp_path, buffer.getvalue())
    assert outcome(item) == "archive_member"


@pytest.mark.parametrize("keep", [512 + 100, 1024, 1024 + 512 + 10])
def test_a_cut_file_says_so(tmp_path: Path, keep: int) -> None:
    data = tarred({"a": b"1" * 300, "b": b"2" * 300})[:keep]
    assert "truncated" in [outcome(item) for item in items(tmp_path, data)]


def test_a_damaged_header_ends_the_listing(tmp_path: Path) -> None:
    data = bytearray(tarred({"a": b"1", "b": b"2"}))
    data[1024 + 5] ^= 1
    assert [(item.name, outcome(item)) for item in items(tmp_path, bytes(data))] == [
        ("a.tar/a", b"1"),
        ("a.tar", "archive_member"),
    ]


def test_caps(tmp_path: Path) -> None:
    data = tarred({str(n): b"1" for n in range(5)})
    reasons = [outcome(item) for item in items(tmp_path, data, limits=ArchiveLimits(members=3))]
    assert reasons == [b"1", b"1", b"1", "archive_limit"]
    (big,) = items(tmp_path, tarred({"big": b"0" * (LIMIT + 1)}))
    assert outcome(big) == "too_large"
    (empty,) = items(tmp_path, tarred({"empty": b""}))
    assert outcome(empty) == "empty_file"


def test_a_member_that_announces_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("huge")
    info.size = 2**62
    header = info.tobuf(tarfile.GNU_FORMAT)
    (item, rest) = items(tmp_path, header + b"0" * 512)
    with pytest.raises(ItemError) as caught:
        item.read(2**63)
    assert caught.value.reason == "truncated"
    assert outcome(rest) == "truncated"


def test_an_extended_header_has_a_cap(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**30
    (item,) = items(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert outcome(item) == "archive_limit"


def test_an_empty_tar_has_no_members(tmp_path: Path) -> None:
    assert items(tmp_path, tarred({})) == []
