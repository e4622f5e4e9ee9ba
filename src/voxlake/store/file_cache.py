"""Immutable files of a remote lake, kept in a local folder while they are needed.

Everything here can be deleted at any time, also while it is in use: what is missing is fetched again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from voxlake.core.errors import LakeError
from voxlake.store.objects import Objects

__all__ = ["FileCache", "default_folder"]

_AT_ONCE = 6


def default_folder(objects: Objects) -> Path:
    """Folder of this machine for the files of a lake that is known by its URL only."""
    return Path.home() / ".cache" / "voxlake" / "remote" / sha256(objects.url.encode()).hexdigest()[:32]


class FileCache:
    """Local copies of objects. Several processes may share one folder.

    Parameters
    ----------
    objects : Objects
        Where the lake lies.
    folder : Path
        Made where it is not there.
    """

    def __init__(self, objects: Objects, folder: Path) -> None:
        self.objects = objects
        self.folder = folder

    def paths(self, names: Sequence[str]) -> list[Path]:
        """Local paths of objects that never change; those that are not here are fetched, several at once.

        Parameters
        ----------
        names : sequence of str
            Paths in the lake.

        Raises
        ------
        NotFoundError
            An object is gone.
        LakeError
            It cannot be fetched, or the folder cannot be written.
        """
        absent = [name for name in names if not (self.folder / name).is_file()]
        if len(absent) == 1:
            self._fetch(absent[0])
        elif absent:
            with ThreadPoolExecutor(min(_AT_ONCE, len(absent))) as pool:
                list(pool.map(self._fetch, absent))
        return [self.folder / name for name in names]

    def drop(self, prefix: str, keep: Collection[str]) -> int:
        """Delete copies under a folder of the lake that are not needed any more; gives how many.

        Parameters
        ----------
        prefix : str
            Folder in the lake.
        keep : collection of str
            Names below it that stay.
        """
        dropped = 0
        with suppress(OSError):
            for file in list((self.folder / prefix).iterdir()):
                with suppress(OSError):
                    if file.name not in keep:
                        file.unlink()
                        dropped += 1
        return dropped

    def _fetch(self, name: str) -> None:
        data = self.objects.get(name)
        path = self.folder / name
        draft = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(data)
            draft.replace(path)
        except FileNotFoundError:
            # Somebody empties the cache at this very moment.
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise LakeError(f"the cache '{self.folder}' cannot be written: {error.strerror}") from error
