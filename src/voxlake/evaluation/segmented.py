"""Masks that a model made, next to the true ones: what the figures of segmentation are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json
from voxlake.core.errors import ItemError, NotFoundError
from voxlake.core.grid import Grid
from voxlake.dicom.masks import sample_nearest
from voxlake.evaluation.predicted import Predicted, independent_unit, nothing_to_score
from voxlake.evaluation.speaker import Speaker
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.learning.segmentation.masks import mask_id_of
from voxlake.learning.segmentation.settings import IGNORE, SegmentationSettings
from voxlake.learning.segmentation.truth import Truth, Truths
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.overlap import dice, iou, relative_volume_difference, volume_similarity
from voxlake.metrics.segmentation import segmentation_estimates, segmentation_scores
from voxlake.store.arrays import read_array

__all__ = ["Segmented", "collect_segmented", "segmented_estimates"]

_NAMES = (
    "dice",
    "surface_dice",
    "hausdorff_distance_95",
    "average_surface_distance",
    "relative_volume_difference",
)
# On images without millimetres.
_FLAT_NAMES = ("dice", "iou", "volume_similarity", "relative_volume_difference")
# Distances are infinite where one of the masks is empty: their mean says nothing then, the median does.
_MEDIANS = ("hausdorff_distance_95",)

_ROWS = """
select distinct volume_id as subject, patient_id, "group", fold, part
from predictions where model_id = $model and cohort_id = $cohort and part in (select unnest($parts))
order by 1, 4
"""


@dataclass(frozen=True)
class Segmented(Predicted):
    """Figures of the masks of one part.

    Parameters
    ----------
    classes : tuple of str
        Without the background.
    names : tuple of str
        Of the figures.
    figures : numpy.ndarray
        float64 (N, classes, figures); NaN where a figure is not defined.
    left : tuple of (subject, reason)
        Masks that cannot be scored.
    """

    arrays: ClassVar[tuple[str, ...]] = ("figures",)

    classes: tuple[str, ...]
    names: tuple[str, ...]
    figures: NDArray[np.float64]
    left: tuple[tuple[str, str], ...]

    def digest(self) -> str:
        """SHA-256 over everything that the figures are made from."""
        shown = [[repr(value) for value in case] for case in self.figures.reshape(len(self.subjects), -1)]
        return digest_json([self.subjects, self.groups, self.classes, self.names, shown])

    def of(self, name: str) -> NDArray[np.float64]:
        """float64 (N, classes), one figure."""
        return np.asarray(self.figures[:, :, self.names.index(name)])


def collect_segmented(model: Speaker, cohort: Cohort | None) -> Segmented:
    """Compare the masks of a model with the true ones, each on the grid of the true one.

    Parameters
    ----------
    model : Speaker
        A segmentation model.
    cohort : Cohort or None
        A cohort that was predicted; None for the test parts of the model's own.

    Raises
    ------
    NotFoundError
        There are no masks of the model, or none with a known truth.
    """
    lake, own = model.lake, cohort is None
    who = get_cohort(lake, str(model.card["cohort"])) if cohort is None else cohort
    rows = lake.sql(
        _ROWS,
        {
            "model": model.model_id,
            "cohort": who.cohort_id,
            "parts": ["test"] if own else ["new", "seen"],
        },
    ).dicts()
    volumes = _by_key(
        lake.sql(
            "select * from volumes where volume_id in (select unnest($volumes))",
            {"volumes": [row["subject"] for row in rows]},
        ).dicts(),
        "volume_id",
    )
    masks = _by_key(
        lake.sql("select * from masks where mask_plan_digest = $model", {"model": model.model_id}).dicts(),
        "mask_id",
    )
    settings = SegmentationSettings.read(model.task["segmentation"], where="segmentation")
    compared = _Comparison(model, settings, _truths(model, who, list(volumes.values()), settings))
    kept, figures, left = [], [], []
    for row in rows:
        mask = masks.get(mask_id_of(row["subject"], model.model_id, row["fold"]))
        found = "seen_in_training" if row["part"] == "seen" else compared(volumes[row["subject"]], mask)
        if isinstance(found, str):
            left.append((row["subject"], found))
        else:
            kept.append(row)
            figures.append(found)
    if not kept:
        raise nothing_to_score(model)
    groups, unit = independent_unit(
        [row["patient_id"] for row in kept], [row["group"] for row in kept], model
    )
    return Segmented(
        model,
        who.cohort_id,
        "test" if own else "new",
        subjects=tuple(row["subject"] for row in kept),
        groups=groups,
        unit=unit,
        folds=np.array([row["fold"] for row in kept], dtype=np.int64),
        classes=model.classes[1:],
        names=_FLAT_NAMES if compared.flat else _NAMES,
        figures=np.array(figures, dtype=np.float64),
        left=tuple(left),
    )


def segmented_estimates(scored: Segmented) -> list[Estimate]:
    """Mean over cases of each figure with its interval over patients, of all classes and of each.

    The figure of all classes is the mean of theirs in each case. Of distances there is a median too.
    """
    found = _estimates(scored, np.array([_mean(case) for case in scored.figures]), "")
    if len(scored.classes) > 1:
        for place, name in enumerate(scored.classes):
            found += _estimates(scored, scored.figures[:, place], f"_{name}")
    return found


def _estimates(scored: Segmented, table: NDArray[np.float64], ending: str) -> list[Estimate]:
    cases = [dict(zip(scored.names, case.tolist(), strict=True)) for case in table]
    found = []
    for name, summary in segmentation_estimates(cases, groups=scored.groups).items():
        each = (summary.mean, summary.median) if name in _MEDIANS else (summary.mean,)
        found += [_renamed(one, one.name + ending) for one in each]
    return found


def _renamed(estimate: Estimate, name: str) -> Estimate:
    return Estimate(**{**vars(estimate), "name": name})


def _mean(case: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes, (classes, figures) to (figures,); NaN is left out."""
    known = ~np.isnan(case)
    counts = known.sum(axis=0)
    sums = np.where(known, case, 0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _truths(
    model: Speaker, cohort: Cohort, volumes: Sequence[Mapping[str, Any]], settings: SegmentationSettings
) -> Truths:
    try:
        return Truths(cohort, volumes, model.classes[1:], settings.masks)
    except NotFoundError:
        raise nothing_to_score(model) from None


class _Comparison:
    """Compares the mask of a volume with the true one; gives figures, or a reason."""

    def __init__(self, model: Speaker, settings: SegmentationSettings, truths: Truths) -> None:
        self.lake = model.lake
        self.classes = len(model.classes) - 1
        self.settings = settings
        self.truths = truths
        self.flat = model.unit == "images"

    def __call__(self, volume: Mapping[str, Any], mask: Mapping[str, Any] | None) -> list[list[float]] | str:
        if mask is None:
            return "missing_array"
        problem = self.truths.problem(volume)
        if problem is not None:
            return problem[0]
        truth = self.truths.of(volume)
        values = read_array(self.lake.objects, mask["array"], shards=mask["shards"])
        if mask["position"] is not None:
            values = values[mask["position"]][None]
        try:
            claimed, _ = sample_nearest(values, Grid.from_dict(json.loads(mask["grid"])), truth.grid)
        except ItemError as error:
            return error.reason
        return [self._scores(truth, claimed, value) for value in range(1, self.classes + 1)]

    def _scores(self, truth: Truth, claimed: NDArray[Any], value: int) -> list[float]:
        counts = truth.labels != IGNORE
        one, other = (truth.labels == value) & counts, (claimed == value) & counts
        if self.flat:
            parts = (dice, iou, volume_similarity, relative_volume_difference)
            return [measure(one, other) for measure in parts]
        spacing: tuple[float, ...] = truth.grid.spacing
        if one.shape[0] == 1:
            one, other, spacing = one[0], other[0], spacing[1:]
        scores = segmentation_scores(one, other, spacing, tolerance=self.settings.tolerance)
        return [scores[name] for name in _NAMES]


def _by_key(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, Mapping[str, Any]]:
    return {str(row[key]): row for row in rows}
