"""What is special about objects in a local folder."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from voxlake.core.errors import LakeError, NotFoundError, SettingsError
from voxlake.store.objects import Objects


def test_unknown_scheme_says_what_works() -> None:
    for url in ("s4://bucket/lake", "ftp://b/l", "http://host/x", "memory://x"):
        with pytest.raises(SettingsError, match="supported are a folder, 'file://', 's3://', 'gs://' and"):
            Objects.open(url)


def test_percent_in_the_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must not contain '%'"):
        Objects.open(tmp_path / "dt%41")
    assert list(tmp_path.iterdir()) == []


def test_open_without_create(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Objects.open(tmp_path / "absent", create=False)
    assert not (tmp_path / "absent").exists()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LakeError, match="cannot make the folder"):
        Objects.open(tmp_path / "file")


def test_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = Objects.open("lake")
    monkeypatch.chdir("/")
    objects.put("a/b", b"x")
    assert (tmp_path / "lake" / "a" / "b").read_bytes() == b"x"
    assert objects.local_path("a/b") == tmp_path / "lake" / "a" / "b"


def test_readers_never_see_half_an_object(tmp_path: Path) -> None:
    objects = Objects.open(tmp_path)
    versions = [bytes([n]) * 3_000_000 for n in range(4)]
    objects.put("a", versions[0])
    done = threading.Event()

    def write() -> None:
        for _ in range(4):
            for version in versions:
                objects.put("a", version)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set() or seen == 0:
        data = objects.get("a")
        assert len(data) == 3_000_000
        assert data == bytes([data[0]]) * len(data)
        seen += 1
    writer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_message_holds_no_debug_output(tmp_path: Path) -> None:
    objects = Objects.open(tmp_path)
    objects.put("a", b"x")
    with pytest.raises(LakeError) as caught:
        objects.put("a/b", b"x")
    assert "\n" not in str(caught.value)
