"""The module of a vision transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxlake.networks.blocks import PatchConvolution, StochasticDepth, activation, rising_rates
from voxlake.networks.shapes import per_axis
from voxlake.networks.vit import ViTSettings

__all__ = ["Attention", "TransformerBlock", "VisionTransformer", "sinusoidal_positions"]

_EPSILON = 1e-6
_DEVIATION = 0.02
_LONGEST_PERIOD = 10_000


class Attention(nn.Module):
    """Self-attention with several heads (Vaswani et al., 2017, arXiv:1706.03762).

    Parameters
    ----------
    width : int
        Values of a token, E.
    heads : int
        Parts of the values in which attention is apart.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, E) to (N, L, E)."""
        parts = self.project_in(x).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind()
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        result: Tensor = self.project_out(attended.transpose(1, 2).flatten(2))
        return result


class TransformerBlock(nn.Module):
    """Attention among the tokens, then two dense layers for each; both add their input.

    Parameters
    ----------
    settings : ViTSettings
        What it is made of.
    rate : float
        Of stochastic depth.
    """

    def __init__(self, settings: ViTSettings, rate: float) -> None:
        super().__init__()
        width, inside = settings.width, settings.expansion * settings.width
        self.attention = nn.Sequential(
            nn.LayerNorm(width, eps=_EPSILON), Attention(width, settings.heads), nn.Dropout(settings.dropout)
        )
        self.dense = nn.Sequential(
            nn.LayerNorm(width, eps=_EPSILON),
            nn.Linear(width, inside),
            activation(settings.activation),
            nn.Linear(inside, width),
            nn.Dropout(settings.dropout),
        )
        self.drop = StochasticDepth(rate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, E) to (N, L, E)."""
        x = x + self.drop(self.attention(x))
        result: Tensor = x + self.drop(self.dense(x))
        return result


class VisionTransformer(nn.Module):
    """Patches with their places, transformer blocks, and a dense layer that sees one token or their mean.

    Parameters
    ----------
    settings : ViTSettings
        What it is made of.
    in_channels : int
        Channels of the input, C.
    outputs : int
        Number of outputs, K.
    grid : tuple of int
        Number of patches along each axis.
    """

    positions: Tensor

    def __init__(self, settings: ViTSettings, in_channels: int, outputs: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        width, dimensions = settings.width, settings.dimensions
        patch = per_axis(settings.patch_size, dimensions)
        tokens = math.prod(grid)
        self.patches = PatchConvolution(dimensions, in_channels, width, patch)
        self.class_token = None
        if settings.pooling == "class_token":
            self.class_token = nn.Parameter(torch.zeros(1, 1, width))
            tokens += 1
        if settings.positions == "learned":
            self.positions = nn.Parameter(
                nn.init.trunc_normal_(torch.empty(1, tokens, width), std=_DEVIATION)
            )
        else:
            places = sinusoidal_positions(grid, width)
            # the token that lies nowhere has zeros
            places = functional.pad(places, (0, 0, tokens - len(places), 0))
            self.register_buffer("positions", places[None], persistent=False)
        self.dropout = nn.Dropout(settings.dropout)
        rates = rising_rates(settings.stochastic_depth, settings.depth)
        self.blocks = nn.Sequential(*(TransformerBlock(settings, rate) for rate in rates))
        self.normalise = nn.LayerNorm(width, eps=_EPSILON)
        self.head = nn.Linear(width, outputs)
        self.apply(_draw)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, [D,] H, W) to logits (N, K)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = self.normalise(self.blocks(self.dropout(tokens + self.positions)))
        seen = tokens.mean(1) if self.class_token is None else tokens[:, 0]
        result: Tensor = self.head(seen)
        return result


def sinusoidal_positions(grid: tuple[int, ...], width: int) -> Tensor:
    """Sines and cosines of the place along each axis (Vaswani et al., 2017, arXiv:1706.03762).

    Parameters
    ----------
    grid : tuple of int
        Number of patches along each axis.
    width : int
        A multiple of twice the number of axes; each axis has an equal part.

    Returns
    -------
    torch.Tensor
        float32 (patches, width), the last axis of the grid fastest.
    """
    waves = width // (2 * len(grid))
    frequencies = _LONGEST_PERIOD ** -(torch.arange(waves) / waves)
    places = torch.cartesian_prod(*(torch.arange(extent) for extent in grid)).view(-1, len(grid), 1)
    angles = places * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)


def _draw(part: nn.Module) -> None:
    if isinstance(part, nn.Linear):
        nn.init.trunc_normal_(part.weight, std=_DEVIATION)
        nn.init.zeros_(part.bias)
