"""DenseNet: every layer sees the maps of all layers before it in its block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from voxlake.core.settings import Settings
from voxlake.networks.shapes import Reduction, check_per_axis, check_statistics, per_axis, reduce_extents

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DenseNetSettings", "build_densenet"]


class DenseNetSettings(Settings):
    """Settings of a DenseNet (Huang et al., 2017, doi:10.1109/CVPR.2017.243); the defaults are DenseNet-121.

    DenseNet-169 has ``layers = (6, 12, 32, 32)``. Images of 28 to 64 pixels need
    ``stem_kernel = 3, stem_stride = 1, stem_pooling = false`` or fewer blocks.

    Parameters
    ----------
    dimensions : {2, 3}
        2 for images ``[row, column]``, 3 for volumes ``[slice, row, column]``.
    layers : tuple of int
        Layers in each block; between two blocks the extent and the channels are halved.
    growth : int
        Channels that each layer adds.
    bottleneck : int
        Channels between the two convolutions of a layer, as a multiple of `growth`.
    stem_width : int
        Channels of the first convolution.
    stem_kernel : int
        Edge length of the first kernel, odd.
    stem_stride : int or tuple of int
        Of the first convolution, for all axes or one for each (volumes with few slices: ``(1, 2, 2)``).
    stem_pooling : bool
        Halve the extent by a maximum over 3 x 3 after the first convolution.
    activation : {"relu", "leaky_relu", "gelu", "silu", "elu"}
        Non-linearity.
    normalisation : {"batch", "instance", "group"}
        What comes before each activation.
    dropout : float
        Probability of a zero before the output layer.
    layer_dropout : float
        Probability of a zero for each channel that a layer adds.
    """

    dimensions: Literal[2, 3] = 2
    layers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (6, 12, 24, 16)
    growth: PositiveInt = 32
    bottleneck: PositiveInt = 4
    stem_width: PositiveInt = 64
    stem_kernel: PositiveInt = 7
    stem_stride: PositiveInt | tuple[PositiveInt, ...] = 2
    stem_pooling: bool = True
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "elu"] = "relu"
    normalisation: Literal["batch", "instance", "group"] = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    layer_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.stem_kernel % 2 == 0:
            raise ValueError("an even stem_kernel has no centre: take an odd one")
        check_per_axis("stem_stride", self.stem_stride, self.dimensions)
        return self


def build_densenet(
    settings: DenseNetSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network, put together from MONAI's with a stem that can be set.

    The parameters of DenseNet-121 with 3 channels and 1000 classes are the 7,978,856 of torchvision.

    Parameters
    ----------
    settings : DenseNetSettings
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
        The shape has another number of axes, or is too small for the blocks or for the
        normalisation.
    """
    smallest = reduce_extents(settings.dimensions, shape, _reductions(settings), _ADVICE)
    check_statistics(settings.normalisation, smallest, _ADVICE)

    # extras that take seconds to load: settings can be read and checked without them
    from monai.networks.nets.densenet import DenseNet
    from torch import nn

    from voxlake.networks.blocks import restyle

    network = DenseNet(
        spatial_dims=settings.dimensions,
        in_channels=in_channels,
        out_channels=outputs,
        init_features=settings.stem_width,
        growth_rate=settings.growth,
        block_config=settings.layers,
        bn_size=settings.bottleneck,
        dropout_prob=settings.layer_dropout,
    )
    network.features.conv0 = _first_convolution(settings, in_channels)
    if not settings.stem_pooling:
        network.features.pool0 = nn.Identity()
    network.class_layers.out = nn.Sequential(nn.Dropout(settings.dropout), network.class_layers.out)
    restyle(network, settings, nn.ReLU)
    result: nn.Module = network
    return result


_ADVICE = "set stem_stride = 1 or stem_pooling = false, use fewer blocks"


def _reductions(settings: DenseNetSettings) -> list[Reduction]:
    stem = [Reduction("the stem", settings.stem_stride)]
    pooling = [Reduction("the pooling of the stem", 2)] * settings.stem_pooling
    between = range(1, len(settings.layers))
    return (
        stem + pooling + [Reduction(f"the transition after block {each}", 2, floor=True) for each in between]
    )


def _first_convolution(settings: DenseNetSettings, in_channels: int) -> nn.Module:
    from torch import nn

    from voxlake.networks.blocks import convolution_class

    convolution = convolution_class(settings.dimensions)(
        in_channels,
        settings.stem_width,
        settings.stem_kernel,
        stride=per_axis(settings.stem_stride, settings.dimensions),
        padding=settings.stem_kernel // 2,
        bias=False,
    )
    nn.init.kaiming_normal_(convolution.weight)
    return convolution
