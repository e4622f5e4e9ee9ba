"""What there is to export: volumes with their masks, masks by the object they come from, or instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from voxlake.core.digest import digest_many
from voxlake.lake.cohorts import Cohort, Member
from voxlake.lake.lake import Lake
from voxlake.lake.series import members_digest
from voxlake.lake.views import not_withdrawn
from voxlake.volumes.read import volume_rows
from voxlake.volumes.segment_work import AS_ASSEMBLED, mask_id_of
from voxlake.volumes.units import Unit, units

__all__ = ["Missing", "Task", "assembled_mask_tasks", "instance_tasks", "mask_tasks", "volume_tasks"]

_AT_A_TIME = 200
_COLUMNS = (
    "sop_instance_uid", "series_instance_uid", "study_instance_uid", "patient_id", "format", "sha256", "pack",
    "offset", "length", "pixel_offset", "original_transfer_syntax_uid", "original_sha256", "sop_class_uid",
    "modality", "image_type", "burned_in_annotation", "frame_of_reference_uid", "rows", "columns",
    "number_of_frames", "pixel_spacing", "image_position_patient", "image_orientation_patient",
    "slice_thickness", "window_center", "window_width", "patient_sex", "patient_age", "series_description",
    "protocol_name", "echo_time", "repetition_time", "inversion_time", "magnetic_field_strength",
    "flip_angle", "manufacturer", "manufacturer_model_name",
)  # fmt: skip
_SELECTED = ", ".join(f'instances."{name}"' for name in _COLUMNS) + ", done.policy, done.waived"


@dataclass(frozen=True, eq=False)
class Task:
    """One thing to export.

    Parameters
    ----------
    item : str
        Its name in the outcomes of the run: identifier of a volume, of a group of masks or of an instance.
    rows : tuple of mapping
        Rows of `instances` that it was made from, with ``policy`` and ``waived`` of `deidentifications`; of a
        volume in the order of its slices.
    volume : mapping or None
        Row of `volumes`.
    masks : tuple of mapping
        Rows of `masks`.
    outlined : tuple of mapping
        Rows of `instances` of the objects that the masks come from.
    unit : Unit or None
        What of the series, for masks that were made of it as it is assembled.
    """

    item: str
    rows: tuple[Mapping[str, Any], ...] = field(repr=False)
    volume: Mapping[str, Any] | None = field(default=None, repr=False)
    masks: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    outlined: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    unit: Unit | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Missing:
    """A series of the cohort that there is nothing of to export."""

    item: str
    reason: str
    detail: str


def instance_tasks(cohort: Cohort) -> Iterator[Task | Missing]:
    """One task for each instance of a cohort."""
    for member, rows in _series(cohort):
        if rows is None:
            yield _changed(member)
        else:
            yield from (Task(row["sop_instance_uid"], (row,)) for row in rows)


def volume_tasks(cohort: Cohort, plan_digest: str, *, masks: bool) -> Iterator[Task | Missing]:
    """One task for each prepared volume of a cohort, with its masks if that is wanted."""
    known = _Masks(cohort, plan_digest) if masks else None
    for volume, rows in _volumes(cohort, plan_digest):
        if isinstance(volume, Missing):
            yield volume
        elif known is None:
            yield Task(volume["volume_id"], rows, volume)
        else:
            found = known.of(volume["volume_id"])
            yield Task(volume["volume_id"], rows, volume, found, known.outlined(found))


def mask_tasks(cohort: Cohort, plan_digest: str) -> Iterator[Task]:
    """One task for each object, or each segmentation of the lake's own, that gave masks of a volume."""
    known = _Masks(cohort, plan_digest)
    for volume, rows in _volumes(cohort, plan_digest):
        if isinstance(volume, Missing):
            continue
        masks = known.of(volume["volume_id"])
        for origin, group in groupby(masks, key=lambda row: row["sop_instance_uid"] or row["mask_id"]):
            part = tuple(group)
            item = digest_many([volume["volume_id"], origin])[:32]
            yield Task(item, rows, volume, part, known.outlined(part))


def assembled_mask_tasks(cohort: Cohort) -> Iterator[Task | Missing]:
    """One task for each mask that was made of a series of a cohort as it is assembled."""
    masks: dict[str, list[dict[str, Any]]] = {}
    for row in cohort.lake.sql(
        "select masks.* from masks join cohort_members using (series_instance_uid) "
        "where cohort_id = $cohort and volume_id is null and mask_plan_digest is not null "
        f"and {not_withdrawn('masks.patient_id')} order by masks.mask_id",
        {"cohort": cohort.cohort_id},
    ).dicts():
        masks.setdefault(row["series_instance_uid"], []).append(row)
    # Both go through the members of the cohort in their order.
    by_series = groupby(units(cohort, AS_ASSEMBLED), key=lambda unit: unit.series_instance_uid)
    for (member, rows), (_, group) in zip(_series(cohort), by_series, strict=True):
        mine = masks.get(member.series_instance_uid)
        if mine and rows is None:
            yield _changed(member)
        elif mine and rows is not None:
            yield from _of_units(tuple(group), mine, {row["sha256"]: row for row in rows})


def _of_units(
    found: Sequence[Unit], masks: Sequence[Mapping[str, Any]], rows: Mapping[str, Mapping[str, Any]]
) -> Iterator[Task]:
    """Tasks of the masks that were made of just these units; others were made of another content."""
    for unit in found:
        for mask in masks:
            inputs = dict.fromkeys(mask["inputs"])
            same = mask["mask_id"] == mask_id_of(unit, mask["mask_plan_digest"])
            if same and inputs and rows.keys() >= inputs.keys():
                sources = tuple(rows[digest] for digest in inputs)
                yield Task(mask["mask_id"], sources, masks=(mask,), unit=unit)


def _volumes(
    cohort: Cohort, plan_digest: str
) -> Iterator[tuple[dict[str, Any] | Missing, tuple[dict[str, Any], ...]]]:
    volumes: dict[str, list[dict[str, Any]]] = {}
    for row in volume_rows(cohort, plan_digest):
        volumes.setdefault(row["series_instance_uid"], []).append(row)
    for member, rows in _series(cohort):
        uid = member.series_instance_uid
        if rows is None:
            yield _changed(member), ()
        elif uid not in volumes:
            detail = "no volume of this series was prepared under this plan"
            yield Missing(uid, "no_volume", detail), ()
        else:
            by_digest = {row["sha256"]: row for row in rows}
            for volume in volumes[uid]:
                inputs = dict.fromkeys(volume["inputs"])
                if inputs and by_digest.keys() >= inputs.keys():
                    yield volume, tuple(by_digest[digest] for digest in inputs)
                else:
                    # What is not known cannot be released.
                    yield _changed(member), ()


def _changed(member: Member) -> Missing:
    detail = "the series no longer has the content that was selected; select the cohort again"
    return Missing(member.series_instance_uid, "cohort_changed", detail)


def _series(cohort: Cohort) -> Iterator[tuple[Member, list[dict[str, Any]] | None]]:
    """Every series with its rows as they were frozen; None where that is not what is there."""
    members = cohort.members()
    for start in range(0, len(members), _AT_A_TIME):
        part = {member.series_instance_uid: member for member in members[start : start + _AT_A_TIME]}
        rows = cohort.lake.sql(
            f"select {_SELECTED} from instances join series using (series_instance_uid, policy_digest) "
            "left join deidentifications done on done.deidentification = instances.deidentification "
            "where instances.series_instance_uid in (select unnest($series)) "
            "and instances.committed_at <= $frozen "
            "order by instances.series_instance_uid, instances.instance_number, instances.sop_instance_uid",
            {"series": list(part), "frozen": cohort.frozen_at},
        ).dicts()
        found = {uid: list(group) for uid, group in groupby(rows, key=lambda row: row["series_instance_uid"])}
        for uid, member in part.items():
            inside = found.get(uid, [])
            same = members_digest(row["sha256"] for row in inside) == member.members_digest
            yield member, inside if same else None


class _Masks:
    """The masks of a cohort under a plan, and the objects that they come from; read once."""

    def __init__(self, cohort: Cohort, plan_digest: str) -> None:
        rows = cohort.lake.sql(
            "select masks.* from masks join cohort_members using (series_instance_uid) "
            f"where cohort_id = $cohort and plan_digest = $plan and {not_withdrawn('masks.patient_id')} "
            "order by masks.sop_instance_uid, masks.number, masks.mask_id",
            {"cohort": cohort.cohort_id, "plan": plan_digest},
        ).dicts()
        self._of: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            self._of.setdefault(row["volume_id"], []).append(row)
        self._objects = _objects(cohort.lake, {row["sop_instance_uid"] for row in rows} - {None})

    def of(self, volume_id: str) -> tuple[dict[str, Any], ...]:
        return tuple(self._of.get(volume_id, ()))

    def outlined(self, masks: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
        uids = dict.fromkeys(row["sop_instance_uid"] for row in masks)
        return tuple(row for uid in uids if uid is not None for row in self._objects.get(uid, ()))


def _objects(lake: Lake, uids: set[str]) -> dict[str, list[dict[str, Any]]]:
    rows = lake.sql(
        f"select {_SELECTED} from instances "
        "left join deidentifications done on done.deidentification = instances.deidentification "
        "where sop_instance_uid in (select unnest($uids)) order by sop_instance_uid, sha256",
        {"uids": sorted(uids)},
    ).dicts()
    return {uid: list(group) for uid, group in groupby(rows, key=lambda row: str(row["sop_instance_uid"]))}
