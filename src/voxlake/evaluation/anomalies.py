"""Anomaly scores with known truth: how well the error of a reconstruction finds what it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json
from voxlake.core.errors import UsageError
from voxlake.evaluation.predicted import Predicted, independent_unit, nothing_to_score
from voxlake.evaluation.speaker import Speaker
from voxlake.lake.cohorts import Cohort
from voxlake.metrics.bootstrap import bootstrap
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.scores import average_precision, roc_auc

__all__ = ["Anomalies", "anomaly_estimates", "collect_anomalies"]

_ROWS = """
select coalesce(subject, volume_id) as subject, patient_id, "group", fold, part, value, truth
from predictions where model_id = $model and cohort_id = $cohort and part in (select unnest($parts))
order by 1, 4
"""


@dataclass(frozen=True)
class Anomalies(Predicted):
    """Anomaly scores of one part.

    Parameters
    ----------
    score : numpy.ndarray
        float64 (N,), error of the reconstruction.
    truth : numpy.ndarray
        bool (N,), whether it is what the score should find.
    left : tuple of (subject, reason)
        Predictions that cannot be scored.
    """

    arrays: ClassVar[tuple[str, ...]] = ("score", "truth")

    score: NDArray[np.float64]
    truth: NDArray[np.bool_]
    left: tuple[tuple[str, str], ...]

    def digest(self) -> str:
        """SHA-256 over everything that the figures are made from."""
        return digest_json([self.subjects, self.groups, self.truth.tolist(), self.score.tolist()])


def collect_anomalies(model: Speaker, cohort: Cohort | None) -> Anomalies:
    """Collect the anomaly scores of a model that may be scored.

    Parameters
    ----------
    model : Speaker
        A model that reconstructs, whose task names a label.
    cohort : Cohort or None
        A cohort that was predicted; None for the test parts of the model's own.

    Raises
    ------
    NotFoundError
        There are no predictions, or none with a known truth.
    UsageError
        The task names no label, or no value of it to be found.
    """
    if model.positive is None:
        raise UsageError(
            f"the task of model '{model.name}' names no label to compare its anomaly score with; give it a "
            "'target' and the value to be found as 'positive', and train again"
        )
    own = str(model.row["cohort_id"])
    cohort_id = own if cohort is None else cohort.cohort_id
    parts = ["test"] if cohort is None else ["new", "seen"]
    rows = model.lake.sql(_ROWS, {"model": model.model_id, "cohort": cohort_id, "parts": parts}).dicts()
    kept, left = [], []
    for row in rows:
        if cohort is not None and row["fold"] != -1:
            continue
        if row["part"] == "seen" or row["truth"] is None:
            left.append((row["subject"], "seen_in_training" if row["part"] == "seen" else "no_label"))
        else:
            kept.append(row)
    if not kept:
        raise nothing_to_score(model)
    groups, unit = independent_unit(
        [row["patient_id"] for row in kept], [row["group"] for row in kept], model
    )
    return Anomalies(
        model,
        cohort_id,
        "test" if cohort is None else "new",
        subjects=tuple(row["subject"] for row in kept),
        groups=groups,
        unit=unit,
        folds=np.array([row["fold"] for row in kept], dtype=np.int64),
        score=np.array([row["value"] for row in kept], dtype=np.float64),
        truth=np.array([row["truth"] == model.positive for row in kept], dtype=np.bool_),
        left=tuple(left),
    )


def anomaly_estimates(anomalies: Anomalies) -> list[Estimate]:
    """ROC AUC and average precision of the score with intervals over patients."""
    truth, score = anomalies.truth, anomalies.score
    found = bootstrap(
        {
            "roc_auc": lambda weights: roc_auc(truth, score, weights=weights),
            "average_precision": lambda weights: average_precision(truth, score, weights=weights),
        },
        labels=truth,
        groups=anomalies.groups,
    )
    return list(found.values())
