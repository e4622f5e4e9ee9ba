"""One fold of a training: fitted, or taken up from where it was left, and asked about those held out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import UsageError
from voxlake.lake.cohorts import Cohort
from voxlake.lake.recorder import Recorder
from voxlake.learning.answer import Member
from voxlake.learning.checkpoint import EpochRecord
from voxlake.learning.fit_samples import fit_samples
from voxlake.learning.gather import Gathered
from voxlake.learning.loggers import open_loggers
from voxlake.learning.loop import StepRecord
from voxlake.learning.model_files import model_path
from voxlake.learning.network_of import build_network, describe_samples
from voxlake.learning.objectives.base import Objective
from voxlake.learning.objectives.make import SampleKind, facts_of, make_objective
from voxlake.learning.rows import Spoken, prediction_rows
from voxlake.learning.runtime import device_of
from voxlake.learning.seeds import derived_seed
from voxlake.learning.settings import TrainingSettings
from voxlake.learning.split import Fold, Split
from voxlake.learning.tables.prepare import Preparation
from voxlake.learning.task import Task
from voxlake.networks.weights import weights_from_bytes, weights_to_bytes

__all__ = ["Trained", "Training", "train_fold"]


@dataclass(frozen=True)
class Training:
    """Everything that the folds of one training share."""

    recorder: Recorder
    task: Task
    cohort: Cohort
    found: Gathered
    split: Split
    model_id: str
    plan_digest: str

    def put(self, name: str, content: str | bytes) -> None:
        """Keep a file of the model."""
        data = content if isinstance(content, bytes) else content.encode()
        self.recorder.lake.objects.put(model_path(self.model_id, name), data)

    @property
    def kind(self) -> SampleKind:
        """Kind of the task.

        Raises
        ------
        UsageError
            Segmentation, which learns from patches and not from samples.
        """
        if self.task.kind == "segmentation":
            raise UsageError("a segmentation is not learned from samples")
        return self.task.kind


@dataclass(frozen=True)
class Trained:
    """A fold that is done.

    Parameters
    ----------
    course : mapping
        History, best epoch, digest of the weights, and what answers need.
    described : mapping
        What the network was built for.
    parameters : int
        Number of trainable parameters.
    """

    course: dict[str, Any]
    described: dict[str, Any]
    parameters: int


@dataclass(frozen=True)
class _Fold:
    """A fold at work."""

    job: Training
    number: int
    parts: Fold
    preparation: Preparation | None
    objective: Objective
    network: nn.Module
    seed: int


def train_fold(
    job: Training,
    number: int,
    parts: Fold,
    on_epoch: Callable[[EpochRecord], None],
    on_step: Callable[[StepRecord], None] | None = None,
) -> Trained:
    """Train one fold, or take up what is there, and add its predictions of those held out."""
    seed = derived_seed(job.task.training.seed, "fold", number)
    settings = job.task.training.model_copy(update={"seed": seed})
    preparation = job.found.prepare(parts.train)
    train = job.found.samples(parts.train, preparation)
    objective = make_objective(job.kind, train, settings)
    described = describe_samples(train, objective.outputs)
    network = build_network(job.task.network_name, job.task.network_settings, described, seed=seed)
    fold = _Fold(job, number, parts, preparation, objective, network, seed)
    objects, name = job.recorder.lake.objects, f"fold-{number}.safetensors"
    done = model_path(job.model_id, f"fold-{number}.json")
    if objects.exists(done):
        course = json.loads(objects.get(done))
        weights_from_bytes(network, objects.get(model_path(job.model_id, name)), sha256=course["sha256"])
        network.eval()
    else:
        course = _fit(fold, settings, on_epoch, on_step)
        objects.put(done, json.dumps(course).encode())
    _speak(fold)
    parameters = sum(tensor.numel() for tensor in network.parameters() if tensor.requires_grad)
    return Trained(course, described, parameters)


def _fit(
    fold: _Fold,
    settings: TrainingSettings,
    on_epoch: Callable[[EpochRecord], None],
    on_step: Callable[[StepRecord], None] | None,
) -> dict[str, Any]:
    job, number = fold.job, fold.number
    folder = job.recorder.lake.cache / "training" / job.model_id / f"fold-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    found = job.found
    title = f"{job.task.name}, fold {number + 1}"
    with open_loggers(settings.loggers, folder, name=title, settings=settings.model_dump(mode="json")) as log:

        def tell(record: EpochRecord) -> None:
            log(record)
            on_epoch(record)

        result = fit_samples(
            fold.network,
            found.samples(fold.parts.train, fold.preparation),
            found.samples(fold.parts.validation, fold.preparation),
            fold.objective,
            settings,
            checkpoint_folder=folder,
            on_epoch=tell,
            on_step=on_step,
        )
    _keep_logs(job, folder, number)
    data = weights_to_bytes(fold.network, {"model": job.model_id, "fold": str(number)})
    job.put(f"fold-{number}.safetensors", data)
    return {
        "sha256": digest_bytes(data),
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "seconds": result.seconds,
        "epochs": [asdict(record) for record in result.history],
        "objective": facts_of(fold.objective),
        "table": None if fold.preparation is None else fold.preparation.to_dict(),
    }


def _keep_logs(job: Training, folder: Path, number: int) -> None:
    """Put what was written for TensorBoard and MLflow beside the card."""
    for path in sorted((*folder.glob("tensorboard/*"), *folder.glob("mlflow.db"))):
        job.put(f"logs/fold-{number}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def _speak(fold: _Fold) -> None:
    """Add predictions of the validation and test part."""
    job, found = fold.job, fold.job.found
    network = fold.network.to(device_of(job.task.training.device))
    member = Member(network, fold.objective, fold.preparation, job.task.mirror)
    for part in ("validation", "test"):
        positions = getattr(fold.parts, part)
        if not positions:
            continue
        answers = member.answers(found.samples(positions, fold.preparation).inputs)
        spoken = [
            Spoken(found.units[position], found.groups[position], found.truths[position], part, answer)
            for position, answer in zip(positions, answers, strict=True)
        ]
        rows = prediction_rows(
            spoken,
            job.task,
            found.classes,
            model_id=job.model_id,
            cohort_id=job.cohort.cohort_id,
            fold=fold.number,
        )
        job.recorder.add("predictions", rows)
