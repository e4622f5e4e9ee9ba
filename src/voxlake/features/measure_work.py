"""From arrays to rows of `features`: what a worker does with a group of items of the verb measure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import IntegrityError, ItemError
from voxlake.core.grid import Grid
from voxlake.features.family import Family
from voxlake.features.region import Region, label_region, whole_region
from voxlake.lake.lake import Lake, LakeReference
from voxlake.volumes.read import read_values

__all__ = ["MeasureTask", "Measured", "Measurement", "Wanted"]

_Found = NDArray[Any] | ItemError


@dataclass(frozen=True)
class Wanted:
    """A region and what is to be measured of it.

    Parameters
    ----------
    label : int or None
        Value of the mask; None for the whole image.
    name : str or None
        What the label means.
    families : tuple of int
        Positions in the families of the work.
    """

    label: int | None
    name: str | None
    families: tuple[int, ...]


@dataclass(frozen=True)
class MeasureTask:
    """One image, or one mask on it.

    Parameters
    ----------
    volume : mapping
        Row of `volumes`.
    mask : mapping or None
        Row of `masks`.
    wanted : tuple of Wanted
        What is missing.
    flat : bool
        Whether the image is a single one that lies in an array with others.
    """

    volume: Mapping[str, Any]
    mask: Mapping[str, Any] | None
    wanted: tuple[Wanted, ...]
    flat: bool = False

    @property
    def item(self) -> str:
        """Name of the task in the outcomes of a run."""
        return str(self.volume["volume_id"] if self.mask is None else self.mask["mask_id"])


@dataclass(frozen=True)
class Measured:
    """What became of a task: rows for `features`, or a reason."""

    rows: tuple[dict[str, Any], ...] = ()
    reason: str | None = None
    detail: str | None = None


@dataclass
class Measurement:
    """Function of a group of tasks, for `Engine.map`.

    Parameters
    ----------
    lake : LakeReference
        Where the lake lies.
    families : tuple of Family
        What `Wanted.families` counts.
    """

    lake: LakeReference
    families: tuple[Family, ...]
    _cache: dict[str, Lake] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, group: Sequence[MeasureTask]) -> list[Measured]:
        """Measure a group; arrays that its items share are read once."""
        if "it" not in self._cache:
            self._cache["it"] = self.lake.open()
        lake = self._cache["it"]
        volumes = _values(lake, (task.volume for task in group))
        masks = _values(lake, (task.mask for task in group if task.mask is not None))
        results = []
        for task in group:
            try:
                results.append(Measured(tuple(self._rows(task, volumes, masks))))
            except ItemError as error:
                results.append(Measured(reason=error.reason, detail=error.message))
        return results

    def _rows(
        self, task: MeasureTask, volumes: Mapping[str, _Found], masks: Mapping[str, _Found]
    ) -> Iterable[dict[str, Any]]:
        volume = task.volume
        for wanted in task.wanted:
            region = _region(task, wanted.label, volumes, masks)
            common = {
                "volume_id": volume["volume_id"],
                "mask_id": None if task.mask is None else task.mask["mask_id"],
                "label": wanted.label,
                "label_name": wanted.name,
                "series_instance_uid": volume["series_instance_uid"],
                "study_instance_uid": volume["study_instance_uid"],
                "patient_id": volume["patient_id"],
                "sop_instance_uid": volume["sop_instance_uid"],
                "plan_digest": volume["plan_digest"],
                "inputs": [row["sha256"] for row in (volume, task.mask) if row is not None],
            }
            for position in wanted.families:
                family = self.families[position]
                of_family = {"family": family.name, "settings_digest": family.settings_digest()}
                for one in family(region):
                    value = one.value if math.isfinite(one.value) else None
                    number = {"feature": one.name, "code": one.code, "value": value, "unit": one.unit}
                    yield {**common, **of_family, **number}


def _region(
    task: MeasureTask, label: int | None, volumes: Mapping[str, _Found], masks: Mapping[str, _Found]
) -> Region:
    volume = task.volume
    values = _there(volumes[_place(volume)])
    grid = Grid.from_dict(json.loads(volume["grid"]))
    if task.mask is None or label is None:
        return whole_region(values, grid, unit=volume["unit"])
    return label_region(values, _there(masks[_place(task.mask)]), label, grid, unit=volume["unit"])


def _values(lake: Lake, rows: Iterable[Mapping[str, Any]]) -> dict[str, _Found]:
    """Values by place; an array that is not there costs those that lie in it."""
    by_array: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_array.setdefault(row["array"], {})[_place(row)] = dict(row)
    found: dict[str, _Found] = {}
    for inside in by_array.values():
        try:
            found.update(zip(inside, read_values(lake, list(inside.values())), strict=True))
        except IntegrityError as error:
            found.update(dict.fromkeys(inside, ItemError("missing_array", str(error))))
    return found


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['array']}/{row['position']}"


def _there(found: _Found) -> NDArray[Any]:
    if isinstance(found, ItemError):
        raise found
    return np.asarray(found)
