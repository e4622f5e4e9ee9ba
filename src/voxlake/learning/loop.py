"""The training loop: the same numbers for the same seed, also when it was killed in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.learning.batch import BatchSource
from voxlake.learning.checkpoint import (
    EpochRecord,
    Partial,
    TrainingState,
    fingerprint,
    new_state,
    restore,
    save,
)
from voxlake.learning.objectives.base import Objective
from voxlake.learning.optimisation import learning_rate, set_learning_rate, update_average
from voxlake.learning.runtime import device_of, torch_runtime
from voxlake.learning.settings import TrainingSettings
from voxlake.learning.step import Place, layout_of, make_scaler, take_step
from voxlake.learning.workers import Workers, open_workers
from voxlake.networks.small_maps import small_maps_padded

__all__ = ["FitResult", "StepRecord", "Validate", "fit"]

Validate = Callable[[nn.Module], Mapping[str, float]]
# A GPU is asked for its losses only now and then: asking waits for all that it has yet to do.
_STEPS_BETWEEN_LOOKS = 50


class StepRecord(NamedTuple):
    """How far an epoch is.

    Parameters
    ----------
    epoch : int
        1 for the first.
    step, steps : int
        How many of its batches are learned from, and how many it has.
    train_loss : float or None
        Mean loss of the batches of this epoch that were looked at; None as long as there is none.
    """

    epoch: int
    step: int
    steps: int
    train_loss: float | None


@dataclass(frozen=True)
class FitResult:
    """What a training gave.

    Parameters
    ----------
    history : tuple of EpochRecord
        One for each epoch.
    best_epoch : int
        Whose weights the network has; 1 for the first.
    seconds : float
        Wall time of all epochs, those before an interruption included.
    stopped_early : bool
        Whether patience ended it.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    seconds: float
    stopped_early: bool


def fit(  # noqa: PLR0913 - who is told of the course of it are options beside those of the training
    network: nn.Module,
    train: BatchSource,
    objective: Objective,
    settings: TrainingSettings,
    *,
    validate: Validate | None = None,
    checkpoint_folder: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    mark: str = "",
) -> FitResult:
    """Fit a network to batches and leave the weights of its best epoch in it.

    Parameters
    ----------
    network : torch.nn.Module
        Called with the inputs of a batch; changed in place, and left on the processor.
    train : BatchSource
        What is learned from.
    objective : Objective
        What is made small.
    settings : TrainingSettings
        How.
    validate : callable, optional
        Gives the figures of the validation part, which choose the epoch; called after each epoch with the
        network, or its moving average, in evaluation mode, on the device of the training and without
        gradients. Without it the last epoch counts and all are run.
    checkpoint_folder : Path, optional
        Where the state is kept after each epoch. If it holds the state of this very training, the training
        goes on from there, and on a processor with one thread, or as many as before, it ends at the same
        weights bit for bit.
    on_epoch : callable, optional
        Called with the `EpochRecord` of each epoch, after its checkpoint was written.
    on_step : callable, optional
        Called with a `StepRecord` after each batch; it may take its time from the training, not more.
    mark : str
        What else decides the outcome, for example the digest of the validation part; a checkpoint with
        another mark belongs to another training.

    Returns
    -------
    FitResult
        History and best epoch.

    Raises
    ------
    UsageError
        The loss is no longer finite, there is no such figure to monitor, or the checkpoint belongs to
        another training.
    EngineError
        A process that took a share of each batch is gone.
    """
    larger = _check(objective, settings, validate)
    place = Place(device_of(settings.device), settings.precision, layout_of(network))
    with torch_runtime(settings.threads, settings.seed), small_maps_padded(network):
        key = "" if checkpoint_folder is None else fingerprint(network, train, settings, mark)
        place.put(network)
        network.train()
        state = new_state(network, settings, scaler=make_scaler(place))
        if checkpoint_folder is not None:
            restore(checkpoint_folder, state, key)
        if _ended(state, settings):
            return _result(state, settings)
        keep = None if checkpoint_folder is None else _Keeper(checkpoint_folder, state, key)
        with open_workers(network, train, objective, settings, place) as workers:
            job = _Job(state, train, objective, settings, workers, keep, on_step)
            while not _ended(state, settings):
                record = _one_epoch(job, validate)
                state.history.append(record)
                if _is_best(state, settings.monitor, larger=larger):
                    state.keep_as_best()
                if keep is not None:
                    keep()
                if on_epoch is not None:
                    on_epoch(record)
        return _result(state, settings)


@dataclass(frozen=True)
class _Keeper:
    """Writes the state to its folder."""

    folder: Path
    state: TrainingState
    key: str

    def __call__(self) -> None:
        save(self.folder, self.state, self.key)


@dataclass
class _Job:
    """What all steps of a training share, and the losses that were not looked at yet."""

    state: TrainingState
    train: BatchSource
    objective: Objective
    settings: TrainingSettings
    workers: Workers
    keep: _Keeper | None
    on_step: Callable[[StepRecord], None] | None = None
    unseen: list[tuple[Tensor, float]] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """The epoch at hand, 1 for the first."""
        return len(self.state.history) + 1

    def look(self) -> None:
        """Add up the losses so far, and refuse what is no number."""
        partial = self.state.partial
        for loss, weight in self.unseen:
            value = float(loss)
            _refuse_nan(value, self.epoch, self.settings)
            partial.loss += value * weight
            partial.weight += weight
        self.unseen.clear()

    def tell(self, step: int) -> None:
        """Say how far the epoch is; what was not looked at yet is not asked for, a GPU would have to wait."""
        if self.on_step is not None:
            partial = self.state.partial
            loss = partial.loss / partial.weight if partial.weight else None
            self.on_step(StepRecord(self.epoch, step, self.train.steps, loss))


def _result(state: TrainingState, settings: TrainingSettings) -> FitResult:
    state.network.to("cpu")
    state.network.load_state_dict(state.best)
    state.network.eval()
    return FitResult(
        history=tuple(state.history),
        best_epoch=state.best_epoch,
        seconds=sum(record.seconds for record in state.history),
        stopped_early=_stopped_early(state, settings),
    )


def _one_epoch(job: _Job, validate: Validate | None) -> EpochRecord:
    state, epoch = job.state, job.epoch
    started = time.perf_counter() - state.partial.seconds
    _learn(job, started)
    train_loss = state.partial.loss / max(state.partial.weight, 1e-12)
    state.partial = Partial()
    figures: Mapping[str, float] = {}
    if validate is not None:
        state.validated.eval()
        with torch.inference_mode():
            figures = validate(state.validated)
        if "loss" in figures:
            _refuse_nan(figures["loss"], epoch, job.settings)
        _check_monitor(figures, job.settings)
    return EpochRecord(
        epoch=epoch,
        train_loss=train_loss,
        figures={name: float(value) for name, value in figures.items()},
        learning_rate=float(state.optimiser.param_groups[0]["lr"]),
        seconds=time.perf_counter() - started,
    )


def _learn(job: _Job, started: float) -> None:
    """What is left of one pass over the training part."""
    state, settings, epoch, steps = job.state, job.settings, job.epoch, job.train.steps
    state.network.train()
    every = settings.checkpoint_every if job.keep is not None else None
    done = state.partial.step
    for step, batch in enumerate(islice(job.train.epoch(epoch), done, None), done):
        progress = (epoch - 1 + step / steps) / settings.epochs
        set_learning_rate(state.optimiser, learning_rate(settings, progress))
        loss = job.workers.gradients(epoch, step, batch, state.scaler)
        job.unseen.append((loss, job.objective.weight(batch.targets)))
        if loss.device.type == "cpu" or len(job.unseen) == _STEPS_BETWEEN_LOOKS:
            job.look()
        take_step(state, settings)
        if state.average is not None:
            update_average(state.average, state.network, settings.ema, (epoch - 1) * steps + step)
        state.partial.step = step + 1
        job.tell(step + 1)
        if every is not None and job.keep is not None and (step + 1) % every == 0 and step + 1 < steps:
            job.look()
            state.partial.seconds = time.perf_counter() - started
            job.keep()
    job.look()


def _is_best(state: TrainingState, monitor: str, *, larger: bool) -> bool:
    *before, last = [_monitored(record, monitor, larger=larger) for record in state.history]
    if last is None or state.best_epoch == 0:
        # Without a validation part the last epoch counts; a figure that is not defined never wins.
        return state.best_epoch == 0 or not state.history[-1].figures
    best = before[state.best_epoch - 1]
    return best is None or last > best


def _monitored(record: EpochRecord, monitor: str, *, larger: bool) -> float | None:
    """Validation figure of an epoch, larger is better; None where it is not defined."""
    value = record.figures.get(monitor, math.nan)
    if math.isnan(value):
        return None
    return value if larger else -value


def _ended(state: TrainingState, settings: TrainingSettings) -> bool:
    return _stopped_early(state, settings) or len(state.history) >= settings.epochs


def _stopped_early(state: TrainingState, settings: TrainingSettings) -> bool:
    patience = settings.patience
    return patience is not None and len(state.history) - state.best_epoch >= patience


def _check(objective: Objective, settings: TrainingSettings, validate: Validate | None) -> bool:
    if validate is None and settings.patience is not None:
        raise UsageError("stopping early needs a validation part: pass one or leave out 'patience'")
    return objective.larger_is_better(settings.monitor)


def _check_monitor(figures: Mapping[str, float], settings: TrainingSettings) -> None:
    if settings.monitor not in figures:
        raise UsageError(
            f"monitor = '{settings.monitor}', but validation gives {', '.join(sorted(figures)) or 'nothing'}"
        )


def _refuse_nan(loss: float, epoch: int, settings: TrainingSettings) -> None:
    if not math.isfinite(loss):
        raise UsageError(
            f"the loss of epoch {epoch} is {loss}: lower learning_rate (now {settings.learning_rate:g}), set "
            "clip = 1.0, or look at the range of the prepared values"
        )
