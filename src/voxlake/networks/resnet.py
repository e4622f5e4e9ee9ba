"""ResNet: stages of residual blocks, each stage at half the extent of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from voxlake.core.settings import Settings
from voxlake.networks.shapes import Reduction, check_per_axis, check_statistics, per_axis, reduce_extents

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ResNetSettings", "build_resnet"]

_Four = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class ResNetSettings(Settings):
    """Settings of a ResNet (He et al., 2016, doi:10.1109/CVPR.2016.90); the defaults are ResNet-18.

    ResNet-34 has ``layers = (3, 4, 6, 3)``; ResNet-50 these and ``block = "bottleneck"``. Images of 28 to 64
    pixels keep more detail with ``stem_kernel = 3, stem_stride = 1, stem_pooling = false``.

    Parameters
    ----------
    dimensions : {2, 3}
        2 for images ``[row, column]``, 3 for volumes ``[slice, row, column]``.
    block : {"basic", "bottleneck"}
        Two convolutions of 3 x 3, or 1 x 1, 3 x 3, 1 x 1 with four times as many channels at the end.
    layers : tuple of 4 int
        Blocks in each stage.
    widths : tuple of 4 int
        Channels of the 3 x 3 convolutions in each stage.
    stem_kernel : int
        Edge length of the first kernel, odd.
    stem_stride : int or tuple of int
        Of the first convolution, for all axes or one for each (volumes with few slices: ``(1, 2, 2)``).
    stem_pooling : bool
        Halve the extent by a maximum over 3 x 3 after the first convolution.
    activation : {"relu", "leaky_relu", "gelu", "silu", "elu"}
        Non-linearity.
    normalisation : {"batch", "instance", "group"}
        What follows each convolution.
    dropout : float
        Probability of a zero before the output layer.
    """

    dimensions: Literal[2, 3] = 2
    block: Literal["basic", "bottleneck"] = "basic"
    layers: _Four = (2, 2, 2, 2)
    widths: _Four = (64, 128, 256, 512)
    stem_kernel: PositiveInt = 7
    stem_stride: PositiveInt | tuple[PositiveInt, ...] = 2
    stem_pooling: bool = True
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "elu"] = "relu"
    normalisation: Literal["batch", "instance", "group"] = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.stem_kernel % 2 == 0:
            raise ValueError("an even stem_kernel has no centre: take an odd one")
        check_per_axis("stem_stride", self.stem_stride, self.dimensions)
        return self


def build_resnet(
    settings: ResNetSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network, put together from MONAI's.

    Other than there, the shortcuts are learned convolutions of 1 x 1 without bias wherever the shape changes
    (option B of the paper, MONAI's shortcut A lets no gradient through), and activation and normalisation
    hold for all blocks. The parameters of ResNet-18 with 3 channels and 1000 classes are the 11,689,512 of
    torchvision.

    Parameters
    ----------
    settings : ResNetSettings
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
        The shape has another number of axes, or is too small for the stages or for the
        normalisation.
    """
    smallest = reduce_extents(settings.dimensions, shape, _reductions(settings), _ADVICE)
    check_statistics(settings.normalisation, smallest, _ADVICE)

    # extras that take seconds to load: settings can be read and checked without them
    from monai.networks.nets.resnet import ResNet
    from torch import nn

    from voxlake.networks.blocks import restyle
    from voxlake.networks.subsampled import subsample_first

    network = ResNet(
        block=settings.block,
        layers=list(settings.layers),
        block_inplanes=list(settings.widths),
        spatial_dims=settings.dimensions,
        n_input_channels=in_channels,
        conv1_t_size=settings.stem_kernel,
        conv1_t_stride=per_axis(settings.stem_stride, settings.dimensions),
        no_max_pool=not settings.stem_pooling,
        shortcut_type="B",
        bias_downsample=False,
        num_classes=outputs,
    )
    restyle(network, settings, nn.ReLU)
    network.fc = nn.Sequential(nn.Dropout(settings.dropout), network.fc)
    result: nn.Module = subsample_first(network)
    return result


_ADVICE = "set stem_stride = 1 or stem_pooling = false"


def _reductions(settings: ResNetSettings) -> list[Reduction]:
    stem = [Reduction("the stem", settings.stem_stride)]
    pooling = [Reduction("the pooling of the stem", 2)] * settings.stem_pooling
    return stem + pooling + [Reduction(f"stage {number}", 2) for number in (2, 3, 4)]
