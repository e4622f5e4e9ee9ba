"""Objects in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError as ObjectExistsError
from obstore.exceptions import BaseError, GenericError
from obstore.store import ObjectStore

from voxlake.core.errors import LakeError, SettingsError
from voxlake.store.bucket_url import BucketUrl
from voxlake.store.object_paths import PART, Entry, failed, missing, too_short
from voxlake.store.patience import CLIENT, RETRY, persist
from voxlake.store.spans import cut, spans

__all__ = ["RemoteObjects"]

# Larger objects are sent in parts of this size, so that a cut connection costs one part.
_PART_BYTES = 16 << 20
_AT_ONCE = 8
_PAGE = 1000
# Who wrote an object, among its metadata: the answer to a conditional write can get lost.
_WRITER = "voxlake_writer"

Value = TypeVar("Value")


class RemoteObjects:
    """The `object_paths.ObjectBackend` of a bucket.

    Parameters
    ----------
    url : str
        As `bucket_url.BucketUrl.parse` takes it.

    Raises
    ------
    UsageError, SettingsError
        The URL names no bucket, or has unknown options.
    """

    def __init__(self, url: str) -> None:
        self.place = BucketUrl.parse(url, what="lake")
        if self.place.prefix and not all(PART.fullmatch(part) for part in self.place.prefix.split("/")):
            # The table library escapes such names twice and then does not find its checkpoints.
            raise SettingsError(
                "the prefix of a lake in a bucket takes letters, digits and _ . = + @ - with '/' between them"
            )
        self._store: ObjectStore = self.place.open(retry=RETRY, below_prefix=True, client=CLIENT)

    @property
    def root(self) -> Path | None:
        """None: it lies elsewhere."""
        return None

    @property
    def url(self) -> str:
        """URL without credentials, by which another process opens the same store."""
        return self.place.text

    def put(self, path: str, data: bytes) -> None:
        """Store or replace; large objects in several parts, which become one object at the end."""
        several = len(data) > _PART_BYTES

        def write() -> None:
            obstore.put(self._store, path, data, use_multipart=several, chunk_size=_PART_BYTES)

        try:
            self._do(write, "write", path)
        except FileNotFoundError:
            raise self._no_bucket() from None

    def put_parts(self, path: str, parts: Sequence[bytes]) -> None:
        """Store or replace, from pieces end to end."""
        self.put(path, b"".join(parts))

    def put_new(self, path: str, data: bytes) -> bool:
        """Store unless there is one, by a conditional write."""
        writer = uuid4().hex

        def write() -> bool:
            try:
                obstore.put(
                    self._store, path, data, mode="create", use_multipart=False, attributes={_WRITER: writer}
                )
            except ObjectExistsError:
                # It may be our own, of an attempt whose answer was lost.
                return self._writer(path) == writer
            return True

        try:
            return self._do(write, "write", path)
        except FileNotFoundError:
            raise self._no_bucket() from None

    def get(self, path: str) -> bytes:
        """Read."""

        def read() -> bytes:
            answer = obstore.get(self._store, path)
            data = answer.bytes().to_bytes()
            if len(data) != answer.meta["size"]:
                raise ConnectionError("the answer was cut short")
            return data

        return self._read(read, path)

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Read several (offset, length): near ones by one request, several requests at the same time."""
        wanted = spans(ranges)
        if not wanted:
            self.head(path)
            return [b""] * len(ranges)
        if len(wanted) == 1:
            parts = [self._span(path, *wanted[0])]
        else:
            with ThreadPoolExecutor(min(_AT_ONCE, len(wanted))) as pool:
                parts = list(pool.map(lambda span: self._span(path, *span), wanted))
        return cut(ranges, wanted, parts)

    def head(self, path: str) -> Entry:
        """Size and time."""
        found = self._read(lambda: obstore.head(self._store, path), path)
        return Entry(path, int(found["size"]), found["last_modified"])

    def delete(self, path: str) -> None:
        """Remove."""
        # Removing what is not there is no error for most stores.
        self.head(path)
        try:
            self._do(lambda: obstore.delete(self._store, path), "delete", path)
        except FileNotFoundError:
            # Removed by an attempt whose answer was lost, or by somebody else at this moment.
            return

    def list(self, folder: str | None) -> Iterator[str]:
        """Paths under a folder; a listing that is cut goes on behind the last path that came."""
        for entry in self.entries(folder):
            yield entry.path

    def entries(self, folder: str | None) -> Iterator[Entry]:
        """Objects under a folder, with size and time; as `list`."""
        last: str | None = None
        while True:
            batch = self._do(partial(self._listed, folder, last), "list", folder or "")
            yield from batch
            if len(batch) < _PAGE:
                return
            last = batch[-1].path

    def _listed(self, folder: str | None, after: str | None) -> builtins.list[Entry]:
        for batch in obstore.list(self._store, folder, offset=after, chunk_size=_PAGE):
            return sorted(Entry(str(one["path"]), int(one["size"]), one["last_modified"]) for one in batch)
        return []

    def _span(self, path: str, offset: int, length: int) -> bytes:
        def read() -> bytes:
            try:
                data = obstore.get_range(self._store, path, start=offset, length=length).to_bytes()
            except GenericError as error:
                if "416" not in str(error):
                    raise
                data = b""
            if len(data) == length:
                return data
            # Stores give fewer bytes, or status 416, where a range leaves the object.
            size = int(obstore.head(self._store, path)["size"])
            if offset + length > size:
                raise too_short(path, offset + length - size)
            raise ConnectionError("the answer was cut short")

        return self._read(read, path)

    def _writer(self, path: str) -> str | None:
        try:
            answer = obstore.get(self._store, path, options={"head": True})
        except FileNotFoundError:
            return None
        found: Any = answer.attributes.get(_WRITER)
        return None if found is None else str(found)

    def _read(self, action: Callable[[], Value], path: str) -> Value:
        try:
            return self._do(action, "read", path)
        except FileNotFoundError:
            raise missing(path) from None

    def _do(self, action: Callable[[], Value], verb: str, path: str) -> Value:
        try:
            return persist(action, verb, path)
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            raise failed(verb, path, error) from error

    def _no_bucket(self) -> LakeError:
        return LakeError(f"there is no bucket '{self.place.name}'; make it first, or name another")
