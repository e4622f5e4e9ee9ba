"""A report about a model: figures, curves, flow of data, examples, settings, lineage, model card."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from voxlake.core.errors import UsageError
from voxlake.evaluation.anomalies import Anomalies
from voxlake.evaluation.audit_section import describe_audit
from voxlake.evaluation.card_facts import card_facts
from voxlake.evaluation.class_report import class_fields
from voxlake.evaluation.cohort_section import describe_cohort, describe_flow
from voxlake.evaluation.comparison import compare_models
from voxlake.evaluation.comparison_section import describe_comparison
from voxlake.evaluation.content import Ingest, ReportData, Section
from voxlake.evaluation.judged import Judged, judge
from voxlake.evaluation.label_report import anomaly_fields, label_fields
from voxlake.evaluation.labelled import Labelled
from voxlake.evaluation.lineage_section import describe_lineage
from voxlake.evaluation.mined_section import describe_mined
from voxlake.evaluation.model_card import describe_card
from voxlake.evaluation.number_report import number_fields
from voxlake.evaluation.saliency import describe_saliency
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.segmented import Segmented
from voxlake.evaluation.segmented_report import segmented_fields
from voxlake.evaluation.speaker import Speaker
from voxlake.evaluation.subgroup_section import describe_subgroups
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lineage import trace

__all__ = ["describe_model"]

_PHANTOM = (
    "The images of this task are phantoms that voxlake made itself; they show that the way from file to "
    "figure works, and say nothing about patients."
)


def describe_model(
    model: Speaker,
    cohort: Cohort | None,
    intake: Ingest | None,
    *,
    against: Speaker | None = None,
    subgroups: Sequence[str] = (),
    saliency: str = "",
) -> ReportData:
    """Describe a model of any kind by its predictions on its test parts, or on a cohort that it predicted.

    Parameters
    ----------
    model : Speaker
        The model.
    cohort : Cohort or None
        A cohort that it predicted; None for its own.
    intake : Ingest or None
        What is shown of runs of ingest.
    against : Speaker, optional
        Another model to compare it with.
    subgroups : sequence of str
        Subgroups beside those that every report looks at.
    saliency : str
        Method by which to show what the answers of a network rest on; ``""`` for none.

    Raises
    ------
    LeakageError
        A patient, study, group or image stands in two parts: there is no report about such figures.
    NotFoundError
        There are no predictions with a known truth.
    UsageError
        The models cannot be compared, or there is no such subgroup.
    """
    judged = judge(model, cohort)
    other = None if against is None else compare_models(judged, judge(against, cohort))
    synthetic = _synthetic(model)
    fields = _fields(judged)
    divided = describe_subgroups(judged, subgroups)
    limitations = _limitations(judged, synthetic=synthetic)
    facts = card_facts(
        judged, summary=fields["summary"], limitations=limitations, subgroups=divided is not None
    )
    sections: list[Section | None] = [
        None if judged.audit is None else describe_audit(judged.audit),
        *fields.pop("sections"),
        _saliency(judged, saliency),
        None if other is None else describe_comparison(other),
        divided,
        *(describe_mined(model) if model.is_table else ()),
        describe_card(facts),
    ]
    return ReportData(
        title=model.name.replace("_", " ").replace("-", " ").capitalize(),
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        synthetic=_PHANTOM if synthetic else "",
        unit=model.unit,
        group="patients" if judged.scored is None else judged.scored.unit,
        estimates=judged.estimates,
        flow=describe_flow(judged),
        cohort=describe_cohort(judged),
        limitations=limitations,
        ingest=intake,
        sections=tuple(section for section in sections if section is not None),
        settings=model.settings,
        lineage=describe_lineage(judged, trace(model.lake, model.model_id)),
        made_by=f"voxlake {version('voxlake')}",
        **fields,
    )


def _fields(judged: Judged) -> dict[str, Any]:
    """What depends on the kind of prediction."""
    if isinstance(judged.scored, Scored):
        return class_fields(judged, judged.scored)
    if isinstance(judged.scored, Labelled):
        return label_fields(judged, judged.scored)
    if isinstance(judged.scored, Anomalies):
        return anomaly_fields(judged, judged.scored)
    if isinstance(judged.scored, Segmented):
        return segmented_fields(judged, judged.scored)
    if judged.scored is not None:
        return number_fields(judged, judged.scored)
    table = judged.model.card.get("table", {})
    return {
        "task": f"{judged.model.task_kind.capitalize()} of {judged.model.unit}.",
        "summary": f"{judged.model.task_kind.capitalize()} of {int(table.get('rows', 0)):,} "
        f"{judged.model.unit} "
        f"by {len(judged.model.card.get('variables', ())):,} variables.",
        "sections": (),
    }


def _saliency(judged: Judged, method: str) -> Section | None:
    if not method:
        return None
    if not isinstance(judged.scored, Scored):
        raise UsageError("saliency is of networks that tell classes apart; leave it out")
    return describe_saliency(judged.scored, method)


def _synthetic(model: Speaker) -> bool:
    (count,) = model.lake.sql(
        "select count(*) from series where manufacturer like 'voxlake%' and series_instance_uid in "
        "(select series_instance_uid from cohort_members where cohort_id = $cohort)",
        {"cohort": model.row["cohort_id"]},
    ).rows()[0]
    return bool(count)


def _limitations(judged: Judged, *, synthetic: bool) -> tuple[str, ...]:
    model, scored = judged.model, judged.scored
    notes = []
    if synthetic:
        notes.append("The images are synthetic. No figure on this page says anything about patients.")
    if judged.part == "test" and (model.row["folds"] or 0) > 1:
        notes.append(
            "The figures come from cross-validation inside one cohort. How the model does at another "
            "hospital, with other scanners and other patients, was not measured."
        )
    elif judged.part == "test":
        notes.append("One test part of the same cohort; no external cohort was measured.")
    elif judged.part == "fit":
        notes.append(
            "Nothing was held apart: the results describe these data, and promise nothing of others."
        )
    if scored is not None and scored.unit != "patients":
        notes.append(
            f"No patient is known of any sample. The intervals take {scored.unit} as independent; if one "
            "person "
            f"has several of these {scored.unit}, they are too narrow, and the same person may stand on both "
            "sides of the split."
        )
    unknown = model.lake.sql(
        "select count(*) from cohort_members where cohort_id = $cohort and patient_id is null",
        {"cohort": model.row["cohort_id"]},
    ).rows()[0][0]
    if unknown and (scored is None or scored.unit == "patients"):
        notes.append(
            f"{unknown:,} series name no patient; their study was kept together instead. If one person has "
            "several such studies, the intervals are too narrow."
        )
    if model.target:
        notes.append("Labels are taken as they came; disagreement between readers was not measured.")
    if scored is not None:
        notes.append(
            f"Intervals are 95%, over {scored.unit}; they do not cover choices of model or training."
        )
    return tuple(notes)
