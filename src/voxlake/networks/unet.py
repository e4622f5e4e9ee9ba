"""U-Net: an encoder, a decoder, and bridges between them at each resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from voxlake.core.settings import Settings
from voxlake.networks.shapes import Reduction, check_per_axis, check_statistics, per_axis, reduce_extents

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PerStage", "UNetSettings", "build_unet", "check_unet_shape"]

PerStage = tuple[PositiveInt | tuple[PositiveInt, ...], ...]
"""One value for each stage, itself one for all axes or one for each."""


class UNetSettings(Settings):
    """Settings of a U-Net (Ronneberger et al., 2015, arXiv:1505.04597) in the manner of nnU-Net.

    Isensee et al. (2021, doi:10.1038/s41592-020-01008-z): strides instead of pooling, instance normalisation,
    leaky ReLU, transposed convolutions. Channels are multiples of 16, the width of the vectors of a CPU:
    others take up to twice as long.

    Parameters
    ----------
    dimensions : {2, 3}
        2 for images ``[row, column]``, 3 for volumes ``[slice, row, column]``.
    channels : tuple of int
        Channels of each stage, the finest first.
    kernel_sizes : int or tuple
        Extent of the kernels, odd: for all stages, or one for each, which may have one for each axis.
    strides : tuple, optional
        By which factor each stage reduces its input, as `kernel_sizes`; by default 1 for the first and 2 for
        all others. With 2 for the first, nothing is computed at full resolution but the output.
    block : {"plain", "residual"}
        Two convolutions, or two convolutions and a sum with their input.
    blocks : int or tuple of int
        Blocks in the encoder, for all stages or one for each.
    decoder_convolutions : int
        Convolutions in each stage of the decoder; nnU-Net has 2, its later residual presets 1.
    activation : {"relu", "leaky_relu", "gelu", "silu", "elu"}
        Non-linearity.
    normalisation : {"instance", "batch", "group", "none"}
        What follows each convolution; with ``"none"`` the convolutions have a bias.
    dropout : float
        Probability with which a channel of an image is zero in training, after each convolution.
    deep_supervision : int
        How many outputs of coarser stages of the decoder are given in training beside the finest.
    """

    dimensions: Literal[2, 3] = 2
    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=2)] = (16, 32, 64, 128, 256)
    kernel_sizes: PositiveInt | PerStage = 3
    strides: PerStage | None = None
    block: Literal["plain", "residual"] = "plain"
    blocks: PositiveInt | tuple[PositiveInt, ...] = 1
    decoder_convolutions: PositiveInt = 1
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "elu"] = "leaky_relu"
    normalisation: Literal["instance", "batch", "group", "none"] = "instance"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    deep_supervision: NonNegativeInt = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        stages = len(self.channels)
        for name in ("kernel_sizes", "strides", "blocks"):
            values = getattr(self, name)
            if isinstance(values, tuple):
                if len(values) != stages:
                    raise ValueError(f"{len(values)} {name} for {stages} stages of channels")
                for value in values:
                    check_per_axis(name, value, self.dimensions)
        if any(size % 2 == 0 for kernel in self.kernel_of_each_stage() for size in kernel):
            raise ValueError("even kernel_sizes have no centre: take odd ones")
        if self.deep_supervision > stages - 2:
            raise ValueError(
                f"deep_supervision = {self.deep_supervision} for {stages} stages, whose decoder has "
                f"{stages - 2} outputs beside the finest"
            )
        return self

    def kernel_of_each_stage(self) -> tuple[tuple[int, ...], ...]:
        """Extent of the kernels along each axis, the finest stage first."""
        sizes = self.kernel_sizes
        each = sizes if isinstance(sizes, tuple) else (sizes,) * len(self.channels)
        return tuple(per_axis(size, self.dimensions) for size in each)

    def stride_of_each_stage(self) -> tuple[tuple[int, ...], ...]:
        """Factor along each axis by which a stage reduces its input, the finest stage first."""
        each = self.strides or (1, *(2 for _ in self.channels[1:]))
        return tuple(per_axis(stride, self.dimensions) for stride in each)

    def blocks_of_each_stage(self) -> tuple[int, ...]:
        """Blocks of the encoder, the finest stage first."""
        return self.blocks if isinstance(self.blocks, tuple) else (self.blocks,) * len(self.channels)


def build_unet(settings: UNetSettings, *, in_channels: int, outputs: int, shape: Sequence[int]) -> nn.Module:
    """Build the network.

    Our own, for speed: weights with channels last, a normalisation that takes maps as they lie, and a dense
    layer instead of a convolution for the outputs. Processor seconds of a training step with 2 x 64^3 voxels,
    channels 16 to 256, float32, one thread of a Xeon of 2.5 GHz without bfloat16:

    - MONAI's DynUNet 4.8, and this with ``decoder_convolutions = 2``, the same function, 3.3;
    - the default, with one convolution in each stage of the decoder, 2.5; in bfloat16 7.1;
    - MONAI's UNet with 2 residual units, which begins at half the resolution, 0.66, and this with
      ``strides = (2, 2, 2, 2, 2)``, which does so too, 0.38.

    With 2 x 96^3 voxels and two threads, the first three take 21.3, 15.0 and 11.2.

    Parameters
    ----------
    settings : UNetSettings
        What to build.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Number of outputs for each place, K.
    shape : sequence of int
        Extent of the input: (H, W), or (D, H, W) with three dimensions. The module takes others too: stages
        round up, and the decoder leaves out what was added.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, C, H, W) or (N, C, D, H, W) to logits (N, K, H, W) or (N, K, D, H, W). With deep
        supervision, and in training only, to a list of these, each coarser than the one before.

    Raises
    ------
    SettingsError
        The shape has another number of axes, or is too small for the stages.
    """
    check_unet_shape(settings, shape)
    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.unet_module import UNet
    from voxlake.networks.units import channels_last

    return channels_last(UNet(settings, in_channels, outputs), settings.dimensions)


def check_unet_shape(settings: UNetSettings, shape: Sequence[int]) -> None:
    """Refuse images that do not fit.

    Raises
    ------
    SettingsError
        The shape has another number of axes, or is too small for the stages.
    """
    strides = settings.stride_of_each_stage()
    reductions = [Reduction(f"stage {number}", stride) for number, stride in enumerate(strides, 1)]
    advice = "set fewer channels"
    extents = reduce_extents(settings.dimensions, shape, reductions, advice)
    check_statistics(settings.normalisation, extents, advice)
