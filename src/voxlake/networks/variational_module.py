"""The module of a variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from voxlake.networks.autoencoder_module import Decoder, make_encoder
from voxlake.networks.reconstruction import Reconstruction

if TYPE_CHECKING:
    from voxlake.networks.variational import VariationalSettings

__all__ = ["VariationalAutoencoder", "divergence"]

_LARGEST_LOGARITHM = 20.0


class VariationalAutoencoder(nn.Module):
    """An image through a distribution of a few numbers and back.

    Parameters
    ----------
    settings : VariationalSettings
        What it is made of.
    in_channels : int
        Channels of the input, C.
    extents : sequence of tuple of int
        Extent of the input and after each stage.
    """

    def __init__(
        self, settings: VariationalSettings, in_channels: int, extents: Sequence[tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.beta = settings.beta
        self.encoder = make_encoder(settings, in_channels, extents, 2 * settings.latent)
        self.decoder = Decoder(settings, in_channels, extents)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, [D,] H, W) to means and logarithms of variances, float32 (N, Z) each."""
        means, logarithms = self.encoder(x).float().chunk(2, dim=1)
        # an untrained network may say anything, and the exponential of 100 is infinite
        return means, logarithms.clamp(-_LARGEST_LOGARITHM, _LARGEST_LOGARITHM)

    def encode(self, x: Tensor) -> Tensor:
        """(N, C, [D,] H, W) to the means, (N, Z)."""
        return self.posterior(x)[0]

    def decode(self, latent: Tensor) -> Tensor:
        """(N, Z) to (N, C, [D,] H, W)."""
        result: Tensor = self.decoder(latent)
        return result

    def forward(self, x: Tensor) -> Reconstruction:
        """(N, C, [D,] H, W) to the same, and beta times the divergence as a penalty.

        The penalty is the mean over the images, divided by the number of values of an image: it is added to a
        mean over values, and so both have the proportion of the evidence lower bound whatever the extent.
        """
        means, logarithms = self.posterior(x)
        latent = means
        if self.training:
            latent = means + torch.randn_like(means) * (logarithms / 2).exp()
        penalty = self.beta * divergence(means, logarithms).mean() / x[0].numel()
        return Reconstruction(self.decode(latent), penalty, None)


def divergence(means: Tensor, logarithms: Tensor) -> Tensor:
    """Kullback-Leibler divergence of normal distributions from the standard one, in nats.

    Kingma and Welling, 2014, arXiv:1312.6114, appendix B.

    Parameters
    ----------
    means, logarithms : torch.Tensor
        Means and logarithms of variances, (N, Z).

    Returns
    -------
    torch.Tensor
        (N,), the sum over Z.
    """
    return (means.square() + logarithms.exp() - logarithms - 1).sum(1) / 2
