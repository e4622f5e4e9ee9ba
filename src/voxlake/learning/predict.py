"""The verb predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from voxlake.core.errors import UsageError
from voxlake.core.run import Run
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.learning.mined import get_mined
from voxlake.learning.model_files import find_model

__all__ = ["predict"]


def predict(
    lake: Lake,
    model: str,
    cohort: str | Cohort,
    *,
    table: Sequence[str] = (),
    embeddings: bool = False,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Let a model speak about every subject of a cohort: its prepared volumes, or rows of a table.

    Of a network the answer is the mean over its folds, and ``uncertainty`` their standard deviation; of a
    mined model the final one speaks. Subjects
    of patients (or with images) that the model was trained on get the part ``seen`` and are never scored; all
    others get the part ``new``.

    Parameters
    ----------
    lake : Lake
        The lake.
    model : str
        Identifier of the model, or the name of its task.
    cohort : str or Cohort
        Prepared under the plan of the model. For a model that was mined from a table from outside: the path
        of a CSV file with the same columns.
    table : sequence of paths
        Further CSV files of a mined model, in the order of its task: those beside a cohort, or those that
        were joined to the rows of the first one.
    embeddings : bool
        Of a network, also write vectors that stand for the subjects into the table of embeddings: what the
        network of the first fold knows of each before it answers.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run

    Raises
    ------
    NotFoundError
        The model or the cohort is not there, or the cohort was not prepared under the plan of the model.
    UsageError
        A column is missing or of another kind, or a network is given a table.

    Examples
    --------
    >>> predict(lake, "pneumonia", "new-patients")  # doctest: +SKIP
    """
    rows = lake.sql("select model_id, task, kind, task_kind from models order by committed_at desc").dicts()
    row = find_model(rows, model, make="train` or `voxlake mine")
    # torch and scikit-learn take seconds to load; only one of them is needed.
    if row["kind"] == "table":
        if embeddings:
            raise UsageError(f"model '{row['task']}' was mined and has no embeddings; leave 'embeddings' out")
        from voxlake.learning.predict_table import predict_table

        return predict_table(lake, get_mined(lake, row["model_id"]), cohort, table=table, metrics=metrics)
    if table:
        raise UsageError(f"model '{row['task']}' is a network and takes no table; leave 'table' out")
    if row["task_kind"] == "segmentation":
        if embeddings:
            raise UsageError(
                f"model '{row['task']}' makes masks and has no embeddings; leave 'embeddings' out"
            )
        from voxlake.learning.segmentation.predict import predict_segmentation

        return predict_segmentation(lake, row["model_id"], cohort, progress=progress, metrics=metrics)
    from voxlake.learning.predict_volumes import predict_volumes

    return predict_volumes(
        lake, row["model_id"], cohort, embeddings=embeddings, progress=progress, metrics=metrics
    )
