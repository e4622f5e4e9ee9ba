"""Objects under a URL: the one place where bytes are put and got.

Paths are relative to the URL, with ``/`` between the parts, and the same on every kind of store.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from voxlake.core.errors import NotFoundError, SettingsError, UsageError
from voxlake.core.hints import hint
from voxlake.store.local_objects import LocalObjects
from voxlake.store.object_paths import Entry, ObjectBackend, checked

if TYPE_CHECKING:
    from voxlake.store.bucket_url import BucketUrl

__all__ = ["Objects", "is_remote"]

_REMOTE = ("s3", "gs", "az")
# Far less than the time of grace after which `compact` removes what no row names.
_YOUNG = timedelta(hours=1)


class Objects:
    """Objects of one lake, addressed by path.

    Instances can be sent to other processes: only the URL travels, and each process opens its own with
    the credentials that it finds.

    Parameters
    ----------
    backend : ObjectBackend
        The store. Use `Objects.open`.
    """

    def __init__(self, backend: ObjectBackend) -> None:
        self._backend = backend

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True) -> Objects:
        """Open the store at a URL.

        Parameters
        ----------
        url : str or Path
            A folder, as a path or a ``file://`` URL; or a place in a bucket, ``s3://bucket/prefix``,
            ``gs://bucket/prefix`` or ``az://container/prefix``, with options behind a ``?`` (see
            `bucket_url.BucketUrl.parse`). Of a bucket nothing is asked yet.
        create : bool
            Make the folder if it is not there. A bucket is never made.

        Raises
        ------
        SettingsError
            The URL is of a kind that is not supported, or has unknown options.
        NotFoundError
            The folder is not there and `create` is false.
        """
        text = str(url)
        if is_remote(text):
            # A lake in a folder does without what buckets need.
            from voxlake.store.remote_objects import RemoteObjects

            return cls(RemoteObjects(text))
        scheme = urlsplit(text).scheme if "://" in text else "file"
        if scheme != "file":
            raise SettingsError(
                f"a lake at '{scheme}://' is not supported{hint(scheme, _REMOTE)}; supported are a folder, "
                "'file://', 's3://', 'gs://' and 'az://'"
            )
        return cls(LocalObjects(text, create=create))

    @property
    def url(self) -> str:
        """URL of the root."""
        return self._backend.url

    @property
    def bucket(self) -> BucketUrl | None:
        """The place in a bucket; None for a folder of this machine."""
        return getattr(self._backend, "place", None)

    def __repr__(self) -> str:
        return f"Objects({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objects) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Objects.open, (self.url,))

    def put(self, path: str, data: bytes) -> None:
        """Store an object, replacing one of that path. Nobody ever sees half of it."""
        self._backend.put(checked(path), data)

    def put_parts(self, path: str, parts: Sequence[bytes]) -> None:
        """Store an object made of pieces end to end; see `put`."""
        self._backend.put_parts(checked(path), parts)

    def put_new(self, path: str, data: bytes) -> bool:
        """Store an object unless one of that path exists.

        Returns
        -------
        bool
            False if it exists; of several writers at the same time exactly one gets True.
        """
        return self._backend.put_new(checked(path), data)

    def get(self, path: str) -> bytes:
        """Read an object.

        Raises
        ------
        NotFoundError
            There is none.
        """
        return self._backend.get(checked(path))

    def get_range(self, path: str, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset` on; see `get_ranges`."""
        return self.get_ranges(path, [(offset, length)])[0]

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Read several (offset, length) ranges of one object.

        Raises
        ------
        NotFoundError
            There is no such object.
        IntegrityError
            A range ends behind the end of the object.
        UsageError
            An offset or length is negative.
        """
        if any(offset < 0 or length < 0 for offset, length in ranges):
            raise UsageError("a range needs an offset and a length of at least 0")
        return self._backend.get_ranges(checked(path), ranges)

    def exists(self, path: str) -> bool:
        """Whether there is an object of that path."""
        try:
            self.size(path)
        except NotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        """Number of bytes of an object.

        Raises
        ------
        NotFoundError
            There is none.
        """
        return self.head(path).size

    def head(self, path: str) -> Entry:
        """Size of an object and when it was written.

        Raises
        ------
        NotFoundError
            There is none.
        """
        return self._backend.head(checked(path))

    def holds(self, path: str, size: int | None = None) -> bool:
        """Whether there is an object (of so many bytes), which whoever asks may name in a row.

        One that was written long ago may be about to be removed as one that no row names (`compact`): it is
        written anew.
        """
        try:
            found = self.head(path)
        except NotFoundError:
            return False
        if size is not None and found.size != size:
            return False
        if datetime.now(UTC) - found.modified > _YOUNG:
            self.put(path, self.get(path))
        return True

    def delete(self, path: str) -> None:
        """Remove an object.

        Raises
        ------
        NotFoundError
            There is none.
        """
        self._backend.delete(checked(path))

    def list(self, prefix: str = "") -> Iterator[str]:
        """Paths of all objects under a folder, in no particular order; ``""`` lists everything."""
        return self._backend.list(checked(prefix.removesuffix("/")) if prefix else None)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Like `list`, with the size of each object and when it was written."""
        return self._backend.entries(checked(prefix.removesuffix("/")) if prefix else None)

    def local_path(self, path: str) -> Path | None:
        """Where an object lies on this machine; None on a remote store."""
        root = self._backend.root
        return root / checked(path) if root is not None and path else root


def is_remote(url: str | Path) -> bool:
    """Whether a URL names a place in a bucket."""
    text = str(url)
    return "://" in text and urlsplit(text).scheme in _REMOTE
