"""The training loop: the same numbers for the same seed, also when it was killed in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxlake.core.errors import UsageError
from voxlake.learning import augment
from voxlake.learning.checkpoint import EpochRecord, TrainingState, fingerprint, new_state, restore, save
from voxlake.learning.data import Samples, batches, derived_seed
from voxlake.learning.inference import predict_logits
from voxlake.learning.optimisation import class_weights, learning_rate, set_learning_rate, update_average
from voxlake.learning.runtime import autocast, torch_runtime
from voxlake.learning.settings import TrainingSettings
from voxlake.metrics.scores import roc_auc

__all__ = ["FitResult", "fit"]


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


def fit(
    network: nn.Module,
    train: Samples,
    validation: Samples | None,
    settings: TrainingSettings,
    *,
    checkpoint_folder: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> FitResult:
    """Fit a classifier and leave the weights of its best epoch in it.

    Parameters
    ----------
    network : torch.nn.Module
        Maps images to logits (N, K), K being the number of classes; changed in place.
    train : Samples
        What is learned from.
    validation : Samples, optional
        What chooses the epoch; without it the last one counts and all epochs are run.
    settings : TrainingSettings
        How.
    checkpoint_folder : Path, optional
        Where the state is kept after each epoch. If it holds the state of this very training, the training
        goes on from there, and with one thread, or as many as before, ends at the same weights bit for bit.
    on_epoch : callable, optional
        Called with the `EpochRecord` of each epoch, after its checkpoint was written.

    Returns
    -------
    FitResult
        History and best epoch.

    Raises
    ------
    UsageError
        The loss is no longer finite, the validation part cannot tell epochs apart, or the checkpoint
        belongs to another training.
    """
    _check(train, validation, settings)
    layout = torch.channels_last if train.images.ndim == 4 else torch.channels_last_3d
    with torch_runtime(settings.threads, settings.seed):
        mark = "" if checkpoint_folder is None else fingerprint(network, train, validation, settings)
        network.to(memory_format=layout)  # type: ignore[call-overload]  # the stubs leave this overload out
        state = new_state(network, settings)
        if checkpoint_folder is not None:
            restore(checkpoint_folder, state, mark)
        while not _stopped_early(state, settings) and len(state.history) < settings.epochs:
            record = _one_epoch(state, train, validation, settings)
            state.history.append(record)
            if _is_best(state, settings):
                state.keep_as_best()
            if checkpoint_folder is not None:
                save(checkpoint_folder, state, mark)
            if on_epoch is not None:
                on_epoch(record)
    network.load_state_dict(state.best)
    network.eval()
    return FitResult(
        history=tuple(state.history),
        best_epoch=state.best_epoch,
        seconds=sum(record.seconds for record in state.history),
        stopped_early=_stopped_early(state, settings),
    )


def _one_epoch(
    state: TrainingState, train: Samples, validation: Samples | None, settings: TrainingSettings
) -> EpochRecord:
    epoch = len(state.history) + 1
    started = time.perf_counter()
    weights = class_weights(train.targets, len(train.classes), settings)
    train_loss = _learn(state, train, weights, settings, epoch)
    validation_loss = validation_auc = None
    if validation is not None:
        with autocast(settings.precision):
            logits = predict_logits(state.validated, validation.images)
        # Weighted as in training, so that both losses speak of the same thing.
        validation_loss = float(functional.cross_entropy(logits, validation.targets, weight=weights))
        _refuse_nan(validation_loss, epoch, settings)
        probabilities = torch.softmax(logits.double(), dim=1)
        validation_auc = float(roc_auc(validation.targets.numpy(), probabilities.numpy()))
    return EpochRecord(
        epoch=epoch,
        train_loss=train_loss,
        validation_loss=validation_loss,
        validation_roc_auc=validation_auc,
        learning_rate=float(state.optimiser.param_groups[0]["lr"]),
        seconds=time.perf_counter() - started,
    )


def _learn(
    state: TrainingState, train: Samples, weights: Tensor, settings: TrainingSettings, epoch: int
) -> float:
    """One pass over the training part; returns its mean loss."""
    torch.manual_seed(derived_seed(settings.seed, "dropout", epoch))
    order = torch.Generator().manual_seed(derived_seed(settings.seed, "order", epoch))
    changes = torch.Generator().manual_seed(derived_seed(settings.seed, "augmentation", epoch))
    steps = -(-len(train) // settings.batch_size)
    state.network.train()
    total = 0.0
    for step, index in enumerate(batches(len(train), settings.batch_size, order)):
        progress = (epoch - 1 + step / steps) / settings.epochs
        set_learning_rate(state.optimiser, learning_rate(settings, progress))
        draws = augment.draw(settings.augmentation, len(index), len(train.shape), changes)
        images = augment.apply(draws, train.images[index])
        loss = _loss(state.network, images, train.targets[index], weights, settings)
        value = float(loss.detach())
        _refuse_nan(value, epoch, settings)
        total += value * len(index)
        _step(state, loss, settings)
        if state.average is not None:
            update_average(state.average, state.network, settings.ema, (epoch - 1) * steps + step)
    return total / len(train)


def _loss(
    network: nn.Module, images: Tensor, targets: Tensor, weights: Tensor, settings: TrainingSettings
) -> Tensor:
    with autocast(settings.precision):
        logits = network(images)
    return functional.cross_entropy(
        logits.float(), targets, weight=weights, label_smoothing=settings.label_smoothing
    )


def _step(state: TrainingState, loss: Tensor, settings: TrainingSettings) -> None:
    state.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if settings.clip is not None:
        nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    state.optimiser.step()


def _is_best(state: TrainingState, settings: TrainingSettings) -> bool:
    *before, last = [_monitored(record, settings) for record in state.history]
    if last is None or state.best_epoch == 0:
        return True
    best = before[state.best_epoch - 1]
    return best is None or last > best


def _monitored(record: EpochRecord, settings: TrainingSettings) -> float | None:
    """Validation value of an epoch, larger is better."""
    if settings.monitor == "roc_auc":
        return record.validation_roc_auc
    return None if record.validation_loss is None else -record.validation_loss


def _stopped_early(state: TrainingState, settings: TrainingSettings) -> bool:
    patience = settings.patience
    return patience is not None and len(state.history) - state.best_epoch >= patience


def _check(train: Samples, validation: Samples | None, settings: TrainingSettings) -> None:
    if validation is None:
        if settings.patience is not None:
            raise UsageError("stopping early needs a validation part: pass one or leave out 'patience'")
        return
    if validation.classes != train.classes or validation.images.shape[1:] != train.images.shape[1:]:
        raise UsageError(
            f"training and validation part differ: classes {train.classes} and {validation.classes}, images "
            f"{tuple(train.images.shape[1:])} and {tuple(validation.images.shape[1:])}"
        )
    if settings.monitor == "roc_auc" and len(set(validation.targets.tolist())) < len(train.classes):
        raise UsageError(
            "monitor = 'roc_auc' needs every class in the validation part; make it larger or use 'loss'"
        )


def _refuse_nan(loss: float, epoch: int, settings: TrainingSettings) -> None:
    if not math.isfinite(loss):
        raise UsageError(
            f"the loss of epoch {epoch} is {loss}: lower learning_rate (now {settings.learning_rate:g}), set "
            "clip = 1.0, or look at the range of the prepared values"
        )
