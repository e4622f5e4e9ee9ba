"""The module of a MeshNet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor, nn
from torch.nn import functional

from voxlake.networks.meshnet import MeshNetSettings

__all__ = ["EPSILON", "MeshNet"]

EPSILON = 1e-5
"""What the variance is raised by before its root is divided by, as torch and TensorFlow.js do."""

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "relu": functional.relu_,
        "elu": functional.elu_,
        "gelu": functional.gelu,
    }
)


class MeshNet(nn.Module):
    """A row of dilated convolutions at full resolution, and a class for every voxel.

    Parameters
    ----------
    settings : MeshNetSettings
        What it is made of.

    Attributes
    ----------
    layers : torch.nn.ModuleList
        Hidden convolutions, without what comes after each of them (see `between`).
    head : torch.nn.Conv3d
        The last one, 1 x 1 x 1.
    """

    def __init__(self, settings: MeshNetSettings) -> None:
        super().__init__()
        bias = settings.normalisation == "none"
        width = settings.channels
        self.settings = settings
        self.layers = nn.ModuleList(
            nn.Conv3d(width if number else 1, width, 3, padding=dilation, dilation=dilation, bias=bias)
            for number, dilation in enumerate(settings.dilations)
        )
        self.head = nn.Conv3d(width, settings.classes, 1)

    @property
    def convolutions(self) -> list[nn.Conv3d]:
        """The hidden convolutions, by their type."""
        return [layer for layer in self.layers if isinstance(layer, nn.Conv3d)]

    def between(self, x: Tensor) -> Tensor:
        """What comes after a hidden convolution; may write into its input."""
        if self.settings.normalisation == "instance":
            x = functional.instance_norm(x, eps=EPSILON)
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """The activation alone; may write into its input."""
        return _ACTIVATIONS[self.settings.activation](x)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, D, H, W) to logits (N, classes, D, H, W)."""
        for layer in self.layers:
            x = self.between(layer(x))
        result: Tensor = self.head(x)
        return result
