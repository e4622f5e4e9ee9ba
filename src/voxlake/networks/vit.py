"""Vision transformer: patches of the image, each of which attends to all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from voxlake.core.settings import Settings
from voxlake.networks.shapes import Reduction, check_per_axis, reduce_extents

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ViTSettings", "build_vit"]


class ViTSettings(Settings):
    """Settings of a vision transformer (Dosovitskiy et al., 2021, arXiv:2010.11929); by default ViT-S/16.

    ViT-S is the small one of Touvron et al. (2021, arXiv:2012.12877). Images of 28 to 64 pixels:
    ``patch_size = 4`` to ``7`` and ``width = 192, heads = 3``.

    Parameters
    ----------
    dimensions : {2, 3}
        2 for images ``[row, column]``, 3 for volumes ``[slice, row, column]``.
    patch_size : int or tuple of int
        Extent of the patches, for all axes or one for each (volumes with few slices: ``(4, 16, 16)``).
    width : int
        Values for each patch; a multiple of `heads`.
    depth : int
        Number of transformer blocks.
    heads : int
        Parts of the values in which attention is apart.
    expansion : int
        Values inside the dense layers of a block, as a multiple of `width`.
    positions : {"learned", "sinusoidal"}
        How a patch knows where it lies: values that are learned, or sines and cosines of its place along each
        axis, which need a `width` that is a multiple of twice the dimensions.
    pooling : {"class_token", "mean"}
        What the output layer sees: an additional token that attends to the patches, or their mean.
    activation : {"relu", "leaky_relu", "gelu", "silu", "elu"}
        Non-linearity.
    dropout : float
        Probability of a zero after the positions, and after both parts of each block; attention weights are
        not dropped.
    stochastic_depth : float
        Probability with which an image skips the last block in training; it rises from 0 at the first.
    """

    dimensions: Literal[2, 3] = 2
    patch_size: PositiveInt | tuple[PositiveInt, ...] = 16
    width: PositiveInt = 384
    depth: PositiveInt = 12
    heads: PositiveInt = 6
    expansion: PositiveInt = 4
    positions: Literal["learned", "sinusoidal"] = "learned"
    pooling: Literal["class_token", "mean"] = "class_token"
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "elu"] = "gelu"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be divided among {self.heads} heads")
        if self.positions == "sinusoidal" and self.width % (2 * self.dimensions):
            raise ValueError(
                f"sinusoidal positions need a width that is a multiple of {2 * self.dimensions}, "
                f"got {self.width}"
            )
        check_per_axis("patch_size", self.patch_size, self.dimensions)
        return self


def build_vit(settings: ViTSettings, *, in_channels: int, outputs: int, shape: Sequence[int]) -> nn.Module:
    """Build the network for images of one shape.

    Our own and not MONAI's, whose module returns all hidden states, drops attention weights also in
    evaluation where it uses the fast kernel, and leaves out pixels behind the last whole patch; here they are
    padded with zeros. The parameters of ViT-S/16 with 3 channels of 224 x 224 and 1000 classes are the
    22,050,664 of timm's ``vit_small_patch16_224``.

    Parameters
    ----------
    settings : ViTSettings
        What to build.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Number of outputs, K.
    shape : sequence of int
        Extent of the input, (H, W), or (D, H, W) with three dimensions: the module takes no other.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, C, H, W) or (N, C, D, H, W) to logits (N, K).

    Raises
    ------
    SettingsError
        The shape has another number of axes, or is smaller than a patch.
    """
    reductions = [Reduction("the first layer", settings.patch_size)]
    grid = reduce_extents(settings.dimensions, shape, reductions, "set a smaller patch_size")

    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.vit_module import VisionTransformer

    return VisionTransformer(settings, in_channels, outputs, grid)
