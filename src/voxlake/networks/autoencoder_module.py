"""The module of an autoencoder, and the two halves that others are made of too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from voxlake.networks.blocks import activation
from voxlake.networks.reconstruction import Reconstruction
from voxlake.networks.units import (
    convolution_unit,
    crop,
    draw_weights,
    follow,
    transposed_convolution,
)

if TYPE_CHECKING:
    from voxlake.networks.autoencoder import AutoencoderSettings

__all__ = ["Autoencoder", "Decoder", "make_encoder"]


class Autoencoder(nn.Module):
    """An image through a few numbers and back.

    Parameters
    ----------
    settings : AutoencoderSettings
        What it is made of.
    in_channels : int
        Channels of the input, C.
    extents : sequence of tuple of int
        Extent of the input and after each stage.
    """

    def __init__(
        self, settings: AutoencoderSettings, in_channels: int, extents: Sequence[tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.encoder = make_encoder(settings, in_channels, extents, settings.latent)
        self.decoder = Decoder(settings, in_channels, extents)

    def encode(self, x: Tensor) -> Tensor:
        """(N, C, [D,] H, W) to (N, Z)."""
        result: Tensor = self.encoder(x)
        return result

    def decode(self, latent: Tensor) -> Tensor:
        """(N, Z) to (N, C, [D,] H, W)."""
        result: Tensor = self.decoder(latent)
        return result

    def forward(self, x: Tensor) -> Reconstruction:
        """(N, C, [D,] H, W) to the same and no penalty."""
        values = self.decode(self.encode(x))
        return Reconstruction(values, values.new_zeros(()).float(), None)


class Decoder(nn.Module):
    """A few numbers to an image: dense layers, then transposed convolutions that double the extent.

    Parameters
    ----------
    settings : AutoencoderSettings
        What it is made of.
    in_channels : int
        Channels of the image, C.
    extents : sequence of tuple of int
        Extent of the image and after each stage of the encoder.
    """

    def __init__(
        self, settings: AutoencoderSettings, in_channels: int, extents: Sequence[tuple[int, ...]]
    ) -> None:
        super().__init__()
        widths = _widths(settings, in_channels, extents)
        self.first = (widths[-1], *extents[-1])
        self.extents = list(extents[-2::-1])
        sizes = (settings.latent, *reversed(settings.hidden), math.prod(self.first))
        self.dense = nn.Sequential(*_dense(settings, sizes))
        self.stages = nn.ModuleList()
        self.last: nn.Module = nn.Identity()
        if len(extents) > 1:
            # what comes out of the dense layers has not yet been through an activation
            self.dense.append(activation(settings.activation))
            kernel = (3,) * settings.dimensions
            for width, finer in zip(widths[:0:-1], (*widths[-2:0:-1], widths[1]), strict=True):
                self.stages.append(_decoder_stage(settings, width, finer, kernel))
            make: Callable[..., nn.Module] = nn.Conv2d if settings.dimensions == 2 else nn.Conv3d
            self.last = make(widths[1], in_channels, kernel, padding=1)
        self.apply(draw_weights)

    def forward(self, latent: Tensor) -> Tensor:
        """(N, Z) to (N, C, [D,] H, W)."""
        x = self.dense(latent).unflatten(1, self.first)
        for stage, extents in zip(self.stages, self.extents, strict=True):
            x = crop(stage(x), extents)
        result: Tensor = self.last(x)
        return result


def make_encoder(
    settings: AutoencoderSettings, in_channels: int, extents: Sequence[tuple[int, ...]], outputs: int
) -> nn.Sequential:
    """Convolutions that halve the extent, then dense layers: (N, C, [D,] H, W) to (N, outputs)."""
    widths = _widths(settings, in_channels, extents)
    kernel, half = (3,) * settings.dimensions, (2,) * settings.dimensions
    layers: list[nn.Module] = []
    for channels, width in pairwise(widths):
        layers.append(convolution_unit(settings, channels, width, kernel, half))
        more = range(settings.convolutions - 1)
        layers += [convolution_unit(settings, width, width, kernel) for _ in more]
    sizes = (widths[-1] * math.prod(extents[-1]), *settings.hidden, outputs)
    encoder = nn.Sequential(*layers, nn.Flatten(), *_dense(settings, sizes))
    return encoder.apply(draw_weights)


def _decoder_stage(
    settings: AutoencoderSettings, width: int, finer: int, kernel: tuple[int, ...]
) -> nn.Sequential:
    half = (2,) * settings.dimensions
    double = transposed_convolution(width, finer, half, bias=settings.normalisation == "none")
    rest = (convolution_unit(settings, finer, finer, kernel) for _ in range(settings.convolutions - 1))
    return nn.Sequential(double, *follow(settings, finer), *rest)


def _widths(
    settings: AutoencoderSettings, in_channels: int, extents: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    """Channels of the input and after each stage."""
    return (in_channels, *settings.channels[: len(extents) - 1])


def _dense(settings: AutoencoderSettings, sizes: Sequence[int]) -> list[nn.Module]:
    """Dense layers with an activation between them, none after the last."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation(settings.activation)]
    return layers[:-1]
