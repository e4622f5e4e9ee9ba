"""A task: what is to be learned from a cohort, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from voxlake.core.errors import SettingsError
from voxlake.core.hints import hint
from voxlake.core.plan import Plan
from voxlake.core.settings import Settings
from voxlake.core.toml import load_tables, to_toml
from voxlake.learning.predict_options import Axis
from voxlake.learning.settings import SequenceSettings, SplitSettings, TrainingSettings
from voxlake.learning.tables.inputs import (
    EmbeddingInput,
    FeatureInput,
    HeaderInput,
    LabelInput,
    SqlInput,
)
from voxlake.learning.tables.settings import PrepareSettings
from voxlake.learning.task_kinds import TaskKind, check_kind
from voxlake.metrics.names import METRICS
from voxlake.networks.registry import Takes, get_network, read_settings
from voxlake.processing.registry import STEPS, load_plan

__all__ = ["Task", "load_task"]

Name = Annotated[str, Field(min_length=1)]
TaskInput = Annotated[
    FeatureInput | HeaderInput | LabelInput | EmbeddingInput | SqlInput, Field(discriminator="source")
]


class Task(Settings):
    """What is to be learned, from what, and how it is scored.

    In TOML::

        name = "pneumonia"
        cohort = "chest"
        target = "finding"
        positive = "PNEUMONIA"
        plan = "xray-64"

        [split]
        kind = "kfold"

        [network]
        name = "cnn"
        blocks = [16, 32, 64]

        [training]
        epochs = 20

    Parameters
    ----------
    name : str
        Of the task.
    cohort : str
        Cohort to learn from.
    target : str, optional
        Name of the label to be predicted. A reconstruction needs none; with one, its anomaly score is
        compared with the label.
    targets : tuple of str
        Names of the labels of ``"multilabel"``, each of which is there or not.
    kind : str
        What kind of target it is: ``"classification"``, one of several classes; ``"multilabel"``, several
        labels at once; ``"ordinal"``, classes in an order; ``"regression"``, a number; ``"reconstruction"``,
        the image itself, whose error is an anomaly score; ``"segmentation"``, a mask.
    classes : tuple of str, optional
        Values of the label, in the order of the outputs; without it, all values that occur, sorted. Of
        ``"ordinal"`` they must be named, for their order. Of a reconstruction, all values that are scored.
    positive : str, optional
        The class whose probability is scored where there are two; without it, the last one. Of a
        reconstruction, the value that the anomaly score should find; of ``"multilabel"``, the value that
        says that a label is there.
    learn_from : tuple of str
        Of a reconstruction: values of the label that the network is trained on; all volumes if empty.
    level : {"volume", "patient"}
        Unit of analysis: one sample is one prepared volume or image, or, of ``sequence.of = "visits"``, one
        patient.
    sequence : SequenceSettings
        What a sequence is, for networks that take one.
    inputs : tuple of Input
        Columns of the table, for networks that take one, as in a mining task: ``[[inputs]]`` with a
        ``source`` of ``"headers"``, ``"labels"``, ``"features"``, ``"embeddings"`` or ``"sql"``. A table from
        outside comes in as labels. What is to be learned is never a column.
    prepare : PrepareSettings
        How the table is imputed and scaled, fitted on the training part of each fold.
    segmentation : dict
        Settings of the kind ``"segmentation"``.
    group : {"patient"}
        What is never torn apart by a split.
    plan : str or dict
        Name of a built-in plan, or the tables of a plan. In a file it may also be the path of a TOML file,
        relative to the task; its tables are then read into the task.
    split : SplitSettings
        Training, validation, test.
    network : dict
        ``name`` of a network and its settings; defaults are filled in.
    training : TrainingSettings
        How the network is fitted.
    mirror : tuple of {"slice", "row", "column"}
        Axes along which images are also mirrored when the trained network answers, in every combination;
        answers are averaged. While it is being trained, validation sees them as they are. A segmentation has
        ``segmentation.mirror``.
    metrics : tuple of str
        What evaluation names first; the others follow.
    """

    name: Name
    cohort: Name
    target: Name | None = None
    targets: tuple[Name, ...] = ()
    kind: TaskKind = "classification"
    classes: tuple[str, ...] | None = None
    positive: str | None = None
    learn_from: tuple[str, ...] = ()
    level: Literal["volume", "patient"] = "volume"
    group: Literal["patient"] = "patient"
    plan: Name | dict[str, Any]
    metrics: tuple[str, ...] = ("accuracy", "recall", "precision", "f1", "roc_auc")
    split: SplitSettings = SplitSettings()
    network: dict[str, Any] = Field(default_factory=lambda: {"name": "cnn"})
    training: TrainingSettings = TrainingSettings()
    mirror: tuple[Axis, ...] = ()
    sequence: SequenceSettings = SequenceSettings()
    inputs: tuple[TaskInput, ...] = ()
    prepare: PrepareSettings = PrepareSettings()
    segmentation: dict[str, Any] = Field(default_factory=dict)

    @field_validator("network")
    @classmethod
    def _filled_in(cls, table: dict[str, Any]) -> dict[str, Any]:
        values = dict(table)
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise SettingsError("network: missing key 'name', for example name = \"cnn\"")
        if "columns" in get_network(name).settings.model_fields:
            # Of the table that goes with the images; the data say how many there are.
            values.setdefault("columns", 1)
        settings = read_settings(name, values)
        return {"name": name, **settings.model_dump(mode="json")}

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in METRICS:
                raise ValueError(f"unknown metric '{name}'{hint(name, METRICS)}")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_kind(self)
        if self.classes is None or self.kind == "multilabel":
            return self
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError("'classes' needs two or more different values")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(f"positive = '{self.positive}' is none of the classes {list(self.classes)}")
        return self

    @property
    def target_name(self) -> str:
        """What is learned, in words: name of the label or labels, ``""`` where there is none."""
        return ", ".join(self.targets) if self.targets else self.target or ""

    @property
    def takes(self) -> Takes:
        """What the network takes."""
        return get_network(self.network_name).takes

    @property
    def dimensions(self) -> int:
        """Axes of one image: 2 for single images, 3 for volumes; the slices of a volume are images."""
        encoder = self.network.get("encoder") or {}
        return int(self.network.get("dimensions", encoder.get("dimensions", 2)))

    @property
    def network_name(self) -> str:
        """Name of the network."""
        return str(self.network["name"])

    @property
    def network_settings(self) -> Settings:
        """Typed settings of the network."""
        values = {key: value for key, value in self.network.items() if key != "name"}
        return read_settings(self.network_name, values)

    def load_plan(self) -> Plan:
        """The plan that the images must come from.

        Raises
        ------
        NotFoundError
            No plan of that name comes with voxlake, and no file has it.
        SettingsError
            An unknown step or key (the near miss is named), or a value that does not fit.
        """
        if isinstance(self.plan, str):
            return load_plan(self.plan)
        return Plan.from_tables(self.plan, steps=STEPS, where=f"task '{self.name}', plan")

    def to_toml(self) -> str:
        """TOML text that `load_task` reads back to an equal task."""
        return to_toml(self.model_dump(mode="json"))


def load_task(source: str | Path) -> Task:
    """Read a task.

    Parameters
    ----------
    source : path or str
        A file, or TOML text (anything with a line break).

    Raises
    ------
    NotFoundError
        The file, or the plan file that it names, is not there.
    SettingsError
        No TOML, an unknown key (the near miss is named), or a value that does not fit.
    """
    tables, where, folder = load_tables(source, "task")
    plan = tables.get("plan")
    if folder is not None and isinstance(plan, str) and plan.endswith(".toml"):
        tables["plan"] = load_tables(folder / plan, "plan").values
    return Task.read(tables, where=where)
