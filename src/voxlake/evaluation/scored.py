"""Predictions with known truth: what figures and reports are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json
from voxlake.core.errors import NotFoundError
from voxlake.lake.cohorts import Cohort
from voxlake.learning.model import Model
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.summary import binary_estimates, multiclass_estimates
from voxlake.metrics.threshold import youden_threshold

__all__ = ["Scored", "collect", "estimates"]

_ROWS = """
select volume_id, "group", fold, truth, part, list("class" order by "class") as classes,
       list(probability order by "class") as probabilities
from predictions where model_id = $model and cohort_id = $cohort and part in (select unnest($parts))
group by all order by volume_id, fold
"""


@dataclass(frozen=True)
class Scored:
    """Predictions of one part, in the order of the volumes.

    Parameters
    ----------
    model : Model
        Who spoke.
    cohort_id, part : str
        About whom: ``test`` (each volume by the network that has not seen its patient) or ``new``.
    volumes, groups : tuple of str
        Volume and patient of each sample.
    folds : numpy.ndarray
        int (N,), which network spoke; -1 for the mean of all.
    truth : numpy.ndarray
        int (N,), index into the classes.
    probabilities : numpy.ndarray
        float64 (N, classes).
    thresholds : numpy.ndarray or None
        float64 (N,), operating point of each sample, chosen on validation data of its network; None with
        more than two classes.
    left : tuple of (volume, reason)
        Predictions that cannot be scored.
    """

    model: Model
    cohort_id: str
    part: str
    volumes: tuple[str, ...]
    groups: tuple[str, ...]
    folds: NDArray[np.int64]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    thresholds: NDArray[np.float64] | None
    left: tuple[tuple[str, str], ...]

    @property
    def positive(self) -> int:
        """Index of the positive class."""
        return self.model.classes.index(self.model.positive)

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
            [self.volumes, self.groups, self.truth.tolist(), self.probabilities.tolist(), thresholds]
        )


def collect(model: Model, cohort: Cohort | None) -> Scored:
    """Collect the predictions of a model that may be scored.

    Parameters
    ----------
    model : Model
        The model.
    cohort : Cohort or None
        A cohort that was predicted; None for the test parts of the model's own cohort.

    Raises
    ------
    NotFoundError
        There are no predictions, or none with a known truth.
    """
    validation = _rows(model, model.row["cohort_id"], ["validation"])
    thresholds = _thresholds(model, validation)
    if cohort is None:
        cohort_id, part = str(model.row["cohort_id"]), "test"
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
            left.append((row["volume_id"], reason))
    if not kept:
        raise NotFoundError(
            f"model '{model.task.name}' has no prediction with a known truth here; predict a labelled "
            "cohort of patients that it has not seen with `voxlake predict`"
        )
    order = [model.classes.index(name) for name in sorted(model.classes)]
    probabilities = np.empty((len(kept), len(model.classes)))
    probabilities[:, order] = [row["probabilities"] for row in kept]
    return Scored(
        model,
        cohort_id,
        part,
        volumes=tuple(row["volume_id"] for row in kept),
        groups=tuple(row["group"] for row in kept),
        folds=np.array([row["fold"] for row in kept], dtype=np.int64),
        truth=np.array([model.classes.index(row["truth"]) for row in kept], dtype=np.int64),
        probabilities=probabilities,
        thresholds=None if thresholds is None else np.array([thresholds[row["fold"]] for row in kept]),
        left=tuple(left),
    )


def estimates(scored: Scored) -> list[Estimate]:
    """Figures with intervals over patients, those that the task names first."""
    if scored.thresholds is None:
        found = multiclass_estimates(scored.truth, scored.probabilities, groups=scored.groups)
    else:
        found = binary_estimates(
            scored.is_positive, scored.score, groups=scored.groups, threshold=scored.thresholds
        )
    wanted = {name: place for place, name in enumerate(scored.model.task.metrics)}
    return sorted(found, key=lambda each: wanted.get(each.name, len(wanted)))


def _rows(model: Model, cohort_id: str, parts: Sequence[str]) -> list[dict[str, Any]]:
    return model.lake.sql(_ROWS, {"model": model.model_id, "cohort": cohort_id, "parts": list(parts)}).dicts()


def _problem(row: Mapping[str, Any], classes: Sequence[str]) -> str | None:
    if row["part"] == "seen":
        return "seen_in_training"
    if row["truth"] is None:
        return "no_label"
    return None if row["truth"] in classes else "other_class"


def _thresholds(model: Model, validation: Sequence[Mapping[str, Any]]) -> dict[int, float] | None:
    """Operating point of each network by Youden's index on its validation part; their mean for all."""
    if len(model.classes) != 2:
        return None
    place = sorted(model.classes).index(model.positive)
    found = {}
    for fold in Counter(row["fold"] for row in validation):
        inside = [row for row in validation if row["fold"] == fold]
        truth = [row["truth"] == model.positive for row in inside]
        found[fold] = youden_threshold(truth, [row["probabilities"][place] for row in inside])
    found[-1] = float(np.mean(list(found.values())))
    return found
