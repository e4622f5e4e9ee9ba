"""Convolutions with what follows them, for networks that come back to the extent of their input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from voxlake.networks.blocks import activation, normalisation
from voxlake.networks.instance_norm import InstanceNorm
from voxlake.networks.subsampled import subsample_first

__all__ = [
    "Pointwise",
    "UnitStyle",
    "channels_last",
    "convolution_unit",
    "crop",
    "draw_weights",
    "follow",
    "transposed_convolution",
    "unit_activation",
]

_SLOPE = 0.01


class UnitStyle(Protocol):
    """What settings say about all units of a network."""

    @property
    def dimensions(self) -> int:
        """Axes of the images, 2 or 3."""

    @property
    def activation(self) -> str:
        """Name for `voxlake.networks.blocks.activation`."""

    @property
    def normalisation(self) -> str:
        """``"instance"``, ``"batch"``, ``"group"`` or ``"none"``."""

    @property
    def dropout(self) -> float:
        """Probability with which a channel of an image is zero in training."""


class Pointwise(nn.Module):
    """Convolution 1 x 1 [x 1] to a few channels.

    Parameters
    ----------
    channels, width : int
        Channels of input and output.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, ...) to (N, width, ...)."""
        # a third of the time of a convolution, which with two outputs has nothing to fill its vectors with
        result: Tensor = self.linear(x.movedim(1, -1))
        return result.movedim(-1, 1)


def convolution_unit(
    style: UnitStyle,
    channels: int,
    width: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    *,
    active: bool = True,
) -> nn.Sequential:
    """Convolution, dropout, normalisation, activation.

    Parameters
    ----------
    style : UnitStyle
        What follows the convolution.
    channels, width : int
        Channels of input and output.
    kernel : tuple of int
        Extent along each axis, odd.
    stride : tuple of int, optional
        Along each axis; the extent is divided by it and rounded up.
    active : bool
        Whether the activation comes at the end.

    Returns
    -------
    torch.nn.Sequential
        (N, channels, ...) to (N, width, ...).
    """
    make: Callable[..., nn.Module] = nn.Conv2d if style.dimensions == 2 else nn.Conv3d
    convolution = make(
        channels,
        width,
        kernel,
        stride or 1,
        tuple(extent // 2 for extent in kernel),
        # a bias before a normalisation would be subtracted again
        bias=style.normalisation == "none",
    )
    return nn.Sequential(*subsample_first(nn.Sequential(convolution)), *follow(style, width, active=active))


def transposed_convolution(channels: int, width: int, stride: tuple[int, ...], *, bias: bool) -> nn.Module:
    """Each place becomes a patch: (N, channels, ...) to (N, width, ...), the extent times the stride."""
    make: Callable[..., nn.Module] = nn.ConvTranspose2d if len(stride) == 2 else nn.ConvTranspose3d
    return make(channels, width, stride, stride, bias=bias)


def follow(style: UnitStyle, width: int, *, active: bool = True) -> list[nn.Module]:
    """What follows a convolution: dropout, normalisation and activation of maps with `width` channels."""
    parts: list[nn.Module] = []
    if style.dropout > 0:
        parts.append((nn.Dropout2d if style.dimensions == 2 else nn.Dropout3d)(style.dropout))
    if style.normalisation == "instance":
        parts.append(InstanceNorm(width))
    elif style.normalisation != "none":
        parts.append(normalisation(style.normalisation, style.dimensions, width))
    if active:
        parts.append(unit_activation(style))
    return parts


def unit_activation(style: UnitStyle) -> nn.Module:
    """Activation that may write into its input."""
    part = activation(style.activation)
    if isinstance(part, nn.ReLU | nn.LeakyReLU):
        # no gradient needs what was there before
        part.inplace = True
    return part


def crop(x: Tensor, extents: Sequence[int]) -> Tensor:
    """The first places along each axis: (N, C, ...) to (N, C, *extents)."""
    for axis, extent in enumerate(extents, 2):
        if x.shape[axis] != extent:
            x = x.narrow(axis, 0, extent)
    return x


def draw_weights(part: nn.Module) -> None:
    """Initial weights of convolutions (He et al., 2015, arXiv:1502.01852, for leaky ReLU), biases zero."""
    if isinstance(part, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(part.weight, a=_SLOPE)
        if part.bias is not None:
            nn.init.zeros_(part.bias)


def channels_last(network: nn.Module, dimensions: int) -> nn.Module:
    """Lay the weights so that convolutions keep the channels of a place together: faster on a CPU."""
    layout = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    return network.to(memory_format=layout)  # type: ignore[call-overload,no-any-return]  # not in its types
