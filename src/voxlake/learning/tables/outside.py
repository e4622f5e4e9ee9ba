"""Tables from outside: CSV files, identifiers through the lake's pseudonymiser."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxlake.core.digest import digest_bytes, digest_many
from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.hints import hint
from voxlake.lake.lake import Lake
from voxlake.learning.tables.inputs import FileInput
from voxlake.privacy.pseudonyms import Pseudonymiser

__all__ = ["Outside", "as_number", "cells_by_subject", "read_outside"]

# How people write that there is nothing.
_NOTHING = frozenset({"", "na", "n/a", "nan", "null", "none"})


@dataclass(frozen=True)
class Outside:
    """A table from outside.

    Parameters
    ----------
    digest : str
        SHA-256 of the file.
    subjects : tuple of str
        What each row is about: pseudonyms of the lake, or keys of rows.
    contents : tuple of str
        Digest of all cells of each row.
    columns : mapping of name to tuple of str or None
        Cells of all columns but the subject.
    """

    digest: str
    subjects: tuple[str, ...]
    contents: tuple[str, ...]
    columns: Mapping[str, tuple[str | None, ...]]


def read_outside(lake: Lake, settings: FileInput, *, patients: Sequence[str] = ()) -> Outside:
    """Read a CSV file.

    Original identifiers of subjects and of the columns `patients` are replaced by pseudonyms; rows without
    a subject column are named by a digest of their cells, so that the same row has the same name in any file.

    Parameters
    ----------
    lake : Lake
        The lake, with its key where identifiers are original ones.
    settings : FileInput
        Which file, and what its rows are about.
    patients : sequence of str
        Columns that hold patients.

    Raises
    ------
    NotFoundError
        The file, or the subject column, is not there.
    SettingsError
        It is no CSV table in UTF-8.
    """
    path = Path(settings.path)
    if not path.is_file():
        raise NotFoundError("no such table; give a path to a CSV file")
    data = path.read_bytes()
    names, rows = _read(data)
    if settings.subject is not None and settings.subject not in names:
        raise NotFoundError(f"the table has no column '{settings.subject}'{hint(settings.subject, names)}")
    if settings.subject is None and settings.level != "row":
        raise SettingsError(f"a table with level = '{settings.level}' needs the name of its 'subject' column")
    columns = {
        name: tuple(row[place] for row in rows)
        for place, name in enumerate(names)
        if name != settings.subject
    }
    secret = settings.identifiers == "original" and (settings.subject is not None or bool(patients))
    pseudonymiser = Pseudonymiser(lake.key) if secret else None
    if pseudonymiser is not None:
        for name in set(patients) & set(columns):
            columns[name] = tuple(
                None if cell is None else pseudonymiser.patient(cell) for cell in columns[name]
            )
    # After the pseudonyms: a digest of original identifiers could be guessed at.
    contents = tuple(digest_many([cell or "" for cell in row]) for row in zip(*columns.values(), strict=True))
    if settings.subject is None:
        return Outside(digest_bytes(data), _row_names(contents), contents, columns)
    place = names.index(settings.subject)
    keys = [row[place] or "" for row in rows]
    if pseudonymiser is not None:
        keys = [_pseudonym(pseudonymiser, settings.level, key) if key else "" for key in keys]
    return Outside(digest_bytes(data), tuple(keys), contents, columns)


def cells_by_subject(
    outside: Outside, prefix: str, categories: Collection[str]
) -> dict[str, dict[str, list[Any]]]:
    """For each column all values of each subject: numbers where every cell of the column is one.

    Parameters
    ----------
    outside : Outside
        The table.
    prefix : str
        Put before a name before it is looked for in `categories`.
    categories : collection of str
        Columns that stay text although they look like numbers.
    """
    columns: dict[str, dict[str, list[Any]]] = {}
    for name, cells in outside.columns.items():
        numbers = [as_number(cell) for cell in cells]
        numeric = all((number is None) == (cell is None) for number, cell in zip(numbers, cells, strict=True))
        values: Sequence[Any] = numbers if numeric and f"{prefix}{name}" not in categories else cells
        columns[name] = {}
        for key, value in zip(outside.subjects, values, strict=True):
            columns[name].setdefault(key, []).append(value)
    return columns


def as_number(cell: str | None) -> float | None:
    """A finite number, or None where a cell is none."""
    if cell is None:
        return None
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _read(data: bytes) -> tuple[list[str], list[list[str | None]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError("the table is not UTF-8 text; save it as CSV in UTF-8") from None
    lines = [line for line in csv.reader(io.StringIO(text, newline="")) if any(cell.strip() for cell in line)]
    if len(lines) < 2:
        raise SettingsError("the table has no rows; it needs a header line and one line for each row")
    names = [name.strip() for name in lines[0]]
    if len(set(names)) != len(names) or "" in names:
        raise SettingsError("the header line of the table needs a different name for every column")
    uneven = sum(len(line) != len(names) for line in lines[1:])
    if uneven:
        raise SettingsError(
            f"{uneven} rows of the table do not have the {len(names)} cells of its header line"
        )
    return names, [[_cell(cell) for cell in line] for line in lines[1:]]


def _cell(text: str) -> str | None:
    stripped = text.strip()
    return None if stripped.lower() in _NOTHING else stripped


def _row_names(contents: Sequence[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    names = []
    for content in contents:
        count = seen[content] = seen.get(content, 0) + 1
        names.append(f"row-{content[:20]}" + (f"-{count}" if count > 1 else ""))
    return tuple(names)


def _pseudonym(names: Pseudonymiser, level: str, original: str) -> str:
    if level == "patient":
        return names.patient(original)
    return names.token("row", original) if level == "row" else names.uid(original)
