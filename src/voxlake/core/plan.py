"""A plan: a tuple of steps, read from TOML and written back."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from voxlake.core.digest import digest_json
from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.hints import hint
from voxlake.core.mends import Mends
from voxlake.core.step import Step
from voxlake.core.toml import to_toml
from voxlake.core.volume import Volume

__all__ = ["Plan"]


_NO_MENDS = Mends()
_KEYS = ("geometry", "steps")


@dataclass(frozen=True)
class Plan:
    """Steps to be applied one after the other.

    In TOML, a plan is a list of tables; ``step`` names the step and the other keys are its settings::

        [[steps]]
        step = "resample"
        spacing = [1.0, 1.0, 1.0]

        [[steps]]
        step = "window"
        low = -1000
        high = 400

    A table ``[geometry]`` (see `Mends`) says which bad geometries are mended before the first step.
    """

    steps: tuple[Step, ...] = ()
    geometry: Mends = _NO_MENDS

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __call__(self, volume: Volume) -> Volume:
        """Apply all steps."""
        for step in self.steps:
            volume = step(volume)
        return volume

    def digest(self) -> str:
        """SHA-256 over names, versions and settings: what keys the rows that the plan makes."""
        steps = [{**step.to_dict(), "version": step.version} for step in self.steps]
        if self.geometry == _NO_MENDS:
            return digest_json(steps)
        return digest_json({"geometry": self.geometry.model_dump(mode="json"), "steps": steps})

    @classmethod
    def from_toml(cls, source: str | Path, *, steps: Mapping[str, type[Step]]) -> Self:
        """Read a plan.

        Parameters
        ----------
        source : path or str
            A file, or TOML text (anything with a line break).
        steps : mapping of str to Step class
            The steps that may be named.

        Raises
        ------
        NotFoundError
            The file is not there.
        SettingsError
            No TOML, an unknown step or key (the near miss is named), or a value that does not fit.
        """
        text, where = _read(source)
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{where} is not valid TOML: {error}") from None
        return cls.from_tables(tables, steps=steps, where=where)

    @classmethod
    def from_tables(
        cls, tables: Mapping[str, Any], *, steps: Mapping[str, type[Step]], where: str = "plan"
    ) -> Self:
        """Read a plan from parsed TOML, ``{"geometry": {...}, "steps": [{"step": name, ...}, ...]}``."""
        unknown = sorted(set(tables) - set(_KEYS))
        if unknown:
            raise SettingsError(f"{where}: unknown key '{unknown[0]}'{hint(unknown[0], _KEYS)}")
        rows = tables.get("steps", [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise SettingsError(f"{where}: 'steps' must be a list of tables ([[steps]])")
        mends = tables.get("geometry", {})
        if not isinstance(mends, dict):
            raise SettingsError(f"{where}: 'geometry' must be a table ([geometry])")
        return cls(
            tuple(_step(row, steps, f"{where}, step {n}") for n, row in enumerate(rows, 1)),
            Mends.read(mends, where=f"{where}, geometry"),
        )

    @classmethod
    def of(cls, steps: Iterable[Step]) -> Self:
        """Make a plan from step objects."""
        return cls(tuple(steps))

    def to_tables(self) -> dict[str, Any]:
        """Plain values that `from_tables` reads back."""
        steps = {"steps": [step.to_dict() for step in self.steps]}
        if self.geometry == _NO_MENDS:
            return steps
        return {"geometry": self.geometry.model_dump(mode="json"), **steps}

    def to_toml(self) -> str:
        """TOML text that `from_toml` reads back to an equal plan."""
        return to_toml(self.to_tables())


def _read(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and "\n" in source:
        return source, "plan"
    path = Path(source)
    if not _is_file(path):
        raise NotFoundError(f"no plan file '{path}'; give a path to a TOML file")
    try:
        return path.read_text(encoding="utf-8"), f"plan '{path.name}'"
    except UnicodeDecodeError:
        raise SettingsError(f"plan '{path.name}' is not UTF-8 text") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # One line of TOML is too long for a file name.
        return False


def _step(row: Mapping[str, Any], steps: Mapping[str, type[Step]], where: str) -> Step:
    settings = dict(row)
    name = settings.pop("step", None)
    if not isinstance(name, str):
        raise SettingsError(f"{where}: missing key 'step', the name of the step{hint('', steps)}")
    if name not in steps:
        raise SettingsError(f"{where}: unknown step '{name}'{hint(name, steps)}")
    return steps[name].read(settings, where=f"{where} ({name})")
