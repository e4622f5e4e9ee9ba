"""The contract of an object store as a test suite.

Subclass `ObjectsContract` in a test file and say how to open an empty store::

    class TestMyStore(ObjectsContract):
        def open_objects(self, folder: Path) -> Objects:
            return Objects.open("mine://bucket/prefix")

Needs pytest.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.store.objects import Objects

__all__ = ["ObjectsContract"]

_BAD_PATHS = (
    "",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    "a/./b",
    "a\\b",
    "a b",
    "a\nb",
    "a\x00b",
    "ä",
    "a%2e",
    "a:b",
)


class ObjectsContract(ABC):
    """What every object store must do."""

    @abstractmethod
    def open_objects(self, folder: Path) -> Objects:
        """Open an empty store; `folder` is an empty folder of the test."""

    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        """An empty store."""
        return self.open_objects(tmp_path)

    def test_get_gives_what_was_put(self, objects: Objects) -> None:
        """Bytes come back as they went in, also none and many."""
        for name, data in {"a": b"", "b/c": b"\x00\xff", "b/d": bytes(range(256)) * 5_000}.items():
            objects.put(name, data)
            assert objects.get(name) == data
            assert objects.size(name) == len(data)
            assert objects.exists(name)

    def test_put_replaces(self, objects: Objects) -> None:
        """The last bytes count."""
        objects.put("a/b", b"a longer first version")
        objects.put("a/b", b"second")
        assert objects.get("a/b") == b"second"
        assert list(objects.list()) == ["a/b"]

    def test_put_new_never_replaces(self, objects: Objects) -> None:
        """The first bytes count."""
        assert objects.put_new("a/b", b"first") is True
        assert objects.put_new("a/b", b"second") is False
        assert objects.get("a/b") == b"first"

    def test_one_of_many_wins_put_new(self, objects: Objects) -> None:
        """Of several writers at the same time exactly one is told that it was first."""
        with ThreadPoolExecutor(8) as pool:
            for race in range(10):
                won = list(pool.map(lambda n, race=race: objects.put_new(f"r/{race}", b"%d" % n), range(8)))
                assert sum(won) == 1
                assert objects.get(f"r/{race}") == b"%d" % won.index(True)

    def test_missing_objects(self, objects: Objects) -> None:
        """Reading what is not there is a NotFoundError, whatever the call."""
        objects.put("folder/object", b"x")
        for path in ("nothing", "folder/nothing", "folder"):
            assert not objects.exists(path)
            with pytest.raises(NotFoundError, match="there is no object"):
                objects.get(path)
            with pytest.raises(NotFoundError):
                objects.size(path)
        for path in ("nothing", "folder/nothing"):
            with pytest.raises(NotFoundError):
                objects.get_range(path, 0, 1)
            with pytest.raises(NotFoundError):
                objects.delete(path)

    def test_ranges(self, objects: Objects) -> None:
        """Ranges in any order, overlapping, empty and at the end."""
        data = bytes(range(200))
        objects.put("a", data)
        ranges = [(150, 50), (0, 1), (10, 20), (15, 3), (200, 0), (7, 0), (0, 200)]
        assert objects.get_ranges("a", ranges) == [data[o : o + n] for o, n in ranges]
        assert objects.get_range("a", 3, 4) == data[3:7]
        assert objects.get_ranges("a", []) == []

    def test_a_range_is_never_cut_short(self, objects: Objects) -> None:
        """A range that leaves the object is an error, not fewer bytes."""
        objects.put("a", b"0123456789")
        for offset, length in ((0, 11), (9, 2), (10, 1), (50, 1)):
            with pytest.raises(IntegrityError):
                objects.get_range("a", offset, length)
        for offset, length in ((-1, 2), (2, -1)):
            with pytest.raises(UsageError):
                objects.get_range("a", offset, length)

    def test_delete(self, objects: Objects) -> None:
        """What is deleted is gone, and its neighbours are not."""
        objects.put("a/b", b"1")
        objects.put("a/c", b"2")
        objects.delete("a/b")
        assert not objects.exists("a/b")
        assert list(objects.list("a")) == ["a/c"]

    def test_list_is_by_folder(self, objects: Objects) -> None:
        """A prefix is whole parts of a path."""
        names = {"a/b", "a/c/d", "ab/c", "e"}
        for name in names:
            objects.put(name, b"x")
        assert set(objects.list()) == names
        assert set(objects.list("a")) == set(objects.list("a/")) == {"a/b", "a/c/d"}
        assert set(objects.list("a/c")) == {"a/c/d"}
        assert list(objects.list("nothing")) == []

    @pytest.mark.parametrize("path", _BAD_PATHS)
    def test_paths_that_lead_elsewhere_are_refused(self, objects: Objects, path: str) -> None:
        """Nothing outside the store can be named, and no name needs escaping."""
        for call in (objects.get, objects.size, objects.exists, objects.delete):
            with pytest.raises(UsageError):
                call(path)
        for write in (objects.put, objects.put_new):
            with pytest.raises(UsageError):
                write(path, b"x")
        with pytest.raises(UsageError):
            objects.get_range(path, 0, 1)
        assert list(objects.list()) == []

    def test_another_process_can_open_it(self, objects: Objects) -> None:
        """Instances travel as a URL."""
        objects.put("a", b"x")
        again = pickle.loads(pickle.dumps(objects))  # noqa: S301 - our own bytes
        assert again == objects
        assert again.get("a") == b"x"
        assert Objects.open(objects.url).get("a") == b"x"
