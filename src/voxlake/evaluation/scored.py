"""Predictions of classes with known truth: what figures and reports are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json
from voxlake.evaluation.predicted import Predicted, independent_unit, nothing_to_score
from voxlake.evaluation.speaker import Speaker
from voxlake.lake.cohorts import Cohort
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.summary import binary_estimates, multiclass_estimates
from voxlake.metrics.threshold import youden_threshold

__all__ = ["Scored", "collect", "estimates"]

_ROWS = """
select coalesce(subject, volume_id) as subject, any_value(patient_id) as patient_id,
       "group", fold, truth, part,
       list("class" order by "class") as classes, list(probability order by "class") as probabilities
from predictions where model_id = $model and cohort_id = $cohort and part in (select unnest($parts))
group by coalesce(subject, volume_id), "group", fold, truth, part order by subject, fold
"""


@dataclass(frozen=True)
class Scored(Predicted):
    """Predicted classes of one part.

    Parameters
    ----------
    truth : numpy.ndarray
        int (N,), index into the classes.
    probabilities : numpy.ndarray
        float64 (N, classes).
    thresholds : numpy.ndarray or None
        float64 (N,), operating point of each sample, chosen on validation data of its fold; None with
        more than two classes.
    left : tuple of (subject, reason)
        Predictions that cannot be scored.
    validation : mapping of fold to Scored
        Predictions that thresholds and recalibration of a fold may be fitted on.
    """

    arrays: ClassVar[tuple[str, ...]] = ("truth", "probabilities", "thresholds")

    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    thresholds: NDArray[np.float64] | None
    left: tuple[tuple[str, str], ...]
    validation: Mapping[int, Scored]

    @property
    def positive(self) -> int:
        """Index of the positive class."""
        return self.model.classes.index(str(self.model.positive))

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """Bool (N,), whether the truth is the positive class."""
        return np.asarray(self.truth == self.positive)

    @property
    def score(self) -> NDArray[np.float64]:
        """float64 (N,), probability of the positive class."""
        return np.asarray(self.probabilities[:, self.positive])

    @property
    def called(self) -> NDArray[np.int64]:
        """Int (N,), the class that the model decides for: at the threshold, or the most probable one."""
        if self.thresholds is None:
            return np.asarray(self.probabilities.argmax(axis=1))
        return np.where(self.score >= self.thresholds, self.positive, 1 - self.positive)

    def digest(self) -> str:
        """SHA-256 over everything that the figures are made from."""
        thresholds = None if self.thresholds is None else self.thresholds.tolist()
        return digest_json(
            [self.subjects, self.groups, self.truth.tolist(), self.probabilities.tolist(), thresholds]
        )


def collect(model: Speaker, cohort: Cohort | None) -> Scored:
    """Collect the predictions of a model that may be scored.

    Parameters
    ----------
    model : Speaker
        A model that tells classes apart.
    cohort : Cohort or None
        A cohort that was predicted; None for the test parts of the model's own cohort.

    Raises
    ------
    NotFoundError
        There are no predictions, or none with a known truth.
    """
    own = str(model.row["cohort_id"])
    checked = [row for row in _rows(model, own, ["validation"]) if _problem(row, model.classes) is None]
    validation = {
        fold: _scored(model, own, "validation", [row for row in checked if row["fold"] == fold], {})
        for fold in sorted({row["fold"] for row in checked})
    }
    if cohort is None:
        cohort_id, part = own, "test"
        rows = _rows(model, cohort_id, ["test"])
    else:
        cohort_id, part = cohort.cohort_id, "new"
        rows = [row for row in _rows(model, cohort_id, ["new", "seen"]) if row["fold"] == -1]
    kept, left = [], []
    for row in rows:
        reason = _problem(row, model.classes)
        if reason is None:
            kept.append(row)
        else:
            left.append((row["subject"], reason))
    if not kept:
        raise nothing_to_score(model)
    found = _scored(model, cohort_id, part, kept, validation)
    thresholds = _thresholds(model, validation)
    if thresholds is None:
        return replace(found, left=tuple(left))
    return replace(
        found, left=tuple(left), thresholds=np.array([thresholds[fold] for fold in found.folds.tolist()])
    )


def estimates(scored: Scored) -> list[Estimate]:
    """Figures with intervals over patients, those that the task names first."""
    if scored.thresholds is None:
        found = multiclass_estimates(scored.truth, scored.probabilities, groups=scored.groups)
    else:
        found = binary_estimates(
            scored.is_positive, scored.score, groups=scored.groups, threshold=scored.thresholds
        )
    wanted = {name: place for place, name in enumerate(scored.model.metrics)}
    return sorted(found, key=lambda each: wanted.get(each.name, len(wanted)))


def _scored(
    model: Speaker,
    cohort_id: str,
    part: str,
    rows: Sequence[Mapping[str, Any]],
    validation: Mapping[int, Scored],
) -> Scored:
    groups, unit = independent_unit(
        [row["patient_id"] for row in rows], [row["group"] for row in rows], model
    )
    order = [model.classes.index(name) for name in sorted(model.classes)]
    probabilities = np.empty((len(rows), len(model.classes)))
    probabilities[:, order] = [row["probabilities"] for row in rows]
    return Scored(
        model,
        cohort_id,
        part,
        subjects=tuple(row["subject"] for row in rows),
        groups=groups,
        unit=unit,
        folds=np.array([row["fold"] for row in rows], dtype=np.int64),
        truth=np.array([model.classes.index(row["truth"]) for row in rows], dtype=np.int64),
        probabilities=probabilities,
        thresholds=None,
        left=(),
        validation=validation,
    )


def _rows(model: Speaker, cohort_id: str, parts: Sequence[str]) -> list[dict[str, Any]]:
    return model.lake.sql(_ROWS, {"model": model.model_id, "cohort": cohort_id, "parts": list(parts)}).dicts()


def _problem(row: Mapping[str, Any], classes: Sequence[str]) -> str | None:
    if row["part"] == "seen":
        return "seen_in_training"
    if row["truth"] is None:
        return "no_label"
    return None if row["truth"] in classes else "other_class"


def _thresholds(model: Speaker, validation: Mapping[int, Scored]) -> dict[int, float] | None:
    """Operating point of each fold: as its task chose it, or by Youden's index on its validation part.

    The mean of the folds stands for what was averaged over them; a final model has its own.
    """
    if not model.is_binary:
        return None
    found = {fold: youden_threshold(part.is_positive, part.score) for fold, part in validation.items()}
    results = model.card.get("results", {}) if model.is_table else {}
    for one in results.get("folds", ()):
        if one.get("threshold") is not None:
            found[int(one["fold"])] = float(one["threshold"])
    final = results.get("final", {}).get("threshold")
    if final is not None:
        found[-1] = float(final)
    inside = [cut for fold, cut in found.items() if fold >= 0]
    found.setdefault(-1, float(np.mean(inside)) if inside else 0.5)
    # A fold without validation data has no point of its own.
    folds = {*found, *range(int(model.row["folds"] or 0))}
    return {fold: found.get(fold, found[-1]) for fold in folds}
