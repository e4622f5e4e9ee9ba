"""Archives that come by once: packed tar, zip without its directory, pipes, temporary files."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import lzma
import os
import pickle
import tempfile
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from voxlake.core.errors import ItemError
from voxlake.sources.archive import ArchiveLimits
from voxlake.sources.item import Item
from voxlake.sources.open import open_source
from voxlake.sources.standard_input import StandardInput
from voxlake.sources.streamed import streamed_items
from voxlake.sources.zstd import unpacked_zstd

LIMIT = 2**20
MEMBERS = {"a.dcm": b"1" * 700, "b/c.dcm": bytes(range(256)) * 40, "empty": b"", ".DS_Store": b"x"}


@pytest.fixture(autouse=True)
def spool_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary files of their own, so that what is left behind is seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Pipe(io.RawIOBase):
    """Takes what a writer writes and cannot be seeked."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += bytes(data)
        return len(data)


def tarred(members: dict[str, bytes]) -> bytes:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, *, piped: bool = False) -> bytes:
    """A zip file; a piped one has its sizes behind the data."""
    target = Pipe() if piped else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return bytes(target.data) if isinstance(target, Pipe) else target.getvalue()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def outcome(item: Item) -> bytes | str:
    if item.ignored is not None:
        return item.ignored
    try:
        return item.read(LIMIT)
    except ItemError as error:
        return error.reason


def outcomes(data: bytes, *, size: int = 1000, limits: ArchiveLimits | None = None) -> dict[str, bytes | str]:
    found = streamed_items("s", chunks(data, size), limits or ArchiveLimits())
    return {item.name: outcome(item) for item in found}


EXPECTED = {
    "s/a.dcm": MEMBERS["a.dcm"],
    "s/b/c.dcm": MEMBERS["b/c.dcm"],
    "s/empty": "empty_file",
    "s/.DS_Store": "ignored_system_file",
}


@pytest.mark.parametrize("size", [1, 7, 512, 100_000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_tar_streams(pack, size: int) -> None:
    assert outcomes(pack(tarred(MEMBERS)), size=size) == EXPECTED


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_streams_of_several_members_and_padding(pack) -> None:
    data = tarred(MEMBERS)
    assert outcomes(pack(data[:1000]) + pack(data[1000:])) == EXPECTED
    if pack in (gzip.compress, bz2.compress):
        assert outcomes(pack(data) + bytes(700)) == EXPECTED


def test_a_stream_that_needs_more_memory_than_there_is_costs_only_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was read before counts; the fuzzer met it once."""
    data = zstd(tarred(MEMBERS) + bytes(4 << 20))
    real, calls = pa.CompressedInputStream.read, []

    class Short(pa.CompressedInputStream):
        def read(self, count: int) -> bytes:
            calls.append(count)
            if len(calls) > 1:
                raise MemoryError
            return real(self, count)

    monkeypatch.setattr(pa, "CompressedInputStream", Short)
    assert list(unpacked(data)) == [(tarred(MEMBERS) + bytes(4 << 20))[: 1 << 20], "archive_limit"]


def unpacked(data: bytes) -> Iterator[bytes | str]:
    try:
        yield from unpacked_zstd(iter([data]))
    except ItemError as error:
        yield error.reason


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("size", [1, 13, 100_000])
def test_zip_streams(piped: bool, size: int) -> None:
    data = zipped(MEMBERS, piped=piped)
    assert outcomes(data, size=size) == EXPECTED


def test_stored_members_need_a_size() -> None:
    assert outcomes(zipped(MEMBERS, zipfile.ZIP_STORED)) == EXPECTED
    assert outcomes(zipped({"a": b"1"}, zipfile.ZIP_STORED, piped=True)) == {"s": "archive_member"}
    # An empty one is described at once.
    empty = zipped({"a": b"", "b": b""}, zipfile.ZIP_STORED, piped=True)
    assert outcomes(empty) == {"s/a": "empty_file", "s/b": "empty_file"}
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive, archive.open("a", "w") as member:
        member.write(b"1" * 100)
    assert outcomes(bytes(pipe.data)) == {"s": "archive_member"}


def test_zip64_members_and_descriptors() -> None:
    for target in (Pipe(), io.BytesIO()):
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("a", "b"):
                with archive.open(name, "w", force_zip64=True) as member:
                    member.write(name.encode() * 5000)
        data = bytes(target.data) if isinstance(target, Pipe) else target.getvalue()
        assert outcomes(data) == {"s/a": b"a" * 5000, "s/b": b"b" * 5000}


def test_folders_in_a_zip_stream_are_left_out() -> None:
    target = Pipe()
    with zipfile.ZipFile(target, "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a", b"1" * 10, compress_type=zipfile.ZIP_DEFLATED)
    assert outcomes(bytes(target.data)) == {"s/folder/a": b"1" * 10}


def test_encrypted_and_oddly_packed_members_fail_alone() -> None:
    data = bytearray(zipped({"a": b"1" * 50, "b": b"2" * 50}))
    encrypted = bytearray(data)
    encrypted[6] |= 1
    assert outcomes(bytes(encrypted)) == {"s/a": "archive_member", "s/b": b"2" * 50}
    odd = zipped({"a": b"1" * 50}, zipfile.ZIP_LZMA)
    assert outcomes(odd) == {"s/a": "archive_member"}


def test_damage_is_found_by_the_checksum() -> None:
    stored = bytearray(zipped({"a": b"1" * 50, "b": b"2" * 50}, zipfile.ZIP_STORED))
    stored[40] ^= 1
    assert outcomes(bytes(stored)) == {"s/a": "archive_member", "s/b": b"2" * 50}
    piped = bytearray(zipped({"a": os.urandom(500), "b": b"2" * 50}, piped=True))
    piped[100] ^= 1
    assert outcomes(bytes(piped)) == {"s": "archive_member"}


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "make",
    [
        tarred,
        lambda m: gzip.compress(tarred(m)),
        lambda m: zstd(tarred(m)),
        zipped,
        lambda m: zipped(m, piped=True),
    ],
)
def test_a_stream_that_breaks_off_says_so(make, share: float) -> None:
    data = make({"a": os.urandom(3000), "b": os.urandom(3000)})
    found = outcomes(data[: int(share * min(len(data), 7600))])
    assert {value for value in found.values() if isinstance(value, str)} & {"truncated", "archive_member"}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_damage_in_a_packed_tar(pack) -> None:
    data = bytearray(pack(tarred({"a": os.urandom(200_000)})))
    data[len(data) // 2] ^= 0xFF
    assert outcomes(bytes(data)).get("s") in ("archive_member", "truncated")


def test_what_is_neither_zip_nor_tar() -> None:
    for data in (b"", b"GIF89a" * 200, gzip.compress(b"an image" * 100)):
        assert outcomes(data) == {"s": "archive_member"}


def test_bombs_are_cut_off_with_little_memory_and_disk(spool_folder: Path) -> None:
    # 100 MB of zeros in 100 kB; the second layer of a bomb is a member like any other.
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    header = tarred({"zeros": b""})[:512]
    import tarfile

    info = tarfile.TarInfo("zeros")
    info.size = 100 << 20
    header = info.tobuf(tarfile.GNU_FORMAT)
    bomb = (
        packer.compress(header)
        + b"".join(packer.compress(bytes(1 << 20)) for _ in range(100))
        + packer.flush()
    )
    tracemalloc.start()
    found = outcomes(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {"s": "archive_limit"}
    assert peak < 16 << 20
    assert not list(spool_folder.iterdir())


def test_caps_of_streams() -> None:
    data = tarred({str(n): b"1" * 100 for n in range(5)})
    few = outcomes(data, limits=ArchiveLimits(members=2))
    assert list(few.values()) == [b"1" * 100, b"1" * 100, "archive_limit"]
    large = tarred({"big": b"0" * 5000, "small": b"1"})
    assert outcomes(large, limits=ArchiveLimits(member_bytes=4000)) == {"s/big": "too_large", "s/small": b"1"}
    assert outcomes(large, limits=ArchiveLimits(total_bytes=3000)) == {"s": "archive_limit"}


def test_temporary_files_live_as_long_as_their_items(spool_folder: Path) -> None:
    found = list(streamed_items("s", chunks(tarred(MEMBERS), 100), ArchiveLimits()))
    (file,) = spool_folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    copies = pickle.loads(pickle.dumps(found))
    assert copies[0].read(LIMIT) == MEMBERS["a.dcm"]
    del copies
    gc.collect()
    assert file.exists()
    kept = found[1]
    del found
    gc.collect()
    assert kept.read(LIMIT) == MEMBERS["b/c.dcm"]
    del kept
    gc.collect()
    assert not file.exists()


def test_the_disk_holds_only_what_is_in_use(spool_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxlake.sources.spool._SEGMENT", 1000)
    data = tarred({str(n): b"1" * 900 for n in range(50)})
    most = 0
    for item in streamed_items("s", chunks(data, 5000), ArchiveLimits()):
        assert item.read(LIMIT) == b"1" * 900
        most = max(most, len(list(spool_folder.iterdir())))
    assert most <= 3


def test_packed_tar_in_a_folder_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    data = tarred({"x": b"1"})
    for name, content in {
        "a.tar": gzip.compress(data), "b.tgz": gzip.compress(data), "c.tar.xz": lzma.compress(data),
        "d.TAR.BZ2": bz2.compress(data), "e.tar.zst": zstd(data), "f.gz": gzip.compress(b"1", mtime=0),
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    found = {item.name: outcome(item) for item in open_source(folder)}
    assert {name: value for name, value in found.items() if name != "f.gz"} == {
        f"{name}/x": b"1" for name in ("a.tar", "b.tgz", "c.tar.xz", "d.TAR.BZ2", "e.tar.zst")
    }
    assert found["f.gz"] == gzip.compress(b"1", mtime=0)


def test_standard_input_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    data = gzip.compress(tarred(MEMBERS)) + bytes(200_000)
    done = []

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)
        done.append(True)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb") as pipe:
        found = {item.name: outcome(item) for item in StandardInput(file=pipe)}
    thread.join()
    assert done == [True]
    assert found == {f"-{name[1:]}": value for name, value in EXPECTED.items()}
    assert isinstance(open_source("-"), StandardInput)
