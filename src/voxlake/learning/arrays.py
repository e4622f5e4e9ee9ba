"""Networks over plain arrays, for those who have no lake: fit, predict, evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint
from voxlake.core.settings import Settings
from voxlake.learning.checkpoint import EpochRecord
from voxlake.learning.data import Samples, no_targets
from voxlake.learning.fit_samples import fit_samples, sample_figures
from voxlake.learning.inference import predict_outputs
from voxlake.learning.network_of import build_network, describe_samples
from voxlake.learning.objectives.base import Objective
from voxlake.learning.objectives.make import SampleKind, make_objective
from voxlake.learning.objectives.reconstruction import ImageReconstruction
from voxlake.learning.runtime import autocast
from voxlake.learning.settings import TrainingSettings
from voxlake.networks.registry import NETWORKS, Takes, get_network, read_settings

__all__ = ["Fitted", "fit_arrays"]

# As in the textbook: a constant learning rate, and no decay of weights.
_DEFAULTS: Mapping[str, Any] = {
    "epochs": 10,
    "batch_size": 32,
    "optimiser": "adam",
    "schedule": "none",
    "weight_decay": 0.0,
}


@dataclass(frozen=True)
class Fitted:
    """A network that was fitted to arrays.

    Parameters
    ----------
    network : torch.nn.Module
        With the weights of its best epoch, in evaluation mode.
    kind : str
        What it learned; see `fit_arrays`.
    classes : tuple
        Classes in the order of the probabilities; labels of ``"multilabel"`` are numbered.
    history : tuple of EpochRecord
        Training loss and validation figures of each epoch.
    best_epoch : int
        Whose weights these are; 1 for the first.
    """

    network: nn.Module = field(repr=False)
    kind: SampleKind
    classes: tuple[Any, ...]
    history: tuple[EpochRecord, ...] = field(repr=False)
    best_epoch: int
    _objective: Objective = field(repr=False)
    _settings: TrainingSettings = field(repr=False)
    _form: _Form = field(repr=False)

    def predict_proba(self, x: Any) -> NDArray[np.float64]:
        """Probability of each class or label, float64 (N, K).

        Raises
        ------
        UsageError
            The network was fitted to numbers or images.
        """
        if not self.classes:
            raise UsageError(f"a network of kind '{self.kind}' gives no probabilities; use predict")
        return self._objective.answers(self._output(x))

    def predict(self, x: Any) -> NDArray[Any]:
        """The most probable class (N,), which labels are there (N, K), numbers (N,), or images given back.

        Of classes in an order it is the median of their distribution.
        """
        said = self._objective.answers(self._output(x))
        if self.kind == "classification":
            return np.asarray([self.classes[place] for place in said.argmax(axis=1)])
        if self.kind == "ordinal":
            medians = (np.cumsum(said, axis=1) < 0.5).sum(axis=1)
            return np.asarray([self.classes[place] for place in medians])
        return said >= 0.5 if self.kind == "multilabel" else said

    def anomaly_score(self, x: Any) -> NDArray[np.float64]:
        """How badly each image is given back, float64 (N,): large for what training showed nothing alike.

        Raises
        ------
        UsageError
            The network does not reconstruct.
        """
        if not isinstance(self._objective, ImageReconstruction):
            raise UsageError(f"a network of kind '{self.kind}' has no anomaly score")
        return self._objective.errors(self._output(x), self._form.inputs(x)[0])

    def evaluate(self, x: Any, y: ArrayLike | None = None) -> dict[str, float]:
        """Figures on other arrays: the loss and, of classes, accuracy and ROC AUC; see the objectives.

        Raises
        ------
        UsageError
            A label is none of the classes, or the arrays do not fit.
        """
        samples = _samples(self._form, x, y, self.kind, self.classes)
        return sample_figures(self.network, self._objective, samples, self._settings)

    def _output(self, x: Any) -> Any:
        with autocast(self._settings.precision):
            return predict_outputs(self.network, self._form.inputs(x))


@dataclass(frozen=True)
class _Form:
    """How arrays become what a network takes."""

    takes: Takes
    dimensions: int

    def inputs(self, x: Any) -> tuple[Tensor, ...]:
        """Tensors with channels where the network has them."""
        first, *others = x if isinstance(x, tuple) else (x,)
        values = first if isinstance(first, Tensor) else self._tensor(np.asarray(first, dtype=np.float32))
        if self.takes == "sequence":
            length = np.full(len(values), values.shape[1]) if not others else np.asarray(others[0])
            return (values.float(), torch.from_numpy(length.astype(np.int64)))
        rest = [torch.from_numpy(np.ascontiguousarray(one, dtype=np.float32)) for one in others]
        return (values.float(), *rest)

    def _tensor(self, values: NDArray[np.float32]) -> Tensor:
        """Channels, last in an array or left out, go before the image."""
        leading = 2 if self.takes == "sequence" else 1
        if self.takes == "table" or values.ndim <= leading + 1:
            return torch.from_numpy(np.ascontiguousarray(values))
        if values.ndim == leading + self.dimensions:
            values = values[..., None]
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -1, leading)))


def fit_arrays(
    network: str | Mapping[str, Any] | Settings | nn.Module,
    x: Any,
    y: ArrayLike | None = None,
    *,
    kind: SampleKind = "classification",
    validation: tuple[Any, ...] | None = None,
    **training: Any,
) -> Fitted:
    """Fit a network to arrays.

    Parameters
    ----------
    network : str, mapping, Settings or torch.nn.Module
        Name of a network; its ``name`` and settings, as in the table ``[network]`` of a task; its settings;
        or a module of your own, which is changed in place.
    x : array or tuple of arrays
        Images ``[N, row, column]`` or volumes ``[N, slice, row, column]``, with channels as a last axis if
        there are several; a table ``[N, column]``; sequences ``[N, step, ...]``, with their lengths as a
        second array where they differ; images and a table as two arrays. A tensor is taken as the network
        takes it, ``[N, channel, ...]``.
    y : array, optional
        Class of each sample, numbers or text; for ``"multilabel"`` ``[N, label]`` of 1, 0 and NaN for not
        known; numbers for ``"regression"``; nothing for ``"reconstruction"``. Classes are sorted, which for
        ``"ordinal"`` is their order.
    kind : {"classification", "multilabel", "ordinal", "regression", "reconstruction"}
        What is learned.
    validation : tuple of (x, y), optional
        What chooses the epoch; without it the last one counts.
    **training
        Any of `TrainingSettings`: ``epochs`` (10), ``batch_size`` (32), ``optimiser`` ("adam"),
        ``learning_rate`` (0.001), ``schedule`` ("none"), ``weight_decay`` (0), ``seed``, ...

    Returns
    -------
    Fitted
        With ``predict``, ``predict_proba`` and ``evaluate``.

    Raises
    ------
    UsageError
        Arrays that do not fit each other or the network.
    SettingsError
        An unknown network or setting; the near miss is named.

    Examples
    --------
    >>> network = {"name": "cnn", "blocks": [32], "normalisation": "none", "head": "flatten"}
    >>> model = fit_arrays(network, X_train, y_train, epochs=10)  # doctest: +SKIP
    >>> model.evaluate(X_test, y_test)["accuracy"]  # doctest: +SKIP
    """
    settings = TrainingSettings.read({**_DEFAULTS, **training}, where="fit_arrays")
    if isinstance(network, nn.Module):
        form = _Form(_taken(x), 2)
    else:
        name, described = _described(network)
        form = _Form(get_network(name).takes, _dimensions(described))
    classes = _classes(kind, y)
    train = _samples(form, x, y, kind, classes)
    objective = make_objective(kind, train, settings)
    if not isinstance(network, nn.Module):
        about = describe_samples(train, objective.outputs)
        module = build_network(name, described, about, seed=settings.seed)
    else:
        module = network
    held_out = None if validation is None else _samples(form, *_pair(validation), kind, classes)
    result = fit_samples(module, train, held_out, objective, settings)
    return Fitted(module, kind, classes, result.history, result.best_epoch, objective, settings, form)


def _described(network: str | Mapping[str, Any] | Settings) -> tuple[str, Settings]:
    """Name and typed settings of a network."""
    if isinstance(network, Settings):
        names = [name for name, one in NETWORKS.items() if one.settings is type(network)]
        if not names:
            raise UsageError(f"{type(network).__name__} are the settings of no network")
        return names[0], network
    table: dict[str, Any] = {"name": network} if isinstance(network, str) else dict(network)
    name = table.pop("name", None)
    if not isinstance(name, str):
        raise UsageError('network: name one, for example {"name": "cnn"}')
    if "columns" in get_network(name).settings.model_fields:
        # Of a table that goes with images; the arrays say it.
        table.setdefault("columns", 1)
    return name, read_settings(name, table)


def _dimensions(settings: Settings) -> int:
    encoder = getattr(settings, "encoder", None) or {}
    return int(getattr(settings, "dimensions", encoder.get("dimensions", 2)))


def _taken(x: Any) -> Takes:
    if isinstance(x, tuple) and len(x) == 2:
        return "sequence" if np.asarray(x[1]).ndim == 1 else "image and table"
    first = x[0] if isinstance(x, tuple) else x
    return "table" if np.ndim(first) == 2 else "image"


def _classes(kind: SampleKind, y: ArrayLike | None) -> tuple[Any, ...]:
    if kind in ("regression", "reconstruction"):
        return ()
    if y is None:
        raise UsageError(f"kind '{kind}' needs y, what each sample is")
    values = np.asarray(y)
    if kind == "multilabel":
        return tuple(range(values.shape[1])) if values.ndim == 2 else (0,)
    if values.ndim != 1:
        raise UsageError(
            f"y must be the class of each sample, got an array of shape {values.shape}; of probabilities or "
            "columns of 0 and 1 take argmax(axis=1), or set kind = 'multilabel'"
        )
    found = tuple(np.unique(values).tolist())
    if len(found) < 2:
        raise UsageError("y has one class; two are needed")
    return found


def _samples(form: _Form, x: Any, y: ArrayLike | None, kind: SampleKind, classes: Sequence[Any]) -> Samples:
    inputs = form.inputs(x)
    names = tuple(str(number) for number in range(len(inputs[0])))
    targets = _targets(y, kind, classes, len(names))
    return Samples(inputs, targets, tuple(str(one) for one in classes), names, names, form.takes)


def _targets(y: ArrayLike | None, kind: SampleKind, classes: Sequence[Any], count: int) -> Tensor:
    if kind == "reconstruction":
        return no_targets(count)
    if y is None:
        raise UsageError(f"kind '{kind}' needs y, what each sample is")
    if kind == "regression":
        return torch.from_numpy(np.array(y, dtype=np.float32))
    if kind == "multilabel":
        return torch.from_numpy(np.array(y, dtype=np.float32).reshape(count, -1))
    position = {name: number for number, name in enumerate(classes)}
    values = np.asarray(y).tolist()
    for value in values:
        if value not in position:
            raise UsageError(f"label {value!r} is none of the classes{hint(str(value), map(str, classes))}")
    return torch.tensor([position[value] for value in values], dtype=torch.int64)


def _pair(validation: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(validation) > 2:
        raise UsageError("validation takes (x, y)")
    return validation[0], validation[1] if len(validation) == 2 else None
