"""The log of a table, read through the objects of the lake: commits, files, and when each row came.

Files that were put together keep, in a tag of their `add` action, how many of their rows came with which
version, in the order of the rows. So a follower who is behind finds every row where it belongs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.store.arrow_bytes import arrow_reader
from voxlake.store.objects import Objects

__all__ = [
    "DIGEST",
    "MOVED",
    "OPTIMIZE",
    "SEGMENTS",
    "Arrivals",
    "Commit",
    "DeltaLog",
    "LogFile",
    "arrivals",
    "read_commit",
]

SEGMENTS = "voxlake.segments"
DIGEST = "voxlake.sha256"
MOVED = "voxlake.moved"
OPTIMIZE = "OPTIMIZE"
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")


@dataclass(frozen=True)
class LogFile:
    """A file of a table as its log knows it.

    Parameters
    ----------
    path : str
        Relative to the folder of the table.
    size : int
        Bytes.
    rows : int or None
        Number of rows, where the log says it.
    version : int or None
        Version that brought it; None where only a checkpoint knows the file.
    tags : mapping of str to str
        As in the log.
    """

    path: str
    size: int
    rows: int | None
    version: int | None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def segments(self) -> tuple[tuple[int, int], ...] | None:
        """(version, rows) in the order of the rows of a file that was put together; None for others."""
        text = self.tags.get(SEGMENTS)
        return None if text is None else tuple((int(v), int(n)) for v, n in json.loads(text))


@dataclass(frozen=True)
class Commit:
    """One version of a table.

    Parameters
    ----------
    version : int
        Number.
    timestamp : int
        Milliseconds since 1970, by the clock of the writer.
    operation : str
        As the writer calls it.
    added : tuple of LogFile
        Files that came in.
    removed : mapping of str to int
        Paths of files that were taken out, and when (milliseconds).
    shuffles : bool
        The same rows are there as before, in other files.
    """

    version: int
    timestamp: int
    operation: str
    added: tuple[LogFile, ...]
    removed: Mapping[str, int]
    shuffles: bool


class Arrivals(NamedTuple):
    """What several commits brought.

    Parameters
    ----------
    added : frozenset of str
        Names of files with rows that came in.
    moved : frozenset of str
        Names of files put together of earlier rows, some of which now name another pack.
    gone : tuple of str
        Packs that no row names any more.
    rewritten : bool
        Whether rows were taken out.
    """

    added: frozenset[str]
    moved: frozenset[str]
    gone: tuple[str, ...]
    rewritten: bool


def arrivals(actions: Iterable[Mapping[str, Any]], after: int) -> Arrivals:
    """Tell files with new rows from files that were put together.

    Parameters
    ----------
    actions : iterable of mapping
        All actions of the commits behind a version.
    after : int
        That version.
    """
    added, moved, gone = set(), set(), set()
    rewritten = False
    for action in actions:
        gone.update(action.get("commitInfo", {}).get("voxlake", {}).get("gone", ()))
        rewritten = rewritten or bool(action.get("remove", {"dataChange": False}).get("dataChange", True))
        if "add" not in action:
            continue
        file = _file(action["add"], None)
        if action["add"].get("dataChange", True) or any(
            version > after for version, _ in file.segments or ()
        ):
            added.add(file.path)
        elif MOVED in file.tags:
            moved.add(file.path)
    return Arrivals(frozenset(added), frozenset(moved), tuple(sorted(gone)), rewritten)


class DeltaLog:
    """The log of one table.

    Parameters
    ----------
    objects : Objects
        Where the lake lies.
    name : str
        Name of the table.
    """

    def __init__(self, objects: Objects, name: str) -> None:
        self.objects = objects
        self.name = name
        self.folder = f"tables/{name}"

    def versions(self) -> tuple[list[int], list[int]]:
        """Numbers of the commits and of the checkpoints that are there, ascending."""
        commits, checkpoints = [], []
        for path in self.objects.list(f"{self.folder}/_delta_log"):
            name = path.rpartition("/")[2]
            if match := _COMMIT.fullmatch(name):
                commits.append(int(match[1]))
            elif match := _CHECKPOINT.fullmatch(name):
                checkpoints.append(int(match[1]))
        return sorted(commits), sorted(checkpoints)

    def commit_path(self, version: int) -> str:
        """Path of the object of a commit."""
        return f"{self.folder}/_delta_log/{version:020}.json"

    def commit(self, version: int) -> Commit:
        """Read one commit.

        Raises
        ------
        NotFoundError
            It is not there.
        IntegrityError
            It cannot be read.
        """
        return read_commit(self.objects.get(self.commit_path(version)), version, self.name)

    def files(self, version: int) -> dict[str, LogFile]:
        """Files that made up a version, in the order in which they came.

        Raises
        ------
        NotFoundError
            The log does not reach back to it.
        """
        _, checkpoints = self.versions()
        start = max((number for number in checkpoints if number <= version), default=None)
        found: dict[str, LogFile] = {}
        if start is not None:
            found = {file.path: file for file in self._checkpoint(start)}
        for number in range(0 if start is None else start + 1, version + 1):
            commit = self.commit(number)
            for path in commit.removed:
                found.pop(path, None)
            found |= {file.path: file for file in commit.added}
        return found

    def dated(self, files: Iterable[LogFile], latest: int) -> list[LogFile]:
        """The same files, oldest first, each with the version that brought it.

        What came before the log begins has the version of its beginning.
        """
        known = {file.path: file for file in files}
        open_ = {path for path, file in known.items() if file.version is None}
        number = latest
        try:
            while open_ and number >= 0:
                for file in self.commit(number).added:
                    if file.path in open_:
                        known[file.path] = file
                        open_.discard(file.path)
                number -= 1
        except NotFoundError:
            for path in open_:
                known[path] = replace(known[path], version=number + 1)
        return sorted(known.values(), key=lambda file: file.version if file.version is not None else -1)

    def _checkpoint(self, version: int) -> Iterator[LogFile]:
        data = self.objects.get(f"{self.folder}/_delta_log/{version:020}.checkpoint.parquet")
        try:
            rows = pq.read_table(arrow_reader(data), columns=["add"]).column(0).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(
                f"checkpoint {version} of table '{self.name}' cannot be read; restore it from a copy"
            ) from error
        for row in rows:
            if row is not None and row["path"] is not None:
                yield _file({**row, "tags": dict(row.get("tags") or ())}, None)


def read_commit(data: bytes, version: int, name: str) -> Commit:
    """Understand the bytes of a commit; see `DeltaLog.commit`."""
    try:
        actions = [json.loads(line) for line in data.decode().splitlines() if line.strip()]
        info: dict[str, Any] = next(
            (action["commitInfo"] for action in actions if "commitInfo" in action), {}
        )
        adds = [action["add"] for action in actions if "add" in action]
        removes = [action["remove"] for action in actions if "remove" in action]
        changes = [bool(action.get("dataChange", True)) for action in (*adds, *removes)]
        return Commit(
            version,
            int(info.get("timestamp") or 0),
            str(info.get("operation") or ""),
            tuple(_file(add, version) for add in adds),
            {unquote(one["path"]): int(one.get("deletionTimestamp") or 0) for one in removes},
            bool(changes) and not any(changes),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"version {version} of table '{name}' cannot be read; restore it from a copy"
        ) from error


def _file(add: Mapping[str, Any], version: int | None) -> LogFile:
    stats = json.loads(add.get("stats") or "{}")
    tags = {str(key): str(value) for key, value in (add.get("tags") or {}).items() if value is not None}
    return LogFile(unquote(add["path"]), int(add["size"]), stats.get("numRecords"), version, tags)
