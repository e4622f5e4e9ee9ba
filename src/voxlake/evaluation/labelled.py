"""Predictions of several labels with known truth: what the figures of multi-label models are made from."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json
from voxlake.evaluation.predicted import Predicted, independent_unit, nothing_to_score
from voxlake.evaluation.speaker import Speaker
from voxlake.lake.cohorts import Cohort
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.multilabel import multilabel_estimates

__all__ = ["Labelled", "collect_labelled", "labelled_estimates"]

_ROWS = """
select coalesce(subject, volume_id) as subject, patient_id, "group", fold, part, "class", probability, truth
from predictions where model_id = $model and cohort_id = $cohort and part in (select unnest($parts))
order by 1, 4
"""
# Of each label, what tells most; the other figures are in the report of one label at a time.
_OF_EACH = ("roc_auc", "average_precision")


@dataclass(frozen=True)
class Labelled(Predicted):
    """Predicted labels of one part.

    Parameters
    ----------
    truth : numpy.ndarray
        float64 (N, labels): 1, 0, or NaN where it is not known.
    probabilities : numpy.ndarray
        float64 (N, labels).
    left : tuple of (subject, reason)
        Predictions that cannot be scored.
    """

    arrays: ClassVar[tuple[str, ...]] = ("truth", "probabilities")

    truth: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    left: tuple[tuple[str, str], ...]

    def digest(self) -> str:
        """SHA-256 over everything that the figures are made from."""
        truth = [[repr(one) for one in row] for row in self.truth.tolist()]
        return digest_json([self.subjects, self.groups, truth, self.probabilities.tolist()])


def collect_labelled(model: Speaker, cohort: Cohort | None) -> Labelled:
    """Collect the predictions of a multi-label model that may be scored.

    Parameters
    ----------
    model : Speaker
        The model.
    cohort : Cohort or None
        A cohort that was predicted; None for the test parts of the model's own.

    Raises
    ------
    NotFoundError
        There are no predictions, or none with a known truth.
    """
    own = str(model.row["cohort_id"])
    cohort_id = own if cohort is None else cohort.cohort_id
    parts = ["test"] if cohort is None else ["new", "seen"]
    found = model.lake.sql(_ROWS, {"model": model.model_id, "cohort": cohort_id, "parts": parts}).dicts()
    subjects: defaultdict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in found:
        if cohort is None or row["fold"] == -1:
            subjects[row["subject"], row["fold"]].append(row)
    kept, left = [], []
    for (subject, _), rows in subjects.items():
        reason = _problem(rows)
        if reason is None:
            kept.append(rows)
        else:
            left.append((subject, reason))
    if not kept:
        raise nothing_to_score(model)
    first = [rows[0] for rows in kept]
    groups, unit = independent_unit(
        [row["patient_id"] for row in first], [row["group"] for row in first], model
    )
    tables = [{row["class"]: row for row in rows} for rows in kept]
    return Labelled(
        model,
        cohort_id,
        "test" if cohort is None else "new",
        subjects=tuple(row["subject"] for row in first),
        groups=groups,
        unit=unit,
        folds=np.array([row["fold"] for row in first], dtype=np.int64),
        truth=np.array([[_number(table[name]["truth"]) for name in model.classes] for table in tables]),
        probabilities=np.array([[table[name]["probability"] for name in model.classes] for table in tables]),
        left=tuple(left),
    )


def labelled_estimates(labelled: Labelled) -> list[Estimate]:
    """Figures over all labels with intervals over patients, and ROC AUC and average precision of each."""
    found = multilabel_estimates(
        labelled.truth, labelled.probabilities, names=labelled.model.classes, groups=labelled.groups
    )
    each = [
        replace(one, name=f"{one.name}_{label}")
        for label, estimates in found.labels.items()
        for one in estimates
        if one.name in _OF_EACH
    ]
    return [*found.overall, *each]


def _problem(rows: list[Mapping[str, Any]]) -> str | None:
    if any(row["part"] == "seen" for row in rows):
        return "seen_in_training"
    return None if any(row["truth"] is not None for row in rows) else "no_label"


def _number(truth: str | None) -> float:
    return math.nan if truth is None else float(truth == "1")
