"""Parts that networks are put together from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from voxlake.networks.cnn import CNNSettings

__all__ = [
    "PatchConvolution",
    "Residual",
    "StochasticDepth",
    "Style",
    "activation",
    "convolution_block",
    "convolution_class",
    "global_pooling",
    "normalisation",
    "pooling",
    "restyle",
    "rising_rates",
]

_LARGEST_NUMBER_OF_GROUPS = 8

_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "leaky_relu": nn.LeakyReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "elu": nn.ELU,
    }
)

_MONOTONE = frozenset({"relu", "relu6", "leaky_relu", "elu"})


class Style(Protocol):
    """What settings say about all activations and normalisations of a network."""

    @property
    def dimensions(self) -> int:
        """Axes of the images, 2 or 3."""

    @property
    def activation(self) -> str:
        """Name for `activation`."""

    @property
    def normalisation(self) -> str:
        """Name for `normalisation`."""


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


class PatchConvolution(nn.Module):
    """Convolution whose kernel is its stride: each patch becomes one place.

    Parameters
    ----------
    dimensions : {2, 3}
        Axes of the images.
    channels, width : int
        Channels of input and output.
    stride : tuple of int
        Extent of a patch along each axis.
    """

    def __init__(self, dimensions: int, channels: int, width: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = convolution_class(dimensions)(channels, width, stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, ...) to (N, width, ...), the extent divided by the stride and rounded up."""
        # without the zeros at the end the last rows of odd extents would never be seen
        padding: list[int] = []
        for extent, step in zip(x.shape[:1:-1], self.stride[::-1], strict=True):
            padding += [0, -extent % step]
        result: Tensor = self.convolution(functional.pad(x, padding) if any(padding) else x)
        return result


class StochasticDepth(nn.Module):
    """In training, drop what a residual block adds, image by image (Huang et al., 2016, arXiv:1603.09382).

    Parameters
    ----------
    rate : float
        Probability of a drop; what is kept is divided by ``1 - rate``.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, ...)."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand((len(x), *(1 for _ in x.shape[1:])), device=x.device) >= self.rate
        return x * keep.to(x.dtype) / (1 - self.rate)


def activation(name: str) -> nn.Module:
    """Activation by name."""
    return _ACTIVATIONS[name]()


def convolution_class(dimensions: int) -> Callable[..., nn.Conv2d | nn.Conv3d]:
    """Class of convolutions over 2 or 3 axes."""
    return nn.Conv2d if dimensions == 2 else nn.Conv3d


def normalisation(name: str, dimensions: int, width: int) -> nn.Module:
    """Normalisation by name, ``"batch"``, ``"instance"`` or ``"group"``, of maps with `width` channels."""
    flat = dimensions == 2
    match name:
        case "batch":
            return nn.BatchNorm2d(width) if flat else nn.BatchNorm3d(width)
        case "instance":
            return nn.InstanceNorm2d(width, affine=True) if flat else nn.InstanceNorm3d(width, affine=True)
        case _:
            return nn.GroupNorm(math.gcd(_LARGEST_NUMBER_OF_GROUPS, width), width)


def rising_rates(highest: float, number: int) -> list[float]:
    """Rates of stochastic depth for blocks one after another, from 0 to the highest in equal steps."""
    return [highest * each / max(number - 1, 1) for each in range(number)]


def restyle(network: nn.Module, style: Style, old_activation: type[nn.Module]) -> None:
    """Exchange every activation and every batch normalisation of a network, in place.

    Parameters
    ----------
    network : torch.nn.Module
        From a library whose networks do not let all of this be chosen.
    style : Style
        Settings with what to put in.
    old_activation : type
        Class of the activations that are there.
    """
    _exchange(network, old_activation, lambda _: activation(style.activation))
    _exchange(
        network,
        (nn.BatchNorm2d, nn.BatchNorm3d),
        lambda old: normalisation(style.normalisation, style.dimensions, old.num_features),
    )


def _exchange(
    network: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...], make: Callable[..., nn.Module]
) -> None:
    for name, part in network.named_children():
        if isinstance(part, kind):
            setattr(network, name, make(part))
        else:
            _exchange(part, kind, make)


def convolution_block(settings: CNNSettings, channels: int, width: int, kernel: int) -> nn.Module:
    """Convolutions, each with normalisation and activation: (N, channels, ...) to (N, width, ...).

    The last activation may be left to `pooling`, which then follows.
    """
    layers: list[nn.Module] = []
    for number in range(settings.convolutions):
        layers.append(_convolution(settings, channels if number == 0 else width, width, kernel))
        layers += _normalisation(settings, width)
        layers.append(activation(settings.activation))
    if not settings.residual:
        return nn.Sequential(*layers[:-1] if _activates_late(settings) else layers)
    shortcut = nn.Identity() if channels == width else _convolution(settings, channels, width, 1)
    return Residual(nn.Sequential(*layers[:-1]), shortcut, layers[-1])


def pooling(settings: CNNSettings, width: int) -> nn.Module:
    """Halve the extent along every axis: (N, width, ...) to (N, width, ... // 2)."""
    flat = settings.dimensions == 2
    match settings.pooling:
        case "max":
            largest = nn.MaxPool2d(2) if flat else nn.MaxPool3d(2)
            if _activates_late(settings):
                return nn.Sequential(largest, activation(settings.activation))
            return largest
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


def _activates_late(settings: CNNSettings) -> bool:
    """Whether the largest value may be taken first: the same numbers and gradients, of a quarter of them."""
    return not settings.residual and settings.pooling == "max" and settings.activation in _MONOTONE


def _convolution(settings: CNNSettings, channels: int, width: int, kernel: int) -> nn.Module:
    # a bias before a normalisation would be subtracted again
    bias = settings.normalisation == "none"
    if settings.dimensions == 2:
        return nn.Conv2d(channels, width, kernel, padding=settings.padding, bias=bias)
    return nn.Conv3d(channels, width, kernel, padding=settings.padding, bias=bias)


def _normalisation(settings: CNNSettings, width: int) -> list[nn.Module]:
    if settings.normalisation == "none":
        return []
    return [normalisation(settings.normalisation, settings.dimensions, width)]
