"""The state of a training, on disk after every epoch, so that a killed training goes on where it was.

One safetensors file holds weights, best weights, moving average and optimiser state, and in its header, as
JSON, the history: it is replaced in one rename and is never half of one epoch and half of another. Random
states are not stored, since every epoch and every step draws from a seed of its own
(`voxlake.learning.seeds.derived_seed`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voxlake.core.digest import canonical_json, digest_bytes, digest_many
from voxlake.core.errors import UsageError
from voxlake.learning.batch import BatchSource
from voxlake.learning.optimisation import make_optimiser
from voxlake.learning.settings import TrainingSettings
from voxlake.networks.weights import read_tensors, weights_to_bytes, write_atomically, write_tensors

__all__ = ["EpochRecord", "Partial", "TrainingState", "fingerprint", "new_state", "restore", "save"]

_FILE = "training.safetensors"
# Neither where figures are written nor how often the state is kept decides the outcome.
_IRRELEVANT: Mapping[str, Any] = {"loggers": (), "checkpoint_every": None}


@dataclass(frozen=True)
class EpochRecord:
    """What one pass over the training part gave.

    Parameters
    ----------
    epoch : int
        1 for the first.
    train_loss : float
        Mean loss over the (augmented) training samples, while they were learned from.
    figures : mapping of str to float
        Of the validation part after the epoch; empty without one. A figure is NaN where it is not defined,
        as the ROC AUC is not if a class is missing there.
    learning_rate : float
        Of the last step.
    seconds : float
        Wall time.
    """

    epoch: int
    train_loss: float
    figures: Mapping[str, float]
    learning_rate: float
    seconds: float


@dataclass
class Partial:
    """How far the epoch at hand is: steps done, their summed loss and weight, and wall time."""

    step: int = 0
    loss: float = 0.0
    weight: float = 0.0
    seconds: float = 0.0


@dataclass
class TrainingState:
    """All that changes during a training."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: nn.Module | None
    scaler: torch.amp.GradScaler
    history: list[EpochRecord] = field(default_factory=list)
    partial: Partial = field(default_factory=Partial)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0

    @property
    def validated(self) -> nn.Module:
        """The network that is validated and returned: the moving average if there is one."""
        return self.network if self.average is None else self.average

    def keep_as_best(self) -> None:
        """Remember the weights as those of the best epoch so far."""
        state = self.validated.state_dict()
        self.best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
        self.best_epoch = len(self.history)


def new_state(
    network: nn.Module, settings: TrainingSettings, *, scaler: torch.amp.GradScaler
) -> TrainingState:
    """State before the first epoch; the network is already on its device."""
    average = copy.deepcopy(network) if settings.ema else None
    return TrainingState(network, make_optimiser(network, settings), average, scaler)


def fingerprint(network: nn.Module, train: BatchSource, settings: TrainingSettings, mark: str) -> str:
    """Digest over all that decides the outcome: initial weights, batches, settings and the mark."""
    decisive = settings.model_copy(update=dict(_IRRELEVANT))
    return digest_many([digest_bytes(weights_to_bytes(network)), train.digest(), mark, decisive.digest()])


def save(folder: Path, state: TrainingState, mark: str) -> None:
    """Write the state to a folder, replacing the one before."""
    tensors = {
        **_prefixed("network", state.network.state_dict().items()),
        **_prefixed("best", state.best.items()),
    }
    if state.average is not None:
        tensors |= _prefixed("average", state.average.state_dict().items())
    for index, values in state.optimiser.state_dict()["state"].items():
        present = ((key, value) for key, value in values.items() if isinstance(value, Tensor))
        tensors |= _prefixed(f"optimiser.{index}", present)
    progress = {
        "history": [asdict(record) for record in state.history],
        "partial": asdict(state.partial),
        "best_epoch": state.best_epoch,
        "scaler": state.scaler.state_dict(),
    }
    metadata = {"fingerprint": mark, "progress": canonical_json(progress)}
    write_atomically(folder / _FILE, write_tensors(tensors, metadata))


def restore(folder: Path, state: TrainingState, mark: str) -> None:
    """Bring a new state to where the checkpoint in the folder is; without one, leave it as it is.

    Raises
    ------
    UsageError
        The checkpoint belongs to another training.
    IntegrityError
        The checkpoint is not whole.
    """
    path = folder / _FILE
    if not path.is_file():
        return
    tensors, metadata = read_tensors(path.read_bytes())
    if metadata.get("fingerprint") != mark:
        raise UsageError(
            "the checkpoint folder holds another training (other samples, settings or initial weights); "
            "name another folder or empty this one"
        )
    parts = _by_first_name(tensors)
    state.network.load_state_dict(parts["network"])
    if state.average is not None:
        state.average.load_state_dict(parts["average"])
    restored = state.optimiser.state_dict()
    restored["state"] = {
        int(index): values for index, values in _by_first_name(parts.get("optimiser", {})).items()
    }
    state.optimiser.load_state_dict(restored)
    _lay_as_weights(state.optimiser)
    progress = json.loads(metadata["progress"])
    state.history = [EpochRecord(**record) for record in progress["history"]]
    state.partial = Partial(**progress["partial"])
    state.best = parts.get("best", {})
    state.best_epoch = int(progress["best_epoch"])
    if progress["scaler"]:
        state.scaler.load_state_dict(progress["scaler"])


def _lay_as_weights(optimiser: torch.optim.Optimizer) -> None:
    """Give moments the memory layout of their weights: a fused optimiser walks through both as they lie."""
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def _prefixed(prefix: str, tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors}


def _by_first_name(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        parts.setdefault(first, {})[rest] = tensor
    return parts
