"""A mining task: what is asked of a table, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from voxlake.core.hints import hint
from voxlake.core.settings import Settings
from voxlake.core.toml import load_tables, to_toml
from voxlake.learning.tables.inputs import FileInput, Input, SubjectLevel
from voxlake.learning.tables.kinds import KINDS, Kind
from voxlake.learning.tables.settings import (
    DecideSettings,
    FoldSettings,
    PrepareSettings,
    SearchSettings,
)

__all__ = ["MiningTask", "load_mining_task"]

Name = Annotated[str, Field(min_length=1)]


class MiningTask(Settings):
    """What is asked of a table.

    In TOML::

        name = "malignancy"
        kind = "classification"
        cohort = "nodules"
        level = "series"
        target = "malignant"

        [[inputs]]
        source = "features"
        families = ["intensity", "shape"]

        [prepare]
        correlated = 0.95

        [search]
        estimators = ["logistic", "forest"]
        seconds = 120

    Parameters
    ----------
    name : str
        Of the task.
    kind : str
        ``"classification"``, ``"regression"``, ``"clustering"``, ``"reduction"``, ``"similarity"``,
        ``"association"``, ``"survival"`` or ``"drift"``.
    cohort : str, optional
        Cohort whose subjects are the rows; without it the rows are those of the first table from outside.
    level : str
        What a row is about; series of the cohort, or rows of a table from outside, if absent.
    target : str, optional
        Column of an input, or name of a label; it is no input then.
    classes : tuple of str, optional
        Values of the target, in the order of the outputs; without it, all values that occur, sorted.
    positive : str, optional
        The class whose probability is scored where there are two; without it, the last one.
    inputs : tuple of Input
        Where the columns come from.
    group, study : str, optional
        Column of the patient and of the study, for rows that are nothing in the lake.
    categories : tuple of str
        Columns that are categories although they look like numbers.
    combine : {"mean", "median", "min", "max"}
        What becomes of several numbers of one subject, such as those of the series of a patient. Several
        different categories of one subject count as missing.
    asides : tuple of str
        Columns that are carried along and are no inputs; their values are kept with the model, for subgroups.
    prepare, folds, search, decide : Settings
        How.
    options : dict
        Settings of the kind; defaults are filled in.
    """

    name: Name
    kind: Name
    cohort: Name | None = None
    level: SubjectLevel = "series"
    target: Name | None = None
    classes: tuple[str, ...] | None = None
    positive: str | None = None
    inputs: tuple[Input, ...] = ()
    group: Name | None = None
    study: Name | None = None
    categories: tuple[str, ...] = ()
    combine: Annotated[str, Field(pattern="^(mean|median|min|max)$")] = "mean"
    asides: tuple[str, ...] = ()
    prepare: PrepareSettings = PrepareSettings()
    folds: FoldSettings = FoldSettings()
    search: SearchSettings = SearchSettings()
    decide: DecideSettings = DecideSettings()
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in KINDS:
            raise ValueError(f"unknown kind '{name}'{hint(name, KINDS)}")
        return name

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        if isinstance(values, dict) and "level" not in values:
            values = {**values, "level": "row" if values.get("cohort") is None else "series"}
        if isinstance(values, dict) and values.get("kind") in KINDS:
            kind = KINDS[values["kind"]]
            options = values.get("options", {})
            if isinstance(options, dict):
                filled = kind.options.read(options, where="options").model_dump(mode="json")
                return {
                    **values,
                    "options": {key: value for key, value in filled.items() if value is not None},
                }
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if KINDS[self.kind].needs_target and self.target is None:
            raise ValueError(f"kind '{self.kind}' needs a 'target'")
        if (self.cohort is None) != (self.level == "row"):
            raise ValueError(
                "a task with a cohort needs a level in the lake (series, study, patient, ...), a task "
                f"without one level = \"row\"; got cohort = {self.cohort!r}, level = '{self.level}'"
            )
        if self.level != "row" and (self.group is not None or self.study is not None):
            raise ValueError(
                "'group' and 'study' are for level = \"row\"; the lake knows the patient otherwise"
            )
        if self.classes is not None and len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError("'classes' needs two or more different values")
        if self.positive is not None and self.classes is not None and self.positive not in self.classes:
            raise ValueError(f"positive = '{self.positive}' is none of the classes {list(self.classes)}")
        return self

    @property
    def how(self) -> Kind:
        """The kind."""
        return KINDS[self.kind]

    @property
    def settings(self) -> Settings:
        """Typed settings of the kind."""
        return self.how.options.read(self.options, where="options")

    @property
    def carried(self) -> tuple[str, ...]:
        """Every column that is carried along: those named, those of ComBat, those of the kind."""
        harmonise = self.prepare.harmonise
        combat = () if harmonise is None else (harmonise.batch, *harmonise.covariates)
        own: list[str] = []
        for name in self.how.columns:
            value = getattr(self.settings, name)
            own += [value] if isinstance(value, str) else list(value or ())
        return tuple(dict.fromkeys((*self.asides, *combat, *own)))

    def to_toml(self) -> str:
        """TOML text that `load_mining_task` reads back to an equal task."""
        return to_toml(self.model_dump(mode="json"))


def load_mining_task(source: str | Path) -> MiningTask:
    """Read a mining task.

    Parameters
    ----------
    source : path or str
        A file, or TOML text (anything with a line break). Paths of tables are relative to the file.

    Raises
    ------
    NotFoundError
        The file is not there.
    SettingsError
        No TOML, an unknown key (the near miss is named), or a value that does not fit.
    """
    tables, where, folder = load_tables(source, "task")
    task = MiningTask.read(tables, where=where)
    if folder is None:
        return task
    inputs = tuple(
        one.model_copy(update={"path": str(folder / one.path)}) if isinstance(one, FileInput) else one
        for one in task.inputs
    )
    return task.model_copy(update={"inputs": inputs})
