"""A registry is a mapping from names to settings; a table of TOML names its entry and brings the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from voxlake.core.errors import SettingsError
from voxlake.core.hints import hint
from voxlake.core.settings import Settings

__all__ = ["read_entry"]

_Entry = TypeVar("_Entry", bound=Settings)


def read_entry(row: Mapping[str, Any], key: str, known: Mapping[str, type[_Entry]], where: str) -> _Entry:
    """Read the entry of a registry that a table names.

    Parameters
    ----------
    row : mapping
        The table, ``{key: name, ...settings}``.
    key : str
        The key under which the name stands: ``"step"``, ``"family"``, ...
    known : mapping of str to Settings class
        The registry.
    where : str
        What is being read, for messages.

    Raises
    ------
    SettingsError
        The name is missing or unknown (the near miss is named), or the settings do not fit.
    """
    settings = dict(row)
    name = settings.pop(key, None)
    if not isinstance(name, str):
        raise SettingsError(f"{where}: missing key '{key}', the name of the {key}{hint('', known)}")
    if name not in known:
        raise SettingsError(f"{where}: unknown {key} '{name}'{hint(name, known)}")
    return known[name].read(settings, where=f"{where} ({name})")
