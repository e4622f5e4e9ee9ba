"""Images and a table together: a network for each, joined before the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from voxlake.core.settings import Settings
from voxlake.networks.encoders import build_encoder, read_encoder
from voxlake.networks.mlp import MLPSettings, build_mlp

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FusionSettings", "build_fusion"]


class FusionSettings(Settings):
    """Settings of a network that sees an image and a row of a table.

    Parameters
    ----------
    columns : int
        Columns of the table, F.
    encoder : dict
        ``name`` of the network that sees the image, one that takes images and gives vectors, and its
        settings; defaults are filled in.
    table : MLPSettings
        Of the dense layers that see the table.
    features : int
        Values that each of the two gives.
    join : {"concatenate", "gated"}
        Side by side; or, value by value, a mean of both whose weight depends on both (Arevalo et al., 2017,
        arXiv:1702.01992).
    head : MLPSettings
        Of the dense layers that see what was joined. Without hidden layers, features side by side only add
        up to the answer: nothing of the image can change what the table says.
    dropout : float
        Probability of a zero in what was joined.
    """

    columns: PositiveInt
    encoder: dict[str, Any] = Field(default_factory=lambda: {"name": "cnn"})
    table: MLPSettings = MLPSettings(hidden=(32,))
    features: PositiveInt = 32
    join: Literal["concatenate", "gated"] = "concatenate"
    head: MLPSettings = MLPSettings(hidden=(32,))
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @field_validator("encoder")
    @classmethod
    def _filled_in(cls, table: dict[str, Any]) -> dict[str, Any]:
        return read_encoder(table)


def build_fusion(
    settings: FusionSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network.

    Parameters
    ----------
    settings : FusionSettings
        What to build.
    in_channels : int
        Channels of the image, C.
    outputs : int
        Number of outputs, K.
    shape : sequence of int
        Extent of the image: (H, W) or (D, H, W).

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, C, [D,] H, W) and (N, F) to (N, K).

    Raises
    ------
    SettingsError
        The shape does not fit the encoder.
    """
    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.fusion_module import Fusion

    image = build_encoder(settings.encoder, in_channels=in_channels, features=settings.features, shape=shape)
    columns = settings.columns
    table = build_mlp(settings.table, in_channels=columns, outputs=settings.features, shape=(columns,))
    joined = settings.features * (2 if settings.join == "concatenate" else 1)
    head = build_mlp(settings.head, in_channels=joined, outputs=outputs, shape=(joined,))
    return Fusion(settings, image, table, head)
