"""Autoencoder: an image through a few numbers and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from voxlake.core.settings import Settings
from voxlake.networks.shapes import Reduction, check_axes, check_statistics, reduce_extents

if TYPE_CHECKING:
    from torch import nn

__all__ = ["AutoencoderSettings", "build_autoencoder", "extents_of_each_stage"]


class AutoencoderSettings(Settings):
    """Settings of an autoencoder (Hinton and Salakhutdinov, 2006, doi:10.1126/science.1127647).

    Parameters
    ----------
    dimensions : {2, 3}
        2 for images ``[row, column]``, 3 for volumes ``[slice, row, column]``.
    kind : {"convolutional", "plain"}
        Convolutions before the dense layers, or dense layers only; plain and without `hidden` it finds the
        subspace of a principal component analysis.
    latent : int
        Numbers in the middle, Z.
    channels : tuple of int
        Channels of each stage of a convolutional one, all of which halve the extent, rounded up.
    convolutions : int
        Convolutions in each of these stages, the one that halves the extent included.
    hidden : tuple of int
        Sizes of the dense layers before the middle; those after it have the same in reverse.
    activation : {"relu", "leaky_relu", "gelu", "silu", "elu"}
        Non-linearity.
    normalisation : {"batch", "instance", "group", "none"}
        What follows each convolution.
    dropout : float
        Probability with which a channel of an image is zero in training, after each convolution.
    """

    dimensions: Literal[2, 3] = 2
    kind: Literal["convolutional", "plain"] = "convolutional"
    latent: PositiveInt = 64
    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (16, 32, 64)
    convolutions: PositiveInt = 2
    hidden: tuple[PositiveInt, ...] = ()
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "elu"] = "leaky_relu"
    normalisation: Literal["batch", "instance", "group", "none"] = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


def build_autoencoder(
    settings: AutoencoderSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network for images of one shape.

    Parameters
    ----------
    settings : AutoencoderSettings
        What to build.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Without effect: the input is what comes out.
    shape : sequence of int
        Extent of the input, (H, W), or (D, H, W) with three dimensions: the module takes no other.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, C, H, W) or (N, C, D, H, W) to a `Reconstruction`; ``encode`` maps it to (N, Z) and
        ``decode`` that to (N, C, [D,] H, W).

    Raises
    ------
    SettingsError
        The shape has another number of axes, or is too small for the stages.
    """
    del outputs  # all networks of the registry are built with it
    stages = extents_of_each_stage(settings, shape)
    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.autoencoder_module import Autoencoder
    from voxlake.networks.units import channels_last

    return channels_last(Autoencoder(settings, in_channels, stages), settings.dimensions)


def extents_of_each_stage(settings: AutoencoderSettings, shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Extent of the input and after each stage.

    Raises
    ------
    SettingsError
        The shape has another number of axes, or is too small for the stages.
    """
    check_axes(settings.dimensions, shape)
    extents = [tuple(shape)]
    if settings.kind == "plain":
        return extents
    advice = "set fewer channels"
    for number in range(1, len(settings.channels) + 1):
        reductions = [Reduction(f"stage {each}", 2) for each in range(1, number + 1)]
        extents.append(reduce_extents(settings.dimensions, shape, reductions, advice))
    check_statistics(settings.normalisation, extents[-1], advice)
    return extents
