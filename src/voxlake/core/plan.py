"""A plan: a tuple of steps, read from TOML and written back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from voxlake.core.digest import digest_json
from voxlake.core.errors import SettingsError
from voxlake.core.mends import Mends
from voxlake.core.registry import read_entry
from voxlake.core.step import Step
from voxlake.core.toml import check_keys, load_tables, rows_of, to_toml
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
        tables, where, _ = load_tables(source, "plan")
        return cls.from_tables(tables, steps=steps, where=where)

    @classmethod
    def from_tables(
        cls, tables: Mapping[str, Any], *, steps: Mapping[str, type[Step]], where: str = "plan"
    ) -> Self:
        """Read a plan from parsed TOML, ``{"geometry": {...}, "steps": [{"step": name, ...}, ...]}``."""
        check_keys(tables, _KEYS, where)
        rows = rows_of(tables, "steps", where)
        mends = tables.get("geometry", {})
        if not isinstance(mends, dict):
            raise SettingsError(f"{where}: 'geometry' must be a table ([geometry])")
        return cls(
            tuple(read_entry(row, "step", steps, f"{where}, step {n}") for n, row in enumerate(rows, 1)),
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
