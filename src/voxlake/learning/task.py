"""A task: what is to be learned from a cohort, and how."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.hints import hint
from voxlake.core.plan import Plan
from voxlake.core.settings import Settings
from voxlake.core.toml import to_toml
from voxlake.learning.settings import SplitSettings, TrainingSettings
from voxlake.metrics.names import METRICS
from voxlake.networks.registry import read_settings
from voxlake.processing.registry import STEPS, load_plan

__all__ = ["Task", "load_task"]

Name = Annotated[str, Field(min_length=1)]


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
    target : str
        Name of the label to be predicted.
    kind : {"classification"}
        What kind of target it is.
    classes : tuple of str, optional
        Values of the label, in the order of the outputs; without it, all values that occur, sorted.
    positive : str, optional
        The class whose probability is scored where there are two; without it, the last one.
    level : {"volume"}
        Unit of analysis: one sample is one prepared volume or image.
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
    metrics : tuple of str
        What evaluation names first; the others follow.
    """

    name: Name
    cohort: Name
    target: Name
    kind: Literal["classification"] = "classification"
    classes: tuple[str, ...] | None = None
    positive: str | None = None
    level: Literal["volume"] = "volume"
    group: Literal["patient"] = "patient"
    plan: Name | dict[str, Any]
    metrics: tuple[str, ...] = ("accuracy", "recall", "precision", "f1", "roc_auc")
    split: SplitSettings = SplitSettings()
    network: dict[str, Any] = Field(default_factory=lambda: {"name": "cnn"})
    training: TrainingSettings = TrainingSettings()

    @field_validator("network")
    @classmethod
    def _filled_in(cls, table: dict[str, Any]) -> dict[str, Any]:
        values = dict(table)
        name = values.pop("name", None)
        if not isinstance(name, str):
            raise SettingsError("network: missing key 'name', for example name = \"cnn\"")
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
        if self.classes is None:
            return self
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError("'classes' needs two or more different values")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(f"positive = '{self.positive}' is none of the classes {list(self.classes)}")
        return self

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
    if isinstance(source, str) and "\n" in source:
        return Task.read(_parse(source, "task"), where="task")
    path = Path(source)
    tables = _parse(_read(path, "task"), f"task '{path.name}'")
    plan = tables.get("plan")
    if isinstance(plan, str) and plan.endswith(".toml"):
        plan_file = path.parent / plan
        tables["plan"] = _parse(_read(plan_file, "plan"), f"plan '{plan_file.name}'")
    return Task.read(tables, where=f"task '{path.name}'")


def _read(path: Path, what: str) -> str:
    if not path.is_file():
        raise NotFoundError(f"no {what} file '{path}'; give a path to a TOML file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"{what} '{path.name}' is not UTF-8 text") from None


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where} is not valid TOML: {error}") from None
