"""Predictions of networks about prepared volumes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxlake.core.errors import NotFoundError
from voxlake.core.run import Run
from voxlake.engine.progress import progress_bar
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.resolve import Resolved, resolve_labels
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.gather import group_of, images_of
from voxlake.learning.model import Model, get_model
from voxlake.learning.model_files import model_path
from voxlake.learning.rows import Spoken, prediction_rows
from voxlake.volumes.read import volume_rows

__all__ = ["predict_volumes"]

_AT_A_TIME = 256


def predict_volumes(
    lake: Lake,
    model: str,
    cohort: str | Cohort,
    *,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Let a network speak about every prepared volume of a cohort; see `voxlake.learning.predict.predict`."""
    speaker = get_model(lake, model)
    who = cohort if isinstance(cohort, Cohort) else get_cohort(lake, cohort)
    arguments = {
        "model": speaker.model_id,
        "cohort": f"{who.name}@{who.version}",
        "cohort_id": who.cohort_id,
    }
    with start_run(lake, "predict", arguments, metrics=metrics) as recorder:
        rows = volume_rows(who, speaker.row["plan_digest"])
        if not rows:
            raise NotFoundError(
                f"cohort '{who.name}' has no volume under the plan of model '{speaker.task.name}'; "
                f"run `voxlake prepare {who.name} --plan ...` with the plan of the task first"
            )
        recorder.input_digest = who.cohort_id
        recorder.saw(len(rows))
        account_withdrawn(who, recorder)
        job = _Prediction(recorder, speaker, who)
        recorder.facts.workers = 1
        with progress_bar("predict", len(rows), enabled=progress, counts=recorder.counts) as bar:
            for start in range(0, len(rows), _AT_A_TIME):
                part = rows[start : start + _AT_A_TIME]
                job.speak(part)
                recorder.commit_if_due()
                bar.advance(len(part))
        recorder.result |= {"model": speaker.model_id, "cohort": f"{who.name}@{who.version}"}
    return recorder.run


class _Prediction:
    """What all volumes of one prediction share."""

    def __init__(self, recorder: Recorder, model: Model, cohort: Cohort) -> None:
        self.recorder = recorder
        self.model = model
        self.cohort = cohort
        self.truth = _truth(cohort, model.task.target)
        self.seen_groups, self.seen_inputs = _seen(model)
        self.done = {
            row[0]
            for row in cohort.lake.sql(
                "select distinct volume_id from predictions "
                "where model_id = $model and cohort_id = $cohort and fold = -1",
                {"model": model.model_id, "cohort": cohort.cohort_id},
            ).rows()
        }

    def speak(self, rows: Sequence[dict[str, Any]]) -> None:
        """Predict some volumes and add their rows."""
        shape = self._shape()
        usable = []
        for row in rows:
            if row["volume_id"] in self.done:
                self.recorder.outcome(row["volume_id"], "already")
            elif _extent(row, shape) != shape:
                detail = f"shape {tuple(row['shape'])}, the model takes {shape}"
                self.recorder.outcome(row["volume_id"], "failed", reason="shape_mismatch", detail=detail)
            else:
                usable.append(row)
        if not usable:
            return
        images = images_of(self.cohort, usable, int(self.model.task.network["dimensions"]))
        mean = self.model.probabilities(images).mean(axis=0)
        spoken = [
            Spoken(row, group_of(row), self.truth.get(row["series_instance_uid"]), self._part(row), each)
            for row, each in zip(usable, mean, strict=True)
        ]
        new = prediction_rows(
            spoken,
            self.model.classes,
            model_id=self.model.model_id,
            cohort_id=self.cohort.cohort_id,
            fold=-1,
        )
        self.recorder.add("predictions", new)
        for row in usable:
            self.recorder.outcome(row["volume_id"], "stored")

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.model.card["shape"])

    def _part(self, row: Mapping[str, Any]) -> str:
        known = group_of(row) in self.seen_groups or not self.seen_inputs.isdisjoint(row["inputs"])
        return "seen" if known else "new"


def _extent(row: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Extent of a volume as the network would see it."""
    sizes = tuple(row["shape"][:3])
    return sizes[1:] if len(shape) == 2 and sizes[0] == 1 else sizes


def _truth(cohort: Cohort, target: str) -> Mapping[str, str]:
    try:
        resolved: Resolved = resolve_labels(cohort, target)
    except NotFoundError:
        return {}
    return resolved.values


def _seen(model: Model) -> tuple[set[str], set[str]]:
    """Patients and stored bytes that any network of the model was trained or chosen on."""
    split = json.loads(model.lake.objects.get(model_path(model.model_id, "split.json")))
    volumes = sorted(
        {volume for fold in split["folds"] for part in ("train", "validation") for volume in fold[part]}
    )
    rows = model.lake.sql(
        "select patient_id, study_instance_uid, inputs from volumes "
        "where volume_id in (select unnest($volumes))",
        {"volumes": volumes},
    ).rows()
    groups = {str(study if patient is None else patient) for patient, study, _ in rows}
    return groups, {digest for _, _, inputs in rows for digest in inputs}
