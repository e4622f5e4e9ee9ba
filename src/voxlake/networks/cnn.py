"""The textbook convolutional network: blocks of convolutions and a pooling each, then dense layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from voxlake.core.errors import SettingsError
from voxlake.core.settings import Settings
from voxlake.networks.shapes import check_axes

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CNNSettings", "build_cnn"]


class CNNSettings(Settings):
    """Settings of the textbook network.

    Parameters
    ----------
    dimensions : {2, 3}
        2 for images ``[row, column]``, 3 for volumes ``[slice, row, column]``.
    blocks : tuple of int
        Output channels of each block; a pooling by 2 along every axis follows each block.
    kernel_sizes : int or tuple of int
        Edge length of the kernels, for all blocks or one for each; odd with ``"same"`` padding.
    convolutions : int
        Convolutions in a block, each followed by normalisation and activation.
    padding : {"same", "valid"}
        Whether a convolution keeps the extent of its input.
    activation : {"relu", "leaky_relu", "gelu", "silu", "elu"}
        Non-linearity, also between the dense layers.
    normalisation : {"batch", "instance", "group", "none"}
        What follows each convolution; with ``"none"`` the convolutions have a bias.
    pooling : {"max", "average", "stride"}
        How a block is brought to half its extent; ``"stride"`` is a learned convolution of 2 by stride 2.
    dropout : float
        Probability of a zero before each dense layer.
    head : {"global_average", "global_max", "flatten"}
        What the dense layers see: the mean of each channel, its largest value (for small findings that may
        lie anywhere), or every value.
    hidden : tuple of int
        Sizes of the dense layers before the output layer.
    residual : bool
        Add the input of each block to its output.
    """

    dimensions: Literal[2, 3] = 2
    blocks: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (16, 32, 64, 128)
    kernel_sizes: PositiveInt | tuple[PositiveInt, ...] = 3
    convolutions: PositiveInt = 1
    padding: Literal["same", "valid"] = "same"
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "elu"] = "relu"
    normalisation: Literal["batch", "instance", "group", "none"] = "batch"
    pooling: Literal["max", "average", "stride"] = "max"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    head: Literal["global_average", "global_max", "flatten"] = "global_average"
    hidden: tuple[PositiveInt, ...] = ()
    residual: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.kernel_sizes, tuple) and len(self.kernel_sizes) != len(self.blocks):
            raise ValueError(f"{len(self.kernel_sizes)} kernel_sizes for {len(self.blocks)} blocks")
        if self.padding == "same" and any(size % 2 == 0 for size in self.kernel_of_each_block()):
            raise ValueError("even kernel_sizes have no centre: take odd ones or set padding = 'valid'")
        if self.residual and self.padding == "valid":
            raise ValueError("residual blocks keep their extent: set padding = 'same'")
        return self

    def kernel_of_each_block(self) -> tuple[int, ...]:
        """Edge length of the kernels of each block."""
        sizes = self.kernel_sizes
        return sizes if isinstance(sizes, tuple) else (sizes,) * len(self.blocks)


def build_cnn(settings: CNNSettings, *, in_channels: int, outputs: int, shape: Sequence[int]) -> nn.Module:
    """Build the network.

    Parameters
    ----------
    settings : CNNSettings
        What to build.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Number of outputs, K.
    shape : sequence of int
        Extent of the input: (H, W), or (D, H, W) with three dimensions.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, C, H, W) or (N, C, D, H, W) to logits (N, K).

    Raises
    ------
    SettingsError
        The shape has another number of axes, or is too small for the blocks.
    """
    # torch is an extra, and slow to load: settings can be read and checked without it
    from torch import nn

    from voxlake.networks.blocks import activation, convolution_block, global_pooling, pooling

    extents = _extents(settings, shape)
    layers: list[nn.Module] = []
    channels = in_channels
    for width, kernel in zip(settings.blocks, settings.kernel_of_each_block(), strict=True):
        layers.append(convolution_block(settings, channels, width, kernel))
        layers.append(pooling(settings, width))
        channels = width

    layers += [*global_pooling(settings), nn.Flatten()]
    features = channels * math.prod(extents[-1]) if settings.head == "flatten" else channels

    for size in settings.hidden:
        layers += [nn.Dropout(settings.dropout), nn.Linear(features, size), activation(settings.activation)]
        features = size
    layers += [nn.Dropout(settings.dropout), nn.Linear(features, outputs)]
    return nn.Sequential(*layers)


def _extents(settings: CNNSettings, shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Extent of the input and after each block with its pooling."""
    check_axes(settings.dimensions, shape)
    extents = [tuple(shape)]
    for number, kernel in enumerate(settings.kernel_of_each_block(), 1):
        lost = settings.convolutions * (kernel - 1) if settings.padding == "valid" else 0
        before_pooling = tuple(size - lost for size in extents[-1])
        if min(before_pooling) < 2:
            raise SettingsError(
                f"images of {tuple(shape)} are too small for {len(settings.blocks)} blocks: block {number} "
                f"ends with {before_pooling} and pooling needs at least 2 along every axis; "
                "use fewer blocks or larger images"
            )
        extents.append(tuple(size // 2 for size in before_pooling))
    return extents
