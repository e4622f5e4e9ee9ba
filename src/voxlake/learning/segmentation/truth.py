"""What is true of the voxels of prepared volumes: label volumes of the lake, or rows of `masks`. No torch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json
from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.grid import Grid
from voxlake.dicom.masks import sample_nearest
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.views import not_withdrawn
from voxlake.learning.segmentation.settings import IGNORE, MaskSettings
from voxlake.store.arrays import read_array
from voxlake.volumes.read import plan_digest_of, volume_rows

__all__ = ["MODEL", "Truth", "Truths"]

MODEL = "MODEL"
"""What the column `kind` of `masks` says of masks that a trained model made; `mask_plan_digest` names it."""

_MOST_CLASSES = IGNORE - 1


@dataclass(frozen=True, eq=False)
class Truth:
    """The classes of the voxels of one volume.

    Parameters
    ----------
    labels : numpy.ndarray
        uint8 (slices, rows, columns): 0 background, then the classes, `IGNORE` where none counts.
    grid : Grid
        Where they lie.
    digest : str
        SHA-256 over what they were made from.
    """

    labels: NDArray[np.uint8]
    grid: Grid
    digest: str

    def on(self, grid: Grid) -> Truth:
        """The same on another grid, by nearest neighbour.

        Raises
        ------
        ItemError
            ``mask_frame``: the grids have no world in common.
        """
        if grid == self.grid:
            return self
        return Truth(sample_nearest(self.labels, self.grid, grid)[0], grid, self.digest)


class Truths:
    """The true masks of the volumes of a cohort.

    Parameters
    ----------
    cohort : Cohort
        Whose volumes.
    rows : sequence of mapping
        Their rows of `volumes`.
    classes : sequence of str
        Names of the classes, without the background.
    settings : MaskSettings
        Where masks come from.

    Raises
    ------
    SettingsError
        Not one value for each class, or a threshold for several classes.
    NotFoundError
        The cohort of label volumes is not there or not prepared, or nothing has a mask.
    """

    def __init__(
        self,
        cohort: Cohort,
        rows: Sequence[Mapping[str, Any]],
        classes: Sequence[str],
        settings: MaskSettings,
    ) -> None:
        self.lake = cohort.lake
        self.classes = tuple(classes)
        self.settings = settings
        if len(self.classes) > _MOST_CLASSES:
            raise SettingsError(f"{len(self.classes)} classes; at most {_MOST_CLASSES} can be told apart")
        if settings.values is not None and len(settings.values) != len(self.classes):
            raise SettingsError(
                f"masks.values has {len(settings.values)} values for {len(self.classes)} classes"
            )
        if settings.threshold is not None and len(self.classes) > 1:
            raise SettingsError(f"masks.threshold tells one class from the rest, not {len(self.classes)}")
        self._shared: frozenset[str] = frozenset()
        if settings.cohort is None:
            self._masks = self._of_table(cohort, rows)
        else:
            self._masks = self._of_cohort(get_cohort(self.lake, settings.cohort), rows)

    def problem(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        """Reason and detail where a volume has no mask, or none that is certain."""
        if self._key(row) in self._shared:
            return "label_conflict", f"several volumes share the {self.settings.pair} of one label volume"
        if row["volume_id"] not in self._masks:
            return "no_label", "no mask of the classes of the task"
        return None

    def of(self, row: Mapping[str, Any]) -> Truth:
        """The classes of a volume, on the grid on which its mask lies.

        Where several masks overlap, the class that comes later counts.

        Raises
        ------
        ItemError
            Masks of one volume lie in worlds of their own.
        """
        rows = self._masks[row["volume_id"]]
        grid = Grid.from_dict(json.loads(rows[0]["grid"]))
        labels = np.zeros(grid.shape, dtype=np.uint8)
        for kind in (*range(1, len(self.classes) + 1), IGNORE):
            for mask in rows:
                wanted = self._values(mask, kind)
                if wanted:
                    labels[self._on(mask, grid, wanted)] = kind
        digest = digest_json(
            [sorted(mask["sha256"] for mask in rows), self.classes, self.settings.model_dump(mode="json")]
        )
        return Truth(labels, grid, digest)

    def _on(self, mask: Mapping[str, Any], grid: Grid, wanted: Sequence[int]) -> NDArray[np.bool_]:
        values = read_array(self.lake.objects, mask["array"], shards=mask["shards"])
        if mask["position"] is not None:
            values = values[mask["position"]][None]
        if values.ndim == 4:
            # Pictures of masks come in colour; all channels say the same.
            values = values[..., 0]
        if self.settings.threshold is not None:
            shown = values > self.settings.threshold
        else:
            shown = np.isin(np.rint(values) if values.dtype.kind == "f" else values, wanted)
        own = Grid.from_dict(json.loads(mask["grid"]))
        if own == grid:
            return shown
        moved, _ = sample_nearest(shown.astype(np.uint8), own, grid)
        return moved.astype(bool)

    def _values(self, mask: Mapping[str, Any], kind: int) -> list[int]:
        """The values that stand for a class in an array."""
        if self.settings.cohort is not None:
            ignored = [value for value in self.settings.ignore if isinstance(value, int)]
            values = self.settings.values or tuple(range(1, len(self.classes) + 1))
            return ignored if kind == IGNORE else [values[kind - 1]]
        names = {str(name) for name in self.settings.ignore} if kind == IGNORE else {self.classes[kind - 1]}
        return [label["value"] for label in json.loads(mask["labels"]) if label["name"] in names]

    def _of_cohort(
        self, labels: Cohort, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, list[Mapping[str, Any]]]:
        """Label volumes by the volume that they belong to."""
        by_key: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for label in volume_rows(labels, plan_digest_of(labels, None)):
            by_key[self._key(label)].append(label)
        counts: defaultdict[Any, int] = defaultdict(int)
        for row in rows:
            counts[self._key(row)] += 1
        self._shared = frozenset(key for key, count in counts.items() if count > 1 and key in by_key)
        found = {
            row["volume_id"]: by_key[self._key(row)]
            for row in rows
            if self._key(row) is not None and self._key(row) in by_key
        }
        if not found:
            raise NotFoundError(
                f"no label volume of cohort '{labels.name}' shares its {self.settings.pair} with a volume of "
                "the task; give both the same one in the mapping of their names"
            )
        return found

    def _of_table(
        self, cohort: Cohort, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, list[Mapping[str, Any]]]:
        """Masks of the table by volume: those on its grid, else those of the series as assembled."""
        found = cohort.lake.sql(
            "select * from masks where (volume_id in (select unnest($volumes)) "
            "or (volume_id is null and series_instance_uid in (select unnest($series)))) "
            f"and kind <> $model and {not_withdrawn()} order by sop_instance_uid, number, mask_id",
            {
                "volumes": [row["volume_id"] for row in rows],
                "series": sorted({row["series_instance_uid"] for row in rows}),
                "model": MODEL,
            },
        ).dicts()
        kept = [mask for mask in found if self._is_meant(mask)]
        by_volume: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        by_series: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for mask in kept:
            if mask["volume_id"] is None:
                by_series[mask["series_instance_uid"]].append(mask)
            else:
                by_volume[mask["volume_id"]].append(mask)
        masks = {
            row["volume_id"]: by_volume.get(row["volume_id"]) or by_series[row["series_instance_uid"]]
            for row in rows
            if row["volume_id"] in by_volume or row["series_instance_uid"] in by_series
        }
        if not masks:
            raise NotFoundError(
                f"no volume of cohort '{cohort.name}' has a mask of {list(self.classes)}; import them with "
                "`voxlake prepare --masks`, make them with `voxlake segment`, or name a cohort of label "
                "volumes in segmentation.masks.cohort"
            )
        return masks

    def _is_meant(self, mask: Mapping[str, Any]) -> bool:
        if self.settings.kind is not None and mask["kind"] != self.settings.kind:
            return False
        plan = self.settings.mask_plan
        if plan is not None and not str(mask["mask_plan_digest"] or "").startswith(plan):
            return False
        return any(label["name"] in self.classes for label in json.loads(mask["labels"]))

    def _key(self, row: Mapping[str, Any]) -> Any:
        if self.settings.cohort is None:
            return row["volume_id"]
        return row["patient_id"] if self.settings.pair == "patient" else row["study_instance_uid"]
