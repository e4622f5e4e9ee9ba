"""From volumes to stored masks: what a worker does with a group of items of the verb segment."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_many
from voxlake.core.errors import GeometryError, IntegrityError, ItemError
from voxlake.core.grid import Grid
from voxlake.core.mask_plan import MaskPlan
from voxlake.core.volume import Lineage, Mask, Volume
from voxlake.lake.lake import Lake, LakeReference
from voxlake.store.arrays import ArrayInfo, value_digest, write_stack, write_volume
from voxlake.volumes.preparation import assemble_unit
from voxlake.volumes.pretrained_step import with_network
from voxlake.volumes.read import read_values
from voxlake.volumes.units import Unit

__all__ = ["AS_ASSEMBLED", "KIND", "SegmentTask", "Segmentation", "Segmented", "mask_id_of"]

KIND = "PLAN"
"""What the column `kind` of `masks` says of masks that a mask plan made."""

AS_ASSEMBLED = "as assembled"
"""Stands for the plan of volumes where masks are made of the series as they are assembled."""


def mask_id_of(unit: Unit, mask_plan_digest: str) -> str:
    """Key of the mask that a mask plan makes of a unit."""
    return digest_many([unit.volume_id, mask_plan_digest])[:32]


@dataclass(frozen=True)
class SegmentTask:
    """One volume to be segmented.

    Parameters
    ----------
    unit : Unit
        What of a series.
    volume : mapping or None
        Row of `volumes`; None for the series as it is assembled.
    plan_digest : str
        Of the mask plan.
    """

    unit: Unit
    volume: Mapping[str, Any] | None
    plan_digest: str

    @property
    def mask_id(self) -> str:
        """Key of the mask, and name of the task in the outcomes of a run."""
        return mask_id_of(self.unit, self.plan_digest)


@dataclass(frozen=True)
class Segmented:
    """What became of a task: a row for `masks`, or a reason."""

    row: dict[str, Any] | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass
class Segmentation:
    """Function of a group of tasks, for `Engine.map`.

    Parameters
    ----------
    lake : LakeReference
        Where the lake lies.
    plan : MaskPlan
        What is done to every volume.
    """

    lake: LakeReference
    plan: MaskPlan
    _cache: dict[str, Lake] = field(default_factory=dict, repr=False)
    _ready: dict[str, MaskPlan] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"lake": self.lake, "plan": self.plan, "_cache": {}, "_ready": {}}

    def __call__(self, group: Sequence[SegmentTask]) -> list[Segmented]:
        """Segment a group; masks of flat images of one shape share one stacked array."""
        if "it" not in self._cache:
            self._cache["it"] = self.lake.open()
            self._ready["it"] = with_network(self.plan, self._cache["it"].objects)
        lake, plan = self._cache["it"], self._ready["it"]
        values = _prepared(lake, group)
        done: dict[str, Segmented] = {}
        stacks: defaultdict[tuple[tuple[int, ...], str], list[tuple[SegmentTask, Mask]]] = defaultdict(list)
        for task in group:
            try:
                mask = plan(self._volume(lake, task, values))
            except ItemError as error:
                done[task.mask_id] = Segmented(reason=error.reason, detail=error.message)
                continue
            except GeometryError as error:
                done[task.mask_id] = Segmented(reason="step_failed", detail=str(error))
                continue
            if task.unit.flat:
                stacks[mask.grid.shape, str(np.dtype(mask.data.dtype))].append((task, mask))
            else:
                done[task.mask_id] = self._alone(lake, task, mask)
        for members in stacks.values():
            done.update(self._stacked(lake, members))
        return [done[task.mask_id] for task in group]

    def _volume(
        self, lake: Lake, task: SegmentTask, values: Mapping[str, NDArray[Any]] | ItemError
    ) -> Volume:
        if task.volume is None:
            return assemble_unit(lake, task.unit, self.plan.geometry)
        if isinstance(values, ItemError):
            raise values
        row = task.volume
        return Volume(
            values[row["volume_id"]],
            Grid.from_dict(json.loads(row["grid"])),
            row["unit"],
            row["modality"],
            Lineage(tuple(row["inputs"]), tuple(row["steps"])),
        )

    def _alone(self, lake: Lake, task: SegmentTask, mask: Mask) -> Segmented:
        values = np.ascontiguousarray(mask.numpy())
        attributes = {"labels": _labels(mask), "steps": list(mask.lineage.steps)}
        info = write_volume(lake.objects, task.mask_id, values, grid=mask.grid, attributes=attributes)
        return Segmented(self._row(task, mask, values, info, position=None))

    def _stacked(self, lake: Lake, members: Sequence[tuple[SegmentTask, Mask]]) -> dict[str, Segmented]:
        values = np.stack([mask.numpy()[0] for _, mask in members])
        array_id = digest_many(task.mask_id for task, _ in members)[:32]
        attributes = {"labels": _labels(members[0][1]), "masks": [task.mask_id for task, _ in members]}
        info = write_stack(lake.objects, array_id, values, attributes=attributes)
        return {
            task.mask_id: Segmented(self._row(task, mask, values[number][None], info, position=number))
            for number, (task, mask) in enumerate(members)
        }

    def _row(
        self, task: SegmentTask, mask: Mask, values: NDArray[Any], info: ArrayInfo, *, position: int | None
    ) -> dict[str, Any]:
        unit, prepared = task.unit, task.volume or {}
        labels = _labels(mask)
        found, counts = np.unique(values, return_counts=True)
        voxels = dict(zip(found.tolist(), counts.tolist(), strict=True))
        return {
            "mask_id": task.mask_id,
            "volume_id": prepared.get("volume_id"),
            "plan_digest": prepared.get("plan_digest"),
            "mask_plan_digest": task.plan_digest,
            "mask_plan_version": self.plan.version,
            "series_instance_uid": unit.series_instance_uid,
            "study_instance_uid": unit.study_instance_uid,
            "patient_id": unit.patient_id,
            "kind": KIND,
            "labels": json.dumps(labels),
            "voxels": [int(voxels.get(label["value"], 0)) for label in labels],
            "array": info.array,
            "position": position,
            "shape": list(values.shape),
            "dtype": str(values.dtype),
            "grid": json.dumps(mask.grid.to_dict()),
            "inputs": list(mask.lineage.inputs),
            "steps": list(mask.lineage.steps),
            "sha256": value_digest(values),
            "shards": info.shards,
        }


def _labels(mask: Mask) -> list[dict[str, Any]]:
    return [asdict(label) for label in mask.labels]


def _prepared(lake: Lake, group: Sequence[SegmentTask]) -> dict[str, NDArray[Any]] | ItemError:
    """Values of the prepared volumes of a group; flat images come in groups and share arrays."""
    rows = [dict(task.volume) for task in group if task.volume is not None]
    try:
        values = read_values(lake, rows)
    except IntegrityError as error:
        return ItemError("missing_array", str(error))
    return {row["volume_id"]: one for row, one in zip(rows, values, strict=True)}
