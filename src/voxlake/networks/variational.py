"""Variational autoencoder: an image through a distribution of a few numbers and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat

from voxlake.networks.autoencoder import AutoencoderSettings, extents_of_each_stage

if TYPE_CHECKING:
    from torch import nn

__all__ = ["VariationalSettings", "build_variational"]


class VariationalSettings(AutoencoderSettings):
    """Settings of a variational autoencoder (Kingma and Welling, 2014, arXiv:1312.6114).

    Parameters
    ----------
    beta : float
        Weight of the divergence (Higgins et al., 2017, beta-VAE). With the mean squared error it is twice the
        variance of the values about their reconstruction: about 0.01 for images between 0 and 1, and 0.1 for
        those brought to variance 1.
    """

    beta: NonNegativeFloat = 0.1


def build_variational(
    settings: VariationalSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network for images of one shape.

    In training the numbers in the middle are drawn with torch's global random state, so that its seed makes
    them repeatable; in evaluation they are the means.

    Parameters
    ----------
    settings : VariationalSettings
        What to build.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Without effect: the input is what comes out.
    shape : sequence of int
        Extent of the input, (H, W), or (D, H, W) with three dimensions: the module takes no other.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, C, H, W) or (N, C, D, H, W) to a `Reconstruction` with a penalty; ``encode`` maps it
        to the means (N, Z) and ``decode`` these to (N, C, [D,] H, W).

    Raises
    ------
    SettingsError
        The shape has another number of axes, or is too small for the stages.
    """
    del outputs  # all networks of the registry are built with it
    stages = extents_of_each_stage(settings, shape)
    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.units import channels_last
    from voxlake.networks.variational_module import VariationalAutoencoder

    return channels_last(VariationalAutoencoder(settings, in_channels, stages), settings.dimensions)
