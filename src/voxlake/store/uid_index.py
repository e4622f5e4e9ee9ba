"""In which file a SOP, series or study UID stands, and where the bytes of an instance lie.

A local index outside the lake, made from the `instances` table: it can be deleted at any time, also while
others use it, and is brought up to date from the files that came in. It answers among 20 million rows in well
under a millisecond, where SQL that has to look into every file takes seconds.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from voxlake.core.errors import LakeError
from voxlake.store.copies import fetched, reading
from voxlake.store.tables import Tables
from voxlake.store.uid_runs import (
    GROUPS,
    INSTANCE,
    Run,
    find_keys,
    hash_texts,
    merge_runs,
    remove_runs,
    sort_groups,
    sort_instances,
    texts_of,
    write_run,
)

__all__ = ["UID_COLUMNS", "Spot", "UidIndex"]

UID_COLUMNS = {
    "sop_instance_uid": "instance",
    "series_instance_uid": "series",
    "study_instance_uid": "study",
}
_TABLE = "instances"
_COLUMNS = (*UID_COLUMNS, "pack", "offset", "length")
_LOCK_SECONDS = 600
# What is sorted in memory at once; two runs that become one take 80 bytes a row.
_ROWS_AT_ONCE = 1_000_000
_ROWS_OF_A_RUN = 16_000_000
_READ_ATTEMPTS = 5
_MANIFEST = "manifest.json"
_LOW = 0xFFFFFFFF
_SCHEMA = pa.schema(
    [(name, pa.int64() if name in {"offset", "length"} else pa.string()) for name in _COLUMNS]
)
Found = TypeVar("Found")


@dataclass(frozen=True)
class Spot:
    """Where the bytes of an instance lie.

    Parameters
    ----------
    pack : str
        Pack, or ``file://`` URL of a file registered in place.
    offset, length : int
        Of the stored file in it.
    """

    pack: str
    offset: int
    length: int


@dataclass(frozen=True)
class _State:
    """What the manifest says: of which table at which version, which files, which runs."""

    identity: str | None
    version: int
    seed: int
    files: tuple[str, ...]
    runs: tuple[Run, ...]

    @cached_property
    def known(self) -> frozenset[str]:
        """All files."""
        return frozenset(self.files)

    @cached_property
    def sound(self) -> bool:
        """Whether all runs are there and whole, when they were first looked at."""
        return all(run.sound() for run in self.runs)


class UidIndex:
    """The index of one lake. May be used by threads and by several processes at the same time.

    Parameters
    ----------
    cache : str or Path
        Folder for caches of this lake on this machine.
    """

    def __init__(self, cache: str | Path) -> None:
        self.folder = Path(cache).expanduser() / "uids-1"
        self._seen: tuple[tuple[int, int], _State] | None = None
        # Of the table that this process has compared the index with.
        self._identity: str | None = None

    def sync(self, tables: Tables) -> int:
        """Take in the files that were committed since the last time, and let go of those that are gone.

        Returns
        -------
        int
            Number of rows read.

        Raises
        ------
        LakeError
            The index cannot be written.
        """
        if self._is_untouched(tables):
            return 0
        identity, version = tables.identity(_TABLE), tables.version(_TABLE)
        if self._is_of(identity, version):
            self._identity = identity
            return 0
        try:
            with self._writing():
                # Another process may have done it meanwhile.
                if self._is_of(identity, version):
                    return 0
                return reading(tables, lambda: self._sync(tables))
        except (sqlite3.Error, OSError) as error:
            raise LakeError(f"the look-up index '{self.folder}' cannot be written: {error}") from error

    def spots(self, uid: str) -> list[Spot]:
        """Where the rows of a SOPInstanceUID say that its bytes lie, as `sync` last saw them."""
        return self._reading(lambda state: [_spot(run, row) for run, row in _instances(state, uid)])

    def files(self, column: str, uids: Collection[str]) -> tuple[set[str], frozenset[str]]:
        """Files that may hold rows of these UIDs.

        Parameters
        ----------
        column : str
            One of `UID_COLUMNS`.
        uids : collection of str
            UIDs.

        Returns
        -------
        holding : set of str
            Files with such a row; now and then one without.
        indexed : frozenset of str
            All files that the index knows. Any other file may hold such rows as well.
        """

        def look(state: _State) -> tuple[set[str], frozenset[str]]:
            numbers = _files(state, UID_COLUMNS[column], uids)
            return {state.files[number] for number in numbers}, state.known

        return self._reading(look)

    def kind(self, uid: str) -> str | None:
        """``"instance"``, ``"series"`` or ``"study"``, or None for a UID that `sync` did not see."""

        def look(state: _State) -> str | None:
            return next((kind for kind in UID_COLUMNS.values() if _files(state, kind, [uid])), None)

        return self._reading(look)

    def rows(self) -> int:
        """Number of rows in the index."""
        return self._reading(lambda state: sum(run.rows for run in state.runs))

    def _sync(self, tables: Tables) -> int:
        version = tables.version(_TABLE)
        current = tables.files(_TABLE, fetch=False) if version is not None else []
        old = self._state()
        if old is None or not all(Run(run.folder, run.rows).sound() for run in old.runs):
            old = _State(None, -1, secrets.randbits(63), (), ())
        numbers = {file: number for number, file in enumerate(old.files) if file}
        there = set(current)
        gone = [file for file in old.files if file not in there]
        runs = list(old.runs)
        if len(gone) == len(old.files):
            runs, numbers = [], {}
        elif any(gone):
            # The rows of files that are gone (erased, compacted) are taken out, not only passed over.
            keep = np.array([file in there for file in old.files])
            runs = [merge_runs(self.folder, [run], keep=keep) for run in runs]
        # A number is never given twice, so a file that is gone leaves a gap.
        names = [file if file in there else "" for file in old.files] if runs else []
        added = [file for file in current if file not in numbers]
        read = 0
        for arrays in _parts(fetched(tables, _TABLE, added), len(names), old.seed):
            runs.append(write_run(self.folder, arrays))
            read += runs[-1].rows
            _merge_small(self.folder, runs)
        state = _State(
            tables.identity(_TABLE),
            -1 if version is None else version,
            old.seed,
            (*names, *added),
            tuple(runs),
        )
        self._write(state)
        return read

    def _is_of(self, identity: str | None, version: int | None) -> bool:
        state = self._state()
        return (
            state is not None
            and (state.identity, state.version) == (identity, -1 if version is None else version)
            and state.sound
        )

    def _is_untouched(self, tables: Tables) -> bool:
        # Two names in the log are looked at, for a tenth of what opening the table takes.
        state = self._state()
        if state is None or self._identity is None or state.identity != self._identity or state.version < 0:
            return False
        names = [f"tables/{_TABLE}/_delta_log/{state.version + more:020}.json" for more in (0, 1)]
        places = [tables.objects.local_path(name) for name in names]
        # The file system answers in a twentieth of what the object store takes.
        last, next_ = (
            tables.objects.exists(name) if place is None else place.exists()
            for name, place in zip(names, places, strict=True)
        )
        return last and not next_

    def _reading(self, look: Callable[[_State], Found]) -> Found:
        for _ in range(_READ_ATTEMPTS):
            state = self._state()
            if state is None:
                break
            try:
                return look(state)
            except (OSError, ValueError):
                # Another process has merged runs, or the cache was deleted, since the manifest was read.
                self._seen = None
        raise LakeError(f"the look-up index '{self.folder}' is not there or damaged; call sync")

    def _state(self) -> _State | None:
        """What the manifest says; read again only when it was replaced."""
        try:
            about = (self.folder / _MANIFEST).stat()
            stamp = (about.st_mtime_ns, about.st_ino)
            if self._seen is None or self._seen[0] != stamp:
                self._seen = (
                    stamp,
                    _state_of(self.folder, json.loads((self.folder / _MANIFEST).read_bytes())),
                )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return self._seen[1]

    def _write(self, state: _State) -> None:
        manifest = {
            "identity": state.identity,
            "version": state.version,
            "seed": state.seed,
            "files": state.files,
            "runs": [[run.folder.name, run.rows] for run in state.runs],
        }
        draft = self.folder / f"{_MANIFEST}.{uuid4().hex}"
        draft.write_text(json.dumps(manifest))
        draft.replace(self.folder / _MANIFEST)
        remove_runs(self.folder, state.runs)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time, by the lock of an empty SQLite file, which every system has."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(self.folder / "lock.sqlite", timeout=_LOCK_SECONDS, isolation_level=None)
        with closing(lock):
            lock.execute("begin exclusive")
            yield


def _state_of(folder: Path, manifest: Mapping[str, Any]) -> _State:
    runs = tuple(Run(folder / str(name), int(rows)) for name, rows in manifest["runs"])
    return _State(
        manifest["identity"], int(manifest["version"]), int(manifest["seed"]), tuple(manifest["files"]), runs
    )


def _merge_small(folder: Path, runs: list[Run]) -> None:
    # The last two become one while they are of like size: few runs to search, each row merged few times.
    while len(runs) > 1 and runs[-2].rows <= 2 * runs[-1].rows:
        if runs[-2].rows + runs[-1].rows > _ROWS_OF_A_RUN:
            return
        runs[-2:] = [merge_runs(folder, runs[-2:])]


def _instances(state: _State, uid: str) -> Iterator[tuple[Run, Any]]:
    key = hash_texts(texts_of([uid]), state.seed)
    check = int(hash_texts(texts_of([uid]), state.seed + 1)[0]) & _LOW
    for run in state.runs:
        (start,), (end,) = find_keys(run.keys, key)
        for place in range(start, end):
            row = run.places[place]
            if row["check"] == check:
                yield run, row


def _files(state: _State, kind: str, uids: Collection[str]) -> set[int]:
    keys = hash_texts(texts_of(uids), state.seed)
    found: set[int] = set()
    for run in state.runs:
        if kind == "instance":
            there, files = run.keys, run.places["file"]
        else:
            there, files = run.group(kind)
        starts, ends = find_keys(there, keys)
        for start, end in zip(starts[starts < ends], ends[starts < ends], strict=True):
            found.update(int(number) for number in files[start:end])
    return found


def _spot(run: Run, row: Any) -> Spot:
    return Spot(run.pack(int(row["pack"])), int(row["offset"]), int(row["length"]))


def _parts(files: Sequence[str], first: int, seed: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The arrays of runs, of as many files at once as memory takes easily."""
    waiting: list[tuple[int, pa.Table]] = []
    for number, file in enumerate(files, first):
        with pq.ParquetFile(file) as parquet:
            rows = parquet.read(columns=list(_COLUMNS), use_threads=False)
        # Files that a clean-up rewrote hold another kind of string.
        waiting.append((number, rows.cast(_SCHEMA)))
        if sum(rows.num_rows for _, rows in waiting) >= _ROWS_AT_ONCE:
            yield _arrays(waiting, seed)
            waiting = []
    if waiting:
        yield _arrays(waiting, seed)


def _arrays(parts: Sequence[tuple[int, pa.Table]], seed: int) -> dict[str, NDArray[Any]]:
    numbers = np.repeat(
        np.array([number for number, _ in parts], np.uint32), [rows.num_rows for _, rows in parts]
    )
    rows = pa.concat_tables([rows for _, rows in parts])
    texts = _column(rows, "sop_instance_uid")
    packs = _column(rows, "pack").dictionary_encode()
    names = [f"{name}\0".encode() for name in packs.dictionary.to_pylist()]
    starts = np.cumsum([0, *map(len, names)]).astype(np.uint64)
    places = np.zeros(len(texts), INSTANCE)
    places["check"] = hash_texts(texts, seed + 1) & np.uint64(_LOW)
    places["file"] = numbers
    places["pack"] = starts[packs.indices.to_numpy()]
    places["offset"] = _column(rows, "offset").to_numpy()
    places["length"] = _column(rows, "length").to_numpy()
    keys, places = sort_instances(hash_texts(texts, seed), places)
    arrays: dict[str, NDArray[Any]] = {"instance-keys": keys, "instance-places": places}
    arrays["packs"] = np.frombuffer(b"".join(names), np.uint8)
    for kind in GROUPS:
        found = _column(rows, f"{kind}_instance_uid").dictionary_encode()
        hashes = hash_texts(found.dictionary, seed)[found.indices.to_numpy()]
        arrays[f"{kind}-keys"], arrays[f"{kind}-files"] = sort_groups(hashes, numbers)
    return arrays


def _column(rows: pa.Table, name: str) -> pa.Array:
    column = rows.column(name).combine_chunks()
    # An empty text is no UID: nothing is found under it that has one.
    return pc.fill_null(column, "" if pa.types.is_string(column.type) else 0)
