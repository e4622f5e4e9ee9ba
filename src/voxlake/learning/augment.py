"""Random changes of training images; drawing is apart from applying, so that they can be replayed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from voxlake.learning.settings import AugmentationSettings

__all__ = ["Draws", "add_noise", "apply", "draw"]

_AXES = {2: ("row", "column"), 3: ("slice", "row", "column")}


@dataclass(frozen=True)
class Draws:
    """What was drawn for a batch of N images with d axes, in the order slice, row, column.

    Parameters
    ----------
    mirror : torch.Tensor
        float32 (N, d), -1 where the axis is mirrored, else 1.
    shift : torch.Tensor
        float32 (N, d), share of the extent by which the content moves towards higher indices.
    angle : torch.Tensor
        float32 (N,), radians, from the row axis to the column axis.
    factor : torch.Tensor
        float32 (N,), by which the content grows.
    contrast, brightness : torch.Tensor
        float32 (N,), change of contrast as a share; change of brightness in standard deviations.
    noise : float
        Standard deviation of the noise, in standard deviations of the image.
    noise_seed : int
        Of the noise.
    moves : bool
        Whether pixels change their place at all.
    """

    mirror: Tensor
    shift: Tensor
    angle: Tensor
    factor: Tensor
    contrast: Tensor
    brightness: Tensor
    noise: float
    noise_seed: int
    moves: bool


def draw(settings: AugmentationSettings, count: int, dimensions: int, generator: torch.Generator) -> Draws:
    """Draw the changes of a batch.

    Parameters
    ----------
    settings : AugmentationSettings
        How far changes may go.
    count : int
        Images in the batch, N.
    dimensions : {2, 3}
        Axes of an image.
    generator : torch.Generator
        Where the numbers come from; as many are taken whatever the settings are.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * 2 - 1

    flips = torch.tensor([axis in settings.flip for axis in _AXES[dimensions]])
    return Draws(
        mirror=torch.where((uniform(count, dimensions) < 0) & flips, -1.0, 1.0),
        shift=uniform(count, dimensions) * settings.shift,
        angle=uniform(count) * math.radians(settings.rotate),
        factor=1 + uniform(count) * settings.scale,
        contrast=uniform(count) * settings.intensity,
        brightness=uniform(count) * settings.intensity,
        noise=settings.noise,
        noise_seed=int(torch.randint(2**62, (1,), generator=generator)),
        moves=settings.moves(),
    )


def apply(draws: Draws, images: Tensor, *, noise: bool = True) -> Tensor:
    """Apply what was drawn.

    Parameters
    ----------
    draws : Draws
        For N images.
    images : torch.Tensor
        float32 (N, C, H, W) or (N, C, D, H, W); not changed. Pixels from beyond the edge repeat the edge.
    noise : bool
        Whether to add the noise; `add_noise` adds it later.

    Returns
    -------
    torch.Tensor
        As the images.
    """
    if draws.moves:
        grid = functional.affine_grid(
            _sampling_matrix(draws, images), list(images.shape), align_corners=False
        )
        images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    axes = tuple(range(1, images.ndim))
    if bool(draws.contrast.any()) or bool(draws.brightness.any()):
        spread, mean = torch.std_mean(images, dim=axes, keepdim=True)
        gain = 1 + _per_image(draws.contrast, images)
        images = (images - mean) * gain + mean + _per_image(draws.brightness, images) * spread
    return add_noise(draws, images) if noise and draws.noise else images


def add_noise(draws: Draws, images: Tensor) -> Tensor:
    """Add the noise that was drawn; parameters are those of `apply`."""
    generator = torch.Generator().manual_seed(draws.noise_seed)
    spread = torch.std(images, dim=tuple(range(1, images.ndim)), keepdim=True)
    return images + torch.randn(images.shape, generator=generator) * spread * draws.noise


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    return values.view(-1, *[1] * (images.ndim - 1))


def _sampling_matrix(draws: Draws, images: Tensor) -> Tensor:
    """Output to input position, (N, d, d + 1), as `affine_grid` has it: x first, -1 to 1 over the extent."""
    extent = torch.tensor(images.shape[2:], dtype=torch.float32)
    count, dimensions = draws.mirror.shape
    cos, sin = torch.cos(draws.angle), torch.sin(draws.angle)
    # The inverse of "mirror, turn, grow, shift"; the turn is in pixels, so extents come in on either side.
    turn = torch.eye(dimensions).repeat(count, 1, 1)
    turn[:, -2, -2], turn[:, -2, -1] = cos, sin
    turn[:, -1, -2], turn[:, -1, -1] = -sin, cos
    linear = draws.mirror[:, :, None] * turn / draws.factor[:, None, None]
    linear = linear * extent[None, None, :] / extent[None, :, None]
    offset = -(linear @ (2 * draws.shift)[:, :, None])
    return torch.cat([linear.flip(1, 2), offset.flip(1)], dim=2)
