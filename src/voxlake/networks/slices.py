"""CNN-RNN: a network of images sees each slice or time point, a recurrent one goes along its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt, field_validator

from voxlake.core.errors import SettingsError
from voxlake.core.settings import Settings
from voxlake.networks.encoders import build_encoder, read_encoder
from voxlake.networks.recurrent import RecurrentSettings

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SlicesSettings", "build_slices"]


class SlicesSettings(Settings):
    """Settings of a network over sequences of images.

    Parameters
    ----------
    encoder : dict
        ``name`` of the network that sees each image, one that takes images and gives vectors, and its
        settings; defaults are filled in.
    features : int
        Values that the encoder gives for each image.
    recurrence : RecurrentSettings
        What goes along these values. ``cell = "none"`` gives the same network without recurrence.
    """

    encoder: dict[str, Any] = Field(default_factory=lambda: {"name": "cnn"})
    features: PositiveInt = 32
    recurrence: RecurrentSettings = RecurrentSettings()

    @field_validator("encoder")
    @classmethod
    def _filled_in(cls, table: dict[str, Any]) -> dict[str, Any]:
        return read_encoder(table)


def build_slices(
    settings: SlicesSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network.

    Parameters
    ----------
    settings : SlicesSettings
        What to build.
    in_channels : int
        Channels of each image, C.
    outputs : int
        Number of outputs, K.
    shape : sequence of int
        (T, H, W), or (T, D, H, W) for time points of volumes. T is the longest sequence; the network takes
        other numbers as well.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, T, C, [D,] H, W) and lengths, int64 (N,), to (N, K), or to (N, T, K) with
        ``steps = "each"``; 0 beyond the length. The encoder never sees what stands beyond the length of a
        sequence, so that it changes nothing, statistics of batch normalisation included.

    Raises
    ------
    SettingsError
        The shape does not fit the encoder.
    """
    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.recurrent_module import SequenceNetwork

    if len(shape) < 3:
        raise SettingsError(
            f"a network over sequences of images takes shape (T, [D,] H, W), got {tuple(shape)}: "
            "for sequences of vectors take the network 'recurrent'"
        )
    encoder = build_encoder(
        settings.encoder, in_channels=in_channels, features=settings.features, shape=shape[1:]
    )
    return SequenceNetwork(settings.recurrence, encoder, settings.features, outputs)
