"""Masks by networks of volumes that they have not seen; called by the verb predict."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from voxlake.core.errors import ItemError, NotFoundError
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
from voxlake.learning.model import Model, get_model
from voxlake.learning.predict_options import PredictOptions
from voxlake.learning.predict_spread import Spreading, in_groups
from voxlake.learning.seen import parts_of_network
from voxlake.learning.segmentation.masks import Made, mask_id_of, size_rows, source_grids
from voxlake.learning.segmentation.predict_work import ALL, Drawing, Drawn, DrawTask, usual_options
from voxlake.learning.segmentation.settings import MaskSettings
from voxlake.learning.segmentation.train import classes_of, settings_of
from voxlake.learning.segmentation.truth import Truths
from voxlake.learning.units import group_of
from voxlake.volumes.read import volume_rows

__all__ = ["predict_segmentation"]

# So many volumes go to a worker together, and at most so many voxels; large ones alone.
_TOGETHER = 16
_VOXELS = 2**22
_HERE = Spreading()
_SIZES = """
select volume_id, "class", value, cohort_id from predictions where model_id = $model and fold = $fold
"""

_Row = Mapping[str, Any]


def predict_segmentation(
    lake: Lake,
    model: str,
    cohort: str | Cohort,
    *,
    mirror: Sequence[str] = (),
    runtime: str = "torch",
    spreading: Spreading = _HERE,
    metrics: str | Path | None = None,
) -> Run:
    """Let the networks of a model segment every prepared volume of a cohort.

    Probabilities are averaged over the folds, the class is decided on the grid of the prepared volume, and
    the mask is carried back to the grid of the series. Masks are rows of `masks` of the kind ``MODEL``, their
    sizes rows of `predictions`. Only what is missing is done. See `voxlake.learning.predict.predict`.

    Raises
    ------
    NotFoundError
        The model or the cohort is not there, or the cohort was not prepared under the plan of the model.
    UsageError
        The lake holds masks that the model made of these volumes with other options.
    """
    speaker = get_model(lake, model)
    wanted = mirror or settings_of(speaker.task).mirror
    options = PredictOptions.of(wanted, runtime, dimensions=speaker.task.dimensions if mirror else 3)
    who = cohort if isinstance(cohort, Cohort) else get_cohort(lake, cohort)
    arguments = {
        "model": speaker.model_id,
        "cohort": f"{who.name}@{who.version}",
        "cohort_id": who.cohort_id,
        "mirror": list(options.mirror),
        "runtime": options.runtime,
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
        job = _Prediction(recorder, speaker, who, rows, options)
        with (
            using_engine(spreading.engine) as pool,
            progress_bar("predict", len(rows), enabled=spreading.progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            work = job.work(pool)
            recorder.arguments["runtime"] = work.options.runtime
            bar.advance(len(rows) - len(job.new))
            groups = in_groups(job.tasks(), _voxels, most=_TOGETHER, limit=_VOXELS)
            for task, drawn, last in spreading.results(pool, work, groups):
                job.settle(task, drawn)
                bar.advance()
                if last:
                    recorder.commit_if_due()
        recorder.result |= {"model": speaker.model_id, "cohort": f"{who.name}@{who.version}"}
    return recorder.run


class _Prediction:
    """The driver's side of one prediction."""

    def __init__(
        self,
        recorder: Recorder,
        model: Model,
        cohort: Cohort,
        rows: Sequence[dict[str, Any]],
        options: PredictOptions,
    ) -> None:
        self.recorder = recorder
        self.model = model
        self.cohort = cohort
        self.settings = settings_of(model.task)
        self.classes = classes_of(model.task)
        masks, self.sizes, here = self._there()
        there = [row for row in rows if self._mask_id(row) in masks]
        usual = usual_options(model)
        for row in there:
            made = PredictOptions.from_steps(masks[self._mask_id(row)], usual)
            options = options.agree(made, "masks that this model made of these volumes")
        # A run that was killed between the two tables left masks without sizes; they are made once more.
        drawn = [row for row in there if row["volume_id"] in self.sizes]
        self.options = options
        known = {row["volume_id"] for row in drawn}
        self.new = [row for row in rows if row["volume_id"] not in known]
        # Masks that were made for another cohort hold for this one too.
        adopted = [row for row in drawn if row["volume_id"] not in here]
        self.truths = (
            _truths(cohort, rows, self.classes, self.settings.masks) if self.new or adopted else None
        )
        self.parts = self._parts([*self.new, *adopted])
        for row in adopted:
            self._adopt(row)
        for row in drawn:
            if row["volume_id"] in here:
                recorder.outcome(row["volume_id"], "already")

    def work(self, engine: Engine) -> Drawing:
        """What workers do, once it is sure who computes."""
        work = Drawing(self.cohort.lake.reference, self.model.row, self.cohort.cohort_id, self.options)
        if self.new and (self.options.runtime != "torch" or isinstance(engine, SerialEngine)):
            # What no item can be blamed for ends the run here, instead of failing every item of it.
            shape = self.new[0]["shape"][:3]
            computes = work.segmenter().runtime_for(shape, int(self.model.card["channels"]))
            work.options = PredictOptions(self.options.mirror, computes)
        return work

    def tasks(self) -> Iterator[DrawTask]:
        """What is missing."""
        grids = source_grids(self.cohort, self.model.plan, self.new)
        for row in self.new:
            yield DrawTask(row, self.parts[row["volume_id"]], grids.get(row["volume_id"]))

    def settle(self, task: DrawTask, drawn: Drawn | Lost) -> None:
        """Record what became of a volume."""
        volume_id = task.row["volume_id"]
        if isinstance(drawn, Lost):
            failure = drawn.failure
            self.recorder.outcome(
                volume_id, "failed", reason=failure.reason, detail=failure.message, attempts=drawn.attempts
            )
        elif drawn.mask is None:
            self.recorder.outcome(volume_id, "failed", reason=drawn.reason, detail=drawn.detail)
        else:
            self.recorder.add("masks", [drawn.mask])
            self._add_sizes(task.row, drawn.sizes)
            self.recorder.outcome(volume_id, "stored")

    def _adopt(self, row: _Row) -> None:
        """Say of this cohort what was said of a volume in another one."""
        volume_id = row["volume_id"]
        shared = {
            "model_id": self.model.model_id,
            "volume_id": volume_id,
            "subject_level": "volume",
            "subject": volume_id,
            "patient_id": row["patient_id"],
            "group": group_of(row),
            "part": self.parts[volume_id],
            "fold": ALL,
            "cohort_id": self.cohort.cohort_id,
        }
        sizes = self.sizes[volume_id]
        self._add_sizes(row, [{**shared, "class": name, "value": sizes[name]} for name in self.classes])
        self.recorder.outcome(volume_id, "stored")

    def _add_sizes(self, row: _Row, sizes: Sequence[_Row]) -> None:
        true = self._true_sizes(row)
        self.recorder.add("predictions", [{**one, "truth_value": true.get(one["class"])} for one in sizes])

    def _true_sizes(self, row: _Row) -> dict[str, float]:
        """Size of each class, where the truth is known."""
        if self.truths is None or self.truths.problem(row) is not None:
            return {}
        try:
            truth = self.truths.of(row)
        except ItemError:
            # Masks that do not lie in one world tell no truth; the networks may speak all the same.
            return {}
        there = {**row, "grid": json.dumps(truth.grid.to_dict())}
        made = [Made(there, "", "", truth.labels, None, None)]
        rows = size_rows(made, self.classes, model_id="", cohort_id="", fold=ALL)
        return {one["class"]: one["value"] for one in rows}

    def _there(self) -> tuple[dict[str, list[str]], dict[str, dict[str, float]], set[str]]:
        """Steps of masks of the model; sizes by volume and class; volumes whose sizes this cohort has."""
        lake, model_id = self.cohort.lake, self.model.model_id
        masks = lake.sql(
            "select mask_id, steps from masks where mask_plan_digest = $model", {"model": model_id}
        )
        sizes: defaultdict[str, dict[str, float]] = defaultdict(dict)
        here = set()
        for volume_id, name, value, cohort_id in lake.sql(_SIZES, {"model": model_id, "fold": ALL}).rows():
            sizes[volume_id][name] = value
            if cohort_id == self.cohort.cohort_id:
                here.add(volume_id)
        return dict(masks.rows()), dict(sizes), here

    def _mask_id(self, row: _Row) -> str:
        return mask_id_of(row["volume_id"], self.model.model_id, ALL)

    def _parts(self, rows: Sequence[_Row]) -> dict[str, str]:
        """Whether the networks have seen each volume."""
        asked = [({group_of(row)}, row["inputs"]) for row in rows]
        parts = parts_of_network(self.cohort.lake, self.model.model_id, "volume", asked)
        return dict(zip((row["volume_id"] for row in rows), parts, strict=True))


def _voxels(task: DrawTask) -> int:
    return math.prod(task.row["shape"])


def _truths(
    cohort: Cohort, rows: Sequence[dict[str, Any]], classes: Sequence[str], masks: MaskSettings
) -> Truths | None:
    """True masks of the cohort, where it has any."""
    try:
        return Truths(cohort, rows, classes, masks)
    except NotFoundError:
        return None
