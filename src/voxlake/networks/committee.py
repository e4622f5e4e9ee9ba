"""Several networks of one kind that learn side by side and answer together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from voxlake.core.settings import Settings
from voxlake.networks.encoders import build_encoder, read_encoder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CommitteeSettings", "build_committee"]


class CommitteeSettings(Settings):
    """Settings of a committee: networks with other first weights, whose outputs are averaged.

    Where there is little to learn from, what one network takes for a sign is often chance, and another's
    chance is another (Lakshminarayanan et al., 2017, arXiv:1612.01474). In training each batch is dealt out
    among the members, so that an epoch takes as long as that of one of them, and each sees a share of the
    images in it: give a committee more epochs and larger batches.

    Parameters
    ----------
    members : int
        How many.
    member : dict
        ``name`` of the network, one that takes images and gives vectors, and its settings; defaults are
        filled in.
    """

    members: Annotated[int, Field(ge=2)] = 3
    member: dict[str, Any] = Field(default_factory=lambda: {"name": "cnn"})

    @field_validator("member")
    @classmethod
    def _filled_in(cls, table: dict[str, Any]) -> dict[str, Any]:
        return read_encoder(table)


def build_committee(
    settings: CommitteeSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the networks.

    Parameters
    ----------
    settings : CommitteeSettings
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
        Maps float32 (N, C, [D,] H, W) to (N, K), the mean of all members; in training the outputs of the
        member that each image was dealt to.

    Raises
    ------
    SettingsError
        The shape does not fit the member.
    """
    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.committee_module import Committee

    return Committee(
        [
            build_encoder(settings.member, in_channels=in_channels, features=outputs, shape=shape)
            for _ in range(settings.members)
        ]
    )
