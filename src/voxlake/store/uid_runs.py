"""Sorted runs of hashed UIDs on disk: what `uid_index` is made of.

A run is a folder of NumPy arrays that are never changed, only replaced by a larger run, and that are read
through memory maps: a look-up reads the few pages of an array around the place where its hash must be.
"""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = [
    "GROUPS",
    "INSTANCE",
    "Run",
    "find_keys",
    "hash_texts",
    "merge_runs",
    "remove_runs",
    "sort_groups",
    "sort_instances",
    "texts_of",
    "write_run",
]

Words = NDArray[np.uint64]
Rows = NDArray[Any]
# 40 bytes for an instance: `check` are more bits of the hash, `pack` is where its name starts in `packs`.
INSTANCE = np.dtype(
    [("check", "<u4"), ("file", "<u4"), ("pack", "<u8"), ("offset", "<i8"), ("length", "<i8")]
)
GROUPS = ("series", "study")
_WORD = 8
_LEAST_BYTES = 64
_TEXTS_AT_ONCE = 50_000
_NAME_BYTES = 128
# Below, each key is looked for where it must be; above, a search over all touches fewer pages for each.
_KEYS_BY_PLACE = 64
# Hashes on a page of memory; how often a place is guessed; by how much more than computed a guess is moved.
_PAGE = 512
_GUESSES = 8
_STEP = 32


def hash_texts(texts: pa.Array, seed: int) -> Words:
    """Hash texts to 64 bits, as many at once as there are.

    Parameters
    ----------
    texts : pyarrow.Array
        Strings without nulls.
    seed : int
        Kept secret to this machine's cache: whoever makes UIDs cannot aim at equal hashes.

    Returns
    -------
    array of uint64
        Multiply-and-fold over the words of a text and its length, with random odd factors.
    """
    texts = texts.cast(pa.large_string())
    # What fits into the cache of a core is hashed three times as fast.
    parts = [
        _hash_some(texts.slice(start, _TEXTS_AT_ONCE), seed) for start in range(0, len(texts), _TEXTS_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def texts_of(values: Collection[str]) -> pa.Array:
    """An array of strings, made without ``pa.array``, which imports pandas: half a second."""
    coded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, coded)], dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(coded), pa.py_buffer(offsets), pa.py_buffer(b"".join(coded)))


def find_keys(keys: Words, wanted: Words) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each wanted key begins and ends in sorted hashes.

    Parameters
    ----------
    keys : array of uint64
        Sorted hashes, evenly spread; perhaps a memory map of which nothing was read yet.
    wanted : array of uint64
        Keys to look for.

    Returns
    -------
    starts, ends : arrays of int
        ``keys[start:end]`` are equal to the key; empty where there is none.
    """
    if len(wanted) > _KEYS_BY_PLACE:
        return np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    found = np.array([_find_key(keys, key) for key in wanted], np.intp).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _find_key(keys: Words, key: np.uint64) -> tuple[int, int]:
    # Even hashes: the place of a key is near its share of all, and its distance from any other key tells how
    # far off. Two or three pages are read where a search by halves reads twenty, and each may cost a seek.
    count, wanted = len(keys), int(key)
    place = wanted * count >> 64
    for _ in range(_GUESSES):
        low = max(0, min(place - _PAGE // 2, count - _PAGE))
        near = np.asarray(keys[low : low + _PAGE])
        first, last = (int(near[0]), int(near[-1])) if len(near) else (wanted, wanted)
        if low > 0 and wanted <= first:
            place = low - _STEP - ((first - wanted) * count >> 64)
        elif low + len(near) < count and wanted >= last:
            place = low + _PAGE + _STEP + ((wanted - last) * count >> 64)
        else:
            return low + int(np.searchsorted(near, key, "left")), low + int(
                np.searchsorted(near, key, "right")
            )
    return int(np.searchsorted(keys, key, "left")), int(np.searchsorted(keys, key, "right"))


def _hash_some(texts: pa.Array, seed: int) -> Words:
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = texts.buffers()[2]
    characters = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    lengths = np.diff(offsets)
    width = max(_LEAST_BYTES, -(-int(lengths.max()) // _WORD) * _WORD)
    padded = np.zeros((len(texts), width), np.uint8)
    # The texts lie end to end, in the order in which the mask is filled.
    padded[np.arange(width) < lengths[:, None]] = characters[offsets[0] : offsets[-1]]
    factors = _factors(seed, width // _WORD + 1)
    found: Words = lengths.astype(np.uint64) * factors[0]
    for word, factor in zip(padded.view("<u8").T, factors[1:], strict=True):
        # An empty word changes nothing, so that a long text among others does not change their hashes.
        mixed = (found ^ word) * factor
        np.copyto(found, mixed ^ (mixed >> np.uint64(32)), where=word != 0)
    return found


@lru_cache(maxsize=16)
def _factors(seed: int, count: int) -> Words:
    # The first ones do not hang on how many are asked for.
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64) | np.uint64(1)


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Parameters
    ----------
    folder : pathlib.Path
        Holds the arrays.
    rows : int
        Number of instances.
    """

    folder: Path
    rows: int

    @cached_property
    def keys(self) -> Words:
        """Hashes of the SOPInstanceUIDs, ascending."""
        return self._map("instance-keys")

    @cached_property
    def places(self) -> Rows:
        """An `INSTANCE` for each key."""
        return self._map("instance-places")

    @cached_property
    def packs(self) -> NDArray[np.uint8]:
        """Names of packs, each followed by a zero byte."""
        return self._map("packs")

    def group(self, name: str) -> tuple[Words, NDArray[np.uint32]]:
        """Hashes of series or study UIDs, ascending, and a file that has rows of each."""
        return self._groups[name]

    @cached_property
    def _groups(self) -> Mapping[str, tuple[Words, NDArray[np.uint32]]]:
        return {name: (self._map(f"{name}-keys"), self._map(f"{name}-files")) for name in GROUPS}

    def sound(self) -> bool:
        """Whether all arrays are there and as long as they should be."""
        try:
            lengths = len(self.keys), len(self.places)
            return (
                lengths == (self.rows, self.rows)
                and len(self.packs) >= 0
                and len(self._groups) == len(GROUPS)
            )
        except (OSError, ValueError):
            return False

    def pack(self, start: int) -> str:
        """Name of a pack."""
        size = _NAME_BYTES
        while True:
            name, end, _ = bytes(self.packs[start : start + size]).partition(b"\0")
            if end or start + size >= len(self.packs):
                return name.decode()
            size *= 2

    def whole(self, name: str) -> NDArray[Any]:
        """An array in memory, to be put together with others."""
        found: NDArray[Any] = np.load(self.folder / f"{name}.npy")
        return found

    def _map(self, name: str) -> NDArray[Any]:
        file = self.folder / f"{name}.npy"
        try:
            found: NDArray[Any] = np.load(file, mmap_mode="r")
        except EOFError as error:
            raise ValueError("an array of the look-up index is cut short") from error
        # The type of an array's base says nothing of maps; Windows has none of this advice.
        base: object = found.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
            # Reading ahead, the system would fetch megabytes for each of the few bytes that are looked at.
            base.madvise(mmap.MADV_RANDOM)
        return found


def sort_instances(keys: Words, places: Rows) -> tuple[Words, Rows]:
    """Ascending by key; rows of equal keys keep their order."""
    order = np.argsort(keys, kind="stable")
    return keys[order], places[order]


def sort_groups(keys: Words, files: NDArray[np.uint32]) -> tuple[Words, NDArray[np.uint32]]:
    """Ascending by key, each pair of key and file once."""
    order = np.lexsort((files, keys))
    keys, files = keys[order], files[order]
    first = np.ones(len(keys), bool)
    first[1:] = (keys[1:] != keys[:-1]) | (files[1:] != files[:-1])
    return keys[first], files[first]


def write_run(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> Run:
    """Write the arrays of a run into a new folder below `folder`."""
    place = folder / f"run-{uuid4().hex}"
    place.mkdir(parents=True)
    for name, values in arrays.items():
        np.save(place / f"{name}.npy", values)
    return Run(place, len(arrays["instance-keys"]))


def merge_runs(folder: Path, runs: Sequence[Run], *, keep: NDArray[np.bool_] | None = None) -> Run:
    """One run of several.

    Parameters
    ----------
    folder : pathlib.Path
        Where the new run is written.
    runs : sequence of Run
        Older first.
    keep : array of bool, optional
        For each number of a file, whether its rows stay.
    """
    shifts = np.cumsum([0, *(len(run.packs) for run in runs)])
    places = []
    for run, shift in zip(runs, shifts, strict=False):
        moved = run.whole("instance-places")
        moved["pack"] += np.uint64(shift)
        places.append(moved)
    keys, rows = _kept(
        np.concatenate([run.whole("instance-keys") for run in runs]), np.concatenate(places), "file", keep
    )
    keys, rows = sort_instances(keys, rows)
    arrays: dict[str, NDArray[Any]] = {"instance-keys": keys, "instance-places": rows}
    arrays["packs"] = np.concatenate([run.whole("packs") for run in runs])
    for name in GROUPS:
        group, files = (
            np.concatenate([run.whole(f"{name}-{part}") for run in runs]) for part in ("keys", "files")
        )
        group, files = _kept(group, files, None, keep)
        arrays[f"{name}-keys"], arrays[f"{name}-files"] = sort_groups(group, files)
    return write_run(folder, arrays)


def remove_runs(folder: Path, but: Sequence[Run]) -> None:
    """Delete the runs that nothing refers to any more; those who read them keep what they have mapped."""
    wanted = {run.folder for run in but}
    for place in folder.glob("run-*"):
        if place not in wanted:
            shutil.rmtree(place, ignore_errors=True)


def _kept(keys: Words, rows: Rows, field: str | None, keep: NDArray[np.bool_] | None) -> tuple[Words, Rows]:
    if keep is None:
        return keys, rows
    stays = keep[rows[field] if field is not None else rows]
    return keys[stays], rows[stays]
