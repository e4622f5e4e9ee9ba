"""What DICOM objects say of a task: its regions or shares, their grid, and the values under them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from numpy.typing import NDArray

from voxlake.core.errors import GeometryError, ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label, Unit
from voxlake.dicom.mask_objects import read_mask_object
from voxlake.dicom.seg import Segmentation
from voxlake.dicom.seg_masks import segment_fractions
from voxlake.exchange.forms import labels_of, mask_values, stored_bytes, volume_values
from voxlake.exchange.selection import Task
from voxlake.lake.lake import Lake
from voxlake.volumes.preparation import assemble_unit

__all__ = ["ShareKind", "grid_of", "regions", "shares", "values_under"]

Regions = list[tuple[Label, NDArray[Any]]]
ShareKind = Literal["PROBABILITY", "OCCUPANCY"]


def regions(lake: Lake, task: Task) -> tuple[Regions, Grid]:
    """Every label of every mask of a task with its voxels (bool); values that are told apart.

    Raises
    ------
    ItemError
        ``mask_empty``: there is no mask. ``geometry_none``: its grid is none.
    """
    if not task.masks:
        raise ItemError("mask_empty", "there is no mask")
    found: Regions = []
    for mask in task.masks:
        values = mask_values(lake, mask)
        found += [(label, values == label.value) for label in labels_of(mask)]
    numbers = [label.value for label, _ in found]
    if len(set(numbers)) < len(numbers):
        # Every region of a structure set is a mask of its own, with the value 1.
        found = [
            (Label(place, label.name, label.code), inside) for place, (label, inside) in enumerate(found, 1)
        ]
    return found, grid_of(task.masks[0])


def shares(lake: Lake, task: Task) -> tuple[Regions, Grid, ShareKind]:
    """Every segment of a task with its shares, from 0 to 1 (float32), and what they mean.

    A mask only says yes or no: the shares are read from the fractional segmentation that it came from.

    Raises
    ------
    ItemError
        ``mask_empty``: there is no mask. ``unsupported_mask``: it did not come from a fractional
        segmentation, so that nobody knows its shares, or these cannot be brought onto its grid.
    """
    if not task.masks:
        raise ItemError("mask_empty", "there is no mask")
    if len(task.outlined) != 1 or any(mask["kind"] != "FRACTIONAL" for mask in task.masks):
        raise ItemError(
            "unsupported_mask",
            "the mask says yes or no and did not come from a fractional segmentation: it has no shares to "
            "write; export it with segments='binary' or 'labelmap'",
        )
    found = read_mask_object(stored_bytes(lake, task.outlined[0]))
    if not isinstance(found, Segmentation) or found.kind != "FRACTIONAL":
        raise ItemError(
            "unsupported_mask", "the object that the mask came from is no fractional segmentation"
        )
    grid = grid_of(task.masks[0])
    try:
        made = segment_fractions(found, grid)
    except GeometryError as error:
        raise ItemError("unsupported_mask", f"its shares do not fit on the grid: {error}") from error
    labels = {label.value: label for mask in task.masks for label in labels_of(mask)}
    wanted: Regions = [
        (labels[segment.number], volume.numpy()) for segment, volume in made if segment.number in labels
    ]
    means: ShareKind = "PROBABILITY" if found.fractional_type == "PROBABILITY" else "OCCUPANCY"
    return wanted, grid, means


def values_under(lake: Lake, task: Task) -> tuple[NDArray[Any], Unit]:
    """The values that lie under the masks of a task, with their unit.

    Raises
    ------
    ItemError
        ``no_volume``: the task has neither a prepared volume nor a series. ``unsupported_mask``: the series
        does not lie on the grid of its mask as it is assembled, because the mask plan mended its geometry.
        Reasons of assembling.
    """
    if task.volume is not None:
        return volume_values(lake, task.volume), task.volume["unit"]
    if task.unit is None:
        raise ItemError("no_volume", "nothing was prepared under this plan")
    volume = assemble_unit(lake, task.unit)
    if not volume.grid.matches(grid_of(task.masks[0])):
        raise ItemError("unsupported_mask", "the series as assembled does not lie on the grid of its mask")
    return volume.numpy(), volume.unit


def grid_of(row: Mapping[str, Any]) -> Grid:
    """The grid of a row of `volumes` or `masks`; `ItemError` ``geometry_none`` where it is none."""
    try:
        return Grid.from_dict(json.loads(row["grid"]))
    except GeometryError as error:
        raise ItemError("geometry_none", str(error)) from error
