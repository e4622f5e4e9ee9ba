"""Mapping tables: a CSV file with one row for each name, or for each family of names."""

from __future__ import annotations

import csv
import fnmatch
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from voxlake.core.errors import SettingsError
from voxlake.core.hints import hint
from voxlake.sources.item import Hints
from voxlake.sources.mapping_rules import FIELDS, Rule

__all__ = ["read_table"]

_PATH, _LABEL, _LABEL_PREFIX = "path", "label", "label:"
_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True)
class _Family:
    """A row whose path is a pattern over whole names."""

    pattern: re.Pattern[str]
    values: Hints

    def hints(self, name: str) -> Hints | None:
        """The values of the row if the name matches, else None."""
        return self.values if self.pattern.match(name) else None


def read_table(text: str, where: str) -> tuple[dict[str, Hints], tuple[Rule, ...]]:
    """Read a CSV mapping; commas, semicolons and tabs are understood.

    Parameters
    ----------
    text : str
        The file, with a header line. ``*`` in a path also crosses ``/``.
    where : str
        What is being read, for the error message.

    Returns
    -------
    exact : dict of str to Hints
        Every path as it stands, those with ``*``, ``?`` and ``[`` too: file names may hold these characters.
    rules : tuple of Rule
        The paths that are patterns, in the order of the file.

    Raises
    ------
    SettingsError
        An unknown or missing column, a row of the wrong length or without a path, or two rows that say
        different things about one path.
    """
    exact: dict[str, Hints] = {}
    lines: dict[str, int] = {}
    rules: list[Rule] = []
    for line, row in _rows(text, where):
        path = row[_PATH].replace("\\", "/").removeprefix("./")
        if not path:
            raise SettingsError(f"{where}, line {line}: no path")
        hints = _hints(row)
        if exact.setdefault(path, hints) != hints:
            message = f"{where}, lines {lines[path]} and {line} say different things about one path"
            raise SettingsError(message + "; keep one of them")
        lines.setdefault(path, line)
        if _MAGIC.search(path):
            rules.append(_Family(re.compile(fnmatch.translate(path)), hints))
    return exact, tuple(rules)


def _rows(text: str, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    first = text.split("\n", 1)[0]
    # Spreadsheets write what their country's settings say.
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(header, where)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                message = f"{where}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}"
                raise SettingsError(message)
            stripped = (cell.strip() for cell in cells)
            yield reader.line_num, dict(zip(header, stripped, strict=True))
    except csv.Error as error:
        raise SettingsError(f"{where}, line {reader.line_num}: not CSV: {error}") from None


def _check_header(header: list[str], where: str) -> None:
    known = [_PATH, *FIELDS, _LABEL]
    for name in header:
        if name not in known and not (name.startswith(_LABEL_PREFIX) and name != _LABEL_PREFIX):
            raise SettingsError(f"{where}: unknown column '{name}'{hint(name, [*known, 'label:<name>'])}")
    if _PATH not in header:
        raise SettingsError(f"{where}: no column 'path'; the first line must name the columns")
    if len(set(header)) != len(header):
        raise SettingsError(f"{where}: a column occurs twice")


def _hints(row: Mapping[str, str]) -> Hints:
    labels = (
        (name.removeprefix(_LABEL_PREFIX), value)
        for name, value in row.items()
        if value and (name == _LABEL or name.startswith(_LABEL_PREFIX))
    )
    return Hints(**{each: row.get(each) or None for each in FIELDS}, labels=tuple(labels))
