"""Writing TOML: the standard library only reads it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from voxlake.core.errors import SettingsError

__all__ = ["to_toml"]


def to_toml(values: Mapping[str, Any]) -> str:
    """Write nested mappings, lists and scalars as TOML; keys whose value is None are left out.

    Raises
    ------
    SettingsError
        A value has no TOML form.
    """
    return "\n".join(_table(values, ())).strip() + "\n"


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
