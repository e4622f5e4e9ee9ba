"""Masks, read back from the lake or made on the spot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.grid import Grid
from voxlake.core.plan import Plan
from voxlake.core.volume import Label, Lineage, Mask, Volume
from voxlake.dicom.mask_objects import masks_of, read_mask_object
from voxlake.dicom.stacks import split
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.lake.views import not_withdrawn
from voxlake.store.arrays import open_array
from voxlake.volumes.masks import read_bytes
from voxlake.volumes.read import open_volume, plan_digest_of, volume_rows

__all__ = ["iter_masks", "read_masks"]


def iter_masks(cohort: Cohort, *, plan: str | Path | Plan | None = None) -> Iterator[tuple[Volume, Mask]]:
    """Iterate over the masks of the prepared volumes of a cohort.

    Parameters
    ----------
    cohort : Cohort
        The cohort.
    plan : str, path or Plan, optional
        Under which plan; needed only if the cohort was prepared under more than one.

    Yields
    ------
    (Volume, Mask)
        Both on one grid, with lazy arrays, (slice, row, column). A volume comes once for each of its masks,
        in the order of `voxlake.iter_volumes`; volumes without masks are passed over.

    Raises
    ------
    NotFoundError
        The cohort was not prepared, or there is no mask.
    UsageError
        It was prepared under several plans and none is named.
    """
    digest = plan_digest_of(cohort, plan)
    by_volume: dict[str, list[dict[str, Any]]] = {}
    found = cohort.lake.sql(
        f"select * from masks where plan_digest = $plan and {not_withdrawn()} "
        "order by sop_instance_uid, number, mask_id",
        {"plan": digest},
    )
    for row in found.dicts():
        by_volume.setdefault(row["volume_id"], []).append(row)
    volumes = [row for row in volume_rows(cohort, digest) if row["volume_id"] in by_volume]
    if not volumes:
        raise NotFoundError(
            f"no mask of cohort '{cohort.name}' under this plan; run `voxlake prepare {cohort.name} --masks` "
            "or `voxlake segment`"
        )
    for row in volumes:
        for mask in by_volume[row["volume_id"]]:
            yield open_volume(cohort.lake, row), _mask(cohort.lake, mask)


def read_masks(lake: Lake, sop_instance_uid: str, *, series_instance_uid: str | None = None) -> list[Mask]:
    """Make the masks of one segmentation or structure set on the grid of its image; nothing is stored.

    Parameters
    ----------
    lake : Lake
        The lake.
    sop_instance_uid : str
        The SEG or RTSTRUCT object, by its identifier in the lake.
    series_instance_uid : str, optional
        On which series; needed only if it was drawn on more than one that is in the lake.

    Returns
    -------
    list of Mask
        One for each region of a structure set; of a segmentation one, or one for each segment if they share
        voxels. A segmentation whose image is not in the lake, or no volume, lies on its own grid.

    Raises
    ------
    NotFoundError
        The lake has no such object.
    UsageError
        It was drawn on several series, or not on the one that is named.
    ItemError
        It cannot become a mask; ``unsupported_mask`` for a structure set without its image.
    """
    found = lake.sql(
        'select pack, "offset", length, sha256, referenced_series_uids from instances '
        f"where sop_instance_uid = $uid and {not_withdrawn()} order by committed_at desc limit 1",
        {"uid": sop_instance_uid},
    ).dicts()
    if not found:
        raise NotFoundError(f"the lake has no object {sop_instance_uid}")
    grid = _grid(lake, found[0]["referenced_series_uids"] or [], series_instance_uid)
    return list(masks_of(read_mask_object(read_bytes(lake, found[0])), grid).masks)


def _grid(lake: Lake, series: list[str], wanted: str | None) -> Grid | None:
    if wanted is not None and wanted not in series:
        raise UsageError(f"the object was not drawn on series {wanted}")
    rows = lake.sql(
        "select instances.* exclude (tags) from instances "
        "join series using (series_instance_uid, policy_digest) "
        "where series_instance_uid in (select unnest($series)) "
        "order by series_instance_uid, instance_number, sop_instance_uid",
        {"series": series if wanted is None else [wanted]},
    ).dicts()
    there = sorted({row["series_instance_uid"] for row in rows})
    if len(there) > 1:
        raise UsageError(
            f"the object was drawn on {len(there)} series; name one with series_instance_uid=..."
        )
    grids = [stack.verdict.grid for stack in split(rows)]
    return next((grid for grid in grids if grid is not None), None)


def _mask(lake: Lake, row: dict[str, Any]) -> Mask:
    labels = tuple(
        Label(label["value"], label["name"], None if label["code"] is None else tuple(label["code"]))
        for label in json.loads(row["labels"])
    )
    array = open_array(lake.objects, row["array"], shards=row["shards"])
    position = row["position"]
    return Mask(
        array if position is None else np.asarray(array[position])[None],
        Grid.from_dict(json.loads(row["grid"])),
        labels,
        Lineage(tuple(row["inputs"]), tuple(row["steps"])),
    )
