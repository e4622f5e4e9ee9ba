"""The verb changes: what came into the lake since the last time, each row once, in a fixed order.

Each table has versions, and each row came with one of them; a compaction keeps that (see `store.delta_log`).
A cursor says for every table up to which version it was read, so no writer can slip a row in behind a
follower, as it could with times.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import merge
from typing import Any, NamedTuple

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.lake.feed import Feed
from voxlake.lake.lake import Lake
from voxlake.store.compaction import read_file, table_files
from voxlake.store.delta_log import DeltaLog, LogFile
from voxlake.store.duplicate_rows import Place, find_repeated
from voxlake.store.schema import TABLES

__all__ = ["changes"]

_START = "voxlake-"
_ERASE = "ERASE"


def changes(
    lake: Lake, since: str | None = None, *, tables: Sequence[str] = (), limit: int = 100_000
) -> Feed:
    """List what came into the lake since the last time, in order, and where to go on.

    Who goes on with the cursor of the call before gets every row once, whoever writes at the same time, and
    also if the lake is compacted in between. Kinds are ``added``; ``updated`` in tables that show the last
    row of a key; ``withdrawn`` and ``erased`` in `withdrawals`; and ``again`` for rows that stayed when a
    patient was erased, for a follower who had not yet read up to the erasure.

    Parameters
    ----------
    lake : Lake
        The lake; no key is needed.
    since : str, optional
        The cursor of an earlier call. To begin with: a run identifier or a time (UTC, for example
        ``"2026-01-31 12:00"``), by the clocks of those who wrote. Left out: from the beginning.
    tables : sequence of str
        Only these; the others wait where the cursor is.
    limit : int
        About how many rows at most: a commit is never cut.

    Returns
    -------
    Feed

    Raises
    ------
    UsageError
        The cursor is of another lake, or of a later state of this one; or `since` is nothing of all that.
    NotFoundError
        There is no such table or run.

    Examples
    --------
    >>> feed = changes(lake)  # doctest: +SKIP
    >>> changes(lake, feed.cursor).rows  # doctest: +SKIP
    """
    for name in tables:
        if name not in TABLES:
            raise NotFoundError(f"there is no table '{name}'{hint(name, TABLES)}")
    if limit < 1:
        raise UsageError(f"limit must be 1 or more, got {limit}")
    read = _read(lake, since)
    rows: list[Mapping[str, Any]] = []
    histories = [_History(lake, name, read.get(name, -1)) for name in tables or TABLES]
    for event in merge(*(history.events() for history in histories)):
        if len(rows) >= limit:
            return Feed(tuple(rows), _cursor(lake, read), complete=False)
        rows += event.history.rows(event)
        read[event.history.name] = event.version
    read |= {history.name: history.latest for history in histories if history.latest >= 0}
    return Feed(tuple(rows), _cursor(lake, read), complete=True)


class _Part(NamedTuple):
    """Rows of a file that came together."""

    file: LogFile
    begin: int
    rows: int


@dataclass(order=True)
class _Event:
    """A version of a table that brought rows; events of several tables sort by time."""

    time: int
    place: int
    version: int
    kind: str = field(compare=False)
    history: _History = field(compare=False)


class _History:
    """What came into one table behind a version."""

    def __init__(self, lake: Lake, name: str, after: int) -> None:
        self.name, self.after = name, after
        self._tables = lake.tables
        self._log = DeltaLog(lake.objects, name)
        self.latest, self._files = table_files(lake.tables, name)
        if after > self.latest:
            raise UsageError(
                f"the cursor is of version {after} of table '{name}', the lake has version {self.latest}; "
                "it was taken from a later state: begin again without it"
            )
        self._parts: dict[int, list[_Part]] = {}
        for file in self._files if self.latest > after else ():
            self._take(file)
        self._later = self._repeated() if self._parts and TABLES[name].keep == "first" else frozenset()

    def events(self) -> Iterator[_Event]:
        """Versions that brought rows, in their order."""
        time, place = 0, list(TABLES).index(self.name)
        for version in sorted(self._parts):
            commit = self._log.commit(version)
            # By their clocks, a writer who comes later may seem to be earlier.
            time = max(time, commit.timestamp)
            kind = "updated" if TABLES[self.name].keep == "last" else "added"
            if commit.operation == _ERASE and self.after >= 0:
                if self.after >= version - 1:
                    continue
                kind = "again"
            yield _Event(time, place, version, kind, self)

    def rows(self, event: _Event) -> Iterator[dict[str, Any]]:
        """Rows of one version."""
        table = TABLES[self.name]
        known = {column.name for column in table.columns}
        more = ("committed_at", "run_id", *(("erased_at",) if self.name == "withdrawals" else ()))
        columns = [*table.key, *(name for name in more if name in known and name not in table.key)]
        for part in self._parts[event.version]:
            values = read_file(self._tables, self.name, part.file, columns).slice(part.begin, part.rows)
            for number, row in enumerate(values.to_pylist(), part.begin):
                if (part.file.path, number) not in self._later:
                    yield {
                        "table": self.name,
                        "version": event.version,
                        "committed_at": row["committed_at"],
                        "kind": _kind(self.name, row, event.kind),
                        "key": json.dumps({name: row.get(name) for name in table.key}, default=str),
                        "run_id": row.get("run_id"),
                    }

    def _take(self, file: LogFile) -> None:
        begin = 0
        segments = file.segments or ((file.version or 0, file.rows or 0),)
        for version, rows in segments:
            if version > self.after:
                self._parts.setdefault(version, []).append(_Part(file, begin, rows))
            begin += rows

    def _repeated(self) -> frozenset[Place]:
        """Rows whose key came before."""
        order = {file.path: (number, file) for number, file in enumerate(self._files)}
        later: set[Place] = set()
        for group in find_repeated(self._tables, self.name):
            known = [place for place in (group.shown, *group.hidden) if place[0] in order]
            dated = [(_version(order[file][1], row), order[file][0], row, (file, row)) for file, row in known]
            later.update(place for *_, place in sorted(dated)[1:])
        return frozenset(later)


def _version(file: LogFile, row: int) -> int:
    for version, rows in file.segments or ():
        if row < rows:
            return version
        row -= rows
    return file.version or 0


def _kind(table: str, row: Mapping[str, Any], kind: str) -> str:
    if table != "withdrawals":
        return kind
    return "withdrawn" if row.get("erased_at") is None else "erased"


def _cursor(lake: Lake, read: Mapping[str, int]) -> str:
    content = json.dumps({"lake": lake.settings.lake_id, "read": dict(sorted(read.items()))})
    return _START + base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def _read(lake: Lake, since: str | None) -> dict[str, int]:
    """Up to which version of each table was read."""
    if since is None:
        return {}
    if since.startswith(_START):
        return _from_cursor(lake, since)
    runs = lake.sql("select committed_at from runs where run_id = $run", {"run": since}).rows()
    if runs:
        return _until(lake, runs[0][0])
    try:
        time = datetime.fromisoformat(since)
    except ValueError:
        raise UsageError(
            f"'{since}' is no cursor, no run of this lake and no time; write for example '2026-01-31 12:00'"
        ) from None
    return _until(lake, time if time.tzinfo is not None else time.replace(tzinfo=UTC))


def _from_cursor(lake: Lake, text: str) -> dict[str, int]:
    coded = text.removeprefix(_START)
    try:
        content = json.loads(base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)))
        identity, read = content["lake"], {str(name): int(one) for name, one in content["read"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            "the cursor is damaged; give it as it was given, or begin again without it"
        ) from None
    if identity != lake.settings.lake_id:
        raise UsageError("the cursor is of another lake; begin again without it")
    return read


def _until(lake: Lake, time: datetime) -> dict[str, int]:
    """Last version of each table that was committed by a time."""
    limit = int(time.timestamp() * 1000)
    found = {}
    for name in TABLES:
        log = DeltaLog(lake.objects, name)
        commits, _ = log.versions()
        late = reversed(commits)
        found[name] = next((version for version in late if log.commit(version).timestamp <= limit), -1)
    return found
