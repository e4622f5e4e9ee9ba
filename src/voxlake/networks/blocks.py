"""Parts that networks are put together from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from voxlake.networks.cnn import CNNSettings

__all__ = ["Residual", "activation", "convolution_block", "global_pooling", "pooling"]

_LARGEST_NUMBER_OF_GROUPS = 8

_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "relu": nn.ReLU,
        "leaky_relu": nn.LeakyReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "elu": nn.ELU,
    }
)


class Residual(nn.Module):
    """``activation(body(x) + shortcut(x))`` (He et al., 2016, doi:10.1109/CVPR.2016.90).

    Parameters
    ----------
    body, shortcut : torch.nn.Module
        Map (N, C, ...) to the same (N, C', ...).
    after : torch.nn.Module
        What is applied to the sum.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to (N, C', ...)."""
        result: Tensor = self.after(self.body(x) + self.shortcut(x))
        return result


def activation(name: str) -> nn.Module:
    """Activation by name."""
    return _ACTIVATIONS[name]()


def convolution_block(settings: CNNSettings, channels: int, width: int, kernel: int) -> nn.Module:
    """Convolutions, each with normalisation and activation: (N, channels, ...) to (N, width, ...)."""
    layers: list[nn.Module] = []
    for number in range(settings.convolutions):
        layers.append(_convolution(settings, channels if number == 0 else width, width, kernel))
        layers += _normalisation(settings, width)
        layers.append(activation(settings.activation))
    if not settings.residual:
        return nn.Sequential(*layers)
    shortcut = nn.Identity() if channels == width else _convolution(settings, channels, width, 1)
    return Residual(nn.Sequential(*layers[:-1]), shortcut, layers[-1])


def pooling(settings: CNNSettings, width: int) -> nn.Module:
    """Halve the extent along every axis: (N, width, ...) to (N, width, ... // 2)."""
    flat = settings.dimensions == 2
    match settings.pooling:
        case "max":
            return nn.MaxPool2d(2) if flat else nn.MaxPool3d(2)
        case "average":
            return nn.AvgPool2d(2) if flat else nn.AvgPool3d(2)
        case "stride":
            return nn.Conv2d(width, width, 2, stride=2) if flat else nn.Conv3d(width, width, 2, stride=2)


def global_pooling(settings: CNNSettings) -> list[nn.Module]:
    """What brings each channel to one value: (N, C, ...) to (N, C, 1, ...); empty for ``"flatten"``."""
    flat = settings.dimensions == 2
    match settings.head:
        case "global_average":
            return [nn.AdaptiveAvgPool2d(1) if flat else nn.AdaptiveAvgPool3d(1)]
        case "global_max":
            return [nn.AdaptiveMaxPool2d(1) if flat else nn.AdaptiveMaxPool3d(1)]
        case "flatten":
            return []


def _convolution(settings: CNNSettings, channels: int, width: int, kernel: int) -> nn.Module:
    # a bias before a normalisation would be subtracted again
    bias = settings.normalisation == "none"
    if settings.dimensions == 2:
        return nn.Conv2d(channels, width, kernel, padding=settings.padding, bias=bias)
    return nn.Conv3d(channels, width, kernel, padding=settings.padding, bias=bias)


def _normalisation(settings: CNNSettings, width: int) -> list[nn.Module]:
    flat = settings.dimensions == 2
    match settings.normalisation:
        case "batch":
            return [nn.BatchNorm2d(width) if flat else nn.BatchNorm3d(width)]
        case "instance":
            return [nn.InstanceNorm2d(width, affine=True) if flat else nn.InstanceNorm3d(width, affine=True)]
        case "group":
            return [nn.GroupNorm(math.gcd(_LARGEST_NUMBER_OF_GROUPS, width), width)]
        case "none":
            return []
