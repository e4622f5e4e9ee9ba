"""Predictions and embeddings of networks about prepared volumes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from voxlake.core.errors import NotFoundError
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.engine.serial import SerialEngine
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.grouped import Lost
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.inputs import table_of
from voxlake.learning.model import Model, get_model
from voxlake.learning.predict_options import PredictOptions, agreed_options, remember_options
from voxlake.learning.predict_spread import Spreading, in_groups
from voxlake.learning.predict_work import Said, Speaking, SpeakTask
from voxlake.learning.rows import Spoken, network_embedding_rows, prediction_rows
from voxlake.learning.seen import parts_of_network
from voxlake.learning.targets import find_truths
from voxlake.learning.units import Unit, find_units, fitting_units
from voxlake.volumes.read import volume_rows

__all__ = ["predict_volumes"]

# So many subjects go to a worker together, and at most so many voxels: 128 MiB.
_TOGETHER = 64
_VOXELS = 2**25
_HERE = Spreading()
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
    mirror: Sequence[str] = (),
    runtime: str = "torch",
    spreading: Spreading = _HERE,
    metrics: str | Path | None = None,
) -> Run:
    """Let a network speak about every unit of a cohort; see `voxlake.learning.predict.predict`."""
    speaker = get_model(lake, model)
    task = speaker.task
    options = PredictOptions.of(mirror or task.mirror, runtime, takes=task.takes, dimensions=task.dimensions)
    who = cohort if isinstance(cohort, Cohort) else get_cohort(lake, cohort)
    arguments = {
        "model": speaker.model_id,
        "cohort": f"{who.name}@{who.version}",
        "cohort_id": who.cohort_id,
        "embeddings": embeddings,
        "mirror": list(options.mirror),
        "runtime": options.runtime,
    }
    with start_run(lake, "predict", arguments, metrics=metrics) as recorder:
        rows = volume_rows(who, speaker.row["plan_digest"])
        if not rows:
            raise NotFoundError(
                f"cohort '{who.name}' has no volume under the plan of model '{task.name}'; "
                f"run `voxlake prepare {who.name} --plan ...` with the plan of the task first"
            )
        everyone, left = find_units(who, task, rows)
        # A series that was not prepared is no unit of the plan; a patient without an order of visits is.
        left = [one for one in left if one.reason != "no_volume"]
        usable, misfits, _ = fitting_units(everyone, task, _shape(speaker))
        recorder.input_digest = who.cohort_id
        recorder.saw(len(everyone) + len(left))
        account_withdrawn(who, recorder)
        for one in (*left, *misfits):
            recorder.outcome(one.item, "failed", reason=one.reason, detail=one.detail)
        job = _Prediction(recorder, speaker, who, usable, embeddings=embeddings)
        with (
            using_engine(spreading.engine) as pool,
            progress_bar("predict", len(everyone), enabled=spreading.progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            work = job.work(options, pool)
            recorder.arguments["runtime"] = work.options.runtime
            bar.advance(len(everyone) - len(job.new))
            groups = in_groups(job.tasks(), _voxels, most=_TOGETHER, limit=_VOXELS)
            for asked, said, last in spreading.results(pool, work, groups):
                job.settle(asked, said)
                bar.advance()
                if last:
                    recorder.commit_if_due()
        recorder.result |= {"model": speaker.model_id, "cohort": f"{who.name}@{who.version}"}
    return recorder.run


class _Prediction:
    """The driver's side of one prediction."""

    def __init__(
        self, recorder: Recorder, model: Model, cohort: Cohort, units: Sequence[Unit], *, embeddings: bool
    ) -> None:
        self.recorder = recorder
        self.model = model
        self.cohort = cohort
        self.done = {
            table: self._done(table) for table in ("predictions", *(("embeddings",) if embeddings else ()))
        }
        self.new = [unit for unit in units if any(unit.subject not in done for done in self.done.values())]
        self.truths = find_truths(cohort, model.task, self.new, classes=None, needed=False).values
        self.parts = self._parts()
        new = {unit.subject for unit in self.new}
        for unit in units:
            if unit.subject not in new:
                recorder.outcome(unit.subject, "already")

    def work(self, options: PredictOptions, engine: Engine) -> Speaking:
        """What workers do, once it is sure who computes; refuses options that are not those of rows there."""
        lake, ids = self.cohort.lake, (self.model.model_id, self.cohort.cohort_id)
        answers = any(unit.subject not in self.done["predictions"] for unit in self.new)
        if self.done["predictions"]:
            options = agreed_options(lake, *ids, options)
        work = Speaking(lake.reference, self.model.row, options)
        if self.new and (options.runtime != "torch" or isinstance(engine, SerialEngine)):
            # What no item can be blamed for ends the run here, instead of failing every item of it.
            work.options = PredictOptions(options.mirror, work.networks().runtime)
        if answers and not self.done["predictions"]:
            remember_options(lake, *ids, work.options)
        return work

    def tasks(self) -> Iterator[SpeakTask]:
        """What is missing."""
        columns = self._columns()
        for place, unit in enumerate(self.new):
            yield SpeakTask(
                unit,
                tuple(table[place] for table in columns),
                answer=unit.subject not in self.done["predictions"],
                embed=unit.subject not in self.done.get("embeddings", {unit.subject}),
            )

    def settle(self, asked: SpeakTask, said: Said | Lost) -> None:
        """Record what became of a unit."""
        unit = asked.unit
        if isinstance(said, Lost):
            failure = said.failure
            self.recorder.outcome(
                unit.subject, "failed", reason=failure.reason, detail=failure.message, attempts=said.attempts
            )
            return
        if said.reason is not None:
            self.recorder.outcome(unit.subject, "failed", reason=said.reason, detail=said.detail)
            return
        model_id, cohort_id, task = self.model.model_id, self.cohort.cohort_id, self.model.task
        if said.answer is not None:
            truth, part = self.truths.get(unit.subject), self.parts[unit.subject]
            spoken = Spoken(unit, unit.group, truth, part, said.answer, said.spread)
            rows = prediction_rows(
                [spoken], task, self.model.classes, model_id=model_id, cohort_id=cohort_id, fold=-1
            )
            self.recorder.add("predictions", rows)
        if said.vector is not None:
            vectors = network_embedding_rows(
                [unit], said.vector[None], name=task.name, model_id=model_id, cohort_id=cohort_id
            )
            self.recorder.add("embeddings", vectors)
        self.recorder.outcome(unit.subject, "stored")

    def _columns(self) -> list[np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
        """The table of the new units as each network takes it, float32 (N, F); nothing without a table."""
        task = self.model.task
        if not task.inputs or not self.new:
            return []
        table = table_of(self.cohort, task, self.new, variables=self.model.card.get("variables", ()))
        prepared = [self.model.preparation(fold) for fold in range(int(self.model.row["folds"]))]
        return [one.apply(table).astype(np.float32) for one in prepared if one is not None]

    def _parts(self) -> Mapping[str, str]:
        """Whether the networks have seen each new unit."""
        asked = [
            ({unit.group, unit.subject} if unit.level == "patient" else {unit.group}, unit.contents)
            for unit in self.new
        ]
        level = self.model.task.level
        parts = parts_of_network(self.cohort.lake, self.model.model_id, level, asked)
        return dict(zip((unit.subject for unit in self.new), parts, strict=True))

    def _done(self, table: str) -> set[str]:
        named = {"model": self.model.model_id, "cohort": self.cohort.cohort_id}
        return {str(row[0]) for row in self.cohort.lake.sql(_DONE[table], named).rows()}


def _shape(model: Model) -> tuple[int, ...] | None:
    if model.task.takes == "table":
        return None
    shape = tuple(model.card["shape"])
    # The first number of a sequence is that of its steps, which may be another one.
    return shape[1:] if model.task.takes == "sequence" else shape


def _voxels(task: SpeakTask) -> int:
    return sum(math.prod(row["shape"]) for row in task.unit.rows)
