"""Attention U-Net: bridges that let through what the coarser stage asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from voxlake.networks.unet import UNetSettings, check_unet_shape

if TYPE_CHECKING:
    from torch import nn

__all__ = ["AttentionUNetSettings", "build_attention_unet"]


class AttentionUNetSettings(UNetSettings):
    """Settings of an attention U-Net (Oktay et al., 2018, arXiv:1804.03999): those of the U-Net.

    Its gates are those of the paper, at the resolution of the coarser stage, and so cost little. MONAI's
    network has others, at the resolution of the bridge, takes only extents that its strides divide, and has
    no choice of blocks and normalisation.
    """


def build_attention_unet(
    settings: AttentionUNetSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network.

    Parameters
    ----------
    settings : AttentionUNetSettings
        What to build.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Number of outputs for each place, K.
    shape : sequence of int
        Extent of the input: (H, W), or (D, H, W) with three dimensions; the module takes others too.

    Returns
    -------
    torch.nn.Module
        As `voxlake.networks.unet.build_unet`.

    Raises
    ------
    SettingsError
        The shape has another number of axes, or is too small for the stages.
    """
    check_unet_shape(settings, shape)
    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.attention_gate import AttentionGate
    from voxlake.networks.unet_module import UNet
    from voxlake.networks.units import channels_last

    return channels_last(UNet(settings, in_channels, outputs, AttentionGate), settings.dimensions)
