"""The tables of a lake: append only, with versions, safe under several writers (Delta Lake).

Two writers may append rows of the same key; readers count the first committed one (see `query`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from voxlake.core.errors import LakeError, NotFoundError, SettingsError
from voxlake.core.hints import hint
from voxlake.store.objects import Objects
from voxlake.store.rows import LATER, rows_to_arrow, write_schema
from voxlake.store.schema import TABLES, arrow_schema

__all__ = ["Changes", "Tables"]

_ATTEMPTS = 20
_COMMIT_RETRIES = 100
_CONFIGURATION = {
    # Versions are named by cohorts: the log is kept, only `erase` shortens it.
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
    "delta.checkpointInterval": "100",
}


@dataclass(frozen=True)
class Changes:
    """What happened to the files of a table between two versions.

    Parameters
    ----------
    added : tuple of str
        Paths of files that came in and are still there.
    rewritten : bool
        Whether any file was taken out (erase, compact): a cache of rows must be rebuilt.
    version : int
        The later version; -1 where there is no table yet.
    """

    added: tuple[str, ...]
    rewritten: bool
    version: int


class Tables:
    """The tables of one lake. May be shared by threads and sent to other processes.

    Parameters
    ----------
    objects : Objects
        Where the lake lies.

    Raises
    ------
    SettingsError
        The lake does not lie in a local folder.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        root = objects.local_path("tables")
        if root is None:
            raise SettingsError(f"tables need a lake in a local folder, got {objects.url}")
        self._root = root
        # What `views` found out about repeated keys: files of a table, and the rows to leave out.
        self.repeated_rows: dict[str, tuple[frozenset[str], pa.Table]] = {}
        self._opened: dict[str, DeltaTable] = {}
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type[Tables], tuple[Objects]]:
        return (type(self), (self.objects,))

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
        for _ in range(_ATTEMPTS):
            with self._lock:
                try:
                    return self._append_once(name, rows)
                except CommitFailedError:
                    # Another writer created the table or widened it at the same moment: look again.
                    self._opened.pop(name, None)
                except DeltaError as error:
                    raise LakeError(f"cannot append to table '{name}': {_first_line(error)}") from error
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

    def files(self, name: str) -> list[str]:
        """Local paths of the Parquet files that make up the latest version."""
        with self._lock:
            table = self._table(name)
            return [] if table is None else [unquote(uri) for uri in table.file_uris()]

    def stored_schema(self, name: str) -> pa.Schema | None:
        """Arrow schema as stored; None before the first append.

        It lacks columns that a newer voxlake adds and has those that a newer one has added.
        """
        with self._lock:
            table = self._table(name)
            return None if table is None else pa.schema(table.schema().to_arrow())

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
            current = self.files(name)
        if after is None or after > version:
            return Changes(tuple(current), after is not None, version)
        try:
            actions = [entry for number in range(after + 1, version + 1) for entry in self._log(name, number)]
        except NotFoundError:
            return Changes(tuple(current), True, version)
        if any("remove" in action for action in actions):
            return Changes(tuple(current), True, version)
        folder = self._root / name
        new = {str(folder / unquote(action["add"]["path"])) for action in actions if "add" in action}
        return Changes(tuple(file for file in current if file in new), False, version)

    def _append_once(self, name: str, rows: Sequence[Mapping[str, Any]]) -> int:
        table = self._table(name)
        stored = None if table is None else pa.schema(table.schema().to_arrow())
        schema = write_schema(name, arrow_schema(name), stored)
        if table is not None and not rows:
            return int(table.version())
        widens = stored is not None and len(schema) > len(stored)
        write_deltalake(
            (self._root / name).as_uri() if table is None else table,
            rows_to_arrow(name, rows, schema),
            mode="append",
            schema_mode="merge" if widens else None,
            configuration=_CONFIGURATION if table is None else None,
            writer_properties=WriterProperties(compression="ZSTD"),
            commit_properties=CommitProperties(max_commit_retries=_COMMIT_RETRIES),
        )
        table = self._table(name) if table is None else table
        if table is None:
            raise LakeError(f"table '{name}' is gone right after it was written")
        return int(table.version())

    def _table(self, name: str) -> DeltaTable | None:
        # Opening reads the whole log (3-45 ms); an opened table only looks for newer commits (0.4 ms).
        _check(name)
        table = self._opened.get(name)
        try:
            if table is None:
                if not (self._root / name / "_delta_log").is_dir():
                    return None
                table = self._opened[name] = DeltaTable((self._root / name).as_uri())
            else:
                table.update_incremental()
        except TableNotFoundError:
            # Another writer has made the folder but not yet the first commit.
            self._opened.pop(name, None)
            return None
        except DeltaError as error:
            raise LakeError(f"cannot read table '{name}': {_first_line(error)}") from error
        return table

    def _log(self, name: str, version: int) -> list[dict[str, Any]]:
        text = self.objects.get(f"tables/{name}/_delta_log/{version:020}.json").decode()
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def _check(name: str) -> None:
    if name not in TABLES:
        raise NotFoundError(f"there is no table '{name}'{hint(name, TABLES)}")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
