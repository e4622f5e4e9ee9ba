"""The tables of a lake: append only, with versions, safe under several writers (Delta Lake).

Two writers may append rows of the same key; readers count the first committed one (see `query`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from voxlake.core.errors import LakeError, NotFoundError
from voxlake.core.hints import hint
from voxlake.store.delta_log import arrivals
from voxlake.store.objects import Objects
from voxlake.store.patience import ATTEMPTS, passing, pause
from voxlake.store.rows import LATER, rows_to_arrow, write_schema
from voxlake.store.schema import TABLES, arrow_schema
from voxlake.store.sessions import Sessions
from voxlake.store.table_places import TablePlaces, places_of

if TYPE_CHECKING:
    from voxlake.store.uid_index import UidIndex

__all__ = ["Changes", "Tables"]

_ATTEMPTS = 100
_MARK = "voxlakeCommit"
_COMMIT_RETRIES = 100
_CONFIGURATION = {
    # Versions are named by cohorts: the log is kept, only `erase` shortens it.
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
}


@dataclass(frozen=True)
class Changes:
    """What happened to the files of a table between two versions.

    Parameters
    ----------
    added : tuple of str
        Paths of files that came in and are still there.
    rewritten : bool
        Whether rows were taken out (erase): a cache of rows must be rebuilt.
    version : int
        The later version; -1 where there is no table yet.
    moved : tuple of str
        Paths of files put together of earlier rows, some of which now name another pack (compact).
    gone : tuple of str
        Packs that no row names any more since then (compact).
    """

    added: tuple[str, ...]
    rewritten: bool
    version: int
    moved: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass
class _Facts:
    """What is asked of one version of a table again and again: of 2,000 files it takes 7 ms each time."""

    name: str
    table: DeltaTable
    version: int
    _files: list[str] | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema(self.table.schema().to_arrow())

    def files(self, places: TablePlaces, *, fetch: bool) -> list[str]:
        # Copies of a remote table may be deleted at any time: every call sees to it that they are there.
        if places.remote:
            return (places.local if fetch else places.paths)(self.name, self._uris)
        if self._files is None:
            self._files = places.local(self.name, self._uris)
        return self._files

    @cached_property
    def _uris(self) -> list[str]:
        return list(self.table.file_uris())


class Tables:
    """The tables of one lake. May be shared by threads and sent to other processes.

    Parameters
    ----------
    objects : Objects
        Where the lake lies.
    cache : pathlib.Path, optional
        Folder outside the lake for copies of the files of a remote one; by default in the user's cache
        folder.
    """

    def __init__(self, objects: Objects, cache: Path | None = None) -> None:
        self.objects = objects
        self.cache = cache
        self.places = places_of(objects, cache)
        # What `views` found out about repeated keys: files of a table, and the rows to leave out.
        self.repeated_rows: dict[str, tuple[frozenset[str], pa.Table]] = {}
        # Databases that `query` keeps open.
        self.sessions = Sessions()
        # Indexes that this process has read, by the folder of each; see `uid_index`.
        self.uid_indexes: dict[Path, UidIndex] = {}
        self._opened: dict[str, DeltaTable] = {}
        self._facts: dict[str, _Facts] = {}
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type[Tables], tuple[Objects, Path | None]]:
        return (type(self), (self.objects, self.cache))

    def append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Append rows in one commit; the first append creates the table.

        Parameters
        ----------
        name : str
            One of `schema.TABLES`.
        rows : sequence of mapping
            Column name to value. Missing columns become null, a missing `committed_at` becomes now.

        Returns
        -------
        int
            Version of the table after the commit.

        Raises
        ------
        NotFoundError
            There is no table of that name.
        LakeError
            A column is unknown or a value does not fit; or the commit failed.
        """
        _check(name)
        mark, broken = uuid4().hex, 0
        since = self.version(name) if self.places.remote else None
        for _ in range(_ATTEMPTS):
            with self._lock:
                try:
                    return self._append_once(name, rows, mark)
                except CommitFailedError:
                    # Another writer committed, or made or widened the table, at the same moment: look again.
                    self._opened.pop(name, None)
                except (DeltaError, OSError) as error:
                    self._opened.pop(name, None)
                    broken += 1
                    if not self.places.remote or broken >= ATTEMPTS:
                        raise LakeError(f"cannot append to table '{name}': {_first_line(error)}") from error
            if self.places.remote:
                # The answer to a commit that took effect can get lost.
                committed = self._committed(name, since, mark)
                if committed is not None:
                    return committed
                pause(broken)
        raise LakeError(
            f"cannot append to table '{name}': {_ATTEMPTS} commits met other writers; run again, "
            "with fewer writers at the same time"
        )

    def version(self, name: str) -> int | None:
        """Latest version of a table; None before its first append."""
        with self._lock:
            table = self._table(name)
            return None if table is None else int(table.version())

    def versions(self) -> dict[str, int]:
        """Latest version of every table that has one."""
        found = {name: self.version(name) for name in TABLES}
        return {name: version for name, version in found.items() if version is not None}

    def identity(self, name: str) -> str | None:
        """Identifier that a table gets when it is created; None before its first append."""
        with self._lock:
            table = self._table(name)
            return None if table is None else str(table.metadata().id)

    def files(self, name: str, *, fetch: bool = True) -> list[str]:
        """Local paths of the Parquet files that make up the latest version.

        Of a remote lake they are copies; without `fetch` some may be missing (see `copies.fetched`).
        """
        with self._lock:
            table = self._table(name)
            return [] if table is None else list(self._known(name, table).files(self.places, fetch=fetch))

    def forget_copies(self, name: str) -> None:
        """Delete local copies of files that the latest version of a table does not name."""
        with self._lock:
            table = self._table(name)
            if table is not None:
                self.places.forget(name, table.file_uris())

    def checkpoint(self, name: str) -> None:
        """Sum up the log of a table, so that opening it reads less; the log stays."""
        with self._lock:
            for attempt in range(1, ATTEMPTS + 1):
                table = self._table(name)
                if table is None:
                    return
                try:
                    table.create_checkpoint()
                except (DeltaError, OSError) as error:
                    if not self.places.remote or attempt == ATTEMPTS:
                        raise LakeError(f"cannot sum up table '{name}': {_first_line(error)}") from error
                    pause(attempt)
                else:
                    return

    def stored_schema(self, name: str) -> pa.Schema | None:
        """Arrow schema as stored; None before the first append.

        It lacks columns that a newer voxlake adds and has those that a newer one has added.
        """
        with self._lock:
            table = self._table(name)
            return None if table is None else self._known(name, table).schema

    def evolved(self, name: str) -> bool:
        """Whether some files of the table lack columns that were added later."""
        schema = self.stored_schema(name)
        return schema is not None and any((field.metadata or {}).get(b"added") == LATER for field in schema)

    def added_files(self, name: str, after: int | None) -> tuple[list[str], int]:
        """Files that came in after a version; see `changes`.

        Returns
        -------
        files : list of str
            Local paths; all files where `after` is None.
        version : int
            Latest version, -1 where there is no table yet.
        """
        changes = self.changes(name, after)
        return list(changes.added), changes.version

    def changes(self, name: str, after: int | None) -> Changes:
        """What happened to the files of a table after a version.

        Parameters
        ----------
        after : int or None
            A version; None for everything, as does a version that the table does not have.
        """
        with self._lock:
            version = self.version(name)
            if version is None:
                return Changes((), after is not None, -1)
            if after == version:
                return Changes((), False, version)
            table = self._table(name)
            current = [] if table is None else table.file_uris()
        if after is None or after > version:
            return Changes(self._local(name, current), after is not None, version)
        try:
            actions = [entry for number in range(after + 1, version + 1) for entry in self._log(name, number)]
        except NotFoundError:
            return Changes(self._local(name, current), True, version)
        came = arrivals(actions, after)
        if came.rewritten:
            return Changes(self._local(name, current), True, version)
        added = self._local(name, [uri for uri in current if _file(uri) in came.added])
        moved = self._local(name, [uri for uri in current if _file(uri) in came.moved])
        return Changes(added, False, version, moved, came.gone)

    def _known(self, name: str, table: DeltaTable) -> _Facts:
        facts = self._facts.get(name)
        if facts is None or facts.table is not table or facts.version != table.version():
            facts = self._facts[name] = _Facts(name, table, int(table.version()))
        return facts

    def _local(self, name: str, uris: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.places.local(name, uris))

    def _committed(self, name: str, since: int | None, mark: str) -> int | None:
        """Version of the commit that carries a mark; None if there is none after a version."""
        latest = self.version(name)
        for version in range(-1 if latest is None else latest, -1 if since is None else since, -1):
            if any(action.get("commitInfo", {}).get(_MARK) == mark for action in self._log(name, version)):
                return version
        return None

    def _append_once(self, name: str, rows: Sequence[Mapping[str, Any]], mark: str) -> int:
        table = self._table(name)
        stored = None if table is None else pa.schema(table.schema().to_arrow())
        schema = write_schema(name, arrow_schema(name), stored)
        if table is not None and not rows:
            return int(table.version())
        widens = stored is not None and len(schema) > len(stored)
        write_deltalake(
            self.places.uri(name) if table is None else table,
            rows_to_arrow(name, rows, schema),
            mode="append",
            schema_mode="merge" if widens else None,
            configuration=self._configuration if table is None else None,
            storage_options=self.places.options() if table is None else None,
            writer_properties=WriterProperties(compression="ZSTD"),
            commit_properties=CommitProperties(
                # Where an answer got lost, the library would take its own commit for another writer's, and
                # commit the same file twice.
                max_commit_retries=0 if self.places.remote else _COMMIT_RETRIES,
                custom_metadata={_MARK: mark} if self.places.remote else None,
            ),
        )
        table = self._table(name) if table is None else table
        if table is None:
            raise LakeError(f"table '{name}' is gone right after it was written")
        return int(table.version())

    def _table(self, name: str) -> DeltaTable | None:
        # Opening reads the whole log (3-45 ms); an opened table only looks for newer commits (0.4 ms).
        _check(name)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._look(name)
            except TableNotFoundError:
                # Another writer has made the folder but not yet the first commit.
                self._opened.pop(name, None)
                return None
            except (DeltaError, OSError) as error:
                self._opened.pop(name, None)
                if not self.places.remote or attempt == ATTEMPTS or not passing(error):
                    raise LakeError(f"cannot read table '{name}': {_first_line(error)}") from error
            pause(attempt)
        return None

    def _look(self, name: str) -> DeltaTable | None:
        table = self._opened.get(name)
        if table is not None:
            if not self._is_latest(name, int(table.version())):
                table.update_incremental()
        elif self.places.may_exist(name):
            table = DeltaTable(self.places.uri(name), storage_options=self.places.options())
            self._opened[name] = table
        return table

    def _is_latest(self, name: str, version: int) -> bool:
        # Two names in the log: a look by Delta Lake itself takes 6 ms where there are 2,000 files.
        log = self.objects.local_path(f"tables/{name}/_delta_log")
        if log is None or not (log / f"{version:020}.json").exists():
            return False
        return not (log / f"{version + 1:020}.json").exists()

    @property
    def _configuration(self) -> dict[str, str | None]:
        return {**_CONFIGURATION, "delta.checkpointInterval": str(self.places.checkpoint_interval)}

    def _log(self, name: str, version: int) -> list[dict[str, Any]]:
        text = self.objects.get(f"tables/{name}/_delta_log/{version:020}.json").decode()
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def _check(name: str) -> None:
    if name not in TABLES:
        raise NotFoundError(f"there is no table '{name}'{hint(name, TABLES)}")


def _file(uri: str) -> str:
    return unquote(uri.rpartition("/")[2])


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
