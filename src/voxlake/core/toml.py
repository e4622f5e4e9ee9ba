"""TOML: read from a file or from text with errors that say what is wrong, and written."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.hints import hint

__all__ = ["TomlTables", "check_keys", "load_tables", "rows_of", "to_toml"]


class TomlTables(NamedTuple):
    """Parsed TOML and where it came from.

    Parameters
    ----------
    values : dict
        The tables.
    where : str
        What was read, for messages: ``"plan"`` or ``"plan 'mr.toml'"``.
    folder : Path or None
        Folder of the file, to which paths in it are relative; None for text.
    """

    values: dict[str, Any]
    where: str
    folder: Path | None


def load_tables(source: str | Path, what: str) -> TomlTables:
    """Read TOML.

    Parameters
    ----------
    source : path or str
        A file, or TOML text (anything with a line break).
    what : str
        What it should be, for messages: ``"plan"``.

    Raises
    ------
    NotFoundError
        The file is not there.
    SettingsError
        No UTF-8 text, or no TOML.
    """
    if isinstance(source, str) and "\n" in source:
        return TomlTables(_parse(source, what), what, None)
    path = Path(source)
    where = f"{what} '{path.name}'"
    if not _is_file(path):
        raise NotFoundError(f"no {what} file '{path}'; give a path to a TOML file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"{where} is not UTF-8 text") from None
    return TomlTables(_parse(text, where), where, path.parent)


def check_keys(tables: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse a table with a key that is none of the known ones.

    Raises
    ------
    SettingsError
        Names the first such key and its near miss.
    """
    names = tuple(known)
    unknown = sorted(set(tables) - set(names))
    if unknown:
        raise SettingsError(f"{where}: unknown key '{unknown[0]}'{hint(unknown[0], names)}")


def rows_of(tables: Mapping[str, Any], key: str, where: str) -> Sequence[Mapping[str, Any]]:
    """A list of tables, ``[[key]]``; empty if the key is absent.

    Raises
    ------
    SettingsError
        Something else stands under the key.
    """
    rows = tables.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise SettingsError(f"{where}: '{key}' must be a list of tables ([[{key}]])")
    return rows


def to_toml(values: Mapping[str, Any]) -> str:
    """Write nested mappings, lists and scalars as TOML; keys whose value is None are left out.

    Raises
    ------
    SettingsError
        A value has no TOML form.
    """
    return "\n".join(_table(values, ())).strip() + "\n"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # One line of TOML is too long for a file name.
        return False


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where} is not valid TOML: {error}") from None


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    nested: list[str] = []
    for key, value in values.items():
        if value is None:
            continue
        inner = (*path, key)
        dotted = ".".join(_key(part) for part in inner)
        if isinstance(value, Mapping):
            nested += ["", f"[{dotted}]", *_table(value, inner)]
        elif _is_table_list(value):
            for row in value:
                nested += ["", f"[[{dotted}]]", *_table(row, inner)]
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    return lines + nested


def _is_table_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _key(key: str) -> str:
    if not isinstance(key, str):
        raise SettingsError(f"a key of a TOML table is text, got a {type(key).__name__}")
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else _string(key)


def _string(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise SettingsError("text with half a surrogate pair has no TOML form")
    # JSON escapes are TOML escapes, except that JSON leaves DEL bare.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _float(value)
        case str():
            return _string(value)
        case Mapping():
            inner = ", ".join(
                f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None
            )
            return f"{{{inner}}}"
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            raise SettingsError(f"a {type(value).__name__} has no TOML form")


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    # NumPy's float64 is a float too, but writes its own type into its repr.
    text = float.__repr__(value)
    return text if any(mark in text for mark in ".e") else text + ".0"
