"""What there is to prepare: a unit is a stack of a series that forms a volume, or one flat image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from voxlake.core.digest import digest_many
from voxlake.dicom.stacks import Stack, split
from voxlake.dicom.suv import SUV_COLUMNS
from voxlake.lake.cohorts import Cohort, Member
from voxlake.lake.series import members_digest

__all__ = ["Unit", "units"]

_SERIES_AT_A_TIME = 200

# What assembling needs of `instances`; the heavy column of all tags stays behind.
_COLUMNS = (
    "sop_instance_uid", "series_instance_uid", "study_instance_uid", "patient_id", "format", "sha256",
    "pack", "offset", "length", "pixel_offset", "pixel_length", "transfer_syntax_uid", "sop_class_uid",
    "modality", "image_type", "instance_number", "slice_thickness", "spacing_between_slices",
    "frame_of_reference_uid", "rows", "columns", "number_of_frames", "samples_per_pixel",
    "photometric_interpretation", "bits_allocated", "bits_stored", "pixel_representation",
    "pixel_spacing", "image_position_patient", "image_orientation_patient", "frame_positions",
    "frame_orientations", "rescale_slope", "rescale_intercept", "rescale_type", "units", "mosaic_tiles",
    "acquisition_number", "echo_numbers", "temporal_position_identifier", "gantry_detector_tilt",
    "diffusion_b_value", "diffusion_gradient", "mosaic_layout", "mosaic_positions", "frame_values",
    "series_number", "echo_time", "inversion_time", "flip_angle", "kvp", "convolution_kernel",
    "contrast_bolus_agent", "suv_type", *SUV_COLUMNS,
)  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """One volume to be.

    Parameters
    ----------
    volume_id : str
        Digest over the plan, the series, the content and, if there are several, the number of the stack.
    inputs_digest : str
        Digest of the content.
    flat : bool
        A single image without a place in space; such images are stacked.
    rows : tuple of mapping
        Rows of `instances` that take part, as far as assembling needs them.
    stack : Stack or None
        What of the rows, counted in `rows`; None for a flat image, or where nothing can be assembled.
    changed : bool
        The series no longer has the content that the cohort froze.
    """

    volume_id: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str | None
    inputs_digest: str
    flat: bool
    rows: tuple[dict[str, Any], ...]
    stack: Stack | None = None
    changed: bool = False


def units(cohort: Cohort, plan_digest: str) -> Iterator[Unit]:
    """All units of a cohort, sorted by series; series are read a few hundred at a time."""
    members = cohort.members()
    for start in range(0, len(members), _SERIES_AT_A_TIME):
        yield from _of(cohort, members[start : start + _SERIES_AT_A_TIME], plan_digest)


def _of(cohort: Cohort, members: Sequence[Member], plan_digest: str) -> Iterator[Unit]:
    wanted = {member.series_instance_uid: member for member in members}
    columns = ", ".join(f'instances."{name}"' for name in _COLUMNS)
    # What came in after the cohort was frozen is left out; the digest proves that this gives what was frozen.
    rows = cohort.lake.sql(
        f"select {columns} from instances "
        "join series using (series_instance_uid, policy_digest) "
        "where series_instance_uid in (select unnest($series)) and instances.committed_at <= $frozen "
        "order by instances.series_instance_uid, instances.instance_number, instances.sop_instance_uid",
        {"series": list(wanted), "frozen": cohort.frozen_at},
    ).dicts()
    found = {
        uid: tuple(group) for uid, group in groupby(rows, key=lambda row: str(row["series_instance_uid"]))
    }
    for uid, member in wanted.items():
        inside = found.get(uid, ())
        if members_digest(row["sha256"] for row in inside) != member.members_digest:
            yield _unit(member, member.members_digest, (), plan_digest, changed=True)
        else:
            yield from _of_series(member, inside, plan_digest)


def _of_series(member: Member, rows: tuple[dict[str, Any], ...], plan_digest: str) -> Iterator[Unit]:
    """A unit for each stack; of a stack of flat images one for each."""
    stacks = split(rows)
    if not stacks:
        yield _unit(member, member.members_digest, rows, plan_digest)
    for stack in stacks:
        instances = stack.instances or tuple(range(len(rows)))
        if stack.verdict.kind == "flat":
            for instance in instances:
                yield _unit(member, rows[instance]["sha256"], (rows[instance],), plan_digest, flat=True)
        else:
            part = tuple(rows[instance] for instance in instances)
            yield _unit(
                member,
                member.members_digest,
                part,
                plan_digest,
                stack=stack.within(instances),
                several=len(stacks) > 1,
            )


def _unit(
    member: Member,
    inputs_digest: str,
    rows: tuple[dict[str, Any], ...],
    plan_digest: str,
    *,
    flat: bool = False,
    changed: bool = False,
    stack: Stack | None = None,
    several: bool = False,
) -> Unit:
    number = [str(stack.number)] if stack is not None and several else []
    return Unit(
        volume_id=digest_many([plan_digest, member.series_instance_uid, inputs_digest, *number])[:32],
        series_instance_uid=member.series_instance_uid,
        study_instance_uid=member.study_instance_uid,
        patient_id=member.patient_id,
        inputs_digest=inputs_digest,
        flat=flat,
        rows=rows,
        stack=stack,
        changed=changed,
    )
