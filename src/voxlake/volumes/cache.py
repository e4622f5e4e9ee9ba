"""A hot cache: whole arrays without compression in a folder of a fast local disk, mapped into memory.

The lake keeps arrays compressed and in chunks, which is small and can be read from afar. Whoever trains on
random patches reads the same arrays thousands of times; from the cache a patch costs a copy and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import LakeError
from voxlake.store.arrays import StoredArray, read_array

__all__ = ["HotCache"]


class HotCache:
    """Arrays as ``.npy`` files. Several processes may share one; any file may be deleted at any time.

    Parameters
    ----------
    folder : str or Path
        Made where it is not there. It grows with what is read and is never emptied by voxlake.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    def path(self, array: StoredArray) -> Path:
        """File of an array: named by the SHA-256 of its values, its type and its shape."""
        sizes = "x".join(map(str, array.shape))
        return self.folder / f"{array.sha256}-{array.dtype.name}-{sizes}.npy"

    def open(self, array: StoredArray) -> NDArray[Any]:
        """The values of an array, mapped read-only; on first use the array is read, checked and written out.

        Raises
        ------
        IntegrityError
            The stored array is damaged or incomplete.
        LakeError
            The folder cannot be written.
        """
        path = self.path(array)
        found = _mapped(path, array)
        if found is not None:
            return found
        objects, name, shards = array.place
        values = read_array(objects, name, shards=shards, sha256=array.sha256)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(path, values)
        except OSError as error:
            raise LakeError(f"the hot cache '{self.folder}' cannot be written: {error.strerror}") from error
        made = _mapped(path, array)
        # Somebody may have emptied the cache at this very moment.
        return values if made is None else made


def _mapped(path: Path, array: StoredArray) -> NDArray[Any] | None:
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError, ValueError, EOFError):
        # Not there, or cut short by a full disk or a copying tool.
        return None
    return values if values.shape == array.shape and values.dtype == array.dtype else None


def _write(path: Path, values: NDArray[Any]) -> None:
    # Under another name until it is whole: readers never map half of it.
    with NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
        try:
            np.save(file, values, allow_pickle=False)
            file.close()
            os.replace(file.name, path)  # noqa: PTH105 - the name is a string
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
