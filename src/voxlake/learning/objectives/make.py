"""The objective of a task, with what it must know of the training part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from voxlake.core.errors import UsageError
from voxlake.learning.data import Samples
from voxlake.learning.objectives.base import Objective
from voxlake.learning.objectives.classification import Classification
from voxlake.learning.objectives.multilabel import Multilabel
from voxlake.learning.objectives.ordinal import Ordinal
from voxlake.learning.objectives.reconstruction import ImageReconstruction
from voxlake.learning.objectives.regression import Regression
from voxlake.learning.optimisation import class_weights
from voxlake.learning.settings import TrainingSettings

__all__ = ["SampleKind", "facts_of", "make_objective", "read_objective"]

SampleKind = Literal["classification", "multilabel", "ordinal", "regression", "reconstruction"]


def make_objective(kind: SampleKind, train: Samples, settings: TrainingSettings) -> Objective:
    """The objective of a kind of task.

    Parameters
    ----------
    kind : {"classification", "multilabel", "ordinal", "regression", "reconstruction"}
        What kind of target it is.
    train : Samples
        The training part alone: weights of classes, mean and spread of numbers come from it.
    settings : TrainingSettings
        Loss, weights of classes, label smoothing.

    Raises
    ------
    UsageError
        Numbers that do not vary, or a loss that the kind does not have.
    """
    match kind:
        case "classification":
            weights = class_weights(train.targets, len(train.classes), settings)
            return Classification(weights, settings.label_smoothing)
        case "ordinal":
            return Ordinal(class_weights(train.targets, len(train.classes), settings))
        case "multilabel":
            return Multilabel(_label_weights(train.targets, settings), settings.label_smoothing)
        case "regression":
            spread = float(train.targets.double().std(correction=0))
            if spread == 0:
                raise UsageError("the numbers of the training part are all equal; there is nothing to learn")
            loss = "huber" if settings.loss == "auto" else settings.loss
            return Regression(float(train.targets.double().mean()), spread, loss)
        case "reconstruction":
            if settings.loss == "huber":
                raise UsageError("loss = 'huber' is for numbers; images have 'mse' or 'l1'")
            return ImageReconstruction("l1" if settings.loss == "l1" else "mse")


def facts_of(objective: Objective) -> dict[str, Any]:
    """What `read_objective` needs beside kind and classes, as plain values for the card of a model."""
    if isinstance(objective, Regression):
        return {"mean": objective.mean, "spread": objective.spread, "loss": objective.kind}
    return {"loss": objective.kind} if isinstance(objective, ImageReconstruction) else {}


def read_objective(kind: SampleKind, classes: int, facts: Mapping[str, Any]) -> Objective:
    """The objective of a trained network: it gives the same answers, its weights of classes are all 1.

    Parameters
    ----------
    kind : str
        As for `make_objective`.
    classes : int
        Number of classes or labels.
    facts : mapping
        From `facts_of`.
    """
    match kind:
        case "classification":
            return Classification(torch.ones(classes))
        case "ordinal":
            return Ordinal(torch.ones(classes))
        case "multilabel":
            return Multilabel(torch.ones((classes, 2)))
        case "regression":
            return Regression(float(facts["mean"]), float(facts["spread"]), facts["loss"])
        case "reconstruction":
            return ImageReconstruction(facts["loss"])


def _label_weights(targets: Tensor, settings: TrainingSettings) -> Tensor:
    """Weight of each label where it is absent and where it is present, float32 (K, 2)."""
    weights = torch.ones((targets.shape[1], 2))
    if settings.class_weights == "none":
        return weights
    for label, column in enumerate(targets.unbind(dim=1)):
        known = column[~torch.isnan(column)].to(torch.int64)
        if len(known):
            weights[label] = class_weights(known, 2, settings)
    return weights
