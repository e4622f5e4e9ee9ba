"""Objects under a URL: the one place where bytes are put and got.

Paths are relative to the URL, with ``/`` between the parts, and the same on every kind of store.
"""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError as ObjectExistsError
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from voxlake.core.errors import IntegrityError, LakeError, NotFoundError, SettingsError, UsageError

__all__ = ["Objects"]

# What every object store, file system and URL takes without escaping.
_PART = re.compile(r"[A-Za-z0-9_.=+@-]+")


class Objects:
    """Objects of one lake, addressed by path.

    Instances can be sent to other processes: only the URL travels, and each process opens its own.

    Parameters
    ----------
    root : pathlib.Path
        Absolute folder. Use `Objects.open`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._store = LocalStore(str(root))

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True) -> Objects:
        """Open the store at a URL.

        Parameters
        ----------
        url : str or Path
            A folder, as a path or a ``file://`` URL.
        create : bool
            Make the folder if it is not there.

        Raises
        ------
        SettingsError
            The URL is of a kind that is not supported.
        NotFoundError
            The folder is not there and `create` is false.
        """
        root = _folder(url)
        if create:
            try:
                root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LakeError(f"cannot make the folder '{root}': {error.strerror}") from error
        elif not root.is_dir():
            raise NotFoundError(f"there is no folder '{root}'")
        return cls(root)

    @property
    def url(self) -> str:
        """``file://`` URL of the root."""
        return self._root.as_uri()

    def __repr__(self) -> str:
        return f"Objects({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objects) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[type[Objects], tuple[Path]]:
        return (type(self), (self._root,))

    def put(self, path: str, data: bytes) -> None:
        """Store an object, replacing one of that path. Nobody ever sees half of it."""
        try:
            obstore.put(self._store, _checked(path), data)
        except (BaseError, OSError) as error:
            raise _failed("write", path, error) from error

    def put_new(self, path: str, data: bytes) -> bool:
        """Store an object unless one of that path exists.

        Returns
        -------
        bool
            False if it exists; of several writers at the same time exactly one gets True.
        """
        try:
            obstore.put(self._store, _checked(path), data, mode="create")
        except ObjectExistsError:
            return False
        except (BaseError, OSError) as error:
            raise _failed("write", path, error) from error
        return True

    def get(self, path: str) -> bytes:
        """Read an object.

        Raises
        ------
        NotFoundError
            There is none.
        """
        try:
            return obstore.get(self._store, _checked(path)).bytes().to_bytes()
        except FileNotFoundError:
            raise _missing(path) from None
        except (BaseError, OSError) as error:
            raise _failed("read", path, error) from error

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
        # pread needs half the time of the store's own range reads and a seventh of its coalesced ones
        # (200 ranges of 0.5 MB: 0.03 s, 0.06 s, 0.19 s).
        try:
            descriptor = os.open(self._root / _checked(path), os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(path) from None
        except OSError as error:
            raise _failed("read", path, error) from error
        try:
            return [_read_exactly(descriptor, path, offset, length) for offset, length in ranges]
        finally:
            os.close(descriptor)

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
        try:
            return int(obstore.head(self._store, _checked(path))["size"])
        except FileNotFoundError:
            raise _missing(path) from None
        except (BaseError, OSError) as error:
            raise _failed("read", path, error) from error

    def delete(self, path: str) -> None:
        """Remove an object.

        Raises
        ------
        NotFoundError
            There is none.
        """
        try:
            obstore.delete(self._store, _checked(path))
        except FileNotFoundError:
            raise _missing(path) from None
        except (BaseError, OSError) as error:
            raise _failed("delete", path, error) from error

    def list(self, prefix: str = "") -> Iterator[str]:
        """Paths of all objects under a folder, in no particular order; ``""`` lists everything."""
        folder = _checked(prefix.removesuffix("/")) if prefix else None
        for batch in obstore.list(self._store, folder):
            for entry in batch:
                yield str(entry["path"])

    def local_path(self, path: str) -> Path | None:
        """Where an object lies on this machine; None on a remote store."""
        return self._root / _checked(path) if path else self._root


def _folder(url: str | Path) -> Path:
    text = str(url)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme not in ("", "file"):
        raise SettingsError(
            f"a lake at '{scheme}://' is not supported; supported are a folder and a 'file://' URL"
        )
    root = Path(unquote(urlsplit(text).path) if scheme else text).expanduser().absolute()
    if "%" in str(root):
        # The table library decodes such paths once too often and would write elsewhere.
        raise SettingsError("the path of a lake must not contain '%'; choose another folder")
    return root


def _checked(path: str) -> str:
    parts = path.split("/")
    if not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise UsageError(
            f"'{path}' is no path of an object: expected parts of letters, digits and _ . = + @ - "
            "with '/' between them, without '..' and without a leading '/'"
        )
    return path


def _read_exactly(descriptor: int, path: str, offset: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(descriptor, length, offset)
        if not part:
            raise IntegrityError(
                f"object '{path}' ends {length} bytes before the range that was asked; "
                "it is damaged or the catalogue is wrong: restore it from a backup"
            )
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _missing(path: str) -> NotFoundError:
    return NotFoundError(f"there is no object '{path}'")


def _failed(verb: str, path: str, error: Exception) -> LakeError:
    # The first line is the cause; the rest is the library's debug output.
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    return LakeError(f"cannot {verb} object '{path}': {cause}")
