"""ConvNeXt-like: depthwise convolutions with large kernels, then two dense layers at every place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from voxlake.core.settings import Settings
from voxlake.networks.shapes import Reduction, check_per_axis, reduce_extents

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ConvNeXtSettings", "build_convnext"]


class ConvNeXtSettings(Settings):
    """Settings of a ConvNeXt (Liu et al., 2022, doi:10.1109/CVPR52688.2022.01167); by default ConvNeXt-T.

    Images of 28 to 64 pixels: ``stem_stride = 2`` and fewer, narrower stages, for example
    ``depths = (2, 2, 2), widths = (32, 64, 128)``.

    Parameters
    ----------
    dimensions : {2, 3}
        2 for images ``[row, column]``, 3 for volumes ``[slice, row, column]``.
    depths : tuple of int
        Blocks in each stage; between two stages the extent is halved.
    widths : tuple of int
        Channels of each stage.
    stem_stride : int or tuple of int
        Extent of the patches that the image is cut into, for all axes or one for each.
    kernel_size : int
        Edge length of the depthwise kernels, odd.
    expansion : int
        Channels inside a block, as a multiple of those at its input.
    activation : {"relu", "leaky_relu", "gelu", "silu", "elu"}
        Non-linearity.
    layer_scale : float
        By which each channel of what a block adds is multiplied at first; learned. 0 for no such factors.
    stochastic_depth : float
        Probability with which an image skips the last block in training; it rises from 0 at the first.
    dropout : float
        Probability of a zero before the output layer.
    """

    dimensions: Literal[2, 3] = 2
    depths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (3, 3, 9, 3)
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (96, 192, 384, 768)
    stem_stride: PositiveInt | tuple[PositiveInt, ...] = 4
    kernel_size: PositiveInt = 7
    expansion: PositiveInt = 4
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "elu"] = "gelu"
    layer_scale: Annotated[float, Field(ge=0)] = 1e-6
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.depths) != len(self.widths):
            raise ValueError(f"{len(self.depths)} depths for {len(self.widths)} widths")
        if self.kernel_size % 2 == 0:
            raise ValueError("an even kernel_size has no centre: take an odd one")
        check_per_axis("stem_stride", self.stem_stride, self.dimensions)
        return self


def build_convnext(
    settings: ConvNeXtSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network.

    Other than in the paper, what is left at the end of an extent that the patches do not divide is padded
    with zeros instead of left out. The parameters of ConvNeXt-T with 3 channels and 1000 classes are the
    28,589,128 of torchvision.

    Parameters
    ----------
    settings : ConvNeXtSettings
        What to build.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Number of outputs, K.
    shape : sequence of int
        Extent of the input: (H, W), or (D, H, W) with three dimensions; any that is large enough.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, C, H, W) or (N, C, D, H, W) to logits (N, K).

    Raises
    ------
    SettingsError
        The shape has another number of axes, or is too small for the stages.
    """
    stages = [Reduction(f"stage {number}", 2) for number in range(2, len(settings.depths) + 1)]
    reductions = [Reduction("the stem", settings.stem_stride), *stages]
    reduce_extents(settings.dimensions, shape, reductions, "set a smaller stem_stride, use fewer stages")

    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.convnext_module import ConvNeXt

    return ConvNeXt(settings, in_channels, outputs)
