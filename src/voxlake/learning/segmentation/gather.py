"""From a prepared cohort with masks to cases, and an account of what could not be used."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_many
from voxlake.core.errors import ItemError, NotFoundError, UsageError
from voxlake.core.grid import Grid
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.lake.leakage import near_tokens
from voxlake.lake.splits import join_groups
from voxlake.learning.gather import Left, group_of
from voxlake.learning.parts import find_parts
from voxlake.learning.segmentation.cases import Case, Cases
from voxlake.learning.segmentation.settings import SegmentationSettings
from voxlake.learning.segmentation.truth import Truth, Truths
from voxlake.learning.settings import SplitSettings
from voxlake.store.arrays import open_array
from voxlake.volumes.cache import HotCache
from voxlake.volumes.read import read_values, volume_rows

__all__ = ["GatheredCases", "case_of", "gather_cases", "values_of"]

_GIBIBYTE = 2**30
_DEALT = SplitSettings()


@dataclass(frozen=True)
class GatheredCases:
    """What can be learned from.

    Parameters
    ----------
    cases : Cases
        One for each usable volume, sorted by series and instance.
    rows : tuple of mapping
        Row of `volumes` of each case.
    groups : tuple of str
        What each case is kept together with: its patient, joined with those it shares or nearly shares
        images with.
    left : tuple of Left
        What was left out.
    parts : tuple of str
        Value of the label that decides who is tested, for each case; empty where no label does.
    """

    cases: Cases
    rows: tuple[Mapping[str, Any], ...]
    groups: tuple[str, ...]
    left: tuple[Left, ...]
    parts: tuple[str, ...] = ()


def gather_cases(
    cohort: Cohort,
    plan_digest: str,
    *,
    classes: Sequence[str],
    dimensions: int,
    settings: SegmentationSettings,
    split: SplitSettings = _DEALT,
) -> GatheredCases:
    """Bring together volumes and masks of a cohort.

    Small cohorts are kept in memory; of larger ones volumes and masks are mapped from the local cache of the
    lake, without compression.

    Parameters
    ----------
    cohort : Cohort
        A prepared cohort.
    plan_digest : str
        Under which plan.
    classes : sequence of str
        Names of the classes, without the background.
    dimensions : int
        2 for single images, 3 for volumes.
    settings : SegmentationSettings
        Where masks come from, and how much memory may be taken.
    split : SplitSettings
        Whose label must be known, if it has one.

    Raises
    ------
    NotFoundError
        Nothing is prepared under the plan, or nothing has a mask.
    """
    rows = volume_rows(cohort, plan_digest)
    if not rows:
        raise NotFoundError(
            f"cohort '{cohort.name}' has no volume under the plan of the task; run "
            f"`voxlake prepare {cohort.name} --plan ...` with the same plan first"
        )
    truths = Truths(cohort, rows, classes, settings.masks)
    series = {row["series_instance_uid"] for row in rows}
    left = [
        Left(member.series_instance_uid, "no_volume", "the series was not prepared under this plan")
        for member in cohort.members()
        if member.series_instance_uid not in series
    ]
    folder = None if _size(rows) <= settings.memory * _GIBIBYTE else cohort.lake.cache / "arrays"
    parts, apart = find_parts(
        cohort, split, {row["volume_id"]: (row["series_instance_uid"],) for row in rows}
    )
    unplaced = {one.item: one for one in apart}
    kept, labels = [], []
    for row in rows:
        found = unplaced.get(row["volume_id"]) or _truth(truths, row)
        if isinstance(found, Left):
            left.append(found)
        else:
            kept.append(row)
            labels.append(found if folder is None else _mapped(folder, row["volume_id"], found))
    if not kept:
        raise UsageError(f"no volume of cohort '{cohort.name}' can be learned from: {left[0].detail}")
    values = values_of(cohort.lake, kept, folder)
    items = tuple(case_of(row, one, truth) for row, one, truth in zip(kept, values, labels, strict=True))
    near = near_tokens(cohort.lake, {row["series_instance_uid"] for row in kept})
    contents = [[*row["inputs"], *near.get(row["series_instance_uid"], ())] for row in kept]
    groups = join_groups([group_of(row) for row in kept], contents)
    return GatheredCases(
        Cases(items, tuple(classes), dimensions),
        tuple(kept),
        tuple(groups),
        tuple(left),
        tuple(parts[row["volume_id"]] for row in kept) if split.labelled else (),
    )


def case_of(row: Mapping[str, Any], values: NDArray[Any], truth: Truth | None) -> Case:
    """A case from a row of `volumes`; without a truth all voxels are background."""
    grid = Grid.from_dict(json.loads(row["grid"]))
    labels = np.zeros(grid.shape, dtype=np.uint8) if truth is None else truth.labels
    spacing = (1.0, 1.0, 1.0) if grid.flat else grid.spacing
    content = str(row["sha256"]) + ("" if truth is None else truth.digest)
    return Case(str(row["volume_id"]), group_of(row), values, labels, spacing, content)


def values_of(lake: Lake, rows: Sequence[dict[str, Any]], folder: Path | None) -> list[NDArray[Any]]:
    """Values of volumes, (slices, rows, columns[, 3]): read, or mapped from a folder of the local disk."""
    if folder is None:
        return read_values(lake, rows)
    cache = HotCache(folder)
    found = []
    for row in rows:
        mapped = cache.open(open_array(lake.objects, row["array"], shards=row["shards"]))
        found.append(mapped if row["position"] is None else mapped[row["position"]][None])
    return found


def _truth(truths: Truths, row: Mapping[str, Any]) -> Truth | Left:
    """The truth on the grid of a volume, or why there is none."""
    problem = truths.problem(row)
    if problem is not None:
        return Left(row["volume_id"], *problem)
    try:
        return truths.of(row).on(Grid.from_dict(json.loads(row["grid"])))
    except ItemError as error:
        return Left(row["volume_id"], error.reason, error.message)


def _size(rows: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of the volumes and of a mask of each."""
    total = 0
    for row in rows:
        voxels = int(np.prod(row["shape"]))
        total += voxels * (np.dtype(row["dtype"]).itemsize + 1)
    return total


def _mapped(folder: Path, volume_id: str, truth: Truth) -> Truth:
    """The same truth, its labels mapped from a file of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest_many([volume_id, truth.digest])}-labels.npy"
    if not path.exists():
        # Under another name until it is whole: another process may be looking for it.
        part = path.with_suffix(f".{os.getpid()}.npy")
        np.save(part, truth.labels, allow_pickle=False)
        part.replace(path)
    return Truth(np.load(path, mmap_mode="r", allow_pickle=False), truth.grid, truth.digest)
