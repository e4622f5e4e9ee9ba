"""Prepared volumes, read back from the lake."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.grid import Grid
from voxlake.core.plan import Plan
from voxlake.core.volume import Lineage, Volume
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.lake.views import not_withdrawn
from voxlake.processing.registry import load_plan
from voxlake.store.arrays import open_array, read_array

__all__ = ["iter_volumes", "open_volume", "plan_digest_of", "read_values", "volume_rows"]


_FROZEN = f"""
with frozen as (
    select series_instance_uid, members_digest as inputs_digest from cohort_members where cohort_id = $cohort
    union
    select instances.series_instance_uid, instances.sha256 from instances
    join cohort_members using (series_instance_uid)
    where cohort_members.cohort_id = $cohort and instances.committed_at <= $at
)
select volumes.* from volumes semi join frozen using (series_instance_uid, inputs_digest)
where volumes.plan_digest = $plan and {not_withdrawn("volumes.patient_id")}
order by volumes.series_instance_uid, volumes.stack, volumes.sop_instance_uid, volumes.volume_id
"""


def volume_rows(cohort: Cohort, plan_digest: str) -> list[dict[str, Any]]:
    """Rows of `volumes` that were prepared from a cohort under a plan, sorted by series, stack and instance.

    Only volumes of exactly the content that the cohort froze are listed.
    """
    return cohort.lake.sql(
        _FROZEN, {"cohort": cohort.cohort_id, "plan": plan_digest, "at": cohort.frozen_at}
    ).dicts()


def iter_volumes(cohort: Cohort, *, plan: str | Path | Plan | None = None) -> Iterator[Volume]:
    """Iterate over the prepared volumes of a cohort.

    Parameters
    ----------
    cohort : Cohort
        The cohort.
    plan : str, path or Plan, optional
        Under which plan; needed only if the cohort was prepared under more than one.

    Yields
    ------
    Volume
        With a lazy array, (slice, row, column).

    Raises
    ------
    NotFoundError
        The cohort was not prepared.
    UsageError
        It was prepared under several plans and none is named.
    """
    rows = volume_rows(cohort, plan_digest_of(cohort, plan))
    if not rows:
        raise NotFoundError(f"no volume of cohort '{cohort.name}' under this plan; run `voxlake prepare`")
    for row in rows:
        yield open_volume(cohort.lake, row)


def read_values(lake: Lake, rows: Sequence[dict[str, Any]]) -> list[NDArray[Any]]:
    """Read the values of many volumes; a stacked array is read once.

    Returns
    -------
    list of ndarray
        In the order of `rows`, each (slice, row, column) or with 3 channels at the end.

    Raises
    ------
    IntegrityError
        An array or one of its shards is not there.
    """
    values: list[NDArray[Any] | None] = [None] * len(rows)
    by_array: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        by_array.setdefault(row["array"], []).append(number)
    for array, numbers in by_array.items():
        whole = read_array(lake.objects, array, shards=rows[numbers[0]]["shards"])
        for number in numbers:
            position = rows[number]["position"]
            values[number] = whole if position is None else whole[position][None]
    return [value for value in values if value is not None]


def open_volume(lake: Lake, row: dict[str, Any]) -> Volume:
    """The volume of one row of `volumes`, with a lazy array."""
    array = open_array(lake.objects, row["array"], shards=row["shards"])
    position = row["position"]
    data = array if position is None else np.asarray(array[position])[None]
    return Volume(
        data,
        Grid.from_dict(json.loads(row["grid"])),
        row["unit"],
        row["modality"],
        Lineage(tuple(row["inputs"]), tuple(row["steps"])),
    )


def plan_digest_of(cohort: Cohort, plan: str | Path | Plan | None) -> str:
    """Digest of a plan, or of the only one under which a cohort was prepared.

    Raises
    ------
    NotFoundError
        The cohort was not prepared.
    UsageError
        It was prepared under several plans and none is named.
    """
    if plan is not None:
        return (plan if isinstance(plan, Plan) else load_plan(plan)).digest()
    found = [
        row[0]
        for row in cohort.lake.sql(
            "select distinct plan_digest from volumes join cohort_members using (series_instance_uid) "
            "where cohort_id = $id",
            {"id": cohort.cohort_id},
        ).rows()
    ]
    if len(found) > 1:
        raise UsageError(
            f"cohort '{cohort.name}' was prepared under {len(found)} plans; say which with plan=..."
        )
    if not found:
        raise NotFoundError(
            f"cohort '{cohort.name}' is not prepared; run `voxlake prepare {cohort.name}` first"
        )
    return str(found[0])
