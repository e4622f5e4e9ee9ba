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

from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.store.array_store import ArrayStore
from voxlake.store.box_reader import BoxReader
from voxlake.store.objects import Objects

__all__ = ["StoredArray", "count_shards", "fast_pipeline", "stored_attributes", "stored_shards"]

# The pipeline is chosen when an array is opened, from settings that all threads share.
_PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
_PLAIN_PIPELINE = {"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
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
        self.shards, self._values = _opened(objects, array, shards)
        folder = objects.local_path(array)
        self._boxes = None if folder is None else BoxReader.open(folder / "0")

    @property
    def place(self) -> tuple[Objects, str, int | None]:
        """Where the lake lies, path of the array, and number of shards as given."""
        return self._place

    @property
    def sha256(self) -> str:
        """`arrays.value_digest` of the whole, as recorded when it was written."""
        objects, array, _ = self._place
        return str(stored_attributes(objects, array)["sha256"])

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
            found = None if self._boxes is None else self._boxes.read(key)
            return np.asarray(self._values[key]) if found is None else found
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


def stored_attributes(objects: Objects, array: str) -> dict[str, Any]:
    """The ``voxlake`` attributes of an array.

    Raises
    ------
    IntegrityError
        It is not there, or was not written to its end.
    """
    try:
        written = json.loads(objects.get(f"{array}/zarr.json"))
        attributes = dict(written["attributes"]["voxlake"])
    except (NotFoundError, ValueError, KeyError, TypeError):
        attributes = {}
    if "sha256" not in attributes or not objects.exists(f"{array}/0/zarr.json"):
        raise IntegrityError(f"array '{array}' is not in the lake, or is half written; run prepare again")
    return attributes


def stored_shards(objects: Objects, array: str) -> list[str]:
    """Paths of the stored shards of an array, below the array."""
    return [path[len(array) + 1 :] for path in objects.list(f"{array}/0/c")]


def count_shards(folder: Path) -> int:
    """Number of stored shards of an array in a folder."""
    return sum(len(files) for _, _, files in os.walk(folder / "0" / "c"))


def _opened(objects: Objects, array: str, recorded: int | None) -> tuple[int, zarr.Array[Any]]:
    """Number of shards, which is checked, and the values."""
    written = stored_attributes(objects, array)
    expected = written.get("shards") if recorded is None else recorded
    folder = objects.local_path(array)
    shards = stored_shards(objects, array) if folder is None else []
    found = len(shards) if folder is None else count_shards(folder)
    if found != expected:
        raise IntegrityError(
            f"array '{array}' has {found} shards, expected {expected}; what is missing would read as zeros: "
            "restore it from a backup"
        )
    if folder is None:
        # The zarrs codecs would read from a bucket by themselves, with twice the requests and without a word
        # about a shard that is gone.
        with _lock, zarr.config.set(_PLAIN_PIPELINE):
            return found, zarr.open_array(
                ArrayStore(objects, array, shards), path="0", mode="r", zarr_format=3
            )
    with fast_pipeline():
        return found, zarr.open_array(LocalStore(folder, read_only=True), path="0", mode="r")


@contextmanager
def fast_pipeline() -> Iterator[None]:
    """Within it, arrays are opened with the zarrs codecs; nothing else sees the setting for longer."""
    with _lock, zarr.config.set(_PIPELINE):
        yield
