"""The module of a ConvNeXt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxlake.networks.blocks import (
    PatchConvolution,
    StochasticDepth,
    activation,
    convolution_class,
    rising_rates,
)
from voxlake.networks.convnext import ConvNeXtSettings
from voxlake.networks.shapes import per_axis

__all__ = ["ChannelNormalisation", "ConvNeXt", "ConvNeXtBlock"]

_EPSILON = 1e-6
_DEVIATION = 0.02


class ChannelNormalisation(nn.LayerNorm):
    """Layer normalisation over the channels of each place: (N, C, ...) to the same."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to (N, C, ...)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, then normalisation and two dense layers at every place; adds its input.

    Parameters
    ----------
    settings : ConvNeXtSettings
        What it is made of.
    width : int
        Channels, C.
    rate : float
        Of stochastic depth.
    """

    def __init__(self, settings: ConvNeXtSettings, width: int, rate: float) -> None:
        super().__init__()
        kernel, inside = settings.kernel_size, settings.expansion * width
        convolution = convolution_class(settings.dimensions)
        self.depthwise = convolution(width, width, kernel, padding=kernel // 2, groups=width)
        self.normalise = nn.LayerNorm(width, eps=_EPSILON)
        self.expand = nn.Linear(width, inside)
        self.activate = activation(settings.activation)
        self.contract = nn.Linear(inside, width)
        self.scale = (
            nn.Parameter(torch.full((width,), settings.layer_scale)) if settings.layer_scale else None
        )
        self.drop = StochasticDepth(rate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to (N, C, ...)."""
        added = self.normalise(self.depthwise(x).movedim(1, -1))
        added = self.contract(self.activate(self.expand(added)))
        if self.scale is not None:
            added = added * self.scale
        result: Tensor = x + self.drop(added.movedim(-1, 1))
        return result


class ConvNeXt(nn.Module):
    """Patches, stages of blocks with a halving of the extent between two, the mean over all places.

    Parameters
    ----------
    settings : ConvNeXtSettings
        What it is made of.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Number of outputs, K.
    """

    def __init__(self, settings: ConvNeXtSettings, in_channels: int, outputs: int) -> None:
        super().__init__()
        dimensions, widths = settings.dimensions, settings.widths
        rates = iter(rising_rates(settings.stochastic_depth, sum(settings.depths)))
        stem = per_axis(settings.stem_stride, dimensions)
        layers: list[nn.Module] = [
            PatchConvolution(dimensions, in_channels, widths[0], stem),
            ChannelNormalisation(widths[0], eps=_EPSILON),
        ]
        for number, (depth, width) in enumerate(zip(settings.depths, widths, strict=True)):
            if number > 0:
                before = widths[number - 1]
                layers.append(ChannelNormalisation(before, eps=_EPSILON))
                layers.append(PatchConvolution(dimensions, before, width, (2,) * dimensions))
            layers += [ConvNeXtBlock(settings, width, next(rates)) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.normalise = nn.LayerNorm(widths[-1], eps=_EPSILON)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(widths[-1], outputs)
        self.apply(_draw)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, [D,] H, W) to logits (N, K)."""
        features = self.layers(x).flatten(2).mean(-1)
        result: Tensor = self.head(self.dropout(self.normalise(features)))
        return result


def _draw(part: nn.Module) -> None:
    if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear):
        nn.init.trunc_normal_(part.weight, std=_DEVIATION)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
