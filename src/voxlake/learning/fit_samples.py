"""The training loop over samples that lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from voxlake.core.errors import UsageError
from voxlake.learning.checkpoint import EpochRecord
from voxlake.learning.data import Samples
from voxlake.learning.inference import predict_outputs
from voxlake.learning.loop import FitResult, StepRecord, fit
from voxlake.learning.objectives.base import Objective
from voxlake.learning.runtime import autocast
from voxlake.learning.sample_source import SampleSource
from voxlake.learning.settings import TrainingSettings

__all__ = ["fit_samples", "sample_figures"]


def fit_samples(
    network: nn.Module,
    train: Samples,
    validation: Samples | None,
    objective: Objective,
    settings: TrainingSettings,
    *,
    checkpoint_folder: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
) -> FitResult:
    """Fit a network to samples and leave the weights of its best epoch in it.

    Parameters
    ----------
    network : torch.nn.Module
        Called with the inputs of the samples; changed in place.
    train : Samples
        What is learned from.
    validation : Samples, optional
        What chooses the epoch; without it the last one counts and all epochs are run.
    objective : Objective
        What is made small; see `make_objective`.
    settings : TrainingSettings
        How.
    checkpoint_folder, on_epoch, on_step
        See `voxlake.learning.loop.fit`.

    Raises
    ------
    UsageError
        The parts do not fit together, the validation part cannot tell epochs apart, and as for `fit`.
    """
    if validation is not None:
        _check(train, validation, settings)

    def validate(validated: nn.Module) -> Mapping[str, float]:
        if validation is None:
            return {}
        return sample_figures(validated, objective, validation, settings)

    return fit(
        network,
        SampleSource.of(train, settings),
        objective,
        settings,
        validate=None if validation is None else validate,
        checkpoint_folder=checkpoint_folder,
        on_epoch=on_epoch,
        on_step=on_step,
        mark="" if validation is None else validation.digest(),
    )


def sample_figures(
    network: nn.Module, objective: Objective, samples: Samples, settings: TrainingSettings
) -> dict[str, float]:
    """Figures of a network on samples, in the precision of the training."""
    device = next(network.parameters()).device
    with autocast(settings.precision, device):
        output = predict_outputs(network, samples.inputs)
    return objective.figures(output, samples.images if samples.reconstructs else samples.targets)


def _check(train: Samples, validation: Samples, settings: TrainingSettings) -> None:
    described = [
        (one.takes, one.classes, [tuple(tensor.shape[1:]) for tensor in one.inputs])
        for one in (train, validation)
    ]
    if described[0] != described[1]:
        raise UsageError(
            f"training and validation part differ: classes {train.classes} and {validation.classes}, inputs "
            f"{described[0][2]} and {described[1][2]}"
        )
    missing = validation.targets.ndim == 1 and len(set(validation.targets.tolist())) < len(train.classes)
    if settings.monitor == "roc_auc" and missing:
        raise UsageError(
            "monitor = 'roc_auc' needs every class in the validation part; make it larger or use 'loss'"
        )
