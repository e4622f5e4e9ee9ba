"""Masks by networks of volumes that they have not seen; called by the verb predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voxlake.core.errors import NotFoundError
from voxlake.core.run import Run
from voxlake.engine.progress import progress_bar
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.gather import group_of
from voxlake.learning.model import Model, get_model
from voxlake.learning.predict_volumes import seen_by
from voxlake.learning.segmentation.gather import case_of
from voxlake.learning.segmentation.masks import Made, mask_id_of, mask_rows, size_rows, source_grids
from voxlake.learning.segmentation.segmenter import segmented
from voxlake.learning.segmentation.train import classes_of, settings_of
from voxlake.learning.segmentation.truth import Truths
from voxlake.volumes.read import read_values, volume_rows

__all__ = ["predict_segmentation"]

_AT_A_TIME = 16
_ALL = -1


def predict_segmentation(
    lake: Lake,
    model: str,
    cohort: str | Cohort,
    *,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Let the networks of a model segment every prepared volume of a cohort.

    Probabilities are averaged over the folds, the class is decided on the grid of the prepared volume, and
    the mask is carried back to the grid of the series. Masks are rows of `masks` of the kind ``MODEL``, their
    sizes rows of `predictions`. Only what is missing is done.

    Raises
    ------
    NotFoundError
        The model or the cohort is not there, or the cohort was not prepared under the plan of the model.
    """
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
        recorder.facts.workers = 1
        job = _Prediction(recorder, speaker, who, rows)
        with progress_bar("predict", len(rows), enabled=progress, counts=recorder.counts) as bar:
            for start in range(0, len(rows), _AT_A_TIME):
                part = rows[start : start + _AT_A_TIME]
                job.segment(part)
                recorder.commit_if_due()
                bar.advance(len(part))
        recorder.result |= {"model": speaker.model_id, "cohort": f"{who.name}@{who.version}"}
    return recorder.run


class _Prediction:
    """What all volumes of one prediction share; the networks are loaded once."""

    def __init__(
        self, recorder: Recorder, model: Model, cohort: Cohort, rows: Sequence[dict[str, Any]]
    ) -> None:
        self.recorder = recorder
        self.model = model
        self.cohort = cohort
        self.settings = settings_of(model.task)
        self.classes = classes_of(model.task)
        self.networks = [model.network(fold) for fold in range(int(model.row["folds"]))]
        self.grids = source_grids(cohort, model.plan, rows)
        self.truths = _truths(cohort, rows, self)
        self.seen_groups, self.seen_inputs = seen_by(model)
        self.done = {
            row[0]
            for row in cohort.lake.sql(
                "select mask_id from masks where mask_plan_digest = $model", {"model": model.model_id}
            ).rows()
        }

    def segment(self, rows: Sequence[dict[str, Any]]) -> None:
        """Segment some volumes and add their rows."""
        model_id, made = self.model.model_id, []
        wanted = []
        for row in rows:
            if mask_id_of(row["volume_id"], model_id, _ALL) in self.done:
                self.recorder.outcome(row["volume_id"], "already")
            else:
                wanted.append(row)
        for row, values in zip(wanted, read_values(self.cohort.lake, wanted), strict=True):
            case = case_of(row, values, None)
            if case.channels != int(self.model.card["channels"]):
                detail = f"{case.channels} channels, the model takes {self.model.card['channels']}"
                self.recorder.outcome(row["volume_id"], "failed", reason="shape_mismatch", detail=detail)
                continue
            dimensions = int(self.model.task.network["dimensions"])
            labels = segmented(self.networks, case, self.settings, dimensions=dimensions)
            known = self.truths is not None and self.truths.problem(row) is None
            truth = self.truths.of(row) if known and self.truths is not None else None
            grid = self.grids.get(row["volume_id"])
            made.append(Made(row, group_of(row), self._part(row), labels, grid, truth))
        masks = mask_rows(self.cohort.lake, made, self.classes, model_id=model_id, fold=_ALL)
        self.recorder.add("masks", masks)
        cohort_id = self.cohort.cohort_id
        sizes = size_rows(made, self.classes, model_id=model_id, cohort_id=cohort_id, fold=_ALL)
        self.recorder.add("predictions", sizes)
        for one in made:
            self.recorder.outcome(one.row["volume_id"], "stored")

    def _part(self, row: dict[str, Any]) -> str:
        known = group_of(row) in self.seen_groups or not self.seen_inputs.isdisjoint(row["inputs"])
        return "seen" if known else "new"


def _truths(cohort: Cohort, rows: Sequence[dict[str, Any]], job: _Prediction) -> Truths | None:
    """True masks of the cohort, where it has any."""
    try:
        return Truths(cohort, rows, job.classes, job.settings.masks)
    except NotFoundError:
        return None
