"""Rows of the table of predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Spoken", "prediction_rows"]


@dataclass(frozen=True)
class Spoken:
    """What a network said of one volume.

    Parameters
    ----------
    volume : mapping
        Its row of `volumes`.
    group : str
        What it was kept together with.
    truth : str or None
        Its label, where known.
    part : str
        ``validation``, ``test``, ``new`` or ``seen``.
    probabilities : sequence of float
        In the order of the classes.
    """

    volume: Mapping[str, Any]
    group: str
    truth: str | None
    part: str
    probabilities: Sequence[float]


def prediction_rows(
    spoken: Iterable[Spoken], classes: Sequence[str], *, model_id: str, cohort_id: str, fold: int
) -> list[dict[str, Any]]:
    """One row for each volume and class."""
    return [
        {
            "model_id": model_id,
            "volume_id": one.volume["volume_id"],
            "subject_level": "volume",
            "subject": one.volume["volume_id"],
            "patient_id": one.volume["patient_id"],
            "group": one.group,
            "part": one.part,
            "fold": fold,
            "class": name,
            "probability": float(probability),
            "truth": one.truth,
            "cohort_id": cohort_id,
        }
        for one in spoken
        for name, probability in zip(classes, one.probabilities, strict=True)
    ]
