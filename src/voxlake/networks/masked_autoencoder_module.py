"""The module of a masked autoencoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxlake.networks.reconstruction import Reconstruction
from voxlake.networks.shapes import per_axis
from voxlake.networks.units import crop
from voxlake.networks.vit_module import TransformerBlock, sinusoidal_positions

if TYPE_CHECKING:
    from voxlake.networks.masked_autoencoder import MaskedAutoencoderSettings

__all__ = ["MaskedAutoencoder", "join_patches", "split_patches"]

_DEVIATION = 0.02
_EPSILON = 1e-6


class MaskedAutoencoder(nn.Module):
    """Most patches of an image from the few that are left.

    Parameters
    ----------
    settings : MaskedAutoencoderSettings
        What it is made of.
    in_channels : int
        Channels of the input, C.
    shape : tuple of int
        Extent of the input.
    grid : tuple of int
        Number of patches along each axis.
    """

    places: Tensor
    decoder_places: Tensor

    def __init__(
        self,
        settings: MaskedAutoencoderSettings,
        in_channels: int,
        shape: tuple[int, ...],
        grid: tuple[int, ...],
    ) -> None:
        super().__init__()
        width, decoder_width = settings.width, settings.decoder_width
        self.patch = per_axis(settings.patch_size, settings.dimensions)
        self.shape, self.grid = shape, grid
        self.tokens = math.prod(grid)
        self.shown = max(1, round(self.tokens * (1 - settings.masked)))
        self.groups = round(1 / (1 - settings.masked))
        values = in_channels * math.prod(self.patch)
        self.embed = nn.Linear(values, width)
        self.encoder = nn.Sequential(
            *(TransformerBlock(settings.encoder(), 0) for _ in range(settings.depth)),
            nn.LayerNorm(width, eps=_EPSILON),
        )
        self.bridge = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(_DEVIATION * torch.randn(decoder_width))
        self.decoder = nn.Sequential(
            *(TransformerBlock(settings.decoder(), 0) for _ in range(settings.decoder_depth)),
            nn.LayerNorm(decoder_width, eps=_EPSILON),
            nn.Linear(decoder_width, values),
        )
        # not learned, so that they need not be stored
        self.register_buffer("places", sinusoidal_positions(grid, width), persistent=False)
        self.register_buffer("decoder_places", sinusoidal_positions(grid, decoder_width), persistent=False)
        self.apply(_draw)

    def forward(self, x: Tensor) -> Reconstruction:
        """(N, C, [D,] H, W) to the same; in training, with weights where patches were hidden."""
        patches = split_patches(x, self.patch)
        if not self.training:
            values = self._image(self._each_from_others(patches))
            return Reconstruction(values, _nothing(x), None)
        order = torch.rand(patches.shape[:2], device=x.device).argsort(1)
        shown = order[:, : self.shown]
        hidden = torch.ones(patches.shape[:2], device=x.device).scatter(1, shown, 0.0)
        values = self._image(self._reconstruct(patches, shown))
        weights = hidden[..., None].expand(-1, -1, math.prod(self.patch))
        return Reconstruction(values, _nothing(x), self._image(weights))

    def encode(self, x: Tensor) -> Tensor:
        """(N, C, [D,] H, W) to the mean over all patches, none of them hidden, (N, width)."""
        tokens: Tensor = self.encoder(self.embed(split_patches(x, self.patch)) + self.places)
        return tokens.mean(1)

    def _reconstruct(self, patches: Tensor, shown: Tensor) -> Tensor:
        """Patches (N, L, P) and the numbers of those that are shown (N, M) to (N, L, P)."""
        tokens = self.embed(_take(patches, shown)) + self.places[shown]
        tokens = self.bridge(self.encoder(tokens))
        whole = self.mask_token.to(tokens.dtype).expand(len(patches), self.tokens, -1)
        whole = whole.scatter(1, _along(shown, tokens.shape[-1]), tokens)
        result: Tensor = self.decoder(whole + self.decoder_places)
        return result

    def _each_from_others(self, patches: Tensor) -> Tensor:
        """Each patch as the mean of what is made of it while it is hidden: (N, L, P) to the same."""
        # dealt at random, but always alike: an order along the grid would hide whole rows
        order = torch.randperm(self.tokens, generator=torch.Generator().manual_seed(0)).to(patches.device)
        total = torch.zeros_like(patches)
        for number in range(self.groups):
            shown = order[number :: self.groups]
            made = self._reconstruct(patches, shown.expand(len(patches), -1))
            total = total + made.index_fill(1, shown, 0.0)
        return total / (self.groups - 1)

    def _image(self, patches: Tensor) -> Tensor:
        return crop(join_patches(patches, self.patch, self.grid), self.shape)


def split_patches(x: Tensor, patch: tuple[int, ...]) -> Tensor:
    """(N, C, [D,] H, W) to (N, L, C * values of a patch), the last axis fastest; filled up with zeros."""
    padding: list[int] = []
    for extent, size in zip(x.shape[:1:-1], patch[::-1], strict=True):
        padding += [0, -extent % size]
    x = functional.pad(x, padding)
    for axis, size in enumerate(patch):
        # each axis becomes two: which patch, and where in it
        x = torch.unflatten(x, 2 + 2 * axis, (-1, size))
    axes = range(len(patch))
    x = x.permute(0, *(2 + 2 * axis for axis in axes), 1, *(3 + 2 * axis for axis in axes))
    return x.flatten(1, len(patch)).flatten(2)


def join_patches(patches: Tensor, patch: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    """(N, L, C * values of a patch) to (N, C, [D,] H, W); undoes `split_patches` but for the padding."""
    count = len(patch)
    x = torch.unflatten(torch.unflatten(patches, 2, (-1, *patch)), 1, grid)
    order = [
        axis
        for pair in zip(range(1, 1 + count), range(2 + count, 2 + 2 * count), strict=True)
        for axis in pair
    ]
    x = x.permute(0, 1 + count, *order)
    for axis in range(count):
        x = x.flatten(2 + axis, 3 + axis)
    return x


def _take(patches: Tensor, numbers: Tensor) -> Tensor:
    return patches.gather(1, _along(numbers, patches.shape[-1]))


def _along(numbers: Tensor, values: int) -> Tensor:
    return numbers[..., None].expand(-1, -1, values)


def _nothing(x: Tensor) -> Tensor:
    return torch.zeros((), device=x.device)


def _draw(part: nn.Module) -> None:
    if isinstance(part, nn.Linear):
        nn.init.xavier_uniform_(part.weight)
        nn.init.zeros_(part.bias)
