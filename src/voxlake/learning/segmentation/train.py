"""Train the networks of a segmentation task; called by the verb train."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from torch import nn

from voxlake.core.digest import digest_bytes, digest_many
from voxlake.core.errors import SettingsError
from voxlake.core.grid import Grid
from voxlake.core.run import Run
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.checkpoint import EpochRecord
from voxlake.learning.loop import fit
from voxlake.learning.model_files import model_path
from voxlake.learning.objectives.segmentation import SegmentationObjective
from voxlake.learning.seeds import derived_seed
from voxlake.learning.segmentation.gather import GatheredCases, gather_cases
from voxlake.learning.segmentation.masks import Made, mask_rows, size_rows, source_grids
from voxlake.learning.segmentation.patches import PatchSource
from voxlake.learning.segmentation.segmenter import segmented
from voxlake.learning.segmentation.settings import SegmentationSettings
from voxlake.learning.segmentation.truth import Truth
from voxlake.learning.segmentation.validation import Validation
from voxlake.learning.split import Fold, Split, make_split
from voxlake.learning.task import Task
from voxlake.learning.training_bar import FoldBar, training_bar
from voxlake.networks.registry import build
from voxlake.networks.weights import weights_from_bytes, weights_to_bytes

__all__ = ["BACKGROUND", "classes_of", "make_objective", "settings_of", "train_segmentation"]

BACKGROUND = "background"
"""The first of the classes of a segmentation model."""


def settings_of(task: Task) -> SegmentationSettings:
    """The table ``[segmentation]`` of a task.

    Raises
    ------
    SettingsError
        An unknown key (the near miss is named), or a value that does not fit.
    """
    return SegmentationSettings.read(task.segmentation, where=f"task '{task.name}', segmentation")


def classes_of(task: Task) -> tuple[str, ...]:
    """Names of the classes of a task without the background; its target where it names none.

    Raises
    ------
    SettingsError
        It names neither.
    """
    if task.classes is not None:
        return task.classes
    if task.target is None:
        raise SettingsError(
            f"task '{task.name}': name the masks to be learned in 'classes', or one in 'target'"
        )
    return (task.target,)


def make_objective(task: Task) -> SegmentationObjective:
    """The objective that a task describes."""
    settings = settings_of(task)
    return SegmentationObjective(
        classes_of(task),
        dice=settings.dice,
        cross_entropy=settings.cross_entropy,
        deep_weights=settings.deep_weights,
    )


def train_segmentation(lake: Lake, task: Task, *, progress: bool | None = None) -> Run:
    """Train the networks of a task on a prepared cohort with masks; see `voxlake.learning.train.train`.

    Each fold is one network, chosen on the whole volumes of its validation part; its test part is segmented
    once, and the masks are rows of `masks` of the kind ``MODEL`` with the model as `mask_plan_digest`.

    Raises
    ------
    NotFoundError
        The cohort is not there, not prepared under the plan of the task, or has no masks.
    LeakageError
        The split would let a patient or an image stand in two parts.
    """
    settings = settings_of(task)
    cohort = get_cohort(lake, task.cohort)
    plan_digest = task.load_plan().digest()
    arguments = {
        "task": task.model_dump(mode="json"),
        "task_digest": task.digest(),
        "cohort": f"{cohort.name}@{cohort.version}",
        "cohort_id": cohort.cohort_id,
        "plan_digest": plan_digest,
    }
    with start_run(lake, "train", arguments) as recorder:
        found = gather_cases(
            cohort,
            plan_digest,
            classes=classes_of(task),
            dimensions=int(task.network["dimensions"]),
            settings=settings,
            split=task.split,
        )
        strata = ["all"] * len(found.rows)
        split = make_split(
            found.groups, strata, [row["inputs"] for row in found.rows], task.split, found.parts
        )
        split = Split(split.seed, split.folds[: settings.folds])
        account_withdrawn(cohort, recorder)
        _account(recorder, found)
        model_id = digest_many(
            [
                task.digest(),
                cohort.cohort_id,
                plan_digest,
                found.cases.digest(),
                *found.parts,
                version("voxlake"),
            ]
        )[:24]
        recorder.input_digest = found.cases.digest()
        recorder.result |= {"model": model_id, "task": task.name, "folds": len(split.folds)}
        known = lake.sql("select count(*) from models where model_id = $model", {"model": model_id}).rows()
        if known[0][0] == 0:
            _train(_Job(recorder, task, settings, cohort, found, split, model_id), progress)
        recorder.result["already"] = bool(known[0][0])
    return recorder.run


@dataclass(frozen=True)
class _Job:
    """Everything that the folds of one training share."""

    recorder: Recorder
    task: Task
    settings: SegmentationSettings
    cohort: Cohort
    found: GatheredCases
    split: Split
    model_id: str

    @property
    def lake(self) -> Lake:
        """Where everything lies."""
        return self.recorder.lake

    @property
    def shape(self) -> tuple[int, ...]:
        """What the network sees in training."""
        return self.settings.patch or self.found.cases.extent(self.settings.multiple)

    def put(self, name: str, content: str | bytes) -> None:
        """Keep a file of the model."""
        data = content if isinstance(content, bytes) else content.encode()
        self.lake.objects.put(model_path(self.model_id, name), data)

    def training(self, number: int) -> Any:
        """Training settings of a fold: it has a seed of its own."""
        settings = self.task.training
        return settings.model_copy(update={"seed": derived_seed(settings.seed, "fold", number)})


def _account(recorder: Recorder, found: GatheredCases) -> None:
    recorder.saw(len(found.rows) + len(found.left))
    for row in found.rows:
        recorder.outcome(row["volume_id"], "stored")
    for left in found.left:
        recorder.outcome(left.item, "failed", reason=left.reason, detail=left.detail)


def _train(job: _Job, progress: bool | None) -> None:
    started = time.perf_counter()
    folds, epochs = job.split.folds, job.task.training.epochs
    weights, history, parameters = [], [], 0
    steps = [_patches(job, number, fold).steps for number, fold in enumerate(folds)]
    with training_bar(epochs, steps, _said, enabled=progress) as bar:
        for number, fold in enumerate(folds):
            with bar.fold(number) as shown:
                network, course = _fold(job, number, fold, shown)
            _segment_parts(job, number, fold, network)
            weights.append(course["sha256"])
            history.append(course)
            parameters = sum(each.numel() for each in network.parameters() if each.requires_grad)
    ids = job.found.cases.ids
    card = {
        "classes": [BACKGROUND, *job.found.cases.classes],
        "channels": job.found.cases.channels,
        "shape": list(job.shape),
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
    dice = record.figures.get("dice")
    return f"validation Dice {dice:.3f}" if dice is not None else f"loss {record.train_loss:.3f}"


def _fold(job: _Job, number: int, fold: Fold, shown: FoldBar) -> tuple[nn.Module, dict[str, Any]]:
    """Train one fold, or take up what is there; gives the network and the course of its training."""
    network = build(
        job.task.network_name,
        job.task.network_settings,
        in_channels=job.found.cases.channels,
        outputs=1 + len(job.found.cases.classes),
        shape=job.shape,
        seed=job.training(number).seed,
    )
    name = f"fold-{number}.safetensors"
    done = model_path(job.model_id, f"fold-{number}.json")
    if job.lake.objects.exists(done):
        course: dict[str, Any] = json.loads(job.lake.objects.get(done))
        weights_from_bytes(
            network, job.lake.objects.get(model_path(job.model_id, name)), sha256=course["sha256"]
        )
        return network.eval(), course
    course = _fit(job, number, fold, network, shown)
    job.lake.objects.put(done, json.dumps(course).encode())
    return network.eval(), course


def _patches(job: _Job, number: int, fold: Fold) -> PatchSource:
    """What a fold learns from."""
    training = job.training(number)
    return PatchSource(
        job.found.cases.take(fold.train),
        job.settings,
        batch_size=training.batch_size,
        seed=training.seed,
    )


def _fit(job: _Job, number: int, fold: Fold, network: nn.Module, shown: FoldBar) -> dict[str, Any]:
    training = job.training(number)
    objective = make_objective(job.task)
    validated = job.found.cases.take(fold.validation)
    folder = job.lake.cache / "training" / job.model_id / f"fold-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    result = fit(
        network,
        _patches(job, number, fold),
        objective,
        training,
        validate=Validation(validated, objective, job.settings, training.precision),
        checkpoint_folder=folder,
        on_epoch=shown.on_epoch,
        on_step=shown.on_step,
        mark=validated.digest(),
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


def _segment_parts(job: _Job, number: int, fold: Fold, network: nn.Module) -> None:
    """Masks and sizes of the test part, sizes of the validation part."""
    grids = source_grids(job.cohort, job.task.load_plan(), job.found.rows)
    classes = job.found.cases.classes
    for part in ("validation", "test"):
        made = [_made(job, place, part, network, grids) for place in getattr(fold, part)]
        if part == "test":
            job.recorder.add("masks", mask_rows(job.lake, made, classes, model_id=job.model_id, fold=number))
        rows = size_rows(made, classes, model_id=job.model_id, cohort_id=job.cohort.cohort_id, fold=number)
        job.recorder.add("predictions", rows)


def _made(job: _Job, place: int, part: str, network: nn.Module, grids: Mapping[str, Grid]) -> Made:
    case, row = job.found.cases.items[place], job.found.rows[place]
    labels = segmented([network], case, job.settings, dimensions=job.found.cases.dimensions)
    truth = Truth(case.labels, Grid.from_dict(json.loads(row["grid"])), case.content)
    return Made(row, job.found.groups[place], part, labels, grids.get(row["volume_id"]), truth)


def _model_row(job: _Job, parameters: int, seconds: float) -> dict[str, Any]:
    return {
        "model_id": job.model_id,
        "kind": "network",
        "task": job.task.name,
        "task_kind": job.task.kind,
        "task_digest": job.task.digest(),
        "cohort_id": job.cohort.cohort_id,
        "plan_digest": job.found.rows[0]["plan_digest"],
        "target": job.task.target,
        "classes": [BACKGROUND, *job.found.cases.classes],
        "folds": len(job.split.folds),
        "parameters": parameters,
        "samples": len(job.found.rows),
        "seed": job.task.split.seed,
        "split_digest": job.split.digest(job.found.cases.ids),
        "seconds": seconds,
    }
