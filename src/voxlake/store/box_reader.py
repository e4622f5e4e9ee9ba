"""Reading boxes of a sharded array on a local disk, chunk by chunk.

The general library reads the index of a shard for every box and spreads each box over all cores. Whoever
trains on patches reads thousands of small boxes, with every core at once; here the indices are kept, and
chunks are decoded one after the other into memory that is kept too, which is less than half the work.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import threading
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

__all__ = ["BoxReader"]

# Of more chunks the general library makes use of all cores.
_MOST_CHUNKS = 64
_ENTRY = 16
_CRC = struct.Struct("<I")
# An index has this where a chunk of zeros alone was left out (sharding codec, version 1.0).
_NOT_STORED = 2**64 - 1
_BLOSC_HEADER = 16

Whole = tuple[int, ...]
Slices = tuple[slice, ...]


class BoxReader:
    """Reads boxes of one array that was stored by `voxlake.store.arrays`.

    Every chunk and every index is compared with its CRC32C.

    Parameters
    ----------
    folder : Path
        Folder of the array itself, with its ``zarr.json``.
    described : mapping
        What is in there: Zarr 3, sharding with the index at the end, chunks of Blosc and CRC32C.
    """

    def __init__(self, folder: Path, described: dict[str, Any]) -> None:
        self._folder = str(folder)
        self._shape: Whole = tuple(described["shape"])
        self._dtype = np.dtype(described["data_type"])
        self._shard: Whole = tuple(described["chunk_grid"]["configuration"]["chunk_shape"])
        self._chunk: Whole = tuple(described["codecs"][0]["configuration"]["chunk_shape"])
        self._per_shard = tuple(large // small for large, small in zip(self._shard, self._chunk, strict=True))
        self._size = math.prod(self._chunk) * self._dtype.itemsize
        # By shard: what the file was like, and offset and length of every chunk.
        self._indices: dict[Whole, tuple[Whole, list[list[int]]]] = {}
        self._kept = threading.local()

    @classmethod
    def open(cls, folder: Path) -> BoxReader | None:
        """Reader of an array; None if it is not laid out as this one can read it."""
        try:
            described = json.loads((folder / "zarr.json").read_bytes())
            readable = sys.byteorder == "little" and _is_readable(described)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None
        return cls(folder, described) if readable else None

    def read(self, key: Any) -> NDArray[Any] | None:
        """Values of a box, or None if the general library is to read it.

        Parameters
        ----------
        key : int, slice, or tuple of them
            Slices without a step.

        Raises
        ------
        RuntimeError
            A chunk is damaged.
        OSError
            A shard cannot be read.
        """
        box = _box(key, self._shape)
        if box is None:
            return None
        start, count, kept = box
        touched = [
            range(first // step, (first + number - 1) // step + 1)
            for first, number, step in zip(start, count, self._chunk, strict=True)
        ]
        if math.prod(map(len, touched)) > _MOST_CHUNKS:
            return None
        values = np.empty(count, self._dtype)
        shards: dict[Whole, list[Whole]] = {}
        for chunk in product(*touched):
            shard = tuple(number // per for number, per in zip(chunk, self._per_shard, strict=True))
            shards.setdefault(shard, []).append(chunk)
        for shard, chunks in shards.items():
            self._fill(values, start, shard, chunks)
        # A view would not own its memory.
        return values if kept == count else values.reshape(kept)

    def _fill(self, values: NDArray[Any], start: Whole, shard: Whole, chunks: Sequence[Whole]) -> None:
        places = [self._places(chunk, start, values.shape) for chunk in chunks]
        try:
            descriptor = os.open(f"{self._folder}/c/{'/'.join(map(str, shard))}", os.O_RDONLY)
        except FileNotFoundError:
            # That none is missing was seen when the array was opened; shards of zeros alone are not stored.
            for _, into in places:
                values[into] = 0
            return
        try:
            index = self._index(descriptor, shard)
            for chunk, (part, into) in zip(chunks, places, strict=True):
                offset, length = index[self._number(chunk)]
                values[into] = 0 if offset == _NOT_STORED else self._decoded(descriptor, offset, length)[part]
        finally:
            os.close(descriptor)

    def _places(self, chunk: Whole, start: Whole, count: Whole) -> tuple[Slices, Slices]:
        """Which part of a chunk lies in the box, and where it comes to lie there."""
        part, into = [], []
        for number, size, first, wanted in zip(chunk, self._chunk, start, count, strict=True):
            begin = number * size - first
            low, high = max(begin, 0), min(begin + size, wanted)
            part.append(slice(low - begin, high - begin))
            into.append(slice(low, high))
        return tuple(part), tuple(into)

    def _number(self, chunk: Whole) -> int:
        number = 0
        for place, per in zip(chunk, self._per_shard, strict=True):
            number = number * per + place % per
        return number

    def _index(self, descriptor: int, shard: Whole) -> list[list[int]]:
        state = os.fstat(descriptor)
        # An array that is made anew gets new files.
        like = (state.st_ino, state.st_size, state.st_mtime_ns)
        known = self._indices.get(shard)
        if known is None or known[0] != like:
            size = math.prod(self._per_shard) * _ENTRY
            table = _checked(descriptor, state.st_size - size - _CRC.size, size)
            known = like, np.frombuffer(table, "<u8").reshape(-1, 2).tolist()
            self._indices[shard] = known
        return known[1]

    def _decoded(self, descriptor: int, offset: int, length: int) -> NDArray[Any]:
        content = _checked(descriptor, offset, length - _CRC.size)
        if len(content) < _BLOSC_HEADER or int.from_bytes(content[4:8], "little") != self._size:
            raise RuntimeError("a chunk does not have the size that it should have")
        memory: NDArray[Any] | None = getattr(self._kept, "memory", None)
        if memory is None:
            memory = self._kept.memory = np.empty(self._chunk, self._dtype)
        blosc.decompress(content, memory)
        return memory


def _checked(descriptor: int, offset: int, length: int) -> bytes:
    """What stands before its CRC32C."""
    if offset < 0 or length < 0:
        raise RuntimeError("a shard is cut short")
    content = os.pread(descriptor, length, offset)
    stated = os.pread(descriptor, _CRC.size, offset + length)
    if len(content) != length or _CRC.pack(google_crc32c.value(content)) != stated:
        raise RuntimeError("the CRC32C of a chunk is not that of its bytes")
    return content


def _box(key: Any, shape: Whole) -> tuple[Whole, Whole, Whole] | None:
    """First value and number of values along every axis, and the shape without the axes of single numbers."""
    keys = key if isinstance(key, tuple) else (key,)
    if len(keys) > len(shape):
        return None
    start, count, kept = [], [], []
    for part, size in zip((*keys, *[slice(None)] * (len(shape) - len(keys))), shape, strict=True):
        found = _along(part, size)
        if found is None:
            return None
        start.append(found[0])
        count.append(found[1])
        if isinstance(part, slice):
            kept.append(found[1])
    return tuple(start), tuple(count), tuple(kept)


def _along(part: Any, size: int) -> tuple[int, int] | None:
    if isinstance(part, slice):
        first, end, step = part.indices(size)
        return (first, end - first) if step == 1 and end > first else None
    if isinstance(part, int | np.integer) and not isinstance(part, bool) and -size <= part < size:
        return int(part) % size, 1
    return None


def _is_readable(described: dict[str, Any]) -> bool:
    sharding = described["codecs"][0]
    settings = sharding["configuration"]
    names = [codec["name"] for codec in settings["codecs"]]
    return (
        described["zarr_format"] == 3
        and len(described["codecs"]) == 1
        and sharding["name"] == "sharding_indexed"
        and settings.get("index_location", "end") == "end"
        and names == ["bytes", "blosc", "crc32c"]
        and [codec["name"] for codec in settings["index_codecs"]] == ["bytes", "crc32c"]
        and all(_is_little(codecs[0]) for codecs in (settings["codecs"], settings["index_codecs"]))
        and described["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}}
        and described["fill_value"] in (0, False)
        and not described.get("storage_transformers")
    )


def _is_little(codec: dict[str, Any]) -> bool:
    # Single bytes have no order.
    return bool(codec.get("configuration", {}).get("endian", "little") == "little")
