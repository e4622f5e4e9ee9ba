"""A model: networks, the plan that it expects, and a card, kept in the lake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voxlake.core.errors import UsageError
from voxlake.core.plan import Plan
from voxlake.lake.lake import Lake
from voxlake.learning.inference import predict_probabilities
from voxlake.learning.model_files import find_model, model_path
from voxlake.learning.task import Task, load_task
from voxlake.networks.registry import build
from voxlake.networks.weights import weights_from_bytes

__all__ = ["Model", "get_model"]


@dataclass(frozen=True)
class Model:
    """A trained model as it lies in the lake.

    Parameters
    ----------
    lake : Lake
        Where.
    row : mapping
        Its row in `models`.
    task : Task
        What it learned.
    plan : Plan
        What its inputs must be prepared with.
    card : mapping
        Shape and number of channels of its inputs, digests of its weights, and what else the training knew.
    """

    lake: Lake = field(repr=False)
    row: Mapping[str, Any] = field(repr=False)
    task: Task
    plan: Plan = field(repr=False)
    card: Mapping[str, Any] = field(repr=False)

    @property
    def model_id(self) -> str:
        """Identifier."""
        return str(self.row["model_id"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in the order of the outputs."""
        return tuple(self.row["classes"])

    @property
    def positive(self) -> str:
        """The class whose probability is scored where there are two."""
        return self.task.positive if self.task.positive is not None else self.classes[-1]

    def network(self, fold: int) -> nn.Module:
        """The network of a fold, weights checked against their digest.

        Raises
        ------
        IntegrityError
            The stored weights are not those that were trained.
        """
        module = build(
            self.task.network_name,
            self.task.network_settings,
            in_channels=int(self.card["channels"]),
            outputs=len(self.classes),
            shape=tuple(self.card["shape"]),
            seed=0,
        )
        data = self.lake.objects.get(model_path(self.model_id, f"fold-{fold}.safetensors"))
        weights_from_bytes(module, data, sha256=self.card["weights"][fold])
        return module.eval()

    def probabilities(self, images: torch.Tensor) -> NDArray[np.float64]:
        """Probability of each class by each network.

        Parameters
        ----------
        images : torch.Tensor
            float32 (N, C, ...), prepared with the plan of the model.

        Returns
        -------
        numpy.ndarray
            float64 (folds, N, classes).

        Raises
        ------
        UsageError
            The images do not have the shape that the model was trained on.
        """
        expected = (int(self.card["channels"]), *self.card["shape"])
        if tuple(images.shape[1:]) != expected:
            raise UsageError(
                f"the model takes images of (channels, ...) = {expected}, got {tuple(images.shape[1:])}"
            )
        folds = range(int(self.row["folds"]))
        return np.stack([predict_probabilities(self.network(fold), images) for fold in folds])


def get_model(lake: Lake, name: str) -> Model:
    """Find a model by its identifier, the first characters of it, or the name of its task (the newest one).

    Raises
    ------
    NotFoundError
        There is no such model; a near miss is named.
    UsageError
        Several identifiers begin so, or the model is a pre-trained network, which makes masks only.
    """
    rows = lake.sql(
        "select * from models where kind is distinct from 'table' order by committed_at desc"
    ).dicts()
    row = find_model(rows, name, make="train")
    task = load_task(lake.objects.get(model_path(row["model_id"], "task.toml")).decode())
    card = json.loads(lake.objects.get(model_path(row["model_id"], "card.json")))
    return Model(lake, row, task, task.load_plan(), card)
