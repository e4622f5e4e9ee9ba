"""A model as evaluation sees it, whichever verb made it: a trained network or a mined table."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voxlake.evaluation.content import TextBlock
from voxlake.lake.lake import Lake
from voxlake.learning.model_files import find_model, model_path
from voxlake.learning.task import Task

__all__ = ["Speaker", "get_speaker"]

_TABLE_METRICS = ("roc_auc", "accuracy", "recall", "specificity", "precision", "f1")


@dataclass(frozen=True)
class Speaker:
    """Who made the predictions.

    Parameters
    ----------
    lake : Lake
        Where it lies.
    row : mapping
        Its row in `models`.
    name, target : str
        Of its task, and of what it learned; the target is ``""`` where it has none.
    task_kind : str
        ``"classification"``, ``"regression"``, ``"survival"``, ``"clustering"``, ...
    classes : tuple of str
        In the order of the outputs; empty where it has none.
    positive : str or None
        The class whose probability is scored where there are two.
    level : str
        What is scored: ``"volume"``, ``"instance"``, ``"series"``, ``"study"``, ``"patient"`` or ``"row"``.
    unit : str
        The same for people, in the plural.
    metrics : tuple of str
        What is named first.
    card : mapping
        What training knew.
    task : mapping
        The task as it was run.
    settings : tuple of TextBlock
        Task and plan as text.
    """

    lake: Lake = field(repr=False)
    row: Mapping[str, Any] = field(repr=False)
    name: str
    target: str
    task_kind: str
    classes: tuple[str, ...]
    positive: str | None
    level: str
    unit: str
    metrics: tuple[str, ...]
    card: Mapping[str, Any] = field(repr=False)
    task: Mapping[str, Any] = field(repr=False)
    settings: tuple[TextBlock, ...] = field(repr=False)

    @property
    def model_id(self) -> str:
        """Identifier."""
        return str(self.row["model_id"])

    @property
    def is_table(self) -> bool:
        """Whether `mine` made it, and not `train`."""
        return bool(self.row["kind"] == "table")

    @property
    def is_binary(self) -> bool:
        """Whether it tells two classes apart."""
        return len(self.classes) == 2 and self.task_kind != "multilabel"

    def split(self) -> dict[str, Any]:
        """Seed and the subjects in each part of each fold."""
        found: dict[str, Any] = json.loads(self.lake.objects.get(model_path(self.model_id, "split.json")))
        return found


def get_speaker(lake: Lake, name: str) -> Speaker:
    """Find a model of either kind by its identifier, the first characters of it, or the name of its task.

    Raises
    ------
    NotFoundError
        There is no such model; a near miss is named.
    UsageError
        Several identifiers begin so, or the model is a pre-trained network, which makes masks only.
    """
    rows = lake.sql("select * from models order by committed_at desc").dicts()
    row = find_model(rows, name, make="train` or `voxlake mine")
    return _mined(lake, row) if row["kind"] == "table" else _trained(lake, row)


def _trained(lake: Lake, row: Mapping[str, Any]) -> Speaker:
    # Loads torch, which is not there where only tables are mined.
    from voxlake.learning.model import get_model

    model = get_model(lake, row["model_id"])
    return Speaker(
        lake,
        model.row,
        name=model.task.name,
        target=model.task.target_name,
        task_kind=model.task.kind,
        classes=model.classes,
        positive=model.positive,
        level=model.task.level,
        unit=_unit(model.task),
        metrics=model.task.metrics,
        card=model.card,
        task=model.task.model_dump(mode="json"),
        settings=(
            TextBlock("Task, network and training", model.task.to_toml()),
            TextBlock("Plan: how every volume was prepared", model.plan.to_toml()),
        ),
    )


def _unit(task: Task) -> str:
    """What is scored, for people."""
    if task.level == "patient":
        return "patients"
    slices = task.takes == "sequence" and task.sequence.of == "slices"
    return "images" if task.dimensions == 2 and not slices else "volumes"


def _mined(lake: Lake, row: Mapping[str, Any]) -> Speaker:
    model = str(row["model_id"])
    card = json.loads(lake.objects.get(model_path(model, "card.json")))
    text = lake.objects.get(model_path(model, "task.toml")).decode()
    task = tomllib.loads(text)
    classes = tuple(card.get("classes") or ())
    level = str(card["table"]["level"])
    return Speaker(
        lake,
        row,
        name=str(row["task"]),
        target=str(card.get("target") or ""),
        task_kind=str(card["task_kind"]),
        classes=classes,
        positive=card.get("positive") or (classes[-1] if classes else None),
        level=level,
        unit=_UNITS[level],
        metrics=tuple(task.get("metrics", _TABLE_METRICS)),
        card=card,
        task=task,
        settings=(TextBlock("Task: table, folds, search and decisions", text),),
    )


_UNITS: Mapping[str, str] = {
    "volume": "volumes",
    "instance": "images",
    "series": "series",
    "study": "studies",
    "patient": "patients",
    "row": "rows",
}
