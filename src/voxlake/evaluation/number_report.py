"""What a report says of a model that predicts a number or a risk."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxlake.evaluation.content import Table
from voxlake.evaluation.judged import Judged
from voxlake.evaluation.number_sections import describe_agreement, describe_risk
from voxlake.evaluation.numbers import Numbers
from voxlake.evaluation.training_section import training_curves
from voxlake.evaluation.wording import metric_words, show_cell
from voxlake.metrics.regression import mean_absolute_error, r_squared
from voxlake.metrics.survival import concordance_index

__all__ = ["number_fields"]


def number_fields(judged: Judged, numbers: Numbers) -> dict[str, Any]:
    """Fields of `ReportData` that depend on numbers."""
    model, folds = judged.model, sorted(set(numbers.folds.tolist()))
    what = f"“{model.target}”" if model.target else "the time until the event"
    of_whom = "" if numbers.unit == model.unit else f" of {len(set(numbers.groups)):,} {numbers.unit}"
    shown = [f"{metric_words(each.name).title.lower()} {show_cell(each)}" for each in judged.estimates[:2]]
    section = describe_agreement(numbers) if numbers.event is None else describe_risk(numbers, numbers.event)
    return {
        "task": f"Predict {what} of each {model.level} {_means(judged)}.",
        "summary": f"On {len(numbers.subjects):,} {model.unit}{of_whom} that the model had not seen: "
        f"{', '.join(shown) or 'no figures'}.",
        "folds": _folds(numbers, folds) if len(folds) > 1 else None,
        "training": training_curves(model),
        "sections": (section,),
    }


def _means(judged: Judged) -> str:
    model = judged.model
    if model.is_table:
        return f"by {len(model.card.get('variables', ())):,} variables"
    folds = int(model.row["folds"])
    return f"with {folds} network{'s' if folds > 1 else ''} of {model.row['parameters']:,} parameters"


def _folds(numbers: Numbers, folds: list[int]) -> Table:
    rows = []
    for fold in folds:
        part = numbers.take(np.asarray(numbers.folds == fold))
        counts = (f"{fold + 1}", len(part.subjects), len(set(part.groups)))
        if part.event is None:
            figures = (
                float(mean_absolute_error(part.truth, part.value)),
                float(r_squared(part.truth, part.value)),
            )
        else:
            index = float(concordance_index(part.truth, part.event, part.value))
            figures = (index, float(part.event.sum()))
        rows.append((*counts, *figures))
    names = ("Mean absolute error", "R squared") if numbers.event is None else ("C-index", "Events")
    return Table(
        f"Each fold by itself: its model has seen none of these {numbers.unit}",
        ("Fold", "Samples", numbers.unit.capitalize(), *names),
        tuple(rows),
    )
