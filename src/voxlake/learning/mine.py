"""The verb mine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from voxlake.core.digest import digest_bytes, digest_json, digest_many
from voxlake.core.errors import UsageError
from voxlake.core.run import Run
from voxlake.engine.progress import progress_bar
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.mined_rows import embedding_rows, mined_prediction_rows
from voxlake.learning.mining import MiningTask, load_mining_task
from voxlake.learning.model_files import model_path
from voxlake.learning.tables.gather import gather_table, table_identifier
from voxlake.learning.tables.inputs import FileInput
from voxlake.learning.tables.mine import mine_table
from voxlake.learning.tables.result import Mined, split_digest, split_to_dict
from voxlake.learning.tables.table import FeatureTable

__all__ = ["mine"]

_LIBRARIES = ("scikit-learn", "numpy", "scipy", "skops", "statsmodels", "faiss-cpu")


def mine(
    lake: Lake,
    task: str | Path | MiningTask,
    *,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Mine a table: classify, regress, cluster, reduce, find similar cases, associations, drift.

    The columns are features, header values, labels, embeddings and tables from outside. Patients are kept
    together; everything is fitted inside the folds, and the run stops if a patient, a study or an image
    stands in two parts. The same task on the same values is not done again.

    Parameters
    ----------
    lake : Lake
        The lake.
    task : str, path or MiningTask
        TOML file, or a task.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run
        Items are the subjects: used (stored), there already, or left out with a reason (failed).

    Raises
    ------
    NotFoundError
        The cohort, an input or the target is not there.
    UsageError
        The inputs do not fit together, or there are too few patients for the folds.
    LeakageError
        A patient, a study or an image stands in two parts.

    Examples
    --------
    >>> mine(lake, "malignancy.toml")  # doctest: +SKIP
    """
    job = task if isinstance(task, MiningTask) else load_mining_task(task)
    cohort = None if job.cohort is None else get_cohort(lake, job.cohort)
    named = _without_paths(job)
    arguments = {
        "task": named.model_dump(mode="json"),
        "task_digest": named.digest(),
        "cohort": None if cohort is None else f"{cohort.name}@{cohort.version}",
        "cohort_id": None if cohort is None else cohort.cohort_id,
    }
    with start_run(lake, "mine", arguments, metrics=metrics) as recorder:
        table = gather_table(lake, job, cohort)
        if cohort is not None:
            account_withdrawn(cohort, recorder)
        work = _Work(recorder, named, cohort, table)
        recorder.input_digest = table.digest()
        recorder.result |= {"model": work.model_id, "task": job.name, "kind": job.kind}
        known = lake.sql("select count(*) from models where model_id = $model", {"model": work.model_id})
        already = bool(known.rows()[0][0])
        if not already:
            work.record(progress)
        _account(recorder, table, already)
        recorder.result["already"] = already
    return recorder.run


@dataclass(frozen=True)
class _Work:
    """What one mining shares."""

    recorder: Recorder
    task: MiningTask
    cohort: Cohort | None
    table: FeatureTable

    @cached_property
    def model_id(self) -> str:
        """Digest over task, rows with their values, and code."""
        return digest_many([self.task.digest(), self.cohort_id, self.table.digest(), version("voxlake")])[:24]

    @property
    def cohort_id(self) -> str:
        """The cohort, or what stands for it."""
        return table_identifier(self.table) if self.cohort is None else self.cohort.cohort_id

    def record(self, progress: bool | None) -> None:
        """Mine, and write files and rows; the row of the model comes last."""
        started = time.perf_counter()
        with progress_bar("mine", enabled=progress) as bar:
            mined = mine_table(self.table, self.task, lambda note: bar.advance(1, note=note))
        recorder = self.recorder
        for predicted in mined.predicted:
            recorder.add(
                "predictions",
                mined_prediction_rows(
                    self.table,
                    self.task,
                    predicted,
                    mined.classes,
                    model_id=self.model_id,
                    cohort_id=self.cohort_id,
                ),
            )
        keys = {"model_id": self.model_id, "cohort_id": self.cohort_id}
        recorder.add("embeddings", embedding_rows(self.table, self.task, mined, **keys))
        recorder.add("associations", [{"model_id": self.model_id, **row} for row in mined.associations])
        self._files(mined, time.perf_counter() - started)
        # Rows first: a model is there when all that it said is.
        recorder.commit()
        recorder.add("models", [self._row(mined, time.perf_counter() - started)])
        recorder.result |= _shown(mined)

    def _files(self, mined: Mined, seconds: float) -> None:
        split = split_to_dict(mined.folds, self.table.subjects, self.task.folds.seed)
        files = {
            "task.toml": self.task.to_toml().encode(),
            "split.json": json.dumps(split).encode(),
            "table.json": json.dumps(_described(self.table)).encode(),
            **mined.artefacts,
        }
        carried = [name for name in self.task.asides if name not in (self.task.group, self.task.study)]
        if carried:
            files["asides.json"] = json.dumps(_carried(self.table, carried)).encode()
        for name, data in files.items():
            self.recorder.lake.objects.put(model_path(self.model_id, name), data)
        card = {
            "kind": "table",
            "task_kind": self.task.kind,
            "classes": list(mined.classes),
            "positive": self.task.positive or (mined.classes[-1] if mined.classes else None),
            "target": self.task.target,
            "cohort": None if self.cohort is None else f"{self.cohort.name}@{self.cohort.version}",
            "cohort_id": self.cohort_id,
            "table": _account_of(self.table),
            "variables": _variables(self.table),
            "artefacts": {name: digest_bytes(data) for name, data in files.items()},
            "results": dict(mined.results),
            "audit": mined.results.get("audit"),
            "seconds": round(seconds, 3),
            "seed": self.task.folds.seed,
            "intended_use": "research; not a medical device",
            "code_version": version("voxlake"),
            "libraries": {name: version(name) for name in _LIBRARIES},
        }
        self.recorder.lake.objects.put(model_path(self.model_id, "card.json"), json.dumps(card).encode())

    def _row(self, mined: Mined, seconds: float) -> dict[str, Any]:
        return {
            "model_id": self.model_id,
            "kind": "table",
            "task": self.task.name,
            "task_kind": self.task.kind,
            "task_digest": self.task.digest(),
            "cohort_id": self.cohort_id,
            "target": self.task.target,
            "classes": list(mined.classes),
            "folds": len(mined.folds),
            "parameters": mined.parameters,
            "samples": len(self.table),
            "seed": self.task.folds.seed,
            "split_digest": split_digest(mined.folds, self.table.subjects, self.task.folds.seed),
            "seconds": seconds,
        }


def _without_paths(task: MiningTask) -> MiningTask:
    """The task as it is kept: a table from outside is named by its content, not by its place."""
    inputs = []
    for one in task.inputs:
        if isinstance(one, FileInput):
            path = Path(one.path)
            if not path.is_file():
                raise UsageError("a table of the task is not there; paths are relative to the task file")
            one = one.model_copy(update={"path": f"sha256:{digest_bytes(path.read_bytes())}"})  # noqa: PLW2901
        inputs.append(one)
    return task.model_copy(update={"inputs": tuple(inputs)})


def _account(recorder: Recorder, table: FeatureTable, already: bool) -> None:
    recorder.saw(len(table) + len(table.left))
    for subject in table.subjects:
        recorder.outcome(subject, "already" if already else "stored")
    for left in table.left:
        recorder.outcome(left.item, "failed", reason=left.reason, detail=left.detail)


def _account_of(table: FeatureTable) -> dict[str, Any]:
    left: dict[str, int] = {}
    for one in table.left:
        left[one.reason] = left.get(one.reason, 0) + 1
    return {
        "level": table.level,
        "rows": len(table),
        "groups": len(set(table.groups)),
        "patients": len({one for one in table.patients if one is not None}),
        "grouped_by": table.grouped_by,
        "digest": table.digest(),
        "left": left,
        "sources": dict(table.sources),
    }


def _variables(table: FeatureTable) -> list[dict[str, Any]]:
    return [
        {
            "name": column.name,
            "kind": column.kind,
            "source": column.source,
            "missing": int(column.missing.sum()),
        }
        for column in table.inputs
    ]


def _described(table: FeatureTable) -> dict[str, Any]:
    """Who the rows are; no values."""
    return {
        **_account_of(table),
        "subjects": list(table.subjects),
        "subject_groups": list(table.groups),
        "subject_patients": list(table.patients),
        "contents": [list(one) for one in table.contents],
        "variables": _variables(table),
        "values_digest": digest_json([column.texts() for column in table.inputs]),
    }


def _carried(table: FeatureTable, names: Sequence[str]) -> dict[str, Any]:
    """Values of the columns that were named to be carried along, in the order of the subjects."""
    return {
        name: {
            "kind": table.asides[name].kind,
            "values": [
                None if gone else value
                for gone, value in zip(
                    table.asides[name].missing.tolist(), table.asides[name].values.tolist(), strict=True
                )
            ],
        }
        for name in names
    }


def _shown(mined: Mined) -> Mapping[str, Any]:
    """What the run says of the results."""
    results = mined.results
    shown: dict[str, Any] = {}
    if "search" in results:
        scores = [fold["test_score"] for fold in results["folds"]]
        shown = {
            "metric": results["search"]["metric"],
            "mean_of_outer_folds": sum(scores) / len(scores),
            "candidates": results["search"]["candidates"],
            "chosen": results["final"]["chosen"],
        }
    if "estimates" in results:
        shown["estimates"] = results["estimates"]
    return shown
