"""The verb evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from voxlake.core.digest import digest_json
from voxlake.core.run import Run
from voxlake.evaluation.comparison import Paired, compare_models
from voxlake.evaluation.judged import Judged, judge
from voxlake.evaluation.plain import interval
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.speaker import get_speaker
from voxlake.evaluation.subgroups import Division, Part, divide, divisions
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.metrics.comparison import Comparison
from voxlake.metrics.estimate import Estimate

__all__ = ["evaluate"]


def evaluate(
    lake: Lake,
    model: str,
    *,
    cohort: str | Cohort | None = None,
    against: str | None = None,
    subgroups: Sequence[str] = (),
) -> Run:
    """Score a model with intervals, on patients that it has not seen.

    Without a cohort, the test parts of its own cohort are scored, each subject by the network or pipeline
    that has not seen its patient. Operating points come from validation parts only. Intervals are 95% and
    over patients; where no patient is known they are over studies or single images, and the result says so.
    Before anything is scored, the parts are compared: a patient, study or image on two sides stops the run.

    Parameters
    ----------
    lake : Lake
        The lake.
    model : str
        Identifier of the model, or the name of its task.
    cohort : str or Cohort, optional
        A cohort that was predicted; patients that the model was trained on are not scored.
    against : str, optional
        Another model: differences on the subjects that both have scored, with intervals.
    subgroups : sequence of str
        Score each value of these by itself too: columns of ``series``, ``age`` for bands of age, labels, or
        columns that a mined table carried along (`asides` of its task).

    Returns
    -------
    Run
        ``result["scores"]`` has value, low and high of each metric; ``result["comparison"]`` the differences;
        ``result["subgroups"]`` the figures of each subgroup.

    Raises
    ------
    NotFoundError
        The model is not there, or has no prediction with a known truth.
    LeakageError
        A patient, study, group or image stands in two parts.
    UsageError
        The two models cannot be compared, or there is no such subgroup.

    Examples
    --------
    >>> evaluate(lake, "pneumonia").result["scores"]["roc_auc"]  # doctest: +SKIP
    >>> evaluate(lake, "pneumonia", against="older").result["comparison"]["roc_auc"]  # doctest: +SKIP
    """
    speaker = get_speaker(lake, model)
    other = None if against is None else get_speaker(lake, against)
    who = get_cohort(lake, cohort) if isinstance(cohort, str) else cohort
    arguments = {
        "model": speaker.model_id,
        "cohort_id": None if who is None else who.cohort_id,
        "against": None if other is None else other.model_id,
        "subgroups": list(subgroups),
    }
    with start_run(lake, "evaluate", arguments) as recorder:
        found = judge(speaker, who)
        digest = found.digest()
        recorder.input_digest = digest
        _account(recorder, found)
        paired = None if other is None else compare_models(found, judge(other, who))
        divided = divisions(found, subgroups) if subgroups else ()
        parts = [divide(found, division) for division in divided]
        _add_scores(recorder, found, digest, paired, divided, parts)
        recorder.result |= {
            "model": speaker.model_id,
            "part": found.part,
            "samples": 0 if found.scored is None else len(found.scored.subjects),
            "patients": 0 if found.scored is None else len(set(found.scored.groups)),
            "unit": "patients" if found.scored is None else found.scored.unit,
            "scores": {each.name: interval(each) for each in found.estimates},
        }
        if paired is not None:
            recorder.result["comparison"] = paired.to_dict()
        if divided:
            recorder.result["subgroups"] = {
                division.name: {
                    one.value: {each.name: interval(each) for each in one.estimates} for one in part
                }
                for division, part in zip(divided, parts, strict=True)
            }
    return recorder.run


def _account(recorder: Recorder, found: Judged) -> None:
    if found.scored is None:
        return
    recorder.saw(len(found.scored.subjects) + len(found.scored.left))
    for subject in found.scored.subjects:
        recorder.outcome(subject, "stored")
    for subject, reason in found.scored.left:
        outcome = "ignored" if reason == "seen_in_training" else "failed"
        recorder.outcome(subject, outcome, reason=reason)


def _add_scores(
    recorder: Recorder,
    found: Judged,
    digest: str,
    paired: Paired | None,
    divided: Sequence[Division],
    parts: Sequence[Sequence[Part]],
) -> None:
    """Add what the table of scores does not have yet of these predictions."""
    rows = [_row(found, each, digest) for each in found.estimates]
    for division, part in zip(divided, parts, strict=True):
        for one in part:
            name = f"{division.name} = {one.value}"
            rows += [_row(found, each, digest) | {"subgroup": name} for each in one.estimates]
    if paired is not None:
        both = digest_json(paired.inputs)
        for difference in paired.differences:
            row = _row(found, _as_estimate(paired, difference), both)
            rows.append(row | {"against": paired.second.model_id, "threshold": None})
    known = set(
        recorder.lake.sql(
            "select metric, subgroup, against, inputs_digest from scores where model_id = $model",
            {"model": found.model.model_id},
        ).rows()
    )
    new = [
        row
        for row in rows
        if (row["metric"], row.get("subgroup"), row.get("against"), row["inputs_digest"]) not in known
    ]
    recorder.add("scores", new)


def _as_estimate(paired: Paired, difference: Comparison) -> Estimate:
    return Estimate(
        f"{difference.name}_difference",
        difference.difference,
        difference.low,
        difference.high,
        difference.level,
        difference.method,
        paired.samples,
        paired.groups,
    )


def _row(found: Judged, estimate: Estimate, digest: str) -> dict[str, Any]:
    scored = found.scored
    cuts = None if not isinstance(scored, Scored) or scored.thresholds is None else scored.thresholds
    one = None if cuts is None else set(cuts.tolist())
    return {
        "model_id": found.model.model_id,
        "cohort_id": found.cohort_id,
        "part": found.part,
        "metric": estimate.name,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "level": estimate.level,
        "method": estimate.method,
        "samples": estimate.samples,
        "groups": estimate.groups,
        "threshold": one.pop() if one is not None and len(one) == 1 else None,
        "inputs_digest": digest,
    }
