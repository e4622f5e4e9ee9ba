"""A report about a model: figures, curves, flow of data, examples, settings, lineage."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from voxlake.evaluation.cohort_section import describe_cohort, describe_flow
from voxlake.evaluation.content import (
    Ingest,
    OperatingPoint,
    ReportData,
    Table,
    TextBlock,
    TrainingCurve,
)
from voxlake.evaluation.examples_section import describe_examples
from voxlake.evaluation.lineage_section import describe_lineage
from voxlake.evaluation.scored import Scored, collect, estimates
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lineage import trace
from voxlake.learning.model import Model
from voxlake.metrics import classification as metrics
from voxlake.metrics.curves import calibration_curve, precision_recall_curve, roc_curve
from voxlake.metrics.estimate import Estimate

__all__ = ["describe_model"]

Curve = TypeVar("Curve")

_PHANTOM = (
    "The images of this task are phantoms that voxlake made itself; they show that the way from file to "
    "figure works, and say nothing about patients."
)


def describe_model(model: Model, cohort: Cohort | None, intake: Ingest | None) -> ReportData:
    """Describe a model by its predictions on its own test parts, or on a cohort that it predicted."""
    scored = collect(model, cohort)
    found = estimates(scored)
    lineage = trace(model.lake, model.model_id)
    synthetic = _synthetic(model)
    binary = len(model.classes) == 2
    mistakes, correct = describe_examples(scored)
    return ReportData(
        title=model.task.name.replace("_", " ").replace("-", " ").capitalize(),
        task=_task_sentence(model),
        summary=_summary(scored, {each.name: each for each in found}),
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        synthetic=_PHANTOM if synthetic else "",
        unit="images" if model.task.network["dimensions"] == 2 else "volumes",
        estimates=tuple(found),
        operating_point=None if scored.thresholds is None else _operating_point(scored, scored.thresholds),
        classes=model.classes,
        confusion=metrics.confusion_matrix(scored.truth, scored.called, np.arange(len(model.classes))).astype(
            np.int64
        ),
        roc=_curves(scored, roc_curve) if binary else {},
        precision_recall=_curves(scored, precision_recall_curve) if binary else {},
        calibration={"all": calibration_curve(scored.is_positive, scored.score)} if binary else {},
        prevalence=float(scored.is_positive.mean()) if binary else None,
        folds=_folds(scored) if binary and cohort is None and len(set(scored.folds)) > 1 else None,
        training=_training(model),
        flow=describe_flow(model, scored),
        cohort=describe_cohort(model, scored),
        mistakes=mistakes,
        correct=correct,
        limitations=_limitations(model, scored, synthetic=synthetic),
        ingest=intake,
        settings=(
            TextBlock("Task, network and training", model.task.to_toml()),
            TextBlock("Plan: how every volume was prepared", model.plan.to_toml()),
        ),
        lineage=describe_lineage(model, lineage),
        made_by=f"voxlake {version('voxlake')}",
    )


def _task_sentence(model: Model) -> str:
    row, task = model.row, model.task
    return (
        f"Tell {' from '.join(model.classes)} (label “{task.target}”) with {row['folds']} "
        f"network{'s' if row['folds'] > 1 else ''} of {row['parameters']:,} parameters, on cohort "
        f"{model.card['cohort']}."
    )


def _summary(scored: Scored, found: Mapping[str, Estimate]) -> str:
    patients, unit = (
        len(set(scored.groups)),
        "images" if scored.model.task.network["dimensions"] == 2 else "volumes",
    )
    seen = f"On {len(scored.volumes):,} {unit} of {patients:,} patients that the network had not seen, "
    area = found["roc_auc"]
    if len(scored.model.classes) != 2:
        return seen + f"it named the right class in {_percent(found['accuracy'])}."
    positive = scored.model.positive
    return (
        seen
        + f"it ranked a case of “{positive}” above another one in {_percent(area)} of pairs, found "
        + f"{_percent(found['recall'])} of the cases of “{positive}”, and was right in "
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
        inside = scored.folds == fold
        truth, called = scored.is_positive[inside], (scored.called == scored.positive)[inside]
        thresholds = scored.thresholds[inside] if scored.thresholds is not None else np.array([np.nan])
        rows.append(
            (
                f"{fold + 1}",
                int(inside.sum()),
                len({group for group, here in zip(scored.groups, inside, strict=True) if here}),
                float(metrics.roc_auc(truth, scored.score[inside])),
                float(metrics.recall(truth, called)),
                float(metrics.specificity(truth, called)),
                float(thresholds[0]),
            )
        )
    return Table(
        "Each fold by itself: its network has seen none of these patients",
        ("Fold", "Samples", "Patients", "ROC AUC", "Recall", "Specificity", "Threshold"),
        tuple(rows),
    )


def _training(model: Model) -> tuple[TrainingCurve, ...]:
    return tuple(
        TrainingCurve(
            f"fold {number}",
            tuple(epoch["train_loss"] for epoch in course["epochs"]),
            tuple(epoch["validation_loss"] for epoch in course["epochs"]),
            course["best_epoch"],
        )
        for number, course in enumerate(model.card["history"], 1)
    )


def _synthetic(model: Model) -> bool:
    (count,) = model.lake.sql(
        "select count(*) from series semi join cohort_members using (series_instance_uid) "
        "where series.manufacturer like 'voxlake%' and series_instance_uid in "
        "(select series_instance_uid from cohort_members where cohort_id = $cohort)",
        {"cohort": model.row["cohort_id"]},
    ).rows()[0]
    return bool(count)


def _limitations(model: Model, scored: Scored, *, synthetic: bool) -> tuple[str, ...]:
    notes = []
    if synthetic:
        notes.append("The images are synthetic. No figure on this page says anything about patients.")
    if scored.part == "test" and model.row["folds"] > 1:
        notes.append(
            "The figures come from cross-validation inside one cohort. How the model does at another "
            "hospital, with other scanners and other patients, was not measured."
        )
    elif scored.part == "test":
        notes.append("One test part of the same cohort; no external cohort was measured.")
    unknown = model.lake.sql(
        "select count(*) from cohort_members where cohort_id = $cohort and patient_id is null",
        {"cohort": model.row["cohort_id"]},
    ).rows()[0][0]
    if unknown:
        notes.append(
            f"{unknown:,} series name no patient; their study was kept together instead. If one person has "
            "several such studies, the intervals are too narrow."
        )
    notes.append("Labels are taken as they came; disagreement between readers was not measured.")
    notes.append(
        "Intervals are 95%, by resampling patients; they do not cover choices of network or training."
    )
    return tuple(notes)
