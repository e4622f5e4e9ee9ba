"""The verb predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxlake.core.errors import UsageError
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.workers import engine_with_workers
from voxlake.lake.cohorts import Cohort
from voxlake.lake.lake import Lake
from voxlake.learning.mined import get_mined
from voxlake.learning.model_files import find_model
from voxlake.learning.predict_options import Mirror, Runtime
from voxlake.learning.predict_spread import Spreading

__all__ = ["predict"]


def predict(  # noqa: PLR0913 - each option of the command is a parameter
    lake: Lake,
    model: str,
    cohort: str | Cohort,
    *,
    table: Sequence[str] = (),
    embeddings: bool = False,
    mirror: Sequence[Mirror] = (),
    runtime: Runtime = "torch",
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 600.0,
    memory: int = 8 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Let a model speak about every subject of a cohort: its prepared volumes, or rows of a table.

    Of a network the answer is the mean over its folds, and ``uncertainty`` their standard deviation; of a
    mined model the final one speaks. Subjects
    of patients (or with images, or with images that look like those) that the model was trained on get the
    part ``seen`` and are never scored; all others get the part ``new``. Only what is missing is done. All
    that a network says of a cohort is said with the same mirroring and by the same runtime: with others, a
    run that would add to it is refused.

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
    mirror : sequence of {"slice", "row", "column", "none"}
        Of a network, axes along which it also sees every image mirrored, in every combination; answers are
        averaged. Takes the place of ``mirror`` of the task, or of ``segmentation.mirror``, ``"none"`` too;
        if empty, that one holds.
    runtime : {"torch", "auto", "openvino", "onnxruntime"}
        Who computes a network of one input; ``"auto"`` is OpenVINO where it is installed and can, else torch.
        Outputs differ by at most a hundredth of the largest. Embeddings are always computed by torch.
    engine : str, optional
        Of a network, ``"serial"``, ``"processes:N"`` or a cluster; by default this process, in which a
        network already works on all cores.
    workers : int, optional
        Of a network, so many processes, if no engine is named.
    timeout : float
        Seconds that one subject may take, on an engine other than ``"serial"``.
    memory : int
        Bytes that one worker may take, on an engine other than ``"serial"``.
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
        A column is missing or of another kind, or a network is given a table; a mined model is given an
        option of networks; or the lake holds what the network said with other options.

    Examples
    --------
    >>> predict(lake, "pneumonia", "new-patients")  # doctest: +SKIP
    """
    rows = lake.sql("select model_id, task, kind, task_kind from models order by committed_at desc").dicts()
    row = find_model(rows, model, make="train` or `voxlake mine")
    # torch and scikit-learn take seconds to load; only one of them is needed.
    if row["kind"] == "table":
        of_networks = {"embeddings": embeddings, "mirror": mirror, "runtime": runtime != "torch"}
        _refuse(
            row, "was mined", of_networks | {"engine": engine is not None, "workers": workers is not None}
        )
        from voxlake.learning.predict_table import predict_table

        return predict_table(lake, get_mined(lake, row["model_id"]), cohort, table=table, metrics=metrics)
    _refuse(row, "is a network", {"table": table})
    # Here a network has all cores; whoever names workers means processes.
    where = engine_with_workers(engine, workers)
    spreading = Spreading(where or "serial", timeout, memory, progress)
    if row["task_kind"] == "segmentation":
        _refuse(row, "makes masks", {"embeddings": embeddings})
        from voxlake.learning.segmentation.predict import predict_segmentation

        return predict_segmentation(
            lake,
            row["model_id"],
            cohort,
            mirror=mirror,
            runtime=runtime,
            spreading=spreading,
            metrics=metrics,
        )
    from voxlake.learning.predict_volumes import predict_volumes

    return predict_volumes(
        lake,
        row["model_id"],
        cohort,
        embeddings=embeddings,
        mirror=mirror,
        runtime=runtime,
        spreading=spreading,
        metrics=metrics,
    )


def _refuse(row: Mapping[str, Any], what: str, options: Mapping[str, object]) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise UsageError(
            f"model '{row['task']}' {what} and has no {' or '.join(given)}; leave '{', '.join(given)}' out"
        )
