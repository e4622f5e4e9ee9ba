"""Masks that a model made, as rows of `masks` and of `predictions`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_many
from voxlake.core.grid import Grid
from voxlake.core.mask_grid import carry_back
from voxlake.core.plan import Plan
from voxlake.core.volume import Label, Lineage, Mask
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.learning.segmentation.truth import MODEL, Truth
from voxlake.store.arrays import value_digest, write_stack, write_volume
from voxlake.volumes.places import source_grid
from voxlake.volumes.units import units

__all__ = ["Made", "mask_id_of", "mask_rows", "size_rows", "source_grids"]


@dataclass(frozen=True, eq=False)
class Made:
    """What a network made of one volume.

    Parameters
    ----------
    row : mapping
        Row of `volumes`.
    group : str
        What the volume was kept together with.
    part : str
        ``validation``, ``test``, ``new`` or ``seen``.
    labels : numpy.ndarray
        uint8, on the grid of the prepared volume.
    source : Grid or None
        Grid of the series before any step; None where it cannot be told.
    truth : Truth or None
        Where known.
    """

    row: Mapping[str, Any]
    group: str
    part: str
    labels: NDArray[np.uint8]
    source: Grid | None
    truth: Truth | None


def mask_id_of(volume_id: str, model_id: str, fold: int) -> str:
    """Key of the mask that a network makes of a volume; fold -1 for all networks together."""
    return digest_many([volume_id, model_id, str(fold)])[:32]


def source_grids(cohort: Cohort, plan: Plan, rows: Sequence[Mapping[str, Any]]) -> dict[str, Grid]:
    """Grid of each volume before any step of its plan, by the identifier of the volume.

    Parameters
    ----------
    cohort : Cohort
        Whose volumes.
    plan : Plan
        Under which they were prepared.
    rows : sequence of mapping
        Their rows of `volumes`.
    """
    wanted = {row["volume_id"] for row in rows}
    return {
        unit.volume_id: source_grid(unit, plan.geometry)
        for unit in units(cohort, plan.digest())
        if unit.volume_id in wanted
    }


def mask_rows(
    lake: Lake, made: Sequence[Made], classes: Sequence[str], *, model_id: str, fold: int
) -> list[dict[str, Any]]:
    """Store masks and give their rows.

    Where the plan changed the grid, the classes (never probabilities) are carried back to the grid of the
    series by nearest neighbour. Masks of single images of one shape share one array.

    Parameters
    ----------
    lake : Lake
        Where they are stored.
    made : sequence of Made
        What was made.
    classes : sequence of str
        Names of the classes, without the background.
    model_id : str
        Who made them.
    fold : int
        Which network; -1 for all together.
    """
    labels = [Label(value, name) for value, name in enumerate(classes, 1)]
    rows = []
    stacks: defaultdict[tuple[int, ...], list[tuple[Made, Mask]]] = defaultdict(list)
    for one in made:
        mask = _mask(one, labels, model_id, fold)
        if mask.grid.flat:
            stacks[mask.grid.shape].append((one, mask))
            continue
        mask_id = mask_id_of(one.row["volume_id"], model_id, fold)
        attributes = {"labels": _plain(labels), "steps": list(mask.lineage.steps)}
        info = write_volume(lake.objects, mask_id, mask.numpy(), grid=mask.grid, attributes=attributes)
        rows.append(_row(one, mask, (info.array, info.shards, None), (model_id, fold)))
    for members in stacks.values():
        ids = [mask_id_of(one.row["volume_id"], model_id, fold) for one, _ in members]
        values = np.stack([mask.numpy()[0] for _, mask in members])
        attributes = {"labels": _plain(labels), "masks": ids}
        info = write_stack(lake.objects, digest_many(ids)[:32], values, attributes=attributes)
        rows += [
            _row(one, mask, (info.array, info.shards, place), (model_id, fold))
            for place, (one, mask) in enumerate(members)
        ]
    return rows


def size_rows(
    made: Sequence[Made], classes: Sequence[str], *, model_id: str, cohort_id: str, fold: int
) -> list[dict[str, Any]]:
    """Rows of `predictions`: the size of each class in each volume, in mm3 (in pixels on flat images)."""
    rows = []
    for one in made:
        grid = Grid.from_dict(json.loads(one.row["grid"]))
        claimed = _sizes(one.labels, grid, len(classes))
        true = None if one.truth is None else _sizes(one.truth.labels, one.truth.grid, len(classes))
        for place, name in enumerate(classes):
            rows.append(
                {
                    "model_id": model_id,
                    "volume_id": one.row["volume_id"],
                    "subject_level": "volume",
                    "subject": one.row["volume_id"],
                    "patient_id": one.row["patient_id"],
                    "group": one.group,
                    "part": one.part,
                    "fold": fold,
                    "class": name,
                    "value": claimed[place],
                    "truth_value": None if true is None else true[place],
                    "cohort_id": cohort_id,
                }
            )
    return rows


def _mask(one: Made, labels: list[Label], model_id: str, fold: int) -> Mask:
    grid = Grid.from_dict(json.loads(one.row["grid"]))
    who = f"network {model_id}" + ("" if fold < 0 else f", fold {fold}")
    lineage = Lineage(tuple(one.row["inputs"]), (*one.row["steps"], who))
    mask = Mask(one.labels, grid, labels, lineage)
    return mask if one.source is None else carry_back(mask, one.source)


def _row(one: Made, mask: Mask, place: tuple[str, int, int | None], who: tuple[str, int]) -> dict[str, Any]:
    values = mask.numpy()
    counts = np.bincount(values.reshape(-1), minlength=len(mask.labels) + 1)
    prepared = mask.grid == Grid.from_dict(json.loads(one.row["grid"]))
    return {
        "mask_id": mask_id_of(one.row["volume_id"], *who),
        "volume_id": one.row["volume_id"] if prepared else None,
        "plan_digest": one.row["plan_digest"] if prepared else None,
        "mask_plan_digest": who[0],
        "series_instance_uid": one.row["series_instance_uid"],
        "study_instance_uid": one.row["study_instance_uid"],
        "patient_id": one.row["patient_id"],
        "kind": MODEL,
        "labels": json.dumps(_plain(mask.labels)),
        "voxels": [int(counts[label.value]) for label in mask.labels],
        "array": place[0],
        "position": place[2],
        "shape": list(values.shape),
        "dtype": str(values.dtype),
        "grid": json.dumps(mask.grid.to_dict()),
        "inputs": list(mask.lineage.inputs),
        "steps": list(mask.lineage.steps),
        "sha256": value_digest(values),
        "shards": place[1],
    }


def _plain(labels: Sequence[Label]) -> list[dict[str, Any]]:
    return [{"value": label.value, "name": label.name, "code": None} for label in labels]


def _sizes(labels: NDArray[np.uint8], grid: Grid, classes: int) -> list[float]:
    voxel = 1.0 if grid.flat else float(np.prod(grid.spacing))
    counts = np.bincount(np.asarray(labels).reshape(-1), minlength=classes + 1)
    return [float(counts[value] * voxel) for value in range(1, classes + 1)]
