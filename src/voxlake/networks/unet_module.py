"""The module of a U-Net."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from voxlake.networks.blocks import Residual
from voxlake.networks.units import (
    Pointwise,
    convolution_unit,
    crop,
    draw_weights,
    transposed_convolution,
    unit_activation,
)

if TYPE_CHECKING:
    from voxlake.networks.unet import UNetSettings

__all__ = ["DecoderStage", "Gate", "UNet"]

Gate = Callable[[int, int, tuple[int, ...]], nn.Module]
"""Makes what a bridge passes through, of its channels, those of the coarser stage and the stride between."""


class DecoderStage(nn.Module):
    """Bring coarse maps to the extent of the bridge, and put both together.

    Parameters
    ----------
    settings : UNetSettings
        What it is made of.
    stage : int
        Which, 0 is the finest.
    gate : callable, optional
        What the bridge passes through.
    """

    def __init__(self, settings: UNetSettings, stage: int, gate: Gate | None) -> None:
        super().__init__()
        width, coarse = settings.channels[stage : stage + 2]
        stride = settings.stride_of_each_stage()[stage + 1]
        kernel = settings.kernel_of_each_stage()[stage]
        # a bias would be constant over the map and taken away again by the normalisation
        self.up = transposed_convolution(coarse, width, stride, bias=settings.normalisation == "none")
        self.gate = gate(width, coarse, stride) if gate else None
        units = [convolution_unit(settings, 2 * width, width, kernel)]
        more = range(settings.decoder_convolutions - 1)
        units += [convolution_unit(settings, width, width, kernel) for _ in more]
        self.body = nn.Sequential(*units)

    def forward(self, x: Tensor, bridge: Tensor) -> Tensor:
        """(N, coarse, ...) and (N, width, ...) to (N, width, ...), the extent of the second."""
        fine = crop(self.up(x), bridge.shape[2:])
        if self.gate is not None:
            bridge = self.gate(bridge, x)
        result: Tensor = self.body(torch.cat([fine, bridge], dim=1))
        return result


class UNet(nn.Module):
    """An encoder, a decoder, and bridges between them.

    Parameters
    ----------
    settings : UNetSettings
        What it is made of.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Number of outputs for each place, K.
    gate : callable, optional
        What the bridges pass through.
    """

    def __init__(
        self, settings: UNetSettings, in_channels: int, outputs: int, gate: Gate | None = None
    ) -> None:
        super().__init__()
        widths = settings.channels
        channels = (in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(
            _encoder_stage(settings, stage, channels[stage]) for stage in range(len(widths))
        )
        # the order in which they are used, the coarsest first
        self.decoder = nn.ModuleList(
            DecoderStage(settings, stage, gate) for stage in reversed(range(len(widths) - 1))
        )
        self.head = _head(settings, outputs)
        self.coarse_heads = nn.ModuleList(
            Pointwise(width, outputs) for width in widths[1 : 1 + settings.deep_supervision]
        )
        self.apply(draw_weights)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(N, C, [D,] H, W) to logits (N, K, [D,] H, W); a list with coarser ones after it in training."""
        extents = x.shape[2:]
        bridges = self._bridges(x)
        maps = [bridges.pop()]
        for stage, bridge in zip(self.decoder, reversed(bridges), strict=True):
            maps.append(stage(maps[-1], bridge))
        logits = crop(self.head(maps[-1]), extents)
        if not (self.training and len(self.coarse_heads)):
            return logits
        # `zip` ends with the heads: the coarsest maps have none
        coarse = [head(each) for head, each in zip(self.coarse_heads, maps[-2::-1], strict=False)]
        return [logits, *coarse]

    def encode(self, x: Tensor) -> Tensor:
        """(N, C, [D,] H, W) to the means of the coarsest maps, (N, Z)."""
        return self._bridges(x)[-1].flatten(2).mean(2)

    def _bridges(self, x: Tensor) -> list[Tensor]:
        bridges = []
        for stage in self.encoder:
            x = stage(x)
            bridges.append(x)
        return bridges


def _encoder_stage(settings: UNetSettings, stage: int, channels: int) -> nn.Sequential:
    width = settings.channels[stage]
    kernel = settings.kernel_of_each_stage()[stage]
    stride = settings.stride_of_each_stage()[stage]
    here = (1,) * settings.dimensions
    make = _residual_block if settings.block == "residual" else _plain_block
    first = make(settings, channels, width, kernel, stride)
    rest = (
        make(settings, width, width, kernel, here) for _ in range(settings.blocks_of_each_stage()[stage] - 1)
    )
    return nn.Sequential(first, *rest)


def _plain_block(
    settings: UNetSettings, channels: int, width: int, kernel: tuple[int, ...], stride: tuple[int, ...]
) -> nn.Module:
    first = convolution_unit(settings, channels, width, kernel, stride)
    return nn.Sequential(first, convolution_unit(settings, width, width, kernel))


def _residual_block(
    settings: UNetSettings, channels: int, width: int, kernel: tuple[int, ...], stride: tuple[int, ...]
) -> nn.Module:
    body = nn.Sequential(
        convolution_unit(settings, channels, width, kernel, stride),
        convolution_unit(settings, width, width, kernel, active=False),
    )
    shortcut: nn.Module = nn.Identity()
    if channels != width or max(stride) > 1:
        shortcut = convolution_unit(settings, channels, width, (1,) * len(kernel), stride, active=False)
    return Residual(body, shortcut, unit_activation(settings))


def _head(settings: UNetSettings, outputs: int) -> nn.Module:
    stride = settings.stride_of_each_stage()[0]
    width = settings.channels[0]
    if max(stride) == 1:
        return Pointwise(width, outputs)
    return transposed_convolution(width, outputs, stride, bias=True)
