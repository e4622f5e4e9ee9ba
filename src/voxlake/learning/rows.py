"""Rows of the tables of predictions and embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.learning.targets import Truth
from voxlake.learning.task import Task
from voxlake.learning.units import Unit

__all__ = ["Spoken", "network_embedding_rows", "prediction_rows"]


@dataclass(frozen=True, eq=False)
class Spoken:
    """What networks said of one unit.

    Parameters
    ----------
    unit : Unit
        Volume, or patient.
    group : str
        What it was kept together with.
    truth : Truth
        Its label, where known.
    part : str
        ``validation``, ``test``, ``new`` or ``seen``.
    answer : numpy.ndarray
        float64 (K,), probabilities in the order of the classes; or a number, ().
    spread : numpy.ndarray or None
        Of the same shape, how far several networks are apart.
    """

    unit: Unit
    group: str
    truth: Truth
    part: str
    answer: NDArray[np.float64]
    spread: NDArray[np.float64] | None = None


def prediction_rows(
    spoken: Iterable[Spoken], task: Task, classes: Sequence[str], *, model_id: str, cohort_id: str, fold: int
) -> list[dict[str, Any]]:
    """One row for each unit, and for each class or label where there are some."""
    rows = []
    for one in spoken:
        shared = {
            "model_id": model_id,
            "volume_id": one.unit.volume_id,
            "subject_level": one.unit.level,
            "subject": one.unit.subject,
            "patient_id": one.unit.patient_id,
            "group": one.group,
            "part": one.part,
            "fold": fold,
            "cohort_id": cohort_id,
        }
        rows += [{**shared, **said} for said in _said(one, task, classes)]
    return rows


def network_embedding_rows(
    units: Sequence[Unit],
    vectors: NDArray[np.float32],
    *,
    name: str,
    model_id: str,
    cohort_id: str,
    embedding_id: str | None = None,
) -> list[dict[str, Any]]:
    """One row for each unit; what the vectors are is the model, unless it depends on more than that."""
    return [
        {
            "embedding_id": embedding_id or model_id,
            "name": name,
            "model_id": model_id,
            "subject_level": unit.level,
            "subject": unit.subject,
            "patient_id": unit.patient_id,
            "cohort_id": cohort_id,
            "vector": vector.tolist(),
        }
        for unit, vector in zip(units, vectors, strict=True)
    ]


def _said(one: Spoken, task: Task, classes: Sequence[str]) -> list[dict[str, Any]]:
    spread = np.full(one.answer.shape, np.nan) if one.spread is None else one.spread
    if task.kind == "regression":
        return [{"value": float(one.answer), "truth_value": one.truth, "uncertainty": _known(spread)}]
    if task.kind == "reconstruction":
        return [{"value": float(one.answer), "truth": one.truth, "uncertainty": _known(spread)}]
    truths = one.truth if isinstance(one.truth, tuple) else (one.truth,) * len(classes)
    if task.kind == "multilabel":
        known = truths if isinstance(one.truth, tuple) else (None,) * len(classes)
        truths = tuple(None if there is None else str(int(bool(there))) for there in known)
    return [
        {"class": name, "probability": float(said), "truth": truth, "uncertainty": _known(apart)}
        for name, said, truth, apart in zip(classes, one.answer, truths, spread, strict=True)
    ]


def _known(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
