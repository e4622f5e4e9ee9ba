"""Predictions and embeddings of networks about prepared volumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from voxlake.core.errors import NotFoundError
from voxlake.core.run import Run
from voxlake.engine.progress import progress_bar
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.inputs import image_inputs, table_of
from voxlake.learning.model import Model, get_model
from voxlake.learning.model_files import model_path
from voxlake.learning.rows import Spoken, network_embedding_rows, prediction_rows
from voxlake.learning.tables.table import FeatureTable
from voxlake.learning.targets import find_truths
from voxlake.learning.units import Unit, find_units, fitting_units
from voxlake.volumes.read import volume_rows

__all__ = ["predict_volumes", "seen_by"]

_AT_A_TIME = 256
_DONE = {
    "predictions": "select distinct coalesce(subject, volume_id) from predictions "
    "where model_id = $model and cohort_id = $cohort and fold = -1",
    # A vector says nothing of the cohort: one is enough.
    "embeddings": "select distinct subject from embeddings where embedding_id = $model "
    "and $cohort is not null",
}


def predict_volumes(
    lake: Lake,
    model: str,
    cohort: str | Cohort,
    *,
    embeddings: bool = False,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Let a network speak about every unit of a cohort; see `voxlake.learning.predict.predict`."""
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
        everyone, left = find_units(who, speaker.task, rows)
        # A series that was not prepared is no unit of the plan; a patient without an order of visits is.
        left = [one for one in left if one.reason != "no_volume"]
        recorder.input_digest = who.cohort_id
        recorder.saw(len(everyone) + len(left))
        account_withdrawn(who, recorder)
        for one in left:
            recorder.outcome(one.item, "failed", reason=one.reason, detail=one.detail)
        job = _Prediction(recorder, speaker, who, everyone, embeddings=embeddings)
        recorder.facts.workers = 1
        with progress_bar("predict", len(everyone), enabled=progress, counts=recorder.counts) as bar:
            for start in range(0, len(everyone), _AT_A_TIME):
                part = everyone[start : start + _AT_A_TIME]
                job.speak(part)
                recorder.commit_if_due()
                bar.advance(len(part))
        recorder.result |= {"model": speaker.model_id, "cohort": f"{who.name}@{who.version}"}
    return recorder.run


class _Prediction:
    """What all units of one prediction share; the networks are loaded once."""

    def __init__(
        self, recorder: Recorder, model: Model, cohort: Cohort, units: Sequence[Unit], *, embeddings: bool
    ) -> None:
        self.recorder = recorder
        self.model = model
        self.cohort = cohort
        self.truths = find_truths(cohort, model.task, units, classes=None, needed=False).values
        self.seen_groups, self.seen_inputs = seen_by(model)
        self.done = {
            table: self._done(table) for table in ("predictions", *(("embeddings",) if embeddings else ()))
        }
        self.networks = model.ensemble()

    def speak(self, units: Sequence[Unit]) -> None:
        """Predict some units and add their rows."""
        model, task = self.model, self.model.task
        shape = None if task.takes == "table" else self._shape()
        usable, misfits, _ = fitting_units(units, task, shape)
        for one in misfits:
            self.recorder.outcome(one.item, "failed", reason=one.reason, detail=one.detail)
        new = [unit for unit in usable if any(unit.subject not in done for done in self.done.values())]
        if new:
            images = image_inputs(self.cohort.lake, task, new)
            variables = model.card.get("variables", ())
            table = table_of(self.cohort, task, new, variables=variables) if task.inputs else None
            self._predict(new, images, table)
            if "embeddings" in self.done:
                self._embed(new, images, table)
        told = {unit.subject for unit in new}
        for unit in usable:
            self.recorder.outcome(unit.subject, "stored" if unit.subject in told else "already")

    def _predict(self, units: Sequence[Unit], images: tuple[Tensor, ...], table: FeatureTable | None) -> None:
        mean, spread = self.networks.answers(images, table)
        spoken = [
            Spoken(
                unit,
                unit.group,
                self.truths.get(unit.subject),
                self._part(unit),
                mean[place],
                None if spread is None else spread[place],
            )
            for place, unit in enumerate(units)
            if unit.subject not in self.done["predictions"]
        ]
        rows = prediction_rows(
            spoken,
            self.model.task,
            self.model.classes,
            model_id=self.model.model_id,
            cohort_id=self.cohort.cohort_id,
            fold=-1,
        )
        self.recorder.add("predictions", rows)

    def _embed(self, units: Sequence[Unit], images: tuple[Tensor, ...], table: FeatureTable | None) -> None:
        # Coordinates of two networks have nothing to do with each other: one must speak for all.
        first = self.networks.members[0]
        vectors = first.embeddings(first.inputs(images, table))
        kept = [place for place, unit in enumerate(units) if unit.subject not in self.done["embeddings"]]
        rows = network_embedding_rows(
            [units[place] for place in kept],
            vectors[kept],
            name=self.model.task.name,
            model_id=self.model.model_id,
            cohort_id=self.cohort.cohort_id,
        )
        self.recorder.add("embeddings", rows)

    def _done(self, table: str) -> set[str]:
        named = {"model": self.model.model_id, "cohort": self.cohort.cohort_id}
        return {str(row[0]) for row in self.cohort.lake.sql(_DONE[table], named).rows()}

    def _shape(self) -> tuple[int, ...]:
        shape = tuple(self.model.card["shape"])
        # The first number of a sequence is that of its steps, which may be another one.
        return shape[1:] if self.model.task.takes == "sequence" else shape

    def _part(self, unit: Unit) -> str:
        groups = {unit.group, unit.subject} if unit.level == "patient" else {unit.group}
        known = not self.seen_groups.isdisjoint(groups) or not self.seen_inputs.isdisjoint(unit.contents)
        return "seen" if known else "new"


def seen_by(model: Model) -> tuple[set[str], set[str]]:
    """Patients and stored bytes that any network of the model was trained or chosen on."""
    split = json.loads(model.lake.objects.get(model_path(model.model_id, "split.json")))
    subjects = sorted(
        {subject for fold in split["folds"] for part in ("train", "validation") for subject in fold[part]}
    )
    column = "coalesce(patient_id, study_instance_uid)" if model.task.level == "patient" else "volume_id"
    rows = model.lake.sql(
        "select patient_id, study_instance_uid, inputs from volumes "
        f"where {column} in (select unnest($subjects))",
        {"subjects": subjects},
    ).rows()
    groups = {str(study if patient is None else patient) for patient, study, _ in rows}
    return groups, {digest for _, _, inputs in rows for digest in inputs}
