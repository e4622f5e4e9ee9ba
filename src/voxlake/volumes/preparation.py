"""From stored bytes to prepared arrays: what a worker does with a group of units."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from voxlake.core.digest import digest_many
from voxlake.core.errors import GeometryError, ItemError
from voxlake.core.mends import Mends
from voxlake.core.plan import Plan
from voxlake.core.volume import Volume
from voxlake.dicom.volume import assemble
from voxlake.lake.lake import Lake, LakeReference
from voxlake.sources.images import read_image
from voxlake.store.arrays import ArrayInfo, value_digest, write_stack, write_volume
from voxlake.store.packs import read_member
from voxlake.volumes.assembly import assemble_stored
from voxlake.volumes.units import Unit

__all__ = ["Preparation", "Prepared", "assemble_unit"]


@dataclass(frozen=True)
class Prepared:
    """What became of a unit: a row for `volumes`, or a reason."""

    volume_id: str
    row: dict[str, Any] | None = None
    reason: str | None = None
    detail: str | None = None


def assemble_unit(lake: Lake, unit: Unit, mends: Mends | None = None) -> Volume:
    """Read the stored bytes of a unit and make its volume, in the unit of the modality.

    Parameters
    ----------
    lake : Lake
        Where they lie.
    unit : Unit
        What to read.
    mends : Mends, optional
        What is done if the slices are no volume; by default nothing.

    Raises
    ------
    ItemError
        The pixels cannot be decoded, or the geometry does not allow a volume.
    """
    if unit.changed:
        raise ItemError(
            "cohort_changed",
            "the series no longer has the content that was selected; select the cohort again",
        )
    if unit.rows[0]["format"] == "dicom":
        # The general path parses and decodes; plain pixels need neither.
        verdict = None if unit.stack is None else unit.stack.verdict
        volume = assemble_stored(lake.objects, unit.rows, verdict, verified=True)
        if volume is not None:
            return volume
    blobs = [
        read_member(lake.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])
        for row in unit.rows
    ]
    if unit.rows[0]["format"] == "dicom":
        return assemble(unit.rows, blobs, stack=unit.stack, mends=mends)
    if len(unit.rows) > 1:
        raise ItemError("geometry_duplicates", f"{len(unit.rows)} image files share one series")
    row = unit.rows[0]
    volume = read_image(blobs[0], row["format"])
    return replace(volume, modality=row["modality"], lineage=replace(volume.lineage, inputs=(row["sha256"],)))


@dataclass
class Preparation:
    """Function of a group of units, for `Engine.map`.

    Parameters
    ----------
    lake : LakeReference
        Where the lake lies.
    plan : Plan
        What is done to every volume.
    """

    lake: LakeReference
    plan: Plan
    _cache: dict[str, Lake] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"lake": self.lake, "plan": self.plan, "_cache": {}}

    def __call__(self, group: Sequence[Unit]) -> list[Prepared]:
        """Prepare a group; flat images of equal shape share one stacked array."""
        if "it" not in self._cache:
            self._cache["it"] = self.lake.open()
        lake = self._cache["it"]
        plan_digest = self.plan.digest()
        done: dict[str, Prepared] = {}
        stacks: defaultdict[tuple[tuple[int, ...], str], list[tuple[Unit, Volume]]] = defaultdict(list)
        for unit in group:
            try:
                volume = self.plan(assemble_unit(lake, unit, self.plan.geometry))
            except ItemError as error:
                done[unit.volume_id] = Prepared(unit.volume_id, reason=error.reason, detail=error.message)
                continue
            except GeometryError as error:
                done[unit.volume_id] = Prepared(unit.volume_id, reason="step_failed", detail=str(error))
                continue
            if unit.flat:
                stacks[volume.shape, str(volume.dtype)].append((unit, volume))
            else:
                done[unit.volume_id] = _alone(lake, unit, volume, plan_digest)
        for members in stacks.values():
            done.update(_stacked(lake, members, plan_digest))
        return [done[unit.volume_id] for unit in group]


def _alone(lake: Lake, unit: Unit, volume: Volume, plan_digest: str) -> Prepared:
    attributes = {"unit": volume.unit, "steps": list(volume.lineage.steps)}
    values = np.ascontiguousarray(volume.numpy())
    info = write_volume(lake.objects, unit.volume_id, values, grid=volume.grid, attributes=attributes)
    return Prepared(unit.volume_id, _row(unit, volume, values, info, plan_digest))


def _stacked(lake: Lake, members: Sequence[tuple[Unit, Volume]], plan_digest: str) -> dict[str, Prepared]:
    values = np.stack([volume.numpy()[0] for _, volume in members])
    array_id = digest_many(unit.volume_id for unit, _ in members)[:32]
    attributes = {"unit": members[0][1].unit, "volumes": [unit.volume_id for unit, _ in members]}
    info = write_stack(lake.objects, array_id, values, attributes=attributes)
    return {
        unit.volume_id: Prepared(
            unit.volume_id, _row(unit, volume, values[number][None], info, plan_digest, position=number)
        )
        for number, (unit, volume) in enumerate(members)
    }


def _row(
    unit: Unit,
    volume: Volume,
    values: np.ndarray[Any, np.dtype[Any]],
    info: ArrayInfo,
    plan_digest: str,
    *,
    position: int | None = None,
) -> dict[str, Any]:
    return {
        "volume_id": unit.volume_id,
        "plan_digest": plan_digest,
        "series_instance_uid": unit.series_instance_uid,
        "study_instance_uid": unit.study_instance_uid,
        "patient_id": unit.patient_id,
        "sop_instance_uid": unit.rows[0]["sop_instance_uid"] if len(unit.rows) == 1 else None,
        "stack": None if unit.stack is None else unit.stack.number,
        "stack_label": None if unit.stack is None else json.dumps(dict(unit.stack.label)),
        "inputs": list(volume.lineage.inputs),
        "inputs_digest": unit.inputs_digest,
        "array": info.array,
        "position": position,
        "shape": list(volume.shape),
        "dtype": str(volume.dtype),
        "unit": volume.unit,
        "modality": volume.modality,
        "grid": json.dumps(volume.grid.to_dict()),
        "steps": list(volume.lineage.steps),
        "sha256": info.sha256 if position is None else value_digest(values),
        "shards": info.shards,
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "mean": float(values.mean(dtype=np.float64)),
    }
