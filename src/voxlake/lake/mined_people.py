"""Who the rows of mined models are: `table.json` says it, also where no table of the lake does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from voxlake.core.errors import NotFoundError
from voxlake.lake.lake import Lake

__all__ = ["is_in_mined", "named_in_rows"]

_FOLDER = "models"
_FILE = "table.json"
_PATIENTS = "subject_patients"
_OF_ROWS = ("subjects", "subject_groups", _PATIENTS, "contents")


def named_in_rows(lake: Lake, model_id: str) -> set[str]:
    """Subjects, groups, patients and contents of the rows of a mined model; empty where it has none."""
    described = _described(lake, f"{_FOLDER}/{model_id}/{_FILE}")
    return {text for name in _OF_ROWS for text in _texts(described.get(name))}


def is_in_mined(lake: Lake, patient: str) -> bool:
    """Whether a patient is among those that some mined model was made of.

    Of a table from outside, associations and drift leave nothing else of a patient in the lake. Folders of
    models that no row names, as a killed `mine` leaves them, count as well.
    """
    return any(
        patient in _texts(_described(lake, path).get(_PATIENTS))
        for path in lake.objects.list(_FOLDER)
        if path.endswith(f"/{_FILE}")
    )


def _described(lake: Lake, path: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(lake.objects.get(path))
    except NotFoundError:
        return {}
    return found


def _texts(values: Any) -> Iterator[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, list):
        for value in values:
            yield from _texts(value)
