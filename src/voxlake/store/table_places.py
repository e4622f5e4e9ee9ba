"""Where the files of the tables lie: in a folder of this machine, or in a bucket with local copies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from voxlake.store.bucket_url import BucketUrl
from voxlake.store.file_cache import FileCache, default_folder
from voxlake.store.objects import Objects

__all__ = ["TablePlaces", "places_of"]

# Without credentials: the table library finds them by itself, as the object store library does.
_LIMITS = {
    "timeout": "120s",
    "connect_timeout": "10s",
    "max_retries": "4",
    "retry_timeout": "20s",
}


class TablePlaces(Protocol):
    """How the table library and readers of Parquet reach the files of a table."""

    remote: bool
    checkpoint_interval: int

    def uri(self, name: str) -> str:
        """Address of a table for the table library."""

    def options(self) -> dict[str, str] | None:
        """Options for the table library."""

    def may_exist(self, name: str) -> bool:
        """False if the table is certainly not there."""

    def local(self, name: str, uris: Sequence[str]) -> list[str]:
        """Local paths of files of a table, given as the table library names them, or by such paths."""

    def paths(self, name: str, uris: Sequence[str]) -> list[str]:
        """The same paths, where copies may be missing."""

    def forget(self, name: str, keep: Sequence[str]) -> None:
        """Delete local copies of all files but those that are named as the table library does."""


class LocalTables:
    """Tables in a folder."""

    remote = False
    # Versions are looked at often, and reading a local log is cheap.
    checkpoint_interval = 100

    def __init__(self, root: Path) -> None:
        self._root = root

    def uri(self, name: str) -> str:
        """``file://`` URL."""
        return (self._root / name).as_uri()

    def options(self) -> dict[str, str] | None:
        """None are needed."""
        return None

    def may_exist(self, name: str) -> bool:
        """Whether there is a log."""
        return (self._root / name / "_delta_log").is_dir()

    def local(self, name: str, uris: Sequence[str]) -> list[str]:
        """The files themselves."""
        folder = f"{self._root / name}/"
        return [folder + unquote(uri.rpartition("/")[2]) for uri in uris]

    def paths(self, name: str, uris: Sequence[str]) -> list[str]:
        """The files themselves."""
        return self.local(name, uris)

    def forget(self, name: str, keep: Sequence[str]) -> None:
        """Nothing is copied."""


class RemoteTables:
    """Tables in a bucket."""

    remote = True
    # Twenty commits take 0.2 s to read from a bucket, a checkpoint 0.05 s.
    checkpoint_interval = 20

    def __init__(self, objects: Objects, place: BucketUrl, folder: Path | None) -> None:
        self._cache = FileCache(objects, default_folder(objects) if folder is None else folder)
        self._place = place

    def uri(self, name: str) -> str:
        """URL without its options."""
        prefix = f"{self._place.prefix}/" if self._place.prefix else ""
        return f"{self._place.scheme}://{self._place.name}/{prefix}tables/{name}"

    def options(self) -> dict[str, str] | None:
        """Endpoint, region and limits; commits by conditional writes."""
        conditional = {"conditional_put": "etag"} if self._place.scheme == "s3" else {}
        return {**_LIMITS, **conditional, **self._place.table_options()}

    def may_exist(self, name: str) -> bool:
        """Only a look at the log tells."""
        return bool(name)

    def local(self, name: str, uris: Sequence[str]) -> list[str]:
        """Copies, fetched where they are missing."""
        self._cache.paths([f"tables/{name}/{uri.rpartition('/')[2]}" for uri in uris])
        return self.paths(name, uris)

    def paths(self, name: str, uris: Sequence[str]) -> list[str]:
        """Where copies are put."""
        folder = f"{self._cache.folder}/tables/{name}/"
        return [folder + uri.rpartition("/")[2] for uri in uris]

    def forget(self, name: str, keep: Sequence[str]) -> None:
        """Delete local copies of all other files."""
        self._cache.drop(f"tables/{name}", {uri.rpartition("/")[2] for uri in keep})


def places_of(objects: Objects, cache: Path | None) -> TablePlaces:
    """Where the tables of a lake lie.

    Parameters
    ----------
    objects : Objects
        The lake.
    cache : Path or None
        Folder for copies of a remote lake; by default one of the user's cache folder, by its URL.
    """
    root = objects.local_path("tables")
    if root is not None:
        return LocalTables(root)
    place = objects.bucket
    if place is None:
        raise TypeError("a store that is neither a folder nor a bucket")
    return RemoteTables(objects, place, cache)
