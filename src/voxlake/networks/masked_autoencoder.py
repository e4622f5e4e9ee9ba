"""Masked autoencoder: most patches of an image from the few that are left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from voxlake.core.errors import SettingsError
from voxlake.core.settings import Settings
from voxlake.networks.shapes import Reduction, check_per_axis, reduce_extents
from voxlake.networks.vit import ViTSettings

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MaskedAutoencoderSettings", "build_masked_autoencoder"]


class MaskedAutoencoderSettings(Settings):
    """Settings of a masked autoencoder (He et al., 2022, doi:10.1109/CVPR52688.2022.01553).

    Parameters
    ----------
    dimensions : {2, 3}
        2 for images ``[row, column]``, 3 for volumes ``[slice, row, column]``.
    patch_size : int or tuple of int
        Extent of the patches, for all axes or one for each.
    masked : float
        Share of the patches that is hidden, at least a half.
    width, depth, heads : int
        Values for each patch in the encoder, number of its transformer blocks, and parts in which attention
        is apart.
    decoder_width, decoder_depth, decoder_heads : int
        The same of the decoder. Both widths are multiples of their heads and of twice the dimensions.
    expansion : int
        Values inside the dense layers of a block, as a multiple of its width.
    dropout : float
        Probability of a zero after both parts of each block.
    """

    dimensions: Literal[2, 3] = 2
    patch_size: PositiveInt | tuple[PositiveInt, ...] = 8
    masked: Annotated[float, Field(ge=0.5, lt=1)] = 0.75
    width: PositiveInt = 192
    depth: PositiveInt = 6
    heads: PositiveInt = 3
    decoder_width: PositiveInt = 96
    decoder_depth: PositiveInt = 2
    decoder_heads: PositiveInt = 3
    expansion: PositiveInt = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, width, heads in (
            ("width", self.width, self.heads),
            ("decoder_width", self.decoder_width, self.decoder_heads),
        ):
            multiple = math.lcm(heads, 2 * self.dimensions)
            if width % multiple:
                raise ValueError(f"{name} = {width} is no multiple of {multiple}")
        check_per_axis("patch_size", self.patch_size, self.dimensions)
        return self

    def encoder(self) -> ViTSettings:
        """What the blocks of the encoder are made of."""
        return self._transformer(self.width, self.heads, self.depth)

    def decoder(self) -> ViTSettings:
        """What the blocks of the decoder are made of."""
        return self._transformer(self.decoder_width, self.decoder_heads, self.decoder_depth)

    def _transformer(self, width: int, heads: int, depth: int) -> ViTSettings:
        return ViTSettings(
            dimensions=self.dimensions,
            patch_size=self.patch_size,
            width=width,
            heads=heads,
            depth=depth,
            expansion=self.expansion,
            positions="sinusoidal",
            pooling="mean",
            dropout=self.dropout,
        )


def build_masked_autoencoder(
    settings: MaskedAutoencoderSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network for images of one shape.

    Our own and not MONAI's, which has no way to encode an image without hiding patches of it, refuses extents
    that the patches do not divide, and has no evaluation mode.

    Parameters
    ----------
    settings : MaskedAutoencoderSettings
        What to build.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Without effect: the input is what comes out.
    shape : sequence of int
        Extent of the input, (H, W), or (D, H, W) with three dimensions: the module takes no other. Patches at
        the end are filled up with zeros.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, C, H, W) or (N, C, D, H, W) to a `Reconstruction`.

        In training, patches of each image are hidden by torch's global random state, and the weights of the
        reconstruction are 1 there and 0 elsewhere. In evaluation, every patch is reconstructed from others:
        the patches are dealt to ``round(1 / (1 - masked))`` groups, always the same, each group is shown once
        alone, and a patch is the mean of what was made of it while it was hidden; there are no weights then.
        ``encode`` hides nothing and gives the mean over the patches, (N, `width`).

    Raises
    ------
    SettingsError
        The shape has another number of axes, is smaller than a patch, or has fewer patches than groups.
    """
    del outputs  # all networks of the registry are built with it
    reductions = [Reduction("the first layer", settings.patch_size)]
    grid = reduce_extents(settings.dimensions, shape, reductions, "set a smaller patch_size")
    groups = round(1 / (1 - settings.masked))
    if math.prod(grid) < groups:
        raise SettingsError(
            f"images of {tuple(shape)} have {math.prod(grid)} patches, of which masked = {settings.masked} "
            f"would leave none: at least {groups} are needed, set a smaller patch_size or masked"
        )

    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.masked_autoencoder_module import MaskedAutoencoder

    return MaskedAutoencoder(settings, in_channels, tuple(shape), grid)
