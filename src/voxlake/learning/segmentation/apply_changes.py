"""Apply what was drawn to a whole batch of patches and their masks.

Everything that moves voxels is one interpolation; a filter and coarser voxels are one matrix for each axis,
since both are separable.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from voxlake.learning.segmentation.changes import Changes
from voxlake.learning.segmentation.settings import IGNORE

__all__ = ["apply_changes", "change_values", "move"]

# A voxel of which less is known than this share counts nowhere.
_HALF = 0.5


def apply_changes(
    changes: Changes,
    images: Tensor,
    labels: Tensor,
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
    images : torch.Tensor
        float32 (N, C, ...); not changed. It may be larger than `size`, alike on both sides: what is turned
        in from outside of the patch is then known.
    labels : torch.Tensor
        uint8 (N, ...), index of the class of each voxel, `IGNORE` where none counts.
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
    images, labels = move(changes, images, labels, size=size, spacing=spacing, classes=classes)
    return change_values(changes, images), labels


def move(
    changes: Changes,
    images: Tensor,
    labels: Tensor,
    *,
    size: tuple[int, ...],
    spacing: Tensor,
    classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Only what changes places; see `apply_changes`."""
    inside = _middle(images, size).clone(memory_format=torch.contiguous_format)
    inside_labels = _middle(labels[:, None], size)[:, 0].clone()
    for place in torch.nonzero(changes.moved).flatten().tolist():
        one = slice(place, place + 1)
        grid = _places(changes.take(one), tuple(images.shape[2:]), size, spacing[one])
        inside[place], inside_labels[place] = _sampled(images[one], labels[one], grid, classes)
    for place in torch.nonzero((changes.mirror < 0).any(dim=1)).flatten().tolist():
        axes = (torch.nonzero(changes.mirror[place] < 0).flatten() + 1).tolist()
        inside[place] = inside[place].flip(axes)
        inside_labels[place] = inside_labels[place].flip([axis - 1 for axis in axes])
    return inside, inside_labels


def change_values(changes: Changes, images: Tensor) -> Tensor:
    """Only what changes values and no places; the images are changed in place and returned."""
    for place in torch.nonzero((changes.blur > 0) | (changes.coarser > 1)).flatten().tolist():
        images[place] = _smoothed(images[place], float(changes.blur[place]), float(changes.coarser[place]))
    chosen = torch.nonzero(_changed(changes)).flatten()
    if len(chosen):
        images[chosen] = _revalued(changes.take(chosen.tolist()), images[chosen])
    return images


def _changed(changes: Changes) -> Tensor:
    return (changes.gamma != 1) | (changes.contrast != 0) | (changes.brightness != 0) | (changes.noise > 0)


def _revalued(changes: Changes, images: Tensor) -> Tensor:
    axes = tuple(range(1, images.ndim))
    each = (-1, *[1] * (images.ndim - 1))
    spread, mean = torch.std_mean(images, dim=axes, keepdim=True)
    gain = 1 + changes.contrast.view(each)
    images = (images - mean) * gain + (mean + changes.brightness.view(each) * spread)
    for place in range(len(images)):
        gamma, noise = float(changes.gamma[place]), float(changes.noise[place])
        if gamma != 1:
            images[place] = _gamma(images[place], gamma)
        if noise > 0:
            generator = torch.Generator().manual_seed(int(changes.noise_seed[place]))
            drawn = torch.randn(images.shape[1:], generator=generator)
            images[place].add_(drawn, alpha=noise * float(spread[place]))
    return images


def _gamma(image: Tensor, gamma: float) -> Tensor:
    low, high = torch.aminmax(image)
    extent = high - low
    if float(extent) == 0:
        return image
    unit = (image - low) / extent
    changed = 1 - (1 - unit).pow(-gamma) if gamma < 0 else unit.pow(gamma)
    return changed * extent + low


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


def _middle(tensor: Tensor, size: tuple[int, ...]) -> Tensor:
    box = [slice(None), slice(None)]
    for there, wanted in zip(tensor.shape[2:], size, strict=True):
        start = (there - wanted) // 2
        box.append(slice(start, start + wanted))
    return tensor[tuple(box)]


def _places(changes: Changes, source: tuple[int, ...], size: tuple[int, ...], spacing: Tensor) -> Tensor:
    """Where in the source each voxel comes from, float32 (N, *size, d), as `grid_sample` has it: x first."""
    wanted, there = (torch.tensor(each, dtype=torch.float32) for each in (size, source))
    # Millimetres are turned, voxels are sampled; content that grows is sampled more densely.
    turned = changes.turn.transpose(1, 2) / changes.factor[:, None, None]
    linear = spacing[:, None, :] * turned / spacing[:, :, None]
    # Both extents go from -1 to 1. The middle of the patch is that of what `_middle` takes.
    linear = linear * wanted[None, None, :] / there[None, :, None]
    offset = (2 * torch.floor((there - wanted) / 2) + wanted) / there - 1
    matrix = torch.cat([linear.flip(1, 2), offset.flip(0)[None, :, None].expand(len(changes), -1, 1)], dim=2)
    places = functional.affine_grid(matrix, [len(changes), 1, *size], align_corners=False)
    if bool(changes.lattice.any()):
        moved = _displacements(changes.lattice, size, 2 / there)
        for axis in range(len(size)):
            places[..., len(size) - 1 - axis] += moved[:, axis]
    return places


def _displacements(lattice: Tensor, size: tuple[int, ...], unit: Tensor) -> Tensor:
    """(N, d, *size), cubic B-splines of (N, d, points, ...); `unit` is a voxel along each axis."""
    points = lattice.shape[2]
    cells = unit * torch.tensor([(extent - 1) / (points - 3) for extent in size])
    values = lattice * cells.view(1, -1, *[1] * len(size))
    for axis, extent in enumerate(size):
        basis = _spline(extent, points)
        values = torch.movedim(torch.movedim(values, 2 + axis, -1) @ basis.T, -1, 2 + axis)
    return values


def _spline(extent: int, points: int) -> Tensor:
    """float32 (extent, points): weights of the control points of a uniform cubic B-spline."""
    at = torch.linspace(0, points - 3, extent)
    distance = (at[:, None] - (torch.arange(points, dtype=torch.float32) - 1)[None, :]).abs()
    near = 2 / 3 - distance**2 * (1 - distance / 2)
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)


def _sampled(image: Tensor, labels: Tensor, grid: Tensor, classes: int | None) -> tuple[Tensor, Tensor]:
    """One image (1, C, ...) and its labels (1, ...) at the places of a grid, (C, *size) and (*size)."""
    if classes is None:
        moved = _pulled(image, grid, mode="bilinear", padding_mode="border")
        # What comes from outside is zero: values are raised by one (and 255 becomes 0) to tell it apart.
        raised = (labels + 1).to(torch.float32)[:, None]
        near = _pulled(raised, grid, mode="nearest", padding_mode="zeros")
        return moved, near[0].to(torch.uint8) - 1
    shares = torch.cat([(labels == value).to(torch.float32) for value in range(classes)])[None]
    both = _pulled(torch.cat([image, shares], dim=1), grid, mode="bilinear", padding_mode="border")
    moved, parts = both[: image.shape[1]], both[image.shape[1] :]
    # One class after the other: looking along the first axis is slow.
    most, found = parts[0].clone(), torch.zeros(parts.shape[1:], dtype=torch.uint8)
    for value in range(1, classes):
        found.masked_fill_(parts[value] > most, value)
        torch.maximum(most, parts[value], out=most)
    known = parts.sum(dim=0) >= _HALF
    inside = (grid[0].abs() <= 1).all(dim=-1)
    return moved, found.masked_fill_(~(known & inside), IGNORE)


def _pulled(image: Tensor, grid: Tensor, *, mode: str, padding_mode: str) -> Tensor:
    """As `grid_sample` of one image. It spreads images over threads, never one: each half is given as one."""
    first = grid.shape[1]
    parts = 2 if first % 2 == 0 else 1
    found = functional.grid_sample(
        image.expand(parts, *image.shape[1:]),
        grid.view(parts, first // parts, *grid.shape[2:]),
        mode=mode,
        padding_mode=padding_mode,
        align_corners=False,
    )
    return found.movedim(0, 1).reshape(image.shape[1], *grid.shape[1:-1])
