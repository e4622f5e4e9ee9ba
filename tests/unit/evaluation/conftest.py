"""A lake of phantoms and models whose predictions are known, for tests of evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxlake.core.digest import digest_json
from voxlake.lake.lake import Lake
from voxlake.learning.model_files import model_path

Plant = Callable[..., str]


@pytest.fixture
def phantom_lake(lake_template: Callable[[int], Path], lake_copy: Callable[[Path], Lake]) -> Lake:
    """A lake with twenty-four patients."""
    return lake_copy(lake_template(24))


@pytest.fixture
def plant() -> Plant:
    """Write a mined model with given predictions into a lake, as `mine` does."""
    return _plant


def _plant(
    lake: Lake,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    level: str = "row",
    kind: str = "classification",
    classes: Sequence[str] = ("no", "yes"),
    target: str = "ill",
    cohort: str | None = None,
    results: Mapping[str, Any] | None = None,
    folds: Sequence[Mapping[str, Sequence[str]]] | None = None,
) -> str:
    """Write model, card, split and predictions; returns the identifier of the model."""
    model = digest_json([name, kind])[:24]
    cohort_id = "table-" + "0" * 26
    if cohort is not None:
        cohort_id = lake.sql("select cohort_id from cohorts where name = $n", {"n": cohort}).rows()[0][0]
    tested = [row for row in rows if row["part"] == "test"]
    numbers = sorted({row["fold"] for row in tested})
    if folds is None:
        inside = {number: {row["subject"] for row in tested if row["fold"] == number} for number in numbers}
        everyone = {row["subject"] for row in tested}
        folds = [
            {"train": sorted(everyone - inside[number]), "validation": [], "test": sorted(inside[number])}
            for number in numbers
        ]
    card = {
        "kind": "table",
        "task_kind": kind,
        "classes": list(classes),
        "positive": classes[-1] if classes else None,
        "target": target,
        "cohort": None if cohort is None else f"{cohort}@1",
        "cohort_id": cohort_id,
        "table": {
            "level": level,
            "rows": len({row["subject"] for row in rows}),
            "groups": len({row["group"] for row in rows}),
            "patients": None,
            "digest": "d" * 64,
            "left": {"no_label": 2},
            "sources": {},
        },
        "variables": [
            {"name": "size", "kind": "number", "source": "file", "missing": 1},
            *(
                {"name": f"seen.{n}", "kind": "number", "source": "embeddings", "missing": 2}
                for n in range(3)
            ),
        ],
        "artefacts": {"final.skops": "a" * 64},
        "results": dict(results or {}),
        "seed": 0,
        "code_version": "0",
        "libraries": {"scikit-learn": "1.9"},
    }
    task = f'name = "{name}"\nkind = "{kind}"\n\n[prepare]\nimpute = "median"\nscale = "standard"\n'
    for file, content in (
        ("card.json", json.dumps(card)),
        ("task.toml", task),
        ("split.json", json.dumps({"seed": 0, "folds": folds})),
    ):
        lake.objects.put(model_path(model, file), content.encode())
    lake.tables.append(
        "models",
        [
            {
                "model_id": model,
                "kind": "table",
                "task": name,
                "task_kind": kind,
                "task_digest": "t" * 64,
                "cohort_id": cohort_id,
                "target": target,
                "classes": list(classes),
                "folds": len(folds),
                "parameters": 3,
                "samples": len(tested),
                "seed": 0,
                "split_digest": digest_json(folds),
                "seconds": 1.0,
                "run_id": "run",
            }
        ],
    )
    if rows:
        lake.tables.append("predictions", [_row(model, cohort_id, level, row) for row in rows])
    return model


def _row(model: str, cohort: str, level: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model_id": model,
        "cohort_id": cohort,
        "subject_level": level,
        "patient_id": None,
        "run_id": "run",
        **row,
    }


@pytest.fixture
def binary_rows() -> Callable[..., list[dict[str, Any]]]:
    """Predictions of two classes in two folds, with validation parts, from a seed."""
    return _binary_rows


def _binary_rows(
    subjects: Sequence[str],
    groups: Sequence[str],
    *,
    seed: int = 0,
    skill: float = 1.5,
    patients: Sequence[str | None] | None = None,
) -> list[dict[str, Any]]:
    """Every subject is tested once and stands in the validation part of the other fold; group decides."""
    order = {group: place for place, group in enumerate(sorted(set(groups)))}
    truth = np.array([order[group] // 2 % 2 for group in groups])
    noise = np.random.default_rng(seed).normal(size=(2, len(subjects)))
    chances = 1 / (1 + np.exp(-(skill * (2 * truth - 1) + noise)))
    rows = []
    for place, (subject, group) in enumerate(zip(subjects, groups, strict=True)):
        own = order[group] % 2
        for number, (part, fold) in enumerate((("test", own), ("validation", 1 - own))):
            chance = float(chances[number, place])
            for name, probability in (("no", 1 - chance), ("yes", chance)):
                rows.append(
                    {
                        "subject": subject,
                        "group": group,
                        "patient_id": None if patients is None else patients[place],
                        "part": part,
                        "fold": fold,
                        "class": name,
                        "probability": probability,
                        "truth": "yes" if truth[place] else "no",
                    }
                )
    return rows
