"""Masks by networks: what a worker does with a group of prepared volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from voxlake.core.errors import IntegrityError
from voxlake.core.grid import Grid
from voxlake.lake.lake import LakeReference
from voxlake.learning.model import Model, read_model
from voxlake.learning.predict_options import PredictOptions
from voxlake.learning.segmentation.cases import Case
from voxlake.learning.segmentation.gather import case_of
from voxlake.learning.segmentation.masks import Made, mask_id_of, mask_rows, size_rows
from voxlake.learning.segmentation.segmenter import Segmenter
from voxlake.learning.segmentation.train import classes_of, settings_of
from voxlake.learning.units import group_of
from voxlake.volumes.read import read_values

__all__ = ["ALL", "DrawTask", "Drawing", "Drawn", "usual_options"]

ALL = -1
"""Stands for the number of a fold where the networks of all folds speak together."""


@dataclass(frozen=True)
class DrawTask:
    """One volume to be segmented.

    Parameters
    ----------
    row : mapping
        Row of `volumes`.
    part : {"seen", "new"}
        Whether the networks have seen it.
    source : Grid or None
        Grid of the series before any step; None where it cannot be told.
    """

    row: Mapping[str, Any]
    part: str
    source: Grid | None


@dataclass(frozen=True)
class Drawn:
    """What became of a task: a row for `masks` and rows for `predictions`, or a reason."""

    mask: Mapping[str, Any] | None = None
    sizes: tuple[Mapping[str, Any], ...] = ()
    reason: str | None = None
    detail: str | None = None


@dataclass
class _Ready:
    model: Model
    segmenter: Segmenter


@dataclass
class Drawing:
    """Function of a group of tasks, for `Engine.map`; the networks are loaded once per worker.

    Parameters
    ----------
    lake : LakeReference
        Where the lake lies; arrays and weights are read from it, masks are stored in it.
    row : mapping
        Row of `models`.
    cohort_id : str
        Whose volumes.
    options : PredictOptions
        How the networks are to speak.
    """

    lake: LakeReference
    row: Mapping[str, Any]
    cohort_id: str
    options: PredictOptions
    _cache: dict[str, _Ready] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, group: Sequence[DrawTask]) -> list[Drawn]:
        """Segment a group; masks of single images of one shape share one stacked array."""
        # Weights that are damaged are no fault of an item.
        self.segmenter()
        try:
            values = read_values(self._ready().model.lake, [dict(task.row) for task in group])
        except IntegrityError as error:
            if len(group) == 1:
                return [Drawn(reason="missing_array", detail=str(error))]
            return [drawn for task in group for drawn in self([task])]
        found = [
            self._made(task, case_of(task.row, one, None)) for task, one in zip(group, values, strict=True)
        ]
        stored = iter(self._stored([one for one in found if isinstance(one, Made)]))
        return [next(stored) if isinstance(one, Made) else one for one in found]

    def segmenter(self) -> Segmenter:
        """The networks, loaded."""
        return self._ready().segmenter

    def _ready(self) -> _Ready:
        if "it" not in self._cache:
            model = read_model(self.lake.open(), self.row)
            settings = settings_of(model.task).model_copy(update={"mirror": self.options.mirror})
            segmenter = Segmenter(
                [model.network(fold) for fold in range(int(self.row["folds"]))],
                settings,
                dimensions=model.task.dimensions,
                runtime=self.options.runtime,
            )
            self._cache["it"] = _Ready(model, segmenter)
        return self._cache["it"]

    def _made(self, task: DrawTask, case: Case) -> Made | Drawn:
        ready = self._ready()
        channels = int(ready.model.card["channels"])
        if case.channels != channels:
            detail = f"{case.channels} channels, the model takes {channels}"
            return Drawn(reason="shape_mismatch", detail=detail)
        steps = self.options.steps(usual_options(ready.model))
        row = {**task.row, "steps": [*task.row["steps"], *steps]}
        return Made(row, group_of(row), task.part, ready.segmenter(case), task.source, None)

    def _stored(self, made: Sequence[Made]) -> list[Drawn]:
        """Masks in the lake, and what is to be said of them."""
        model = self._ready().model
        classes, model_id = classes_of(model.task), model.model_id
        rows = mask_rows(model.lake, made, classes, model_id=model_id, fold=ALL)
        masks = {row["mask_id"]: row for row in rows}
        return [
            Drawn(
                masks[mask_id_of(one.row["volume_id"], model_id, ALL)],
                tuple(size_rows([one], classes, model_id=model_id, cohort_id=self.cohort_id, fold=ALL)),
            )
            for one in made
        ]


def usual_options(model: Model) -> PredictOptions:
    """How the networks of a model speak where nobody says otherwise."""
    return PredictOptions.of(settings_of(model.task).mirror, "torch")
