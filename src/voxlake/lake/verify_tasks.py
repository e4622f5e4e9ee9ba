"""What there is to read again: everything that the tables name, and the tables themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from voxlake.core.errors import NotFoundError
from voxlake.lake.compact_packs import Piece
from voxlake.lake.lake import Lake
from voxlake.lake.verify_objects import Image, Task
from voxlake.store.compaction import read_file, table_files
from voxlake.store.delta_log import DIGEST, DeltaLog
from voxlake.store.schema import TABLES

__all__ = ["LEDGER", "Ledger", "file_tasks", "log_tasks", "object_tasks"]

# Size and SHA-256 of objects that no table describes, as they were when they were first verified.
LEDGER = "verified.json"
Ledger = dict[str, tuple[int, str]]
_ROWS_AT_ONCE = 2_000_000
_PACK_COLUMNS = ("pack", "offset", "length", "sha256")


def log_tasks(lake: Lake, ledger: Ledger) -> Iterator[Task]:
    """The logs of all tables, with the versions that are missing between others."""
    for name in TABLES:
        log = DeltaLog(lake.objects, name)
        commits, checkpoints = log.versions()
        known = [version for version in _known_commits(log, ledger) if not commits or version > commits[0]]
        if not commits and not known:
            continue
        first = 0 if not checkpoints else min(checkpoints[0], min(commits, default=0))
        first = min(commits, default=0) if checkpoints else first
        for version in range(first, max([*commits, *known]) + 1):
            yield _plain(log.commit_path(version), ledger, "commit")
        for version in checkpoints:
            yield _plain(f"{log.folder}/_delta_log/{version:020}.checkpoint.parquet", ledger, "parquet")


def file_tasks(lake: Lake, name: str, ledger: Ledger) -> Iterator[Task]:
    """The files of the latest version of a table."""
    for file in table_files(lake.tables, name)[1]:
        path = f"tables/{name}/{file.path}"
        task = _plain(path, ledger, "parquet")
        yield task._replace(size=file.size, sha256=file.tags.get(DIGEST) or task.sha256)


def object_tasks(lake: Lake, table: str, ledger: Ledger) -> Iterator[Task]:
    """What the rows of a table name."""
    if table == "instances":
        yield from _packs(lake)
    elif table in {"volumes", "masks"}:
        yield from _arrays(lake, table)
    elif table == "quarantine":
        for row in _rows(lake, table, ("quarantine_id", "bytes")):
            task = _plain(f"quarantine/{row['quarantine_id']}", ledger, "sealed")
            # Keys may be rotated, by which sealed items are written anew; what is inside stays as long.
            yield task._replace(size=row["bytes"], sha256=None if lake.key_file.is_file() else task.sha256)
    elif table == "models":
        for row in _rows(lake, table, ("model_id",)):
            yield from _model(lake, row["model_id"], ledger)
    elif table == "withdrawals":
        names = {row["receipt"] for row in _rows(lake, table, ("receipt",)) if row.get("receipt")}
        yield from (_plain(f"receipts/{name}.json", ledger) for name in sorted(names))
    elif table == "runs":
        yield from (_plain(path, ledger) for path in ("lake.toml", "policy.toml"))
        yield from (_plain(path, ledger) for path in sorted(lake.objects.list("reports")))


def _plain(path: str, ledger: Mapping[str, tuple[int, str]], kind: Any = "plain") -> Task:
    size, sha256 = ledger.get(path, (None, None))
    return Task(kind, path, size, sha256)


def _known_commits(log: DeltaLog, ledger: Ledger) -> list[int]:
    start = f"{log.folder}/_delta_log/"
    names = [path.removeprefix(start) for path in ledger if path.startswith(start)]
    return [int(name[:20]) for name in names if name.endswith(".json") and name[:20].isdigit()]


def _rows(lake: Lake, table: str, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for file in table_files(lake.tables, table)[1]:
        yield from read_file(lake.tables, table, file, columns).to_pylist()


def _packs(lake: Lake) -> Iterator[Task]:
    """Packs with their members; of many rows only those of a part of the packs at a time."""
    _, files = table_files(lake.tables, "instances")
    many = sum(file.rows or 0 for file in files) > _ROWS_AT_ONCE
    starts = [f"packs/{number:02x}" for number in range(256)] + ["file:"] if many else [""]
    for start in starts:
        found: dict[str, set[Piece]] = {}
        for file in files:
            rows = read_file(lake.tables, "instances", file, _PACK_COLUMNS)
            rows = rows.filter(pc.starts_with(rows["pack"].cast(pa.string()), start))
            columns = [rows[name].to_pylist() for name in _PACK_COLUMNS]
            for values in zip(*columns, strict=True):
                found.setdefault(values[0], set()).add(Piece(*values))
        for pack, pieces in found.items():
            yield Task("pack", pack, pieces=tuple(sorted(pieces)))


def _arrays(lake: Lake, table: str) -> Iterator[Task]:
    found: dict[str, set[Image]] = {}
    for row in _rows(lake, table, ("array", "position", "sha256", "shards")):
        found.setdefault(row["array"], set()).add(Image(row["position"], row["sha256"], row["shards"]))
    for array, images in found.items():
        ordered = sorted(images, key=lambda image: -1 if image.position is None else image.position)
        yield Task("array", array, images=tuple(ordered))


def _model(lake: Lake, model: str, ledger: Ledger) -> Iterator[Task]:
    folder = f"models/{model}/"
    known = {path for path in ledger if path.startswith(folder)}
    digests: dict[str, str] = {}
    try:
        card = json.loads(lake.objects.get(f"{folder}card.json"))
        named = card["artefacts"] if card.get("kind") == "table" else _weights(card["weights"])
        digests = {f"{folder}{file}": str(digest) for file, digest in dict(named).items()}
    except (NotFoundError, ValueError, KeyError, TypeError, AttributeError):
        # The card is missing or damaged, which its own task says.
        known.add(f"{folder}card.json")
    for path in sorted({*known, *lake.objects.list(folder.rstrip("/")), *digests}):
        task = _plain(path, ledger)
        yield task._replace(sha256=task.sha256 or digests.get(path))


def _weights(digests: list[str]) -> dict[str, str]:
    return {f"fold-{number}.safetensors": digest for number, digest in enumerate(digests)}
