"""The image under a stored mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voxlake.core.errors import ItemError, NotFoundError
from voxlake.core.volume import Volume
from voxlake.dicom.stacks import split
from voxlake.lake.lake import Lake
from voxlake.volumes.preparation import assemble_unit
from voxlake.volumes.read import open_volume
from voxlake.volumes.units import Unit

__all__ = ["image_of_mask"]


def image_of_mask(lake: Lake, row: Mapping[str, Any]) -> Volume:
    """The volume on which a mask lies: the prepared one, or the series as it is assembled.

    Parameters
    ----------
    lake : Lake
        The lake.
    row : mapping
        Row of `masks`.

    Raises
    ------
    NotFoundError
        The volume, or an instance that it was made of, is no longer in the lake.
    ItemError
        The series cannot be assembled without the mends of a plan.
    """
    if row["volume_id"] is not None:
        found = lake.sql("select * from volumes where volume_id = $id", {"id": row["volume_id"]}).dicts()
        if not found:
            raise NotFoundError("the volume of this mask is no longer in the lake")
        return open_volume(lake, found[0])
    return assemble_unit(lake, _unit(lake, row))


def _unit(lake: Lake, mask: Mapping[str, Any]) -> Unit:
    rows = lake.sql(
        "select instances.* exclude (tags) from instances "
        "where series_instance_uid = $series and sha256 in (select unnest($inputs)) "
        "order by instance_number, sop_instance_uid",
        {"series": mask["series_instance_uid"], "inputs": list(mask["inputs"])},
    ).dicts()
    if not rows:
        raise NotFoundError("the instances under this mask are no longer in the lake")
    stacks = split(rows)
    if len(stacks) > 1:
        raise ItemError("geometry_mixed", "the instances under this mask form more than one volume")
    flat = bool(stacks) and stacks[0].verdict.kind == "flat"
    return Unit(
        volume_id=str(mask["mask_id"]),
        series_instance_uid=str(mask["series_instance_uid"]),
        study_instance_uid=str(mask["study_instance_uid"]),
        patient_id=mask["patient_id"],
        inputs_digest="",
        flat=flat,
        rows=tuple(rows[:1] if flat else rows),
        stack=stacks[0] if stacks and not flat else None,
    )
