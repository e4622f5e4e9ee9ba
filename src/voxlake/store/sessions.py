"""Databases that stay open between queries, since opening one takes longer than most queries.

A session is prepared for certain files and views and locked; a query works on a cursor of it. It is used
again only for the same files and views, so every query sees the lake as it is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import duckdb

__all__ = ["Sessions"]

_KEPT = 3
_KEPT_STATEMENTS = 100
Read = TypeVar("Read")
Prepared = TypeVar("Prepared")
_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    # Extensions would be downloaded while a query runs; everything that is needed is built in.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    # Names of Python variables of the caller are no tables.
    "python_enable_replacements": False,
    # A session that waits for the next query must not hold what the last one read.
    "enable_external_file_cache": False,
}


class _Session:
    def __init__(self, memory_limit: str) -> None:
        folder = tempfile.mkdtemp(prefix="voxlake-sql-")
        # Also at the end of the process.
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        configuration = {**_CONFIGURATION, "memory_limit": memory_limit, "temp_directory": folder}
        self.connection = duckdb.connect(":memory:", config=configuration)
        self.connection.execute("SET GLOBAL TimeZone = 'UTC'")
        self.prepared: Any = None


class Sessions:
    """The sessions of one `Tables`. May be shared by threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Session] = OrderedDict()
        self._spare: dict[str, _Session] = {}
        self._read: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def parser(self, memory_limit: str) -> duckdb.DuckDBPyConnection:
        """A connection on which statements can be judged, to be closed by the caller.

        Raises
        ------
        duckdb.Error
            The database does not start.
        """
        with self._lock:
            self._leave_those_of_a_parent()
            session = next(reversed(self._kept.values())) if self._kept else self._fresh(memory_limit)
            return session.connection.cursor()

    def remembered(self, key: Hashable, read: Callable[[], Read]) -> Read:
        """What was found out about a statement; of the last ones, `read` is called once for each.

        Parameters
        ----------
        key : hashable
            Everything that `read` builds on.
        read : callable
            Its result is kept, its errors are not.
        """
        with self._lock:
            if key in self._read:
                self._read.move_to_end(key)
                known: Read = self._read[key]
                return known
        found = read()
        with self._lock:
            self._read[key] = found
            while len(self._read) > _KEPT_STATEMENTS:
                self._read.popitem(last=False)
        return found

    def cursor(
        self, key: Hashable, memory_limit: str, prepare: Callable[[duckdb.DuckDBPyConnection], Prepared]
    ) -> tuple[duckdb.DuckDBPyConnection, Prepared]:
        """A connection to the session of a key, to be closed by the caller, and what `prepare` gave.

        Parameters
        ----------
        key : hashable
            Everything that `prepare` builds on.
        memory_limit : str
            For example ``"4GB"``.
        prepare : callable
            Makes the views of a new session and locks it.
        """
        with self._lock:
            self._leave_those_of_a_parent()
            session = self._kept.get((memory_limit, key))
            if session is None:
                session = self._fresh(memory_limit)
                # Prepared or failed: it is no spare one any more.
                del self._spare[memory_limit]
                session.prepared = prepare(session.connection)
                self._kept[memory_limit, key] = session
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end((memory_limit, key))
            return session.connection.cursor(), session.prepared

    def forget(self) -> None:
        """Let go of all sessions, for example because files are gone."""
        with self._lock:
            self._kept.clear()

    def _fresh(self, memory_limit: str) -> _Session:
        if memory_limit not in self._spare:
            self._spare[memory_limit] = _Session(memory_limit)
        return self._spare[memory_limit]

    def _leave_those_of_a_parent(self) -> None:
        # Databases do not work in a forked process; closing them would wait for threads that are not there.
        if self._process != os.getpid():
            self._kept, self._spare = OrderedDict(), {}
            self._process = os.getpid()
