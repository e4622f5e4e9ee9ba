"""The verb train."""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from voxlake.core.digest import digest_many
from voxlake.core.run import Run
from voxlake.lake.cohorts import get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.checkpoint import EpochRecord
from voxlake.learning.data import steps_of
from voxlake.learning.fold import Trained, Training, train_fold
from voxlake.learning.gather import Gathered, gather
from voxlake.learning.loggers import require_loggers
from voxlake.learning.split import Split, make_split
from voxlake.learning.targets import strata_of
from voxlake.learning.task import Task, load_task
from voxlake.learning.training_bar import training_bar

__all__ = ["train"]


def train(lake: Lake, task: str | Path | Task, *, progress: bool | None = None) -> Run:
    """Train the networks of a task on a prepared, labelled cohort.

    Patients are dealt out to training, validation and test parts with the seed of the task, and the run
    stops if a patient or an image stands in two parts. Each fold is one network, chosen on its validation
    part; its test part is predicted once. A training that was killed goes on where it was; one that is done
    is not done again.

    Parameters
    ----------
    lake : Lake
        The lake.
    task : str, path or Task
        TOML file, or a task.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.

    Returns
    -------
    Run
        Items are the volumes of the cohort, or its patients: used (stored), or left out with a reason
        (failed).

    Raises
    ------
    NotFoundError
        The cohort is not there, not prepared under the plan of the task, or has no such label or column.
    UsageError
        There is too little to learn from, or a logger is not installed.
    LeakageError
        The split would let a patient or an image stand in two parts.

    Examples
    --------
    >>> train(lake, "task.toml")  # doctest: +SKIP
    """
    job = task if isinstance(task, Task) else load_task(task)
    if job.kind == "segmentation":
        # Loads what only masks need.
        from voxlake.learning.segmentation.train import train_segmentation

        return train_segmentation(lake, job, progress=progress)
    require_loggers(job.training.loggers)
    cohort = get_cohort(lake, job.cohort)
    plan_digest = job.load_plan().digest()
    arguments = {
        "task": job.model_dump(mode="json"),
        "task_digest": job.digest(),
        "cohort": f"{cohort.name}@{cohort.version}",
        "cohort_id": cohort.cohort_id,
        "plan_digest": plan_digest,
    }
    with start_run(lake, "train", arguments) as recorder:
        gathered = gather(cohort, plan_digest, job)
        split = _split(job, gathered)
        account_withdrawn(cohort, recorder)
        _account(recorder, gathered)
        model_id = digest_many(
            [job.digest(), cohort.cohort_id, plan_digest, gathered.labels_digest(), version("voxlake")]
        )[:24]
        recorder.input_digest = gathered.digest()
        recorder.result |= {"model": model_id, "task": job.name, "folds": len(split.folds)}
        known = lake.sql("select count(*) from models where model_id = $model", {"model": model_id}).rows()
        if known[0][0] == 0:
            _train(Training(recorder, job, cohort, gathered, split, model_id, plan_digest), progress)
        recorder.result["already"] = bool(known[0][0])
    return recorder.run


def _split(task: Task, found: Gathered) -> Split:
    """Parts of the task; those that are learned from hold only what the task names."""
    parts = task.split.folds if task.split.kind == "kfold" else 2
    strata = strata_of(task, found.truths, found.groups, parts=parts)
    split = make_split(found.groups, strata, found.contents, task.split, found.parts)
    if not task.learn_from:
        return split
    folds = (fold.only(lambda position: found.truths[position] in task.learn_from) for fold in split.folds)
    return Split(split.seed, tuple(folds))


def _account(recorder: Recorder, found: Gathered) -> None:
    recorder.saw(len(found.units) + len(found.left))
    for unit in found.units:
        recorder.outcome(unit.subject, "stored")
    for left in found.left:
        recorder.outcome(left.item, "failed", reason=left.reason, detail=left.detail)


def _train(job: Training, progress: bool | None) -> None:
    started = time.perf_counter()
    folds = job.split.folds
    trained: list[Trained] = []
    settings = job.task.training
    steps = [steps_of(len(fold.train), settings.batch_size) for fold in folds]
    with training_bar(
        settings.epochs, steps, lambda record: _said(record, settings.monitor), enabled=progress
    ) as bar:
        for number, fold in enumerate(folds):
            with bar.fold(number) as shown:
                trained.append(train_fold(job, number, fold, shown.on_epoch, shown.on_step))
    card = {
        **trained[0].described,
        "task_kind": job.task.kind,
        "target": job.task.target_name,
        "classes": list(job.found.classes),
        "variables": _variables(job.found),
        "weights": [one.course["sha256"] for one in trained],
        "history": [one.course for one in trained],
        "cohort": f"{job.cohort.name}@{job.cohort.version}",
        "intended_use": "research; not a medical device",
        "code_version": version("voxlake"),
    }
    job.put("task.toml", job.task.to_toml())
    job.put("plan.toml", job.task.load_plan().to_toml())
    job.put("split.json", json.dumps(job.split.to_dict(job.found.ids)))
    job.put("card.json", json.dumps(card))
    seconds = time.perf_counter() - started
    job.recorder.add("models", [_model_row(job, trained[0].parameters, seconds)])


def _variables(found: Gathered) -> list[dict[str, str]]:
    """Columns of the table, for those that are to be predicted."""
    columns = () if found.table is None else found.table.inputs
    return [{"name": column.name, "kind": column.kind} for column in columns]


def _said(record: EpochRecord, monitor: str) -> str:
    shown = dict.fromkeys((monitor, "roc_auc", "loss"))
    known = [f"{name} {record.figures[name]:.3f}" for name in shown if name in record.figures]
    return f"validation {', '.join(known)}" if known else f"loss {record.train_loss:.3f}"


def _model_row(job: Training, parameters: int, seconds: float) -> dict[str, Any]:
    return {
        "model_id": job.model_id,
        "kind": "network",
        "task": job.task.name,
        "task_kind": job.task.kind,
        "task_digest": job.task.digest(),
        "cohort_id": job.cohort.cohort_id,
        "plan_digest": job.plan_digest,
        "target": job.task.target_name,
        "classes": list(job.found.classes),
        "folds": len(job.split.folds),
        "parameters": parameters,
        "samples": len(job.found.units),
        "seed": job.task.split.seed,
        "split_digest": job.split.digest(job.found.ids),
        "seconds": seconds,
    }
