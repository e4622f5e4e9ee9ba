"""Networks of tasks: built from settings and from what the samples are like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from voxlake.core.settings import Settings
from voxlake.learning.data import Samples
from voxlake.networks.registry import build

__all__ = ["build_network", "describe_samples", "with_columns"]


def describe_samples(samples: Samples, outputs: int) -> dict[str, Any]:
    """What a network must be built for, as plain values for the card of a model.

    Parameters
    ----------
    samples : Samples
        What it learns from.
    outputs : int
        Of its objective.
    """
    described: dict[str, Any] = {
        "channels": samples.channels,
        "shape": list(samples.shape),
        "outputs": outputs,
    }
    if samples.takes == "image and table":
        described["columns"] = int(samples.inputs[1].shape[1])
    return described


def build_network(name: str, settings: Settings, described: Mapping[str, Any], *, seed: int) -> nn.Module:
    """Build a network for samples; see `describe_samples`.

    Raises
    ------
    SettingsError
        The settings do not fit the samples.
    """
    return build(
        name,
        with_columns(settings, described.get("columns")),
        in_channels=int(described["channels"]),
        outputs=int(described["outputs"]),
        shape=tuple(described["shape"]),
        seed=seed,
    )


def with_columns(settings: Settings, columns: int | None) -> Settings:
    """Settings that know how many columns the table beside the images has: the data say it, not the user."""
    return settings if columns is None else settings.model_copy(update={"columns": columns})
