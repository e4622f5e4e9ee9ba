"""Predicted numbers and risks with known truth: what the figures of regression and survival are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json
from voxlake.evaluation.predicted import Predicted, independent_unit, nothing_to_score
from voxlake.evaluation.speaker import Speaker
from voxlake.lake.cohorts import Cohort
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.regression import regression_estimates
from voxlake.metrics.survival import concordance_estimate, uno_estimate

__all__ = ["Numbers", "collect_numbers", "number_estimates"]

_ROWS = """
select coalesce(subject, volume_id) as subject, patient_id, "group", fold, part, value, truth, truth_value
from predictions where model_id = $model and cohort_id = $cohort and part in (select unnest($parts))
order by 1, 4
"""
_SEEN = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class Numbers(Predicted):
    """Predicted numbers, or risks, of one part.

    Parameters
    ----------
    value : numpy.ndarray
        float64 (N,), predicted number, or risk: higher means earlier.
    truth : numpy.ndarray
        float64 (N,), true number, or time until the event or the last look.
    event : numpy.ndarray or None
        bool (N,), whether the event was seen; None for a regression.
    left : tuple of (subject, reason)
        Predictions that cannot be scored.
    """

    arrays: ClassVar[tuple[str, ...]] = ("value", "truth", "event")

    value: NDArray[np.float64]
    truth: NDArray[np.float64]
    event: NDArray[np.bool_] | None
    left: tuple[tuple[str, str], ...]

    def digest(self) -> str:
        """SHA-256 over everything that the figures are made from."""
        event = None if self.event is None else self.event.tolist()
        return digest_json([self.subjects, self.groups, self.truth.tolist(), self.value.tolist(), event])


def collect_numbers(model: Speaker, cohort: Cohort | None) -> Numbers:
    """Collect the predictions of a regression or survival model that may be scored.

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
    rows = model.lake.sql(_ROWS, {"model": model.model_id, "cohort": cohort_id, "parts": parts}).dicts()
    if cohort is not None:
        rows = [row for row in rows if row["fold"] == -1]
    survival = model.task_kind == "survival"
    kept, left = [], []
    for row in rows:
        reason = _problem(row, survival=survival)
        if reason is None:
            kept.append(row)
        else:
            left.append((row["subject"], reason))
    if not kept:
        raise nothing_to_score(model)
    groups, unit = independent_unit(
        [row["patient_id"] for row in kept], [row["group"] for row in kept], model
    )
    return Numbers(
        model,
        cohort_id,
        "test" if cohort is None else "new",
        subjects=tuple(row["subject"] for row in kept),
        groups=groups,
        unit=unit,
        folds=np.array([row["fold"] for row in kept], dtype=np.int64),
        value=np.array([row["value"] for row in kept], dtype=np.float64),
        truth=np.array([row["truth_value"] for row in kept], dtype=np.float64),
        event=np.array([_SEEN[row["truth"].lower()] for row in kept]) if survival else None,
        left=tuple(left),
    )


def number_estimates(numbers: Numbers) -> list[Estimate]:
    """Figures with intervals over patients."""
    if numbers.event is None:
        return list(regression_estimates(numbers.truth, numbers.value, groups=numbers.groups).values())
    arguments = (numbers.truth, numbers.event, numbers.value)
    return [
        concordance_estimate(*arguments, groups=numbers.groups),
        uno_estimate(*arguments, groups=numbers.groups),
    ]


def _problem(row: Mapping[str, Any], *, survival: bool) -> str | None:
    if row["part"] == "seen":
        return "seen_in_training"
    known = all(row[name] is not None and math.isfinite(row[name]) for name in ("value", "truth_value"))
    if not known or (survival and str(row["truth"]).lower() not in _SEEN):
        return "no_label"
    return None
