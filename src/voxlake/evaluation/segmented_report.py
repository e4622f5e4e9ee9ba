"""What a report says of a model that makes masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from voxlake.evaluation.content import Section, Table
from voxlake.evaluation.judged import Judged
from voxlake.evaluation.segmented import Segmented
from voxlake.evaluation.wording import metric_words, show_cell

__all__ = ["segmented_fields"]

_WORST = 10
_WORDS = (
    "Masks are compared on the grid of the true ones. Distances are in millimetres; they are infinite where "
    "one of the two masks is empty."
)


def segmented_fields(judged: Judged, scored: Segmented) -> dict[str, Any]:
    """Fields of `ReportData` that depend on masks."""
    model, folds = judged.model, sorted(set(scored.folds.tolist()))
    of_whom = "" if scored.unit == model.unit else f" of {len(set(scored.groups)):,} {scored.unit}"
    shown = [f"{metric_words(each.name).title.lower()} {show_cell(each)}" for each in judged.estimates[:2]]
    return {
        "task": f"Segment {', '.join(scored.classes)} in each {model.level}.",
        "summary": f"On {len(scored.subjects):,} {model.unit}{of_whom} that the model had not seen: "
        f"{', '.join(shown)}.",
        "folds": _folds(scored, folds) if len(folds) > 1 else None,
        "sections": (_section(scored),),
    }


def _section(scored: Segmented) -> Section:
    names = tuple(metric_words(name).title for name in scored.names)
    each = tuple(
        (name, *(_cell(np.nanmedian(column)) if (~np.isnan(column)).any() else None for column in table.T))
        for name, table in zip(scored.classes, np.moveaxis(scored.figures, 1, 0), strict=True)
    )
    dice = np.array([_known_mean(case) for case in scored.of("dice")])
    order = np.argsort(np.where(np.isnan(dice), np.inf, dice), kind="stable")[:_WORST]
    worst = tuple(
        (scored.subjects[place][:16], *(_cell(value) for value in scored.of("dice")[place]))
        for place in order
    )
    return Section(
        "masks",
        "Masks",
        (_WORDS,),
        tables=(
            Table("Median over the cases", ("Class", *names), each),
            Table("The lowest Dice coefficients", ("Case", *scored.classes), worst),
        ),
    )


def _folds(scored: Segmented, folds: Sequence[int]) -> Table:
    rows = []
    for fold in folds:
        part = scored.take(np.asarray(scored.folds == fold))
        means = [_cell(_known_mean(column)) for column in part.of("dice").T]
        rows.append((f"{fold + 1}", len(part.subjects), len(set(part.groups)), *means))
    return Table(
        f"Each fold by itself: its network has seen none of these {scored.unit}",
        ("Fold", "Samples", scored.unit.capitalize(), *(f"Dice, {name}" for name in scored.classes)),
        tuple(rows),
    )


def _known_mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _cell(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
