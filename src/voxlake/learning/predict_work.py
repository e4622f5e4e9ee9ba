"""What networks say of prepared volumes: what a worker does with a group of subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from voxlake.core.errors import IntegrityError
from voxlake.lake.lake import LakeReference
from voxlake.learning.answer import Ensemble
from voxlake.learning.inputs import image_inputs
from voxlake.learning.model import Model, read_model
from voxlake.learning.predict_options import PredictOptions
from voxlake.learning.units import Unit

__all__ = ["Said", "SpeakTask", "Speaking"]


@dataclass(frozen=True, eq=False)
class SpeakTask:
    """One subject that a network is to speak about.

    Parameters
    ----------
    unit : Unit
        Its volumes.
    columns : tuple of numpy.ndarray
        Its row of the table as each network takes it, float32 (F,); empty where they take none.
    answer, embed : bool
        What is missing: the prediction, the embedding.
    """

    unit: Unit
    columns: tuple[NDArray[np.float32], ...] = ()
    answer: bool = True
    embed: bool = False


@dataclass(frozen=True, eq=False)
class Said:
    """What became of a task: what was asked for, or a reason.

    Parameters
    ----------
    answer, spread : numpy.ndarray or None
        float64 (K,) or (): mean over the networks, and their standard deviation; None for one network.
    vector : numpy.ndarray or None
        float32 (Z,), embedding.
    reason, detail : str or None
        Why there is nothing.
    """

    answer: NDArray[np.float64] | None = None
    spread: NDArray[np.float64] | None = None
    vector: NDArray[np.float32] | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass
class _Ready:
    model: Model
    networks: Ensemble


@dataclass
class Speaking:
    """Function of a group of tasks, for `Engine.map`; the networks are loaded once per worker.

    Parameters
    ----------
    lake : LakeReference
        Where the lake lies; arrays and weights are read from it.
    row : mapping
        Row of `models`.
    options : PredictOptions
        How the networks are to speak.
    """

    lake: LakeReference
    row: Mapping[str, Any]
    options: PredictOptions
    _cache: dict[str, _Ready] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, group: Sequence[SpeakTask]) -> list[Said]:
        """Speak about a group; images that lie in one array are read once."""
        # Weights that are damaged are no fault of an item.
        self.networks()
        try:
            return self._said(group)
        except IntegrityError as error:
            if len(group) == 1:
                return [Said(reason="missing_array", detail=str(error))]
            return [said for task in group for said in self([task])]

    def networks(self) -> Ensemble:
        """The networks, loaded.

        Raises
        ------
        UsageError
            The runtime or the device is not there, or the runtime cannot run them.
        IntegrityError
            Stored weights are not those that were trained.
        """
        return self._ready().networks

    def _ready(self) -> _Ready:
        if "it" not in self._cache:
            model = read_model(self.lake.open(), self.row)
            self._cache["it"] = _Ready(model, model.ensemble(self.options))
        return self._cache["it"]

    def _said(self, group: Sequence[SpeakTask]) -> list[Said]:
        ready = self._ready()
        images = image_inputs(ready.model.lake, ready.model.task, [task.unit for task in group])
        columns = [np.stack(rows) for rows in zip(*(task.columns for task in group), strict=True)]
        answered = [place for place, task in enumerate(group) if task.answer]
        embedded = [place for place, task in enumerate(group) if task.embed]
        said = [Said() for _ in group]
        if answered:
            mean, spread = ready.networks.answers(*_taken(images, columns, answered))
            for number, place in enumerate(answered):
                apart = None if spread is None else spread[number]
                said[place] = replace(said[place], answer=mean[number], spread=apart)
        if embedded:
            # Coordinates of two networks have nothing to do with each other: one must speak for all.
            first = ready.networks.members[0]
            inputs, tables = _taken(images, columns, embedded)
            vectors = first.embeddings(first.inputs(inputs, None if tables is None else tables[0]))
            for number, place in enumerate(embedded):
                said[place] = replace(said[place], vector=vectors[number])
        return said


def _taken(
    images: tuple[Tensor, ...], columns: Sequence[NDArray[np.float32]], places: Sequence[int]
) -> tuple[tuple[Tensor, ...], list[NDArray[np.float32]] | None]:
    """Some of the samples."""
    index = list(places)
    return tuple(tensor[index] for tensor in images), [table[index] for table in columns] or None
