"""The verb evaluate."""

from __future__ import annotations

import math
from typing import Any

from voxlake.core.run import Run
from voxlake.evaluation.scored import Scored, collect, estimates
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import start_run
from voxlake.learning.model import get_model
from voxlake.metrics.estimate import Estimate

__all__ = ["evaluate"]


def evaluate(lake: Lake, model: str, *, cohort: str | Cohort | None = None) -> Run:
    """Score a model with intervals, on patients that it has not seen.

    Without a cohort, the test parts of its own cohort are scored, each volume by the network that has not
    seen its patient. Operating points come from validation parts only. Intervals are 95% and over patients.

    Parameters
    ----------
    lake : Lake
        The lake.
    model : str
        Identifier of the model, or the name of its task.
    cohort : str or Cohort, optional
        A cohort that was predicted; patients that the model was trained on are not scored.

    Returns
    -------
    Run
        ``result["scores"]`` has value, low and high of each metric.

    Raises
    ------
    NotFoundError
        The model is not there, or has no prediction with a known truth.

    Examples
    --------
    >>> evaluate(lake, "pneumonia").result["scores"]["roc_auc"]  # doctest: +SKIP
    """
    speaker = get_model(lake, model)
    who = get_cohort(lake, cohort) if isinstance(cohort, str) else cohort
    arguments = {"model": speaker.model_id, "cohort_id": None if who is None else who.cohort_id}
    with start_run(lake, "evaluate", arguments) as recorder:
        scored = collect(speaker, who)
        digest = scored.digest()
        recorder.input_digest = digest
        recorder.saw(len(scored.volumes) + len(scored.left))
        for volume in scored.volumes:
            recorder.outcome(volume, "stored")
        for volume, reason in scored.left:
            outcome = "ignored" if reason == "seen_in_training" else "failed"
            recorder.outcome(volume, outcome, reason=reason)
        found = estimates(scored)
        done = lake.sql(
            "select count(*) from scores where model_id = $model and inputs_digest = $digest",
            {"model": speaker.model_id, "digest": digest},
        ).rows()[0][0]
        if not done:
            recorder.add("scores", [_row(scored, each, digest) for each in found])
        recorder.result |= {
            "model": speaker.model_id,
            "part": scored.part,
            "samples": len(scored.volumes),
            "patients": len(set(scored.groups)),
            "scores": {
                each.name: {"value": each.value, "low": each.low, "high": each.high} for each in found
            },
        }
    return recorder.run


def _figure(estimate: Estimate) -> dict[str, float | None]:
    """Value and interval; JSON has no NaN, so what is not defined is null."""
    named = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if math.isnan(number) else number for name, number in named.items()}


def _row(scored: Scored, estimate: Estimate, digest: str) -> dict[str, Any]:
    one = None if scored.thresholds is None else set(scored.thresholds.tolist())
    return {
        "model_id": scored.model.model_id,
        "cohort_id": scored.cohort_id,
        "part": scored.part,
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
