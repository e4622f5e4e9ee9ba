"""Local copies of the files of a remote lake's tables: which are needed, and what if they vanish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from voxlake.store.tables import Tables

__all__ = ["fetched", "missing_copies", "reading"]

_ATTEMPTS = 10
Value = TypeVar("Value")


def reading(tables: Tables, read: Callable[[], Value]) -> Value:
    """Do what reads files of tables; again, where somebody deletes their local copies meanwhile.

    Parameters
    ----------
    tables : Tables
        Tables of the lake.
    read : callable
        Asks for the files each time that it is called, by which those that are missing are fetched.

    Raises
    ------
    OSError
        Files are gone that are no copies, or copies are deleted faster than they are read.
    """
    for _ in range(_ATTEMPTS if tables.places.remote else 0):
        with suppress(FileNotFoundError):
            return read()
    return read()


def fetched(tables: Tables, name: str, files: Sequence[str]) -> list[str]:
    """The same files of a table, fetched where their copies are missing.

    Parameters
    ----------
    tables : Tables
        Tables of the lake.
    name : str
        Name of the table.
    files : sequence of str
        Some of those that `Tables.files` names.
    """
    return tables.places.local(name, files) if tables.places.remote else list(files)


def missing_copies(tables: Tables, name: str) -> bool:
    """Whether some file of a table would have to be fetched before all of it can be read."""
    if not tables.places.remote:
        return False
    return not all(Path(file).is_file() for file in tables.files(name, fetch=False))
