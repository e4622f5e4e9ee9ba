"""Which models had to do with a patient, and which reports show the patient."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from voxlake.core.errors import NotFoundError
from voxlake.lake.erase_names import Names, equals_any
from voxlake.lake.erase_rows import Removal
from voxlake.lake.lake import Lake
from voxlake.store.rewrite import raw_rows

__all__ = ["ModelUse", "find_models", "find_reports"]

_REPORTS = "reports"


@dataclass(frozen=True)
class ModelUse:
    """What a model had to do with a patient.

    Parameters
    ----------
    model_id, task : str
        The model.
    parts : tuple of str
        ``train``, ``validation`` and ``test`` of its own cohort; ``cohort`` where its split is not stored;
        ``new`` or ``seen`` where it only spoke about the patient.
    """

    model_id: str
    task: str
    parts: tuple[str, ...]


def find_models(lake: Lake, names: Names) -> list[ModelUse]:
    """Models that were trained, chosen or tested on a patient or spoke about the patient, sorted."""
    parts: defaultdict[str, set[str]] = defaultdict(set)
    removal = Removal("predictions", names)
    for rows in raw_rows(lake.tables, "predictions"):
        spoken = rows.filter(pa.array(removal.mask(rows)))
        for model, part in zip(spoken["model_id"].to_pylist(), spoken["part"].to_pylist(), strict=True):
            parts[model].add(names.redacted(str(part)))
    cohorts = _cohorts(lake, names)
    tasks: dict[str, str] = {}
    for rows in raw_rows(lake.tables, "models", ["model_id", "task", "cohort_id"]):
        for row in rows.to_pylist():
            tasks[row["model_id"]] = row["task"]
            stated = _parts_of(lake, row["model_id"], names)
            if stated is None and row["cohort_id"] in cohorts:
                stated = {"cohort"}
            if stated:
                parts[row["model_id"]] |= stated
    return [
        ModelUse(model, names.redacted(tasks.get(model, "")), tuple(sorted(parts[model])))
        for model in sorted(parts)
    ]


def find_reports(lake: Lake, names: Names, models: Sequence[ModelUse]) -> list[str]:
    """Files of reports that are about such a model, show a cohort of the patient, or name the patient."""
    cohorts = _cohorts(lake, names)
    called: set[str] = set()
    for rows in raw_rows(lake.tables, "cohorts", ["cohort_id", "name"]):
        called.update(row["name"] for row in rows.to_pylist() if row["cohort_id"] in cohorts)
    arguments = _arguments(lake)
    by_run: defaultdict[str, list[str]] = defaultdict(list)
    for path in lake.objects.list(_REPORTS):
        by_run[path.split("/")[1]].append(path)
    found = []
    for run, paths in by_run.items():
        if _shows(arguments.get(run), models, called) or any(_names_patient(lake, p, names) for p in paths):
            found += paths
    return sorted(found)


def _shows(arguments: dict[str, Any] | None, models: Sequence[ModelUse], cohorts: set[str]) -> bool:
    if arguments is None:
        # A report whose run was never recorded: nobody can say what it shows.
        return True
    subject = str(arguments.get("subject"))
    of_model = any(one.model_id.startswith(subject) or one.task == subject for one in models)
    shown = {str(arguments.get(name)).partition("@")[0] for name in ("cohort", "gallery")}
    return of_model or not shown.isdisjoint(cohorts)


def _arguments(lake: Lake) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for rows in raw_rows(lake.tables, "runs", ["run_id", "verb", "arguments"]):
        for row in rows.to_pylist():
            if row["verb"] == "report":
                found[row["run_id"]] = json.loads(row["arguments"])
    return found


def _names_patient(lake: Lake, path: str, names: Names) -> bool:
    return names.mentions(lake.objects.get(path).decode("utf-8", "replace"))


def _cohorts(lake: Lake, names: Names) -> set[str]:
    found: set[str] = set()
    for rows in raw_rows(lake.tables, "cohort_members", ["cohort_id", "patient_id", "series_instance_uid"]):
        mine = equals_any(rows["patient_id"], [names.patient])
        mine |= equals_any(rows["series_instance_uid"], names.token_values)
        found.update(rows.filter(pa.array(mine))["cohort_id"].to_pylist())
    return found


def _parts_of(lake: Lake, model_id: str, names: Names) -> set[str] | None:
    """Parts of a stored split that hold a volume of the patient; None where no split is stored."""
    try:
        split = json.loads(lake.objects.get(f"models/{model_id}/split.json"))
    except NotFoundError:
        return None
    return {part for part, volumes in _listed(split) if not names.tokens.isdisjoint(volumes)}


def _listed(split: Any) -> Iterator[tuple[str, list[str]]]:
    for fold in split.get("folds", ()):
        yield from fold.items()
