"""What a report says of a model that tells classes apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxlake.evaluation.calibration_section import describe_calibration
from voxlake.evaluation.content import OperatingPoint, Table
from voxlake.evaluation.decision_section import describe_decision
from voxlake.evaluation.examples_section import describe_examples
from voxlake.evaluation.judged import Judged
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.speaker import Speaker
from voxlake.evaluation.training_section import training_curves
from voxlake.metrics import classification as metrics
from voxlake.metrics.curves import precision_recall_curve, roc_curve
from voxlake.metrics.estimate import Estimate

__all__ = ["class_fields"]

Curve = TypeVar("Curve")


def class_fields(judged: Judged, scored: Scored) -> dict[str, Any]:
    """Fields of `ReportData` that depend on classes."""
    model, binary = judged.model, judged.model.is_binary
    mistakes, correct = describe_examples(scored)
    confusion = metrics.confusion_matrix(scored.truth, scored.called, np.arange(len(model.classes)))
    several = judged.cohort is None and len(set(scored.folds)) > 1
    return {
        "task": _task_sentence(model),
        "summary": _summary(scored, {each.name: each for each in judged.estimates}),
        "operating_point": None if scored.thresholds is None else _operating_point(scored, scored.thresholds),
        "classes": model.classes,
        "confusion": confusion.astype(np.int64),
        "roc": _curves(scored, roc_curve) if binary else {},
        "precision_recall": _curves(scored, precision_recall_curve) if binary else {},
        "prevalence": float(scored.is_positive.mean()) if binary else None,
        "folds": _folds(scored) if binary and several else None,
        "training": training_curves(model),
        "mistakes": mistakes,
        "correct": correct,
        "sections": (describe_calibration(scored), describe_decision(scored)),
    }


def _task_sentence(model: Speaker) -> str:
    row, told = model.row, f"Tell {' from '.join(model.classes)} (label “{model.target}”)"
    if model.is_table:
        variables = len(model.card.get("variables", ()))
        by = f"{variables:,} variable{'s' if variables != 1 else ''}"
        return f"{told} by {by} of each {model.level}, in {row['folds']} outer folds."
    return (
        f"{told} with {row['folds']} network{'s' if row['folds'] > 1 else ''} of {row['parameters']:,} "
        f"parameters, on cohort {model.card['cohort']}."
    )


def _summary(scored: Scored, found: Mapping[str, Estimate]) -> str:
    groups, model = len(set(scored.groups)), scored.model
    of_whom = "" if scored.unit == model.unit else f" of {groups:,} {scored.unit}"
    seen = f"On {len(scored.subjects):,} {model.unit}{of_whom} that the model had not seen, "
    if not model.is_binary:
        return seen + f"it named the right class in {_percent(found['accuracy'])}."
    return (
        seen
        + f"it ranked a case of “{model.positive}” above another in {_percent(found['roc_auc'])} of pairs, "
        + f"found {_percent(found['recall'])} of the cases of “{model.positive}”, and was right in "
        + f"{_percent(found['accuracy'])} of all."
    )


def _percent(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "an undefined share"
    if not estimate.has_interval:
        return f"{estimate.value:.1%}"
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _curves(scored: Scored, curve: Callable[..., Curve]) -> dict[str, Curve]:
    """One curve over all, and one for each fold."""
    found = {"all": curve(scored.is_positive, scored.score)}
    folds = sorted(set(scored.folds.tolist()))
    if len(folds) > 1:
        for fold in folds:
            inside = scored.folds == fold
            found[f"fold {fold + 1}"] = curve(scored.is_positive[inside], scored.score[inside])
    return found


def _operating_point(scored: Scored, thresholds: NDArray[np.float64]) -> OperatingPoint:
    called = scored.called == scored.positive
    cuts = sorted(set(thresholds.tolist()))
    return OperatingPoint(
        threshold=float(np.mean(cuts)),
        recall=float(metrics.recall(scored.is_positive, called)),
        false_positive_rate=1 - float(metrics.specificity(scored.is_positive, called)),
        precision=float(metrics.precision(scored.is_positive, called)),
        chosen="chosen on validation data"
        if len(cuts) == 1
        else f"mean of {len(cuts)} folds, each chosen on its own validation data",
    )


def _folds(scored: Scored) -> Table:
    rows = []
    for fold in sorted(set(scored.folds.tolist())):
        part = scored.take(scored.folds == fold)
        truth, called = part.is_positive, part.called == part.positive
        rows.append(
            (
                f"{fold + 1}",
                len(part.subjects),
                len(set(part.groups)),
                float(metrics.roc_auc(truth, part.score)),
                float(metrics.recall(truth, called)),
                float(metrics.specificity(truth, called)),
                float("nan") if part.thresholds is None else float(part.thresholds[0]),
            )
        )
    return Table(
        f"Each fold by itself: its model has seen none of these {scored.unit}",
        ("Fold", "Samples", scored.unit.capitalize(), "ROC AUC", "Recall", "Specificity", "Threshold"),
        tuple(rows),
    )
