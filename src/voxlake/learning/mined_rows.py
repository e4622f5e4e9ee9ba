"""Rows of the tables of predictions and embeddings from what was mined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.result import Mined, Predicted
from voxlake.learning.tables.table import FeatureTable

__all__ = ["embedding_rows", "mined_prediction_rows"]


def mined_prediction_rows(
    table: FeatureTable,
    task: MiningTask,
    predicted: Predicted,
    classes: Sequence[str],
    *,
    model_id: str,
    cohort_id: str,
    parts: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """One row for each subject, and for each class where there are classes.

    Parameters
    ----------
    table : FeatureTable
        The rows.
    task : MiningTask
        What was asked.
    predicted : Predicted
        What was said.
    classes : sequence of str
        In the order of the probabilities.
    model_id, cohort_id : str
        Who spoke about whom.
    parts : sequence of str, optional
        (n,), part of each prediction where it differs from row to row.
    """
    rows = []
    truths = _truths(table, task)
    for number, place in enumerate(predicted.rows.tolist()):
        subject = table.subjects[place]
        shared = {
            "model_id": model_id,
            "volume_id": subject if table.level == "volume" else None,
            "subject_level": table.level,
            "subject": subject,
            "patient_id": table.patients[place],
            "group": table.groups[place],
            "part": predicted.part if parts is None else parts[number],
            "fold": predicted.fold,
            "cohort_id": cohort_id,
            **truths[place],
        }
        rows += [{**shared, **one} for one in _said(predicted, number, classes)]
    return rows


def embedding_rows(
    table: FeatureTable, task: MiningTask, mined: Mined, *, model_id: str, cohort_id: str
) -> list[dict[str, Any]]:
    """One row for each subject that has a vector."""
    if mined.vectors is None:
        return []
    return [
        {
            "embedding_id": model_id,
            "name": task.name,
            "model_id": model_id,
            "subject_level": table.level,
            "subject": subject,
            "patient_id": patient,
            "cohort_id": cohort_id,
            "vector": vector.astype(np.float32).tolist(),
        }
        for subject, patient, vector in zip(table.subjects, table.patients, mined.vectors, strict=True)
    ]


def _said(predicted: Predicted, number: int, classes: Sequence[str]) -> list[dict[str, Any]]:
    if predicted.values is not None:
        return [{"value": float(predicted.values[number])}]
    if predicted.probabilities is not None:
        each = predicted.probabilities[number]
        return [{"class": name, "probability": float(one)} for name, one in zip(classes, each, strict=True)]
    if predicted.assigned is not None:
        return [{"class": predicted.assigned[number]}]
    return []


def _truths(table: FeatureTable, task: MiningTask) -> list[Mapping[str, Any]]:
    """Label of each row, where known; of survival the time, and whether the event was seen."""
    if task.kind == "survival":
        time, event = (str(task.options[name]) for name in ("time", "event"))
        if time not in table.asides or event not in table.asides:
            return [{}] * len(table)
        times, events = table.asides[time].values, table.asides[event].as_category().values
        return [
            {"truth_value": _number(one), "truth": None if seen is None else _seen(str(seen))}
            for one, seen in zip(times, events, strict=True)
        ]
    if table.target is None:
        return [{}] * len(table)
    if table.target.kind == "number":
        return [{"truth_value": _number(value)} for value in table.target.values]
    return [{"truth": value} for value in table.target.values]


def _number(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _seen(value: str) -> str:
    return "1" if value.strip().lower() in {"1", "true", "yes", "y"} else "0"
