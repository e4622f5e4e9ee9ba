"""The contract of object stores, for each store that we ship."""

from __future__ import annotations

from pathlib import Path

from voxlake.store.objects import Objects
from voxlake.testing.objects import ObjectsContract


class TestLocalFolder(ObjectsContract):
    def open_objects(self, folder: Path) -> Objects:
        return Objects.open(folder / "lake")


class TestFileUrlWithBlanks(ObjectsContract):
    def open_objects(self, folder: Path) -> Objects:
        return Objects.open((folder / "a lake ü #1").as_uri())
