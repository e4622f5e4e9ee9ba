"""Predictions of mined models about other subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.run import Run
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.mined import MinedModel
from voxlake.learning.mined_rows import mined_prediction_rows
from voxlake.learning.mining import MiningTask
from voxlake.learning.seen import parts_of
from voxlake.learning.tables.gather import gather_table, table_identifier
from voxlake.learning.tables.inputs import FileInput
from voxlake.learning.tables.result import Predicted
from voxlake.learning.tables.table import FeatureTable

__all__ = ["predict_table"]


def predict_table(
    lake: Lake,
    model: MinedModel,
    cohort: str | Cohort,
    *,
    table: str | Path | Sequence[str | Path] = (),
    metrics: str | Path | None = None,
) -> Run:
    """Let a mined model speak about the subjects of a cohort, or of a table from outside.

    The final model speaks, which was fitted on all rows of its task; subjects of patients (or with images)
    among them, or with images that look the same, get the part ``seen`` and are never scored, all others
    ``new``.

    Parameters
    ----------
    lake : Lake
        The lake.
    model : MinedModel
        Who speaks.
    cohort : str or Cohort
        About whom; for a model of a table from outside the path of a CSV file with the same columns.
    table : path or sequence of paths
        Further tables from outside, in the order of the task: those beside a cohort, or those that were
        joined to the rows of the first one.
    metrics : path, optional
        File that says how the run goes, for Prometheus.

    Raises
    ------
    UsageError
        The model cannot speak about others, or a column is missing or of another kind.
    NotFoundError
        The cohort or the table is not there.
    """
    kind = model.task.how
    if kind.speak is None:
        raise UsageError(
            f"model '{model.task.name}' is of kind '{model.task.kind}', which says nothing of other subjects"
        )
    who = (
        None
        if model.task.level == "row"
        else (cohort if isinstance(cohort, Cohort) else get_cohort(lake, cohort))
    )
    given = [table] if isinstance(table, str | Path) else list(table)
    task = _with_tables(model.task, given if who is not None else [Path(str(cohort)), *given])
    arguments = {
        "model": model.model_id,
        "cohort": None if who is None else f"{who.name}@{who.version}",
        "cohort_id": None if who is None else who.cohort_id,
    }
    with start_run(lake, "predict", arguments, metrics=metrics) as recorder:
        rows = gather_table(lake, task, who, variables=model.card["variables"])
        if who is not None:
            account_withdrawn(who, recorder)
        cohort_id = table_identifier(rows) if who is None else who.cohort_id
        recorder.input_digest = rows.digest()
        recorder.saw(len(rows) + len(rows.left))
        new = _new(lake, model, cohort_id, rows)
        parts = parts_of(model, rows, new.tolist())
        if len(new):
            speak = kind.load(kind.speak)  # before the limit, which holds only for loaded libraries
            with threadpool_limits(limits=1):
                said: Predicted = speak(model, task, rows.take(new))
            here = replace(said, rows=new[said.rows])
            recorder.add(
                "predictions",
                mined_prediction_rows(
                    rows,
                    task,
                    here,
                    model.classes,
                    model_id=model.model_id,
                    cohort_id=cohort_id,
                    parts=parts,
                ),
            )
        there = set(new.tolist())
        for place, subject in enumerate(rows.subjects):
            recorder.outcome(subject, "stored" if place in there else "already")
        for left in rows.left:
            recorder.outcome(left.item, "failed", reason=left.reason, detail=left.detail)
        recorder.result |= {"model": model.model_id, "cohort_id": cohort_id, "cohort": arguments["cohort"]}
    return recorder.run


def _with_tables(task: MiningTask, tables: Sequence[str | Path]) -> MiningTask:
    """The task with the tables at hand in the places of those which it was mined from."""
    files = sum(isinstance(one, FileInput) for one in task.inputs)
    if len(tables) != files:
        raise UsageError(
            f"the model was made with {files} CSV files, got {len(tables)}; give as many, in the same order"
        )
    if not all(Path(one).is_file() for one in tables):
        raise NotFoundError(
            "the model takes columns of a table from outside; give the path of a CSV file that has them"
        )
    given = iter(tables)
    inputs = tuple(
        one.model_copy(update={"path": str(next(given))}) if isinstance(one, FileInput) else one
        for one in task.inputs
    )
    return task.model_copy(update={"inputs": inputs})


def _new(
    lake: Lake, model: MinedModel, cohort_id: str, rows: FeatureTable
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Positions of subjects that the model has not spoken about."""
    done = {
        row[0]
        for row in lake.sql(
            "select distinct subject from predictions where model_id = $model and cohort_id = $cohort "
            "and part in ('new', 'seen')",
            {"model": model.model_id, "cohort": cohort_id},
        ).rows()
    }
    places = [place for place, subject in enumerate(rows.subjects) if subject not in done]
    return np.array(places, dtype=np.int64)
