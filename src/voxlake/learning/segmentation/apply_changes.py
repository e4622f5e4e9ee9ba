"""Apply what was drawn to patches and their masks.

Everything that moves voxels is one interpolation (`moving`); a filter and coarser voxels are one matrix for
each axis, since both are separable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from voxlake.learning.segmentation.changes import Changes
from voxlake.learning.segmentation.moving import move_patch, places_of

__all__ = ["apply_changes", "change_values", "move"]


def apply_changes(
    changes: Changes,
    images: Sequence[NDArray[np.float32]],
    labels: Sequence[NDArray[np.uint8]],
    *,
    size: tuple[int, ...],
    spacing: Tensor,
    classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Move and change patches; masks move along.

    Parameters
    ----------
    changes : Changes
        For N patches.
    images : sequence of numpy.ndarray
        N of float32 (C, ...); not changed. Each may be larger than `size`, alike on both sides: what is
        turned in from outside of the patch is then known.
    labels : sequence of numpy.ndarray
        N of uint8 (...), index of the class of each voxel, `IGNORE` where none counts.
    size : tuple of int
        Extent of the patches that are returned.
    spacing : torch.Tensor
        float32 (N, d), distance of voxels along each axis.
    classes : int, optional
        Number of classes with the background, to move masks linearly; by nearest neighbour if absent.

    Returns
    -------
    images : torch.Tensor
        float32 (N, C, *size).
    labels : torch.Tensor
        uint8 (N, *size).
    """
    moved, masks = move(changes, images, labels, size=size, spacing=spacing, classes=classes)
    return change_values(changes, moved), masks


def move(
    changes: Changes,
    images: Sequence[NDArray[np.float32]],
    labels: Sequence[NDArray[np.uint8]],
    *,
    size: tuple[int, ...],
    spacing: Tensor,
    classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Only what changes places; see `apply_changes`."""
    moved = torch.empty((len(images), len(images[0]), *size))
    masks = torch.empty((len(images), *size), dtype=torch.uint8)
    for number, (image, mask) in enumerate(zip(images, labels, strict=True)):
        if bool(changes.moved[number]):
            places = places_of(changes, number, source=mask.shape, size=size, spacing=spacing[number])
            move_patch(places, image, mask, classes=classes, out=(moved[number], masks[number]))
        else:
            box = _middle(mask.shape, size, changes.mirror[number])
            moved[number].numpy()[:] = image[:, *box]
            masks[number].numpy()[:] = mask[box]
    return moved, masks


def _middle(shape: tuple[int, ...], size: tuple[int, ...], mirror: Tensor) -> tuple[slice, ...]:
    """The middle of what was read, axes backwards where they are mirrored."""
    box = []
    for there, wanted, sign in zip(shape, size, mirror.tolist(), strict=True):
        start = (there - wanted) // 2
        end = start + wanted
        box.append(slice(start, end) if sign > 0 else slice(end - 1, start - 1 if start else None, -1))
    return tuple(box)


def change_values(changes: Changes, images: Tensor) -> Tensor:
    """Only what changes values and no places; the images are changed in place and returned."""
    for place in torch.nonzero((changes.blur > 0) | (changes.coarser > 1)).flatten().tolist():
        images[place] = _smoothed(images[place], float(changes.blur[place]), float(changes.coarser[place]))
    for place in torch.nonzero(_changed(changes)).flatten().tolist():
        _revalue(changes, place, images[place])
    return images


def _changed(changes: Changes) -> Tensor:
    return (changes.gamma != 1) | (changes.contrast != 0) | (changes.brightness != 0) | (changes.noise > 0)


def _revalue(changes: Changes, place: int, image: Tensor) -> None:
    """Change the values of one image (C, ...) in place."""
    contrast, brightness, gamma, noise = (
        float(drawn[place]) for drawn in (changes.contrast, changes.brightness, changes.gamma, changes.noise)
    )
    mean = float(image.mean())
    image.sub_(mean)
    # A norm is a fraction of the time of `std`, and exact about the mean.
    spread = float(torch.linalg.vector_norm(image)) / math.sqrt(max(image.numel() - 1, 1))
    image.mul_(1 + contrast).add_(mean + brightness * spread)
    if gamma != 1:
        _gamma(image, gamma)
    if noise > 0:
        generator = torch.Generator().manual_seed(int(changes.noise_seed[place]))
        image.add_(torch.randn(image.shape, generator=generator), alpha=noise * spread)


def _gamma(image: Tensor, gamma: float) -> None:
    """Raise an image to a power in place, within its own range; the inverted image if it is negative."""
    low, high = (float(end) for end in torch.aminmax(image))
    extent = high - low
    if extent == 0:
        return
    sign = math.copysign(1.0, gamma)
    # From 0 to 1, or from 1 to 0. The power is taken by logarithms, in a quarter of the time of `pow`.
    image.sub_(low if gamma > 0 else high).mul_(sign / extent).log_().mul_(abs(gamma)).exp_()
    image.mul_(sign * extent).add_(low if gamma > 0 else high)


def _smoothed(image: Tensor, blur: float, coarser: float) -> Tensor:
    """Filter and coarser voxels along every axis of (C, ...)."""
    for axis in range(1, image.ndim):
        matrix = _smoothing(int(image.shape[axis]), blur, coarser)
        image = torch.movedim(torch.movedim(image, axis, -1) @ matrix.T, -1, axis)
    return image


def _smoothing(size: int, blur: float, coarser: float) -> Tensor:
    """float32 (size, size): a Gaussian within the extent, then means of larger voxels, linearly joined."""
    matrix = torch.eye(size)
    places = torch.arange(size, dtype=torch.float32)
    if blur > 0:
        matrix = torch.exp(-0.5 * ((places[:, None] - places[None, :]) / blur) ** 2)
        matrix = matrix / matrix.sum(dim=1, keepdim=True)
    if coarser > 1:
        few = max(1, round(size / coarser))
        low = functional.interpolate(matrix[None].movedim(1, 2), size=few, mode="area")
        matrix = functional.interpolate(low, size=size, mode="linear")[0].T
    return matrix
