"""Objects as files of a local folder."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError as ObjectExistsError
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from voxlake.core.errors import LakeError, NotFoundError, SettingsError
from voxlake.store.object_paths import Entry, failed, missing, too_short

__all__ = ["LocalObjects"]


class LocalObjects:
    """The `object_paths.ObjectBackend` of a folder.

    Parameters
    ----------
    url : str
        A folder, as a path or a ``file://`` URL.
    create : bool
        Make the folder if it is not there.

    Raises
    ------
    SettingsError
        The table library cannot take such a path.
    NotFoundError
        The folder is not there and `create` is false.
    """

    def __init__(self, url: str, *, create: bool) -> None:
        self._root = _folder(url)
        if create:
            try:
                self._root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LakeError(f"cannot make the folder '{self._root}': {error.strerror}") from error
        elif not self._root.is_dir():
            raise NotFoundError(f"there is no folder '{self._root}'")
        self._store = LocalStore(str(self._root))

    @property
    def root(self) -> Path | None:
        """The folder."""
        return self._root

    @property
    def url(self) -> str:
        """``file://`` URL of the root."""
        return self._root.as_uri()

    def put(self, path: str, data: bytes) -> None:
        """Store or replace, under another name until it is whole."""
        try:
            obstore.put(self._store, path, data)
        except (BaseError, OSError) as error:
            raise failed("write", path, error) from error

    def put_parts(self, path: str, parts: Sequence[bytes]) -> None:
        """Store or replace, from pieces end to end; they are not put together in memory before."""
        try:
            obstore.put(self._store, path, iter(parts), use_multipart=False)
        except (BaseError, OSError) as error:
            raise failed("write", path, error) from error

    def put_new(self, path: str, data: bytes) -> bool:
        """Store unless there is one."""
        try:
            obstore.put(self._store, path, data, mode="create")
        except ObjectExistsError:
            return False
        except (BaseError, OSError) as error:
            raise failed("write", path, error) from error
        return True

    def get(self, path: str) -> bytes:
        """Read."""
        try:
            return obstore.get(self._store, path).bytes().to_bytes()
        except FileNotFoundError:
            raise missing(path) from None
        except (BaseError, OSError) as error:
            raise failed("read", path, error) from error

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> builtins.list[bytes]:
        """Read several (offset, length)."""
        # pread needs half the time of the store's own range reads and a seventh of its coalesced ones
        # (200 ranges of 0.5 MB: 0.03 s, 0.06 s, 0.19 s).
        try:
            descriptor = os.open(self._root / path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            raise missing(path) from None
        except OSError as error:
            raise failed("read", path, error) from error
        try:
            return [_read_exactly(descriptor, path, offset, length) for offset, length in ranges]
        finally:
            os.close(descriptor)

    def head(self, path: str) -> Entry:
        """Size and time."""
        try:
            found = obstore.head(self._store, path)
            return Entry(path, int(found["size"]), found["last_modified"])
        except FileNotFoundError:
            raise missing(path) from None
        except (BaseError, OSError) as error:
            raise failed("read", path, error) from error

    def delete(self, path: str) -> None:
        """Remove."""
        try:
            obstore.delete(self._store, path)
        except FileNotFoundError:
            raise missing(path) from None
        except (BaseError, OSError) as error:
            raise failed("delete", path, error) from error

    def list(self, folder: str | None) -> Iterator[str]:
        """Paths under a folder."""
        for batch in obstore.list(self._store, folder):
            for entry in batch:
                yield str(entry["path"])

    def entries(self, folder: str | None) -> Iterator[Entry]:
        """Objects under a folder, with size and time."""
        for batch in obstore.list(self._store, folder):
            for entry in batch:
                yield Entry(str(entry["path"]), int(entry["size"]), entry["last_modified"])


def _folder(url: str) -> Path:
    scheme = urlsplit(url).scheme if "://" in url else ""
    root = Path(unquote(urlsplit(url).path) if scheme else url).expanduser().absolute()
    if "%" in str(root):
        # The table library decodes such paths once too often and would write elsewhere.
        raise SettingsError("the path of a lake must not contain '%'; choose another folder")
    return root


def _read_exactly(descriptor: int, path: str, offset: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(descriptor, length, offset)
        if not part:
            raise too_short(path, length)
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
