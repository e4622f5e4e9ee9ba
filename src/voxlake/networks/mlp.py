"""Dense layers for tables: clinical values, radiomic features, embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from voxlake.core.errors import SettingsError
from voxlake.core.settings import Settings

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MLPSettings", "build_mlp"]


class MLPSettings(Settings):
    """Settings of a network of dense layers.

    Parameters
    ----------
    hidden : tuple of int
        Sizes of the layers before the output layer; none leaves a linear model.
    activation : {"relu", "leaky_relu", "gelu", "silu", "elu"}
        After each of them.
    normalisation : {"none", "batch", "layer"}
        Between each of them and its activation; ``"layer"`` looks at one row only.
    dropout : float
        Probability of a zero after each activation.
    """

    hidden: tuple[PositiveInt, ...] = (64, 32)
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "elu"] = "relu"
    normalisation: Literal["none", "batch", "layer"] = "none"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


def build_mlp(settings: MLPSettings, *, in_channels: int, outputs: int, shape: Sequence[int]) -> nn.Module:
    """Build the network.

    Parameters
    ----------
    settings : MLPSettings
        What to build.
    in_channels : int
        Columns of the table, F.
    outputs : int
        Number of outputs, K.
    shape : sequence of int
        ``(F,)``.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, F) to (N, K).

    Raises
    ------
    SettingsError
        The shape is not that of a row of the table.
    """
    # torch is an extra, and slow to load: settings can be read and checked without it
    from torch import nn

    from voxlake.networks.blocks import activation

    if tuple(shape) != (in_channels,):
        raise SettingsError(
            f"a network for tables takes rows of shape (F,), here {(in_channels,)}, got {tuple(shape)}: "
            "images need another network"
        )
    layers: list[nn.Module] = []
    features = in_channels
    for size in settings.hidden:
        layers += [nn.Linear(features, size, bias=settings.normalisation != "batch")]
        layers += _normalisation(settings, size)
        layers += [activation(settings.activation), nn.Dropout(settings.dropout)]
        features = size
    return nn.Sequential(*layers, nn.Linear(features, outputs))


def _normalisation(settings: MLPSettings, size: int) -> list[nn.Module]:
    # as above
    from torch import nn

    match settings.normalisation:
        case "batch":
            return [nn.BatchNorm1d(size)]
        case "layer":
            return [nn.LayerNorm(size)]
        case "none":
            return []
