"""A mask plan: steps, one method that segments, and edits, read from TOML and written back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from voxlake.core.digest import digest_json
from voxlake.core.errors import GeometryError, SettingsError
from voxlake.core.mask_grid import carry_back
from voxlake.core.mask_step import MaskEdit, MaskStep
from voxlake.core.mends import Mends
from voxlake.core.plan import Plan
from voxlake.core.registry import read_entry
from voxlake.core.settings import Settings
from voxlake.core.step import Step
from voxlake.core.toml import check_keys, load_tables, rows_of, to_toml
from voxlake.core.volume import Label, Mask, Volume

__all__ = ["MaskPlan"]

_KEYS = ("version", "geometry", "steps", "segment", "clean", "labels")
_NO_MENDS = Mends()


class _LabelTable(Settings):
    """A label as a table of a mask plan."""

    value: int
    name: str
    code: tuple[str, str] | None = None


@dataclass(frozen=True)
class MaskPlan:
    """What makes a mask of a volume: steps on the volume, a method, edits of the mask.

    In TOML, ``method`` names the method and ``edit`` an edit; the other keys are their settings::

        version = 1

        [[steps]]
        step = "gaussian"
        sigma = [1.0, 1.0, 1.0]

        [segment]
        method = "threshold"
        low = 200

        [[clean]]
        edit = "keep_largest"

        [[labels]]
        value = 1
        name = "Bone"
        code = ["272673000", "SCT"]

    Parameters
    ----------
    segment : MaskStep
        The method.
    steps : tuple of Step
        Applied to the volume first. If they change the grid, the mask is carried back (nearest neighbour).
    clean : tuple of MaskEdit
        Applied to the mask, in order, on the grid on which it was made.
    labels : tuple of Label
        Meaning of the values; where given, it stands instead of what the method says.
    geometry : Mends
        Which bad geometries are mended where the mask is made of a series and not of a prepared volume.
    version : int
        The author's count of the plan; it is part of the digest, as the versions of all its parts are.
    """

    segment: MaskStep
    steps: tuple[Step, ...] = ()
    clean: tuple[MaskEdit, ...] = ()
    labels: tuple[Label, ...] = ()
    geometry: Mends = _NO_MENDS
    version: int = 1

    def __call__(self, volume: Volume) -> Mask:
        """Segment a volume.

        Returns
        -------
        Mask
            On the grid of `volume`; its lineage holds the inputs of the volume and every step.

        Raises
        ------
        ItemError
            ``step_failed``: a step, the method or an edit refuses this volume.
        GeometryError
            A step led to another frame of reference, from which there is no way back; or a step needs
            millimetres that the image does not have.
        """
        seen = Plan(self.steps)(volume)
        mask = self.segment(seen)
        for edit in self.clean:
            mask = edit(mask, seen)
        if mask.grid.frame != volume.grid.frame or mask.grid.flat != volume.grid.flat:
            raise GeometryError("the steps of the mask plan lead to another frame of reference")
        mask = carry_back(mask, volume.grid)
        return replace(mask, labels=self.labels) if self.labels else mask

    def digest(self) -> str:
        """SHA-256 over names, versions and settings: what keys the rows that the plan makes."""
        tables = self.to_tables()
        versions = [step.version for step in self.steps]
        versions += [self.segment.version, *(edit.version for edit in self.clean)]
        return digest_json({**tables, "versions": versions})

    @classmethod
    def from_toml(
        cls,
        source: str | Path,
        *,
        steps: Mapping[str, type[Step]],
        methods: Mapping[str, type[MaskStep]],
        edits: Mapping[str, type[MaskEdit]],
    ) -> Self:
        """Read a mask plan.

        Parameters
        ----------
        source : path or str
            A file, or TOML text (anything with a line break).
        steps, methods, edits : mapping of str to class
            What may be named.

        Raises
        ------
        NotFoundError
            The file is not there.
        SettingsError
            No TOML, an unknown method, edit, step or key (the near miss is named), or a value that does not
            fit.
        """
        tables, where, _ = load_tables(source, "mask plan")
        return cls.from_tables(tables, steps=steps, methods=methods, edits=edits, where=where)

    @classmethod
    def from_tables(
        cls,
        tables: Mapping[str, Any],
        *,
        steps: Mapping[str, type[Step]],
        methods: Mapping[str, type[MaskStep]],
        edits: Mapping[str, type[MaskEdit]],
        where: str = "mask plan",
    ) -> Self:
        """Read a mask plan from parsed TOML."""
        check_keys(tables, _KEYS, where)
        before = {key: tables[key] for key in ("geometry", "steps") if key in tables}
        plan = Plan.from_tables(before, steps=steps, where=where)
        method = tables.get("segment")
        if not isinstance(method, Mapping):
            raise SettingsError(f"{where}: 'segment' must be a table ([segment]) with the key 'method'")
        version = tables.get("version", 1)
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise SettingsError(f"{where}: 'version' must be a whole number of at least 1")
        clean = enumerate(rows_of(tables, "clean", where), 1)
        labels = enumerate(rows_of(tables, "labels", where), 1)
        return cls(
            read_entry(method, "method", methods, f"{where}, segment"),
            plan.steps,
            tuple(read_entry(row, "edit", edits, f"{where}, clean {n}") for n, row in clean),
            tuple(_label(row, f"{where}, label {n}") for n, row in labels),
            plan.geometry,
            version,
        )

    def to_tables(self) -> dict[str, Any]:
        """Plain values that `from_tables` reads back."""
        tables: dict[str, Any] = {"version": self.version}
        tables |= Plan(self.steps, self.geometry).to_tables()
        tables["segment"] = self.segment.to_dict()
        if self.clean:
            tables["clean"] = [edit.to_dict() for edit in self.clean]
        if self.labels:
            tables["labels"] = [_label_row(label) for label in self.labels]
        return tables

    def to_toml(self) -> str:
        """TOML text that `from_toml` reads back to an equal mask plan."""
        return to_toml(self.to_tables())


def _label(row: Mapping[str, Any], where: str) -> Label:
    table = _LabelTable.read(row, where=where)
    return Label(table.value, table.name, table.code)


def _label_row(label: Label) -> dict[str, Any]:
    return {
        "value": label.value,
        "name": label.name,
        "code": None if label.code is None else list(label.code),
    }
