"""Contact sheets of a run or a cohort: which volumes are shown, with which masks and colours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError, NotFoundError
from voxlake.core.grid import Grid
from voxlake.core.mask_grid import carry_back
from voxlake.core.volume import Mask, Volume
from voxlake.evaluation.content import ContactSheet, SheetPicture
from voxlake.evaluation.overlay import Colour, colour_of, sheet_picture
from voxlake.lake.lake import Lake
from voxlake.lake.views import not_withdrawn
from voxlake.store.arrays import open_array
from voxlake.volumes.mask_images import image_of_mask
from voxlake.volumes.read import open_volume

__all__ = ["sheets_of_cohort", "sheets_of_run"]

_PICTURES = 12
# More names are no legend any more; the table of masks has them all.
_LEGEND = 40
_AMOUNTS = 6
_VOLUMES = "Prepared volumes"
_DRAWN = "Masks of segmentations and structure sets"


@dataclass(frozen=True)
class _Shown:
    """An image with the rows of the masks that lie over it."""

    image: Mapping[str, Any]
    masks: tuple[Mapping[str, Any], ...] = ()

    @property
    def identifier(self) -> str:
        return str(self.image.get("volume_id") or self.image.get("mask_id"))


def sheets_of_run(lake: Lake, run_id: str) -> tuple[ContactSheet, ...]:
    """Pictures of the volumes and masks that a run of prepare or segment made."""
    return _sheets(lake, *(_rows(lake, table, "run_id = $key", run_id) for table in ("volumes", "masks")))


def sheets_of_cohort(lake: Lake, cohort_id: str) -> tuple[ContactSheet, ...]:
    """Pictures of the volumes and masks of the series of a cohort, a sheet for each plan."""
    inside = "series_instance_uid in (select series_instance_uid from cohort_members where cohort_id = $key)"
    return _sheets(lake, *(_rows(lake, table, inside, cohort_id) for table in ("volumes", "masks")))


def _rows(lake: Lake, table: str, condition: str, key: str) -> list[dict[str, Any]]:
    identifier = "volume_id" if table == "volumes" else "mask_id"
    return lake.sql(
        f"select * from {table} where {condition} and {not_withdrawn()} order by {identifier}", {"key": key}
    ).dicts()


def _sheets(
    lake: Lake, volumes: Sequence[dict[str, Any]], masks: Sequence[dict[str, Any]]
) -> tuple[ContactSheet, ...]:
    sheets = []
    by_plan: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in masks:
        under = row["volume_id"] or row["mask_id"]
        by_plan.setdefault(row.get("mask_plan_digest") or "", {}).setdefault(under, []).append(row)
    for digest, groups in by_plan.items():
        title = f"Masks of the mask plan {digest[:12]}" if digest else _DRAWN
        sheets.append(_sheet(lake, title, [_Shown(rows[0], tuple(rows)) for rows in groups.values()]))
    covered = {row["volume_id"] for row in masks}
    alone = [_Shown(row) for row in volumes if row["volume_id"] not in covered]
    if alone:
        title = f"{_VOLUMES} without a mask" if covered & {row["volume_id"] for row in volumes} else _VOLUMES
        sheets.append(_sheet(lake, title, alone))
    return tuple(sheet for sheet in sheets if sheet.pictures)


def _sheet(lake: Lake, title: str, every: Sequence[_Shown]) -> ContactSheet:
    chosen = every[:_PICTURES]
    colours = _colours(chosen)
    drawn = [_drawn(lake, one, colours) for one in chosen]
    pictures = tuple(picture for picture, _ in filter(None, drawn))
    note = f"{len(pictures):,} of {len(every):,} are shown."
    missing = len(chosen) - len(pictures)
    if missing:
        note += f" Of {missing:,} the image under the mask could not be read."
    legend = tuple(colours.items())
    if len(legend) > _LEGEND:
        note += f" The colours of {len(legend) - _LEGEND:,} more labels are left out of the legend."
    flat = all(is_flat for _, is_flat in filter(None, drawn))
    return ContactSheet(title, pictures, legend[:_LEGEND], note, flat)


def _labels(row: Mapping[str, Any]) -> list[tuple[int, str]]:
    return [(int(label["value"]), str(label["name"])) for label in json.loads(row["labels"])]


def _colours(shown: Iterable[_Shown]) -> dict[str, Colour]:
    """A colour for each name that is there, in the order of first use."""
    names = {
        name: None
        for one in shown
        for row in one.masks
        for (_, name), voxels in zip(_labels(row), row["voxels"], strict=True)
        if voxels
    }
    return {name: colour_of(number) for number, name in enumerate(names)}


def _drawn(lake: Lake, one: _Shown, colours: Mapping[str, Colour]) -> tuple[SheetPicture, bool] | None:
    """Picture of an image, and whether it is flat; None if the image is not to be had."""
    try:
        volume = image_of_mask(lake, one.image) if one.masks else open_volume(lake, dict(one.image))
    except (ItemError, NotFoundError):
        return None
    labels, palette = _combined(lake, one, volume, colours)
    flat = volume.grid.flat or volume.grid.shape[0] == 1
    parts = [volume.modality, "x".join(map(str, volume.shape))]
    if volume.unit != "arbitrary":
        parts.append(volume.unit)
    picture = SheetPicture(
        image=sheet_picture(volume, labels, palette),
        identifier=one.identifier[:12],
        note=" · ".join(part for part in parts if part),
        amounts=_amounts(one, volume),
    )
    return picture, flat


def _combined(
    lake: Lake, one: _Shown, volume: Volume, colours: Mapping[str, Colour]
) -> tuple[NDArray[Any] | None, dict[int, Colour]]:
    """All masks of an image in one array, later ones over earlier ones, and the colour of each value."""
    if not one.masks:
        return None, {}
    whole = np.zeros(volume.grid.shape, dtype=np.uint16)
    palette: dict[int, Colour] = {}
    for row in one.masks:
        values = _values(lake, row, volume)
        for value, name in _labels(row):
            if name in colours:
                palette[len(palette) + 1] = colours[name]
                whole[values == value] = len(palette)
    return whole, palette


def _values(lake: Lake, row: Mapping[str, Any], volume: Volume) -> NDArray[Any]:
    array = open_array(lake.objects, row["array"], shards=row["shards"])
    position = row["position"]
    values = np.asarray(array[...]) if position is None else np.asarray(array[position])[None]
    mask = Mask(values, Grid.from_dict(json.loads(row["grid"])))
    return mask.numpy() if mask.grid.shape == volume.grid.shape else carry_back(mask, volume.grid).numpy()


def _amounts(one: _Shown, volume: Volume) -> tuple[tuple[str, str], ...]:
    found = [
        (name, _amount(int(voxels), volume.grid))
        for row in one.masks
        for (_, name), voxels in zip(_labels(row), row["voxels"], strict=True)
    ]
    return tuple(found) if len(found) <= _AMOUNTS else ()


def _amount(voxels: int, grid: Grid) -> str:
    if grid.flat:
        share = voxels / (grid.shape[1] * grid.shape[2])
        return f"{share:.1%} of the image"
    millilitres = voxels * grid.voxel_volume / 1000
    return f"{millilitres:,.0f} ml" if millilitres >= 10 else f"{millilitres:.2g} ml"
