"""Reading stored arrays: lazily, with every shard accounted for."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from voxlake.core.errors import IntegrityError, SettingsError
from voxlake.store.objects import Objects

__all__ = ["StoredArray", "array_folder", "count_shards", "fast_pipeline", "stored_attributes"]

# The pipeline is chosen when an array is opened, from settings that all threads share.
_PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
_lock = threading.Lock()


class StoredArray:
    """A stored array that is read when it is sliced; each slice gives a NumPy array.

    Can be sent to other processes, which open it for themselves. Slices are not compared with the SHA-256
    of the whole; `arrays.read_array` is.

    Parameters
    ----------
    objects : Objects
        Where the lake lies.
    array : str
        Path of the array.
    shards : int or None
        Number of shards as recorded in the catalogue; None for the number that the array records.

    Raises
    ------
    IntegrityError
        On opening, if a shard is missing; on slicing, if a chunk cannot be decoded.
    """

    def __init__(self, objects: Objects, array: str, shards: int | None) -> None:
        self._place = (objects, array, shards)
        folder = array_folder(objects, array)
        self.shards = _checked_shards(folder, array, shards)
        with fast_pipeline():
            opened = zarr.open_array(LocalStore(folder, read_only=True), path="0", mode="r")
        self._values: zarr.Array[Any] = opened

    @property
    def place(self) -> tuple[Objects, str, int | None]:
        """Where the lake lies, path of the array, and number of shards as given."""
        return self._place

    @property
    def sha256(self) -> str:
        """`arrays.value_digest` of the whole, as recorded when it was written."""
        objects, array, _ = self._place
        return str(stored_attributes(array_folder(objects, array), array)["sha256"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes."""
        return tuple(self._values.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = np.dtype(self._values.dtype)
        return dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        try:
            return np.asarray(self._values[key])
        except (RuntimeError, OSError) as error:
            raise IntegrityError(
                f"array '{self._place[1]}' is damaged and cannot be decoded; restore it from a backup"
            ) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[...], dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"StoredArray({self._place[1]!r}, shape={self.shape}, dtype={self.dtype})"

    def __reduce__(self) -> tuple[type[StoredArray], tuple[Objects, str, int | None]]:
        return (type(self), self._place)


def stored_attributes(folder: Path, array: str) -> dict[str, Any]:
    """The ``voxlake`` attributes of an array.

    Raises
    ------
    IntegrityError
        It is not there, or was not written to its end.
    """
    try:
        written = json.loads((folder / "zarr.json").read_bytes())
        attributes = dict(written["attributes"]["voxlake"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        attributes = {}
    if "sha256" not in attributes or not (folder / "0" / "zarr.json").is_file():
        raise IntegrityError(f"array '{array}' is not in the lake, or is half written; run prepare again")
    return attributes


def count_shards(folder: Path) -> int:
    """Number of stored shards of an array."""
    return sum(len(files) for _, _, files in os.walk(folder / "0" / "c"))


def _checked_shards(folder: Path, array: str, recorded: int | None) -> int:
    written = stored_attributes(folder, array)
    expected = written.get("shards") if recorded is None else recorded
    found = count_shards(folder)
    if found != expected:
        raise IntegrityError(
            f"array '{array}' has {found} shards, expected {expected}; what is missing would read as zeros: "
            "restore it from a backup"
        )
    return found


def array_folder(objects: Objects, array: str) -> Path:
    """Local folder of an array.

    Raises
    ------
    SettingsError
        The store is remote.
    """
    folder = objects.local_path(array)
    if folder is None:
        raise SettingsError(f"arrays need a lake in a local folder, got {objects.url}")
    return folder


@contextmanager
def fast_pipeline() -> Iterator[None]:
    """Within it, arrays are opened with the zarrs codecs; nothing else sees the setting for longer."""
    with _lock, zarr.config.set(_PIPELINE):
        yield
