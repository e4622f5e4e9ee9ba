"""Which models had to do with a patient, and which reports show the patient."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from voxlake.core.errors import NotFoundError
from voxlake.lake.erase_mined import embedded_by, is_made_of, mined_orphans, mined_parts
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
        ``new`` or ``seen`` where it only spoke about the patient. Of a mined model also ``fit``, where its
        rows are not split, and ``named``, where nothing but one of its files names the patient.
    deleted : bool
        Whether it goes whole: a mined model, unless it only spoke about the patient.
    """

    model_id: str
    task: str
    parts: tuple[str, ...]
    deleted: bool = False


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
    mined: set[str] = set()
    for rows in raw_rows(lake.tables, "models", ["model_id", "kind", "task", "cohort_id"]):
        for row in rows.to_pylist():
            tasks[row["model_id"]] = row["task"]
            if row.get("kind") == "table":
                mined.add(row["model_id"])
            stated = _parts_of(lake, row["model_id"], names)
            if stated is None and row["cohort_id"] in cohorts:
                stated = {"cohort"}
            if stated:
                parts[row["model_id"]] |= stated
    for model in mined_orphans(lake, set(tasks)):
        mined.add(model)
        parts[model] |= _parts_of(lake, model, names) or set()
    embedded = embedded_by(lake, names)
    for model in mined:
        known = parts[model] or embedded.get(model, set())
        parts[model] |= known | mined_parts(lake, model, names, known)
    return [
        ModelUse(
            model,
            names.redacted(tasks.get(model, "")),
            tuple(sorted(found)),
            deleted=model in mined and is_made_of(found),
        )
        for model, found in sorted(parts.items())
        if found
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
    asked = [str(arguments.get(name)) for name in ("subject", "against")]
    of_model = any(one.model_id.startswith(name) or one.task == name for one in models for name in asked)
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
    """Parts of a stored split that hold the patient, or what is of the patient; None where none is stored."""
    try:
        split = json.loads(lake.objects.get(f"models/{model_id}/split.json"))
    except NotFoundError:
        return None
    # Of a table, the patients themselves may be what was split.
    mine = names.tokens | {names.patient}
    return {part for part, subjects in _listed(split) if not mine.isdisjoint(subjects)}


def _listed(split: Any) -> Iterator[tuple[str, list[str]]]:
    for fold in split.get("folds", ()):
        yield from fold.items()
