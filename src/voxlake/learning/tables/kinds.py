"""The kinds of mining, each a function of a table and a task.

Modules are named, not imported: a task can be read and checked without the libraries of tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol

from voxlake.core.settings import Settings
from voxlake.learning.tables.options import (
    AssociationOptions,
    ClusterOptions,
    DriftOptions,
    ReduceOptions,
    SimilarityOptions,
    SurvivalOptions,
)

__all__ = ["KINDS", "Kind", "ModelParts", "NoOptions", "Tick"]

Tick = Callable[[str], None]


class NoOptions(Settings):
    """A kind without settings of its own."""


class ModelParts(Protocol):
    """What a kind gets to see of a stored model when it speaks about other rows."""

    @property
    def card(self) -> Mapping[str, Any]:
        """Card of the model."""

    def get(self, name: str) -> bytes:
        """A file of the model, checked against its digest."""


@dataclass(frozen=True)
class Kind:
    """A kind of mining.

    Parameters
    ----------
    module, function : str
        Where the function ``(table, task, tick) -> Mined`` lives.
    options : type of Settings
        What ``[options]`` of a task is read with.
    needs_target : bool
        Whether a task must name a target.
    columns : tuple of str
        Options that name columns: these are carried along and are no inputs.
    speak : str or None
        Function ``(parts, task, table) -> Predicted`` of the module, for other rows; None where a result
        cannot speak about others.
    """

    module: str
    function: str
    options: type[Settings] = NoOptions
    needs_target: bool = False
    columns: tuple[str, ...] = ()
    speak: str | None = None

    def load(self, name: str | None = None) -> Callable[..., Any]:
        """The function (or `name` of its module), imported now."""
        found: Callable[..., Any] = getattr(import_module(self.module), name or self.function)
        return found


_TABLES = "voxlake.learning.tables"

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "classification": Kind(
            f"{_TABLES}.classify", "mine_classification", needs_target=True, speak="speak"
        ),
        "regression": Kind(f"{_TABLES}.regress", "mine_regression", needs_target=True, speak="speak"),
        "clustering": Kind(f"{_TABLES}.cluster", "mine_cluster", ClusterOptions, speak="speak"),
        "reduction": Kind(f"{_TABLES}.reduce", "mine_reduce", ReduceOptions),
        "similarity": Kind(f"{_TABLES}.similar", "mine_similar", SimilarityOptions),
        "association": Kind(
            f"{_TABLES}.associate",
            "mine_associate",
            AssociationOptions,
            needs_target=True,
            columns=("adjust",),
        ),
        "survival": Kind(
            f"{_TABLES}.survive",
            "mine_survive",
            SurvivalOptions,
            columns=("time", "event"),
            speak="speak",
        ),
        "drift": Kind(f"{_TABLES}.drift", "mine_drift", DriftOptions, columns=("centre",)),
    }
)
