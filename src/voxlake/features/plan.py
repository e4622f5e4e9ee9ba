"""A feature plan: which families of features, of which regions; read from TOML and written back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from voxlake.core.digest import digest_json
from voxlake.core.errors import SettingsError
from voxlake.core.registry import read_entry
from voxlake.core.settings import Settings
from voxlake.core.toml import check_keys, load_tables, rows_of, to_toml
from voxlake.features.family import Family

__all__ = ["FeaturePlan"]

Regions = Literal["image", "masks"]
_BOTH: tuple[Regions, ...] = ("image", "masks")


class _Head(Settings):
    """What stands in a plan before its families."""

    version: Annotated[int, Field(ge=1)] = 1
    regions: Annotated[tuple[Regions, ...], Field(min_length=1)] = _BOTH
    labels: tuple[str, ...] = ()


_KEYS = (*_Head.model_fields, "families")


@dataclass(frozen=True)
class FeaturePlan:
    """Which numbers are measured, and of what.

    In TOML, ``family`` names the family and the other keys are its settings::

        regions = ["image", "masks"]

        [[families]]
        family = "intensity"

        [[families]]
        family = "histogram"
        width = 25.0

    Parameters
    ----------
    families : tuple of Family
        Each at most once: features are told apart by family and name.
    regions : tuple of str
        ``"image"``, the whole image, and ``"masks"``, each label of each mask of the image.
    labels : tuple of str
        Names of the labels that are measured; all if empty.
    version : int
        The author's count of the plan.
    """

    families: tuple[Family, ...]
    regions: tuple[Regions, ...] = _BOTH
    labels: tuple[str, ...] = ()
    version: int = 1

    def digest(self) -> str:
        """SHA-256 over all of it, with the versions of the families."""
        return digest_json({**self.to_tables(), "versions": [one.version for one in self.families]})

    @classmethod
    def from_toml(cls, source: str | Path, *, families: Mapping[str, type[Family]]) -> Self:
        """Read a feature plan.

        Parameters
        ----------
        source : path or str
            A file, or TOML text (anything with a line break).
        families : mapping of str to class
            What may be named.

        Raises
        ------
        NotFoundError
            The file is not there.
        SettingsError
            No TOML, an unknown family or key (the near miss is named), or a value that does not fit.
        """
        tables, where, _ = load_tables(source, "feature plan")
        return cls.from_tables(tables, families=families, where=where)

    @classmethod
    def from_tables(
        cls, tables: Mapping[str, Any], *, families: Mapping[str, type[Family]], where: str = "feature plan"
    ) -> Self:
        """Read a feature plan from parsed TOML."""
        check_keys(tables, _KEYS, where)
        rows = rows_of(tables, "families", where)
        if not rows:
            raise SettingsError(f"{where}: 'families' must be a list of tables ([[families]]), at least one")
        head = _Head.read({key: tables[key] for key in tables if key != "families"}, where=where)
        made = tuple(
            read_entry(row, "family", families, f"{where}, family {n}") for n, row in enumerate(rows, 1)
        )
        name, times = Counter(one.name for one in made).most_common(1)[0]
        if times > 1:
            raise SettingsError(f"{where}: the family '{name}' stands there {times} times; make two plans")
        return cls(made, head.regions, head.labels, head.version)

    def to_tables(self) -> dict[str, Any]:
        """Plain values that `from_tables` reads back."""
        return {
            "version": self.version,
            "regions": list(self.regions),
            "labels": list(self.labels),
            "families": [one.to_dict() for one in self.families],
        }

    def to_toml(self) -> str:
        """TOML text that `from_toml` reads back to an equal feature plan."""
        return to_toml(self.to_tables())
