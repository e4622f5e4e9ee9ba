"""Taking rows out of a table and out of its history: only the erasure of a patient does this.

Rows are taken out by one commit that replaces the files which hold them; then the log is cut short behind
a checkpoint and every file that the latest version does not name is deleted, so that no earlier version
can be read again. Both can be repeated at any time.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from voxlake.core.errors import LakeError
from voxlake.store.tables import Tables

__all__ = ["Rewritten", "forget_history", "raw_rows", "rewrite_table"]

_ROWS_AT_ONCE = 65_536
_LOG = re.compile(r"(\d{20})\..+")


@dataclass(frozen=True)
class Rewritten:
    """What `rewrite_table` did.

    Parameters
    ----------
    removed : int
        Rows that are gone.
    files : int
        Files that were replaced.
    bytes : int
        Their size.
    """

    removed: int
    files: int
    bytes: int


def raw_rows(tables: Tables, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Iterate over all stored rows, those included that views hide because their key was there before.

    Parameters
    ----------
    columns : sequence of str, optional
        Only these; a column that a file does not have yet is left out of its part.
    """
    for file in tables.files(name):
        wanted = None
        if columns is not None:
            with _opened(tables, name, file) as opened:
                there = set(opened.schema_arrow.names)
            wanted = [column for column in columns if column in there]
        yield from _parts(tables, name, file, wanted)


def rewrite_table(tables: Tables, name: str, change: Callable[[pa.Table], pa.Table]) -> Rewritten:
    """Replace those files of a table of which `change` gives back other rows.

    Parameters
    ----------
    tables : Tables
        Tables of the lake.
    name : str
        One of `schema.TABLES`.
    change : callable
        Takes rows and gives back rows of the same columns: the very same object where nothing changes.

    Raises
    ------
    LakeError
        Another writer committed at the same time; nothing was changed.
    """
    version = tables.version(name)
    if version is None:
        return Rewritten(0, 0, 0)
    actions: list[dict[str, object]] = []
    removed = files = size = 0
    with _drafts(tables, name) as folder:
        for file in tables.files(name):
            if all(change(part) is part for part in _parts(tables, name, file, None)):
                continue
            files += 1
            with _opened(tables, name, file) as opened:
                before = opened.metadata.num_rows
                size += Path(file).stat().st_size
            fresh = _write(tables, name, file, folder, change)
            now = int(time.time() * 1000)
            removal = {"path": Path(file).name, "deletionTimestamp": now, "dataChange": True}
            actions.append({"remove": removal})
            removed += before - (0 if fresh is None else fresh[1])
            if fresh is not None:
                actions.append({"add": _added(*fresh, now)})
                if tables.places.remote:
                    tables.objects.put(f"tables/{name}/{fresh[0].name}", fresh[0].read_bytes())
    if actions:
        _commit(tables, name, version, actions)
    return Rewritten(removed, files, size)


def forget_history(tables: Tables, name: str) -> int:
    """Delete the log before the latest version and every file that it does not name; returns how many."""
    version = tables.version(name)
    if version is None:
        return 0
    log = f"tables/{name}/_delta_log"
    tables.checkpoint(name)
    kept = {Path(file).name for file in tables.files(name)}
    deleted = 0
    for path in sorted(tables.objects.list(f"tables/{name}")):
        match = _LOG.fullmatch(path.rpartition("/")[2]) if path.startswith(f"{log}/") else None
        old = int(match[1]) < version if match else False
        stray = not path.startswith(f"{log}/") and path.rpartition("/")[2] not in kept
        if old or stray:
            tables.objects.delete(path)
            deleted += 1
    tables.forget_copies(name)
    return deleted


def _parts(tables: Tables, name: str, file: str, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    with _opened(tables, name, file) as opened:
        for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=columns):
            yield pa.Table.from_batches([batch])


def _opened(tables: Tables, name: str, file: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except FileNotFoundError:
        # Somebody deleted the local copy of a file of a remote lake: it is fetched again.
        tables.files(name)
        return pq.ParquetFile(file)


@contextmanager
def _drafts(tables: Tables, name: str) -> Iterator[Path]:
    """Folder for new files: that of the table, or one of this machine for a remote lake."""
    folder = tables.objects.local_path(f"tables/{name}")
    if folder is not None:
        yield folder
        return
    with TemporaryDirectory(prefix="voxlake-rewrite-") as draft:
        yield Path(draft)


def _write(
    tables: Tables, name: str, file: str, folder: Path, change: Callable[[pa.Table], pa.Table]
) -> tuple[Path, int, tuple[int, int]] | None:
    """Write what is left of a file beside it: path, rows and (bytes, milliseconds); None for nothing."""
    fresh = folder / f"part-00000-{uuid4()}-c000.zstd.parquet"
    rows = 0
    writer: pq.ParquetWriter | None = None
    try:
        for part in _parts(tables, name, file, None):
            left = change(part)
            if left.num_rows:
                writer = writer or pq.ParquetWriter(fresh, left.schema, compression="zstd")
                writer.write_table(left)
                rows += left.num_rows
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        return None
    stated = fresh.stat()
    return fresh, rows, (stated.st_size, int(stated.st_mtime * 1000))


def _added(fresh: Path, rows: int, stated: tuple[int, int], now: int) -> dict[str, object]:
    return {
        "path": fresh.name,
        "partitionValues": {},
        "size": stated[0],
        "modificationTime": min(stated[1], now),
        "dataChange": True,
        "stats": json.dumps({"numRecords": rows}),
    }


def _commit(tables: Tables, name: str, version: int, actions: Sequence[dict[str, object]]) -> None:
    # The library removes rows by a predicate, which its log would keep: here it would name the patient.
    about = {"commitInfo": {"timestamp": int(time.time() * 1000), "operation": "ERASE"}}
    lines = "\n".join(json.dumps(action) for action in (about, *actions)) + "\n"
    path = f"tables/{name}/_delta_log/{version + 1:020}.json"
    if not tables.objects.put_new(path, lines.encode()):
        raise LakeError(
            f"table '{name}' was written by another process at the same time; let nothing else write to the "
            "lake and run the same command again"
        )
