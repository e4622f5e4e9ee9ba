"""What the kinds of tasks ask of their settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from voxlake.core.errors import UsageError
from voxlake.learning.predict_options import PredictOptions
from voxlake.networks.registry import Gives, get_network

if TYPE_CHECKING:
    from voxlake.learning.task import Task

__all__ = ["TaskKind", "check_kind"]

TaskKind = Literal["classification", "multilabel", "ordinal", "regression", "reconstruction", "segmentation"]
_GIVES: Mapping[str, Gives] = MappingProxyType({"reconstruction": "reconstruction", "segmentation": "map"})


def check_kind(task: Task) -> None:
    """Refuse a task whose parts do not fit its kind.

    Raises
    ------
    ValueError
        Says what is missing or too much.
    """
    _check_target(task)
    network, wanted = get_network(task.network_name), _GIVES.get(task.kind, "vector")
    if network.gives != wanted:
        raise ValueError(
            f"a task of kind '{task.kind}' needs a network that gives a {wanted}, "
            f"'{task.network_name}' gives a {network.gives}"
        )
    if "table" in network.takes and not task.inputs:
        raise ValueError(f"network '{task.network_name}' takes a table: name its columns in [[inputs]]")
    if "table" not in network.takes and task.inputs:
        raise ValueError(f"network '{task.network_name}' takes no table: leave [[inputs]] out")
    visits = network.takes == "sequence" and task.sequence.of == "visits"
    if visits != (task.level == "patient"):
        raise ValueError(
            'level = "patient" goes with sequence.of = "visits" and a network that takes a sequence'
        )
    _check_mirror(task)


def _check_mirror(task: Task) -> None:
    if task.mirror and task.kind == "segmentation":
        raise ValueError("a segmentation is mirrored by 'segmentation.mirror', not by 'mirror'")
    try:
        PredictOptions.of(task.mirror, "torch", takes=task.takes, dimensions=task.dimensions)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _check_target(task: Task) -> None:
    if task.kind == "multilabel":
        if not task.targets or task.target is not None:
            raise ValueError("a task of kind 'multilabel' names its labels in 'targets', and no 'target'")
        if task.classes is not None:
            raise ValueError("a task of kind 'multilabel' has no 'classes'; its labels are in 'targets'")
        return
    if task.targets:
        raise ValueError(f"'targets' is for kind 'multilabel'; a task of kind '{task.kind}' has one 'target'")
    if task.target is None and task.kind != "reconstruction":
        raise ValueError("missing key 'target'")
    if task.kind == "ordinal" and task.classes is None:
        raise ValueError("a task of kind 'ordinal' names its 'classes' in their order")
    if task.kind == "regression" and task.classes is not None:
        raise ValueError("a task of kind 'regression' has no 'classes'")
    if task.kind == "reconstruction" and (task.target is None) != (task.positive is None):
        raise ValueError(
            "a reconstruction that is compared with a label needs 'target', and in 'positive' the value "
            "to be found"
        )
    if task.learn_from and (task.kind != "reconstruction" or task.target is None):
        raise ValueError("'learn_from' is for kind 'reconstruction' with a 'target'")
