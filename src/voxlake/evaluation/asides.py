"""Columns that a mined table carried along: by them subgroups are made of what the lake does not know."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from voxlake.evaluation.speaker import Speaker
from voxlake.learning.mined import get_mined

__all__ = ["aside_values"]

_FILE = "asides.json"
# Of a number with more different values than this, parts of equally many subjects are made.
_MOST = 12
_PARTS = 3


def aside_values(model: Speaker) -> dict[str, dict[str, str | None]]:
    """Value of each subject in each column that the task names in `asides`, as text; empty without any.

    A number with more than 12 different values is told by the third of the subjects in which it lies.

    Parameters
    ----------
    model : Speaker
        A model of any kind; of a network there are none.

    Returns
    -------
    dict
        For each column the value by subject; None where it is missing.

    Raises
    ------
    IntegrityError
        The stored values are not what was stored.
    """
    if not model.is_table or _FILE not in model.card["artefacts"]:
        return {}
    mined = get_mined(model.lake, model.model_id)
    subjects = json.loads(mined.get("table.json"))["subjects"]
    return {
        name: dict(zip(subjects, _told(column["kind"], column["values"]), strict=True))
        for name, column in json.loads(mined.get(_FILE)).items()
    }


def _told(kind: str, values: Sequence[str | float | None]) -> list[str | None]:
    if kind == "category":
        return [None if value is None else str(value) for value in values]
    numbers = [None if value is None else float(value) for value in values]
    known = [number for number in numbers if number is not None]
    if len(set(known)) <= _MOST:
        return [None if number is None else f"{number:.6g}" for number in numbers]
    edges = [-math.inf, *np.quantile(known, np.arange(1, _PARTS) / _PARTS).tolist(), math.inf]
    names = [_between(low, high) for low, high in pairwise(edges)]
    return [
        None if number is None else names[sum(edge <= number for edge in edges[1:-1])] for number in numbers
    ]


def _between(low: float, high: float) -> str:
    if math.isinf(low):
        return f"below {high:.4g}"
    return f"{low:.4g} and above" if math.isinf(high) else f"{low:.4g} to below {high:.4g}"
