from __future__ import annotations

import os
import pickle
import socket
import subprocess
from pathlib import Path

import pytest

from voxlake.core.errors import ItemError, NotFoundError, UsageError
from voxlake.sources import folder as folder_module
from voxlake.sources.folder import FileItem, Folder
from voxlake.sources.item import BrokenItem, Hints
from voxlake.sources.open import open_source


def names(source):
    return [item.name for item in source]


def reason_of(item, limit=1000):
    with pytest.raises(ItemError) as caught:
        item.read(limit)
    return caught.value.reason


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_items_come_sorted_with_their_bytes(tmp_path):
    fill(tmp_path, {"b/2": b"22", "b/10": b"10", "a.dcm": b"a", "c/d/e": b"deep", "B": b"upper"})
    source = open_source(tmp_path)
    assert names(source) == ["B", "a.dcm", "b/10", "b/2", "c/d/e"]
    assert {item.name: item.read(10) for item in source} == {
        "B": b"upper", "a.dcm": b"a", "b/10": b"10", "b/2": b"22", "c/d/e": b"deep",
    }  # fmt: skip
    assert [item.size for item in source] == [5, 1, 2, 2, 4]
    assert source.labels_digest is None


def test_a_folder_can_be_walked_twice_and_is_walked_lazily(tmp_path, monkeypatch):
    fill(tmp_path, {f"{n:02d}/file": b"x" for n in range(20)})
    opened = []
    scandir = os.scandir
    monkeypatch.setattr(folder_module.os, "scandir", lambda path: opened.append(path) or scandir(path))
    walk = iter(open_source(str(tmp_path)))
    next(walk)
    assert len(opened) == 2
    assert len(list(walk)) == 19


def test_items_are_small_and_can_be_pickled(tmp_path):
    fill(tmp_path, {"one": b"1"})
    (item,) = open_source(tmp_path)
    copy = pickle.loads(pickle.dumps(item))
    assert copy == item
    assert copy.read(1) == b"1"
    assert len(pickle.dumps(item)) < 600


def test_neither_name_nor_hints_show_in_a_repr():
    item = FileItem(
        "Doe^Jane/1.dcm", "/secret/Doe^Jane/1.dcm", 3, Hints(patient="Doe^Jane", labels=(("f", "x"),))
    )
    assert "Doe" not in repr(item)
    assert repr(item.hints) == "Hints(patient, labels)"
    assert "Doe" not in repr(BrokenItem("Doe", "archive_member", "broken"))


@pytest.mark.parametrize(("data", "limit", "reason"), [(b"", 10, "empty_file"), (b"12345", 4, "too_large")])
def test_sizes_that_are_refused(tmp_path, data, limit, reason):
    fill(tmp_path, {"file": data})
    (item,) = open_source(tmp_path)
    assert reason_of(item, limit) == reason


def test_the_limit_itself_is_allowed(tmp_path):
    (item,) = open_source(fill(tmp_path, {"file": b"12345"}))
    assert item.read(5) == b"12345"


def test_a_file_that_vanishes_before_it_is_read(tmp_path):
    (item,) = open_source(fill(tmp_path, {"file": b"1"}))
    (tmp_path / "file").unlink()
    assert reason_of(item) == "unreadable_source"


def test_a_file_that_became_a_link_or_a_pipe_is_not_opened(tmp_path):
    fill(tmp_path, {"in/a": b"1", "in/b": b"1", "secret": b"key"})
    first, second = open_source(tmp_path / "in")
    (tmp_path / "in/a").unlink()
    (tmp_path / "in/a").symlink_to(tmp_path / "secret")
    (tmp_path / "in/b").unlink()
    os.mkfifo(tmp_path / "in/b")
    assert reason_of(first) == "unreadable_source"
    assert reason_of(second) == "unreadable_source"


def test_links(tmp_path):
    fill(tmp_path, {"root/real/a": b"inside", "outside": b"out", "rootless/b": b"sibling"})
    root = tmp_path / "root"
    (root / "absolute").symlink_to(tmp_path / "outside")
    (root / "dangling").symlink_to("nowhere")
    (root / "folder").symlink_to("real")
    (root / "good").symlink_to("real/a")
    (root / "loop").symlink_to("loop")
    (root / "sibling").symlink_to("../rootless/b")
    (root / "up").symlink_to("..")
    items = {item.name: item for item in open_source(root)}
    assert list(items) == ["absolute", "dangling", "folder", "good", "loop", "real/a", "sibling", "up"]
    assert items["good"].read(10) == b"inside"
    for name in ("absolute", "dangling", "folder", "loop", "sibling", "up"):
        assert reason_of(items[name]) == "unreadable_source", name
        assert items[name].ignored is None


def test_the_root_itself_may_be_a_link(tmp_path):
    fill(tmp_path, {"real/a": b"1"})
    (tmp_path / "link").symlink_to("real")
    (item,) = open_source(tmp_path / "link")
    assert item.read(1) == b"1"


def test_pipes_and_sockets_are_ignored_and_never_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        found = list(open_source(tmp_path))
    assert [(item.name, item.ignored) for item in found] == [
        ("pipe", "ignored_system_file"),
        ("socket", "ignored_system_file"),
    ]
    with pytest.raises(UsageError, match="pipe"):
        open_source(tmp_path / "pipe")


def test_a_folder_that_cannot_be_listed_is_one_item_that_fails(tmp_path, monkeypatch):
    fill(tmp_path, {"a/1": b"1", "locked/2": b"2", "z/3": b"3"})
    scandir = os.scandir

    def guarded(path):
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(folder_module.os, "scandir", guarded)
    found = list(open_source(tmp_path))
    assert [item.name for item in found] == ["a/1", "locked", "z/3"]
    with pytest.raises(ItemError, match="Permission denied") as caught:
        found[1].read(10)
    assert caught.value.reason == "unreadable_source"
    assert str(tmp_path) not in caught.value.message


def test_a_root_that_vanishes_is_one_item_that_fails(tmp_path):
    root = fill(tmp_path / "root", {"a": b"1"})
    source = open_source(root)
    (root / "a").unlink()
    root.rmdir()
    (item,) = source
    assert (item.name, reason_of(item)) == (".", "unreadable_source")


def test_system_files_are_counted_and_ignored(tmp_path):
    ignored = [
        "$RECYCLE.BIN/x.dcm", ".DS_Store", "._a.dcm", "DICOMDIR", "Thumbs.db", "__MACOSX/a/b.dcm",
        "a/desktop.ini", "a/link.lnk",
    ]  # fmt: skip
    kept = [".hidden", "README.txt", "a/DICOMDIR.dcm", "a/x_.dcm", "table.csv"]
    fill(tmp_path, dict.fromkeys(ignored + kept, b"x"))
    found = {item.name: item.ignored for item in open_source(tmp_path)}
    assert found == dict.fromkeys(ignored, "ignored_system_file") | dict.fromkeys(kept)


def test_names_that_are_no_text_become_text(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.dcm")).write_bytes(b"x")
    (item,) = pickle.loads(pickle.dumps(list(open_source(tmp_path))))
    assert item.name == "caf\\xe9.dcm"
    assert item.name.encode()
    assert item.read(1) == b"x"


def test_a_tree_deeper_than_the_recursion_limit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    depth = 1200
    for _ in range(depth):
        Path("d").mkdir()
        os.chdir("d")
    Path("leaf").write_bytes(b"x")
    os.chdir(tmp_path)
    (item,) = open_source(tmp_path)
    assert item.name == "d/" * depth + "leaf"
    assert item.read(1) == b"x"
    # Python's own removal recurses: pytest's clean-up would die of this tree.
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_a_single_file(tmp_path):
    fill(tmp_path, {"a.dcm": b"1"})
    for source in (tmp_path / "a.dcm", (tmp_path / "a.dcm").as_uri()):
        (item,) = open_source(source)
        assert (item.name, item.size, item.read(1)) == ("a.dcm", 1, b"1")


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(NotFoundError):
        open_source(tmp_path / "nothing")
    with pytest.raises(NotFoundError):
        open_source(fill(tmp_path, {"file": b"1"}) / "file" / "below")


def test_a_url_of_another_kind():
    with pytest.raises(UsageError, match="phantoms"):
        open_source("phantom:?patients=3")
    with pytest.raises(UsageError, match="'ftp:'"):
        open_source("ftp://server/lake")


def test_a_source_object_is_taken_as_it_is(tmp_path):
    source = Folder(tmp_path.resolve())
    assert open_source(source) is source
