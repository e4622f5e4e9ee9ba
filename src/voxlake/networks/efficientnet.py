"""EfficientNet-like: inverted bottlenecks with depthwise convolutions and channel attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from voxlake.core.settings import Settings
from voxlake.networks.shapes import Reduction, check_statistics, reduce_extents

if TYPE_CHECKING:
    from torch import nn

__all__ = ["EfficientNetSettings", "build_efficientnet"]

_STEM_WIDTH = 32

_Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class EfficientNetSettings(Settings):
    """Settings of a network like EfficientNet (Tan and Le, 2019, arXiv:1905.11946).

    The defaults are the first four stages of EfficientNet-B0 behind a stem that keeps the extent: 0.4 million
    parameters, for images of 28 to 64 pixels. EfficientNet-B0 itself, for 224 pixels, is ``stem_stride = 2,
    repeats = (1, 2, 2, 3, 3, 4, 1), widths = (16, 24, 40, 80, 112, 192, 320), kernel_sizes = (3, 3, 5, 3, 5,
    5, 3), strides = (1, 2, 2, 2, 1, 2, 1), expansions = (1, 6, 6, 6, 6, 6, 6)``; larger ones raise
    `width_factor` and `depth_factor` (B1: 1.0 and 1.1, B2: 1.1 and 1.2, B3: 1.2 and 1.4).

    Parameters
    ----------
    dimensions : {2, 3}
        2 for images ``[row, column]``, 3 for volumes ``[slice, row, column]``.
    stem_stride : {1, 2}
        Of the first convolution, which has 32 channels times `width_factor`.
    repeats, widths, kernel_sizes, strides, expansions : tuple of int
        For each stage: how many blocks; their channels; edge length of the depthwise kernels, odd; stride of
        the first block, 1 or 2; channels inside the blocks as a multiple of those at their input.
    squeeze : float
        Channels of the squeeze-and-excitation in each block, as a part of those at its input; 0 for none.
    width_factor : float
        By which all channels are multiplied; the products are rounded to multiples of 8. The last convolution
        has 1280 channels times this.
    depth_factor : float
        By which all repeats are multiplied; the products are rounded up.
    activation : {"relu", "relu6", "leaky_relu", "gelu", "silu", "elu"}
        Non-linearity; ``"relu6"`` stops at 6.
    normalisation : {"batch", "instance", "group"}
        What follows each convolution. The running statistics of ``"batch"`` follow with 0.1 instead of 0.01
        of the paper: in trainings of a few hundred steps they would stay behind.
    dropout : float
        Probability of a zero before the output layer.
    stochastic_depth : float
        Probability with which an image skips the last residual block in training; it rises from 0 at the
        first.
    """

    dimensions: Literal[2, 3] = 2
    stem_stride: Literal[1, 2] = 1
    repeats: _Widths = (1, 2, 2, 3)
    widths: _Widths = (16, 24, 40, 80)
    kernel_sizes: _Widths = (3, 3, 5, 3)
    strides: Annotated[tuple[Literal[1, 2], ...], Field(min_length=1)] = (1, 2, 2, 2)
    expansions: _Widths = (1, 6, 6, 6)
    squeeze: Annotated[float, Field(ge=0, le=1)] = 0.25
    width_factor: PositiveFloat = 1.0
    depth_factor: PositiveFloat = 1.0
    activation: Literal["relu", "relu6", "leaky_relu", "gelu", "silu", "elu"] = "silu"
    normalisation: Literal["batch", "instance", "group"] = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("repeats", "kernel_sizes", "strides", "expansions"):
            if len(getattr(self, name)) != len(self.widths):
                raise ValueError(f"{len(getattr(self, name))} {name} for {len(self.widths)} widths")
        if any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError("even kernel_sizes have no centre: take odd ones")
        return self


def build_efficientnet(
    settings: EfficientNetSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network, put together from MONAI's.

    MONAI pads at the end only, for one cubic extent that is fixed when the network is built. Here padding is
    the same on both sides, as in torchvision, so that images of any extent go through. The parameters of
    EfficientNet-B0 with 3 channels and 1000 classes are the 5,288,548 of torchvision.

    Parameters
    ----------
    settings : EfficientNetSettings
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
        The shape has another number of axes, or is too small for the strides or for the
        normalisation.
    """
    smallest = reduce_extents(settings.dimensions, shape, _reductions(settings), _ADVICE)
    check_statistics(settings.normalisation, smallest, _ADVICE)

    # extras that take seconds to load: settings can be read and checked without them
    from monai.networks.blocks.activation import MemoryEfficientSwish
    from monai.networks.nets.efficientnet import EfficientNet
    from torch import nn

    from voxlake.networks.blocks import restyle

    network = EfficientNet(
        _stages(settings),
        spatial_dims=settings.dimensions,
        in_channels=in_channels,
        num_classes=outputs,
        width_coefficient=settings.width_factor,
        depth_coefficient=settings.depth_factor,
        dropout_rate=settings.dropout,
        drop_connect_rate=settings.stochastic_depth,
    )
    _pad_both_sides(network)
    network.get_submodule("_conv_stem").stride = (settings.stem_stride,) * settings.dimensions
    # MONAI draws the last weights as for a thousand classes; with few classes the first loss would be large
    network.add_module("_fc", nn.Linear(network.get_submodule("_fc").in_features, outputs))
    restyle(network, settings, MemoryEfficientSwish)
    result: nn.Module = network
    return result


_ADVICE = "set stem_stride = 1, use fewer strides of 2"


def _reductions(settings: EfficientNetSettings) -> list[Reduction]:
    stages = [Reduction(f"stage {number}", stride) for number, stride in enumerate(settings.strides, 1)]
    return [Reduction("the stem", settings.stem_stride), *stages]


def _stages(settings: EfficientNetSettings) -> list[str]:
    """Stages as MONAI wants to have them written."""
    from monai.networks.nets.efficientnet import BlockArgs

    return [
        BlockArgs(
            num_repeat=settings.repeats[number],
            kernel_size=settings.kernel_sizes[number],
            stride=settings.strides[number],
            expand_ratio=settings.expansions[number],
            input_filters=before,
            output_filters=width,
            id_skip=True,
            se_ratio=settings.squeeze or None,
        ).to_string()
        for number, (before, width) in enumerate(
            zip((_STEM_WIDTH, *settings.widths), settings.widths, strict=False)
        )
    ]


def _pad_both_sides(network: nn.Module) -> None:
    from torch import nn

    for part in list(network.modules()):
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            part.padding = tuple(size // 2 for size in part.kernel_size)
        for name, _ in list(part.named_children()):
            if name.endswith("_padding"):
                setattr(part, name, nn.Identity())
