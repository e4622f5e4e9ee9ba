"""The verb train."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from voxlake.core.digest import digest_bytes, digest_json, digest_many
from voxlake.core.run import Run
from voxlake.engine.progress import progress_bar
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.checkpoint import EpochRecord
from voxlake.learning.data import derived_seed
from voxlake.learning.gather import Gathered, gather
from voxlake.learning.inference import predict_probabilities
from voxlake.learning.loop import fit
from voxlake.learning.model_files import model_path
from voxlake.learning.rows import Spoken, prediction_rows
from voxlake.learning.split import Fold, Split, make_split
from voxlake.learning.task import Task, load_task
from voxlake.networks.registry import build
from voxlake.networks.weights import weights_from_bytes, weights_to_bytes

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
        Items are the volumes of the cohort: used (stored), or left out with a reason (failed).

    Raises
    ------
    NotFoundError
        The cohort is not there, not prepared under the plan of the task, or has no such label.
    LeakageError
        The split would let a patient or an image stand in two parts.

    Examples
    --------
    >>> train(lake, "task.toml")  # doctest: +SKIP
    """
    job = task if isinstance(task, Task) else load_task(task)
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
        found = gather(
            cohort,
            plan_digest,
            target=job.target,
            classes=job.classes,
            dimensions=int(job.network["dimensions"]),
        )
        split = make_split(
            found.samples.groups, found.labels, [row["inputs"] for row in found.rows], job.split
        )
        account_withdrawn(cohort, recorder)
        _account(recorder, found)
        labels_digest = digest_json(sorted(zip(found.samples.ids, found.labels, strict=True)))
        model_id = digest_many(
            [job.digest(), cohort.cohort_id, plan_digest, labels_digest, version("voxlake")]
        )[:24]
        recorder.input_digest = found.samples.digest()
        recorder.result |= {"model": model_id, "task": job.name, "folds": len(split.folds)}
        known = lake.sql("select count(*) from models where model_id = $model", {"model": model_id}).rows()
        if known[0][0] == 0:
            _train(_Training(recorder, job, cohort, found, split, model_id, plan_digest), progress)
        recorder.result["already"] = bool(known[0][0])
    return recorder.run


class _Training:
    """Everything that the folds of one training share."""

    def __init__(
        self,
        recorder: Recorder,
        task: Task,
        cohort: Cohort,
        found: Gathered,
        split: Split,
        model_id: str,
        plan_digest: str,
    ) -> None:
        self.recorder = recorder
        self.lake = recorder.lake
        self.task = task
        self.cohort = cohort
        self.found = found
        self.split = split
        self.model_id = model_id
        self.plan_digest = plan_digest

    def put(self, name: str, content: str | bytes) -> None:
        """Keep a file of the model."""
        data = content if isinstance(content, bytes) else content.encode()
        self.lake.objects.put(model_path(self.model_id, name), data)


def _account(recorder: Recorder, found: Gathered) -> None:
    recorder.saw(len(found.rows) + len(found.left))
    for row in found.rows:
        recorder.outcome(row["volume_id"], "stored")
    for left in found.left:
        recorder.outcome(left.item, "failed", reason=left.reason, detail=left.detail)


def _train(job: _Training, progress: bool | None) -> None:
    started = time.perf_counter()
    folds = job.split.folds
    weights, parameters, history = [], 0, []
    with progress_bar("train", len(folds) * job.task.training.epochs, enabled=progress) as bar:
        for number, fold in enumerate(folds):
            shown = 0

            def on_epoch(record: EpochRecord, number: int = number) -> None:
                nonlocal shown
                shown += 1
                bar.advance(1, note=f"fold {number + 1}/{len(folds)}, {_said(record)}")

            digest, parameters, epochs = _fold(job, number, fold, on_epoch)
            bar.advance(job.task.training.epochs - shown)
            weights.append(digest)
            history.append(epochs)
    ids = job.found.samples.ids
    card = {
        "classes": list(job.found.samples.classes),
        "channels": job.found.samples.channels,
        "shape": list(job.found.samples.shape),
        "weights": weights,
        "history": history,
        "cohort": f"{job.cohort.name}@{job.cohort.version}",
        "intended_use": "research; not a medical device",
        "code_version": version("voxlake"),
    }
    job.put("task.toml", job.task.to_toml())
    job.put("plan.toml", job.task.load_plan().to_toml())
    job.put("split.json", json.dumps(job.split.to_dict(ids)))
    job.put("card.json", json.dumps(card))
    job.recorder.add("models", [_model_row(job, parameters, time.perf_counter() - started)])


def _said(record: EpochRecord) -> str:
    area = record.validation_roc_auc
    return f"validation AUC {area:.3f}" if area is not None else f"loss {record.train_loss:.3f}"


def _fold(
    job: _Training, number: int, fold: Fold, on_epoch: Callable[[EpochRecord], None]
) -> tuple[str, int, dict[str, Any]]:
    """Train one fold, or take up what is there; add its predictions.

    Returns digest of the weights, number of parameters, and the course of the training.
    """
    task, samples = job.task, job.found.samples
    seed = derived_seed(task.training.seed, "fold", number)
    network = build(
        task.network_name,
        task.network_settings,
        in_channels=samples.channels,
        outputs=len(samples.classes),
        shape=samples.shape,
        seed=seed,
    )
    name = f"fold-{number}.safetensors"
    done = model_path(job.model_id, f"fold-{number}.json")
    if job.lake.objects.exists(done):
        course = json.loads(job.lake.objects.get(done))
        data = job.lake.objects.get(model_path(job.model_id, name))
        weights_from_bytes(network, data, sha256=course["sha256"])
    else:
        course = _fit(job, number, fold, network, seed, on_epoch)
        job.lake.objects.put(done, json.dumps(course).encode())
    for part in ("validation", "test"):
        positions = getattr(fold, part)
        inside = samples.take(positions)
        probabilities = predict_probabilities(network, inside.images)
        spoken = [
            Spoken(job.found.rows[position], samples.groups[position], job.found.labels[position], part, each)
            for position, each in zip(positions, probabilities, strict=True)
        ]
        rows = prediction_rows(
            spoken,
            samples.classes,
            model_id=job.model_id,
            cohort_id=job.cohort.cohort_id,
            fold=number,
        )
        job.recorder.add("predictions", rows)
    parameters = sum(tensor.numel() for tensor in network.parameters() if tensor.requires_grad)
    return course["sha256"], parameters, course


def _fit(
    job: _Training, number: int, fold: Fold, network: Any, seed: int, on_epoch: Callable[[EpochRecord], None]
) -> dict[str, Any]:
    samples = job.found.samples
    folder = job.lake.cache / "training" / job.model_id / f"fold-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    result = fit(
        network,
        samples.take(fold.train),
        samples.take(fold.validation),
        job.task.training.model_copy(update={"seed": seed}),
        checkpoint_folder=folder,
        on_epoch=on_epoch,
    )
    data = weights_to_bytes(network, {"model": job.model_id, "fold": str(number)})
    job.put(f"fold-{number}.safetensors", data)
    return {
        "sha256": digest_bytes(data),
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "seconds": result.seconds,
        "epochs": [asdict(record) for record in result.history],
    }


def _model_row(job: _Training, parameters: int, seconds: float) -> dict[str, Any]:
    return {
        "model_id": job.model_id,
        "kind": "network",
        "task": job.task.name,
        "task_kind": job.task.kind,
        "task_digest": job.task.digest(),
        "cohort_id": job.cohort.cohort_id,
        "plan_digest": job.plan_digest,
        "target": job.task.target,
        "classes": list(job.found.samples.classes),
        "folds": len(job.split.folds),
        "parameters": parameters,
        "samples": len(job.found.samples),
        "seed": job.task.split.seed,
        "split_digest": job.split.digest(job.found.samples.ids),
        "seconds": seconds,
    }
