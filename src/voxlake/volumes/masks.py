"""Segmentations and structure sets of the lake become masks of prepared volumes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np

from voxlake.core.digest import digest_many
from voxlake.core.errors import GeometryError, ItemError
from voxlake.core.grid import Grid
from voxlake.core.mends import Mends
from voxlake.core.volume import Mask
from voxlake.dicom.mask_objects import ObjectMasks, masks_of, read_mask_object
from voxlake.dicom.masks import transfer_mask
from voxlake.dicom.references import MASK_CLASSES
from voxlake.dicom.seg import Segmentation
from voxlake.engine.contract import Engine
from voxlake.lake.cohorts import Cohort
from voxlake.lake.grouped import Lost, map_groups
from voxlake.lake.lake import Lake, LakeReference
from voxlake.lake.recorder import Recorder
from voxlake.store.arrays import write_volume
from voxlake.store.packs import read_member
from voxlake.volumes.places import source_grid
from voxlake.volumes.read import volume_rows
from voxlake.volumes.units import Unit, units

__all__ = ["MaskPreparation", "MaskTask", "Masked", "mask_objects", "prepare_masks", "read_bytes"]

_TASKS_PER_WORKER = 16

_OBJECTS = """
select sop_instance_uid, series_instance_uid, pack, "offset", length, sha256, referenced_series_uids
from instances
where sop_class_uid in (select unnest($classes)) and list_has_any(referenced_series_uids, $series)
qualify row_number() over (partition by sop_instance_uid order by committed_at desc) = 1
order by sop_instance_uid
"""


@dataclass(frozen=True)
class MaskTask:
    """One object on one prepared volume.

    Parameters
    ----------
    unit : Unit
        What the volume was made from.
    volume : mapping
        Row of `volumes`.
    found : mapping
        Row of `mask_objects`.
    """

    unit: Unit
    volume: Mapping[str, Any]
    found: Mapping[str, Any]

    @property
    def item(self) -> str:
        """Name of the task in the outcomes of a run."""
        return digest_many([self.volume["volume_id"], self.found["sop_instance_uid"]])[:32]


@dataclass(frozen=True)
class Masked:
    """What became of a task: rows for `masks`, or a reason."""

    rows: tuple[dict[str, Any], ...] = ()
    reason: str | None = None
    detail: str | None = None


@dataclass
class MaskPreparation:
    """Function of a group of tasks, for `Engine.map`.

    Parameters
    ----------
    lake : LakeReference
        Where the lake lies.
    mends : Mends
        How the plan of the volumes mends a bad geometry.
    """

    lake: LakeReference
    mends: Mends
    _cache: dict[str, Lake] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"lake": self.lake, "mends": self.mends, "_cache": {}}

    def __call__(self, group: Sequence[MaskTask]) -> list[Masked]:
        """Make and store the masks of a group of tasks."""
        if "it" not in self._cache:
            self._cache["it"] = self.lake.open()
        return [self._one(self._cache["it"], task) for task in group]

    def _one(self, lake: Lake, task: MaskTask) -> Masked:
        try:
            found = read_mask_object(read_bytes(lake, task.found))
            if task.unit.flat and isinstance(found, Segmentation) and not _shows(found, task.unit):
                return Masked(reason="mask_other_image", detail="drawn on another image of the series")
            made = masks_of(found, source_grid(task.unit, self.mends))
            prepared = Grid.from_dict(json.loads(task.volume["grid"]))
            masks = [mask if mask.grid == prepared else transfer_mask(mask, prepared) for mask in made.masks]
        except ItemError as error:
            return Masked(reason=error.reason, detail=error.message)
        except GeometryError as error:
            return Masked(reason="mask_frame", detail=str(error))
        rows = tuple(_stored(lake, task, made, place, mask) for place, mask in enumerate(masks))
        return Masked(rows, detail="; ".join(made.left_out) or None)


def prepare_masks(
    cohort: Cohort,
    plan_digest: str,
    mends: Mends,
    recorder: Recorder,
    engine: Engine,
    *,
    timeout: float,
    memory: int,
) -> int:
    """Make the masks of all prepared volumes of a cohort that are missing; each is an item of the run.

    Parameters
    ----------
    cohort : Cohort
        What was prepared.
    plan_digest : str
        Plan under which it was prepared.
    mends : Mends
        How that plan mends a bad geometry.
    recorder : Recorder
        The run.
    engine : Engine
        Where the work is done.
    timeout, memory : float, int
        Seconds for one object on one volume, and bytes for a worker.

    Returns
    -------
    int
        How many masks were made.
    """
    recorder.commit()
    work = MaskPreparation(cohort.lake.reference, mends)
    tasks = _missing(cohort, plan_digest, recorder)
    count = 0
    while window := [(task,) for task in islice(tasks, _TASKS_PER_WORKER * engine.workers)]:
        results = map_groups(engine, work, window, timeout=timeout, memory=memory)
        for task, one in zip(chain(*window), chain(*results), strict=True):
            count += _settle(recorder, task, one)
        recorder.commit_if_due()
    return count


def mask_objects(lake: Lake, series: Iterable[str]) -> list[dict[str, Any]]:
    """Rows of the segmentations and structure sets that were drawn on some series."""
    parameters = {"classes": sorted(MASK_CLASSES), "series": sorted(set(series))}
    return lake.sql(_OBJECTS, parameters).dicts()


def read_bytes(lake: Lake, row: Mapping[str, Any]) -> bytes:
    """The stored bytes of an instance, checked."""
    return read_member(lake.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])


def _missing(cohort: Cohort, plan_digest: str, recorder: Recorder) -> Iterator[MaskTask]:
    volumes = {row["volume_id"]: row for row in volume_rows(cohort, plan_digest)}
    if not volumes:
        return
    drawn_on: dict[str, list[dict[str, Any]]] = {}
    for row in mask_objects(cohort.lake, (row["series_instance_uid"] for row in volumes.values())):
        for series in row["referenced_series_uids"]:
            drawn_on.setdefault(series, []).append(row)
    done = set(
        cohort.lake.sql(
            "select volume_id, sop_instance_uid from masks where plan_digest = $plan", {"plan": plan_digest}
        ).rows()
    )
    for unit in units(cohort, plan_digest):
        volume = volumes.get(unit.volume_id)
        for found in drawn_on.get(unit.series_instance_uid, ()) if volume is not None else ():
            task = MaskTask(unit, volume or {}, found)
            recorder.saw()
            if (unit.volume_id, found["sop_instance_uid"]) in done:
                recorder.outcome(task.item, "already")
            else:
                yield task


def _settle(recorder: Recorder, task: MaskTask, one: Masked | Lost) -> int:
    """Record what became of a task; returns how many masks were made."""
    if isinstance(one, Lost):
        recorder.outcome(
            task.item,
            "failed",
            reason=one.failure.reason,
            detail=one.failure.message,
            attempts=one.attempts,
        )
        return 0
    if one.reason is not None:
        outcome = "ignored" if one.reason == "mask_other_image" else "failed"
        recorder.outcome(task.item, outcome, reason=one.reason, detail=one.detail)
        return 0
    recorder.add("masks", one.rows)
    recorder.outcome(task.item, "stored", detail=one.detail)
    return len(one.rows)


def _shows(found: Segmentation, unit: Unit) -> bool:
    return not found.image_uids or unit.rows[0]["sop_instance_uid"] in found.image_uids


def _stored(lake: Lake, task: MaskTask, made: ObjectMasks, place: int, mask: Mask) -> dict[str, Any]:
    volume, found = task.volume, task.found
    labels = [asdict(label) for label in mask.labels]
    mask_id = digest_many([volume["volume_id"], found["sha256"], str(place)])[:32]
    values = np.ascontiguousarray(mask.numpy())
    attributes = {"labels": labels, "steps": list(mask.lineage.steps)}
    info = write_volume(lake.objects, mask_id, values, grid=mask.grid, attributes=attributes)
    largest = max((label.value for label in mask.labels), default=0)
    counts = np.bincount(values.reshape(-1), minlength=largest + 1)
    return {
        "mask_id": mask_id,
        "volume_id": volume["volume_id"],
        "plan_digest": volume["plan_digest"],
        "series_instance_uid": volume["series_instance_uid"],
        "study_instance_uid": volume["study_instance_uid"],
        "patient_id": volume["patient_id"],
        "source_series_instance_uid": found["series_instance_uid"],
        "sop_instance_uid": found["sop_instance_uid"],
        "kind": made.kind,
        "number": made.numbers[place],
        "labels": json.dumps(labels),
        "voxels": [int(counts[label.value]) for label in mask.labels],
        "array": info.array,
        "position": None,
        "shape": list(values.shape),
        "dtype": str(values.dtype),
        "grid": json.dumps(mask.grid.to_dict()),
        "inputs": [found["sha256"]],
        "steps": list(mask.lineage.steps),
        "sha256": info.sha256,
        "shards": info.shards,
    }
