"""Mapping files: what the names of files say about patient, label and modality.

A mapping is a TOML file of rules, the first of which that matches a name counts::

    label_name = "finding"
    unmatched = "ignore"              # or "keep" (default), "error"
    labels = {NORMAL = "normal"}      # renames values

    [[rules]]
    pattern = '(?:^|/)(?P<label>NORMAL|PNEUMONIA)/(?P<patient>person[0-9]+)_'
    modality = "DX"                   # a constant
    study = "{patient}-1"             # a template over the groups of the pattern

or a CSV table with a column ``path`` (an exact name, or one with ``*``, ``?`` or ``[...]``) and any of
``patient``, ``study``, ``series``, ``modality``, ``body_part``, ``label`` and ``label:<name>``.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.hints import hint
from voxlake.sources.item import Hints
from voxlake.sources.mapping_rules import MappingSettings, Rule, compile_rules
from voxlake.sources.mapping_table import read_table

__all__ = ["MappingFile", "load_mapping"]

# Longer names are no file names of any system; without a bound, a pattern with nested repeats could
# be made to run for ever by a name inside an archive.
_LONGEST_NAME = 1024


@dataclass(frozen=True)
class MappingFile:
    """A mapping, ready to be asked.

    Parameters
    ----------
    digest : str
        SHA-256 of the file: what labels from it name as their source.
    rules : tuple of Rule
        In order; the first that matches counts.
    exact : mapping of str to Hints
        Names that are given in full; they come before the rules.
    unmatched : {"keep", "ignore", "error"}
        What becomes of a name that nothing matches: kept without hints, counted as ignored, or the end
        of the run.
    """

    digest: str
    rules: tuple[Rule, ...] = field(default=(), repr=False)
    exact: Mapping[str, Hints] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    unmatched: Literal["keep", "ignore", "error"] = "keep"

    def hints(self, name: str) -> Hints | None:
        """What the mapping says about a name; None where nothing matches.

        Parameters
        ----------
        name : str
            Name of an item, ``/`` between the parts. Composed and decomposed accents are the same.
        """
        plain = unicodedata.normalize("NFC", name)
        if plain in self.exact:
            return self.exact[plain]
        if len(plain) > _LONGEST_NAME:
            return None
        found = (rule.hints(plain) for rule in self.rules)
        return next((hints for hints in found if hints is not None), None)


def load_mapping(path: str | Path) -> MappingFile:
    """Read a mapping file, TOML or CSV by the end of its name.

    Raises
    ------
    NotFoundError
        The file is not there.
    SettingsError
        It is neither, or has unknown keys or columns (the near miss is named), a pattern that is no
        regular expression, or rows that contradict each other.
    """
    file = Path(path)
    if not file.is_file():
        raise NotFoundError(f"no mapping file '{file}'; give the path of a .toml or .csv file")
    data = file.read_bytes()
    where = f"mapping '{file.name}'"
    try:
        text = unicodedata.normalize("NFC", data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise SettingsError(f"{where} is not UTF-8 text; save it as UTF-8") from None
    suffix = file.suffix.lower()
    if suffix == ".toml":
        return _from_toml(text, where, digest_bytes(data))
    if suffix == ".csv":
        exact, rules = read_table(text, where)
        return MappingFile(digest_bytes(data), rules, MappingProxyType(exact))
    raise SettingsError(f"{where}: unknown kind '{suffix}'{hint(suffix, ['.toml', '.csv'])}")


def _from_toml(text: str, where: str, digest: str) -> MappingFile:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{where} is not valid TOML: {error}; write patterns in single quotes ('...')"
        raise SettingsError(message) from None
    settings = MappingSettings.read(values, where=where)
    return MappingFile(digest, compile_rules(settings, where), unmatched=settings.unmatched)
