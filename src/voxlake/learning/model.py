"""A model: networks, the plan that it expects, and a card, kept in the lake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voxlake.core.errors import UsageError
from voxlake.core.plan import Plan
from voxlake.lake.lake import Lake
from voxlake.learning.answer import Ensemble, Member, exported_networks
from voxlake.learning.model_files import find_model, model_path
from voxlake.learning.network_of import build_network
from voxlake.learning.objectives.make import read_objective
from voxlake.learning.predict_options import PredictOptions
from voxlake.learning.runtime import device_of
from voxlake.learning.tables.prepare import Preparation
from voxlake.learning.task import Task, load_task
from voxlake.networks.weights import weights_from_bytes

__all__ = ["Model", "get_model", "read_model"]


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
    def positive(self) -> str | None:
        """The class whose probability is scored where there are two; None where there are no classes."""
        if self.task.positive is not None or not self.classes:
            return self.task.positive
        return self.classes[-1]

    def network(self, fold: int) -> nn.Module:
        """The network of a fold, weights checked against their digest.

        Raises
        ------
        IntegrityError
            The stored weights are not those that were trained.
        """
        described = {"outputs": len(self.card["classes"]), **self.card}
        module = build_network(self.task.network_name, self.task.network_settings, described, seed=0)
        data = self.lake.objects.get(model_path(self.model_id, f"fold-{fold}.safetensors"))
        weights_from_bytes(module, data, sha256=self.card["weights"][fold])
        return module.eval()

    def member(self, fold: int) -> Member:
        """The network of a fold with what its answers mean, on the device of the task.

        Raises
        ------
        UsageError
            The model makes masks.
        """
        if self.task.kind == "segmentation":
            raise UsageError(f"model '{self.task.name}' makes masks; its networks give no other answers")
        course = self.card["history"][fold]
        return Member(
            self.network(fold).to(device_of(self.task.training.device)),
            read_objective(self.task.kind, len(self.classes), course.get("objective", {})),
            self.preparation(fold),
        )

    def preparation(self, fold: int) -> Preparation | None:
        """How the table of a fold becomes numbers; None where the model takes none."""
        table = self.card["history"][fold].get("table")
        return None if table is None else Preparation.from_dict(table)

    def ensemble(self, options: PredictOptions | None = None) -> Ensemble:
        """The networks of all folds, loaded.

        Parameters
        ----------
        options : PredictOptions, optional
            How they are to speak; by default computed by torch, mirrored as the task says.

        Raises
        ------
        UsageError
            A runtime was named that is not installed or cannot run them, or the model makes masks.
        """
        chosen = PredictOptions(self.task.mirror) if options is None else options
        members = [replace(self.member(fold), mirror=chosen.mirror) for fold in range(int(self.row["folds"]))]
        if chosen.runtime == "torch" or self.task.takes not in ("image", "table"):
            return Ensemble(members)
        shape = tuple(int(size) for size in self.card["shape"])
        sample = shape if self.task.takes == "table" else (int(self.card["channels"]), *shape)
        exported = exported_networks([one.network for one in members], sample, chosen.runtime)
        if exported is None:
            return Ensemble(members)
        return Ensemble([replace(one, exported=run) for one, run in zip(members, exported, strict=True)])

    def probabilities(self, images: torch.Tensor) -> NDArray[np.float64]:
        """Probability of each class by each network, for a model that takes images and tells classes apart.

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
        return np.stack([member.answers((images,)) for member in self.ensemble().members])


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
    return read_model(lake, find_model(rows, name, make="train"))


def read_model(lake: Lake, row: Mapping[str, Any]) -> Model:
    """The model of a row of `models`; asks no table."""
    task = load_task(lake.objects.get(model_path(row["model_id"], "task.toml")).decode())
    card = json.loads(lake.objects.get(model_path(row["model_id"], "card.json")))
    return Model(lake, row, task, task.load_plan(), card)
