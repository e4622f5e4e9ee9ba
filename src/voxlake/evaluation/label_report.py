"""What a report says of models of several labels, and of anomaly scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from voxlake.evaluation.anomalies import Anomalies
from voxlake.evaluation.content import Section, Table
from voxlake.evaluation.judged import Judged
from voxlake.evaluation.labelled import Labelled
from voxlake.evaluation.training_section import training_curves
from voxlake.evaluation.wording import metric_words, show_cell
from voxlake.metrics.curves import precision_recall_curve, roc_curve
from voxlake.metrics.multilabel import multilabel_roc_auc
from voxlake.metrics.scores import roc_auc

__all__ = ["anomaly_fields", "label_fields"]

Kind = TypeVar("Kind", Labelled, Anomalies)


def label_fields(judged: Judged, labelled: Labelled) -> dict[str, Any]:
    """Fields of `ReportData` that depend on several labels."""
    model, folds = judged.model, sorted(set(labelled.folds.tolist()))
    known = ~np.isnan(labelled.truth)
    estimates = {each.name: each for each in judged.estimates}
    rows = tuple(
        (
            name,
            int(known[:, place].sum()),
            int((labelled.truth[:, place] == 1).sum()),
            estimates.get(f"roc_auc_{name}"),
            estimates.get(f"average_precision_{name}"),
        )
        for place, name in enumerate(model.classes)
    )
    return {
        "task": f"Say of each {model.level} which of the labels {', '.join(model.classes)} it has.",
        "summary": _summary(judged, labelled),
        "folds": _folds(
            labelled, folds, lambda part: float(multilabel_roc_auc(part.truth, part.probabilities))
        )
        if len(folds) > 1
        else None,
        "training": training_curves(model),
        "sections": (
            Section(
                "labels",
                "Labels",
                ("Of each label, only samples count of which it is known whether they have it.",),
                tables=(
                    Table(
                        "Each label by itself",
                        ("Label", "Known", "Present", "ROC AUC", "Average precision"),
                        rows,
                    ),
                ),
            ),
        ),
    }


def anomaly_fields(judged: Judged, anomalies: Anomalies) -> dict[str, Any]:
    """Fields of `ReportData` that depend on an anomaly score."""
    model, folds = judged.model, sorted(set(anomalies.folds.tolist()))
    learned = model.task.get("learn_from") or ()
    whom = f"those labelled {' or '.join(learned)}" if learned else "all of them"
    return {
        "task": f"Give back each {model.level}, learned from {whom}; the error is an anomaly score that "
        f"should find “{model.positive}” (label “{model.target}”).",
        "summary": _summary(judged, anomalies),
        "roc": {"all": roc_curve(anomalies.truth, anomalies.score)},
        "precision_recall": {"all": precision_recall_curve(anomalies.truth, anomalies.score)},
        "prevalence": float(anomalies.truth.mean()),
        "folds": _folds(anomalies, folds, lambda part: float(roc_auc(part.truth, part.score)))
        if len(folds) > 1
        else None,
        "training": training_curves(model),
        "sections": (),
    }


def _summary(judged: Judged, scored: Labelled | Anomalies) -> str:
    unit = scored.model.unit
    of_whom = "" if scored.unit == unit else f" of {len(set(scored.groups)):,} {scored.unit}"
    shown = [f"{metric_words(each.name).title.lower()} {show_cell(each)}" for each in judged.estimates[:2]]
    return f"On {len(scored.subjects):,} {unit}{of_whom} that the model had not seen: {', '.join(shown)}."


def _folds(scored: Kind, folds: Sequence[int], figure: Callable[[Kind], float]) -> Table:
    rows = []
    for fold in folds:
        part = scored.take(np.asarray(scored.folds == fold))
        rows.append((f"{fold + 1}", len(part.subjects), len(set(part.groups)), figure(part)))
    return Table(
        f"Each fold by itself: its network has seen none of these {scored.unit}",
        ("Fold", "Samples", scored.unit.capitalize(), "ROC AUC"),
        tuple(rows),
    )
