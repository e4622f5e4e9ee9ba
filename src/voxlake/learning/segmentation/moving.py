"""Move one patch and its mask: where its voxels come from, and what is there.

torch interpolates flat images with the vector units of the processor, volumes one voxel after the other. So a
volume is taken as the flat image of all its slices, one below the other, with two channels that lie a slice
apart: both are interpolated within their slices at once, then one with the other. It is done block by block:
a short image keeps places exact to about 0.0003 voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from voxlake.learning.segmentation.changes import Changes
from voxlake.learning.segmentation.settings import IGNORE

__all__ = ["Places", "move_patch", "places_of"]

# Voxels of a block along each axis: smaller ones are more calls, larger ones are less exact.
_BLOCK = 48
# Whole numbers below it are exact in float32.
_EXACT = 2**24
# A voxel of which less is known than this share counts nowhere.
_HALF = 0.5
Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Places:
    """Where the voxels of one patch come from.

    Parameters
    ----------
    size : tuple of int
        Extent of the patch, d axes.
    matrix, offset : numpy.ndarray
        float64 (d, d) and (d,): the voxel with the index i comes from ``matrix @ i + offset``, an index too.
    lattice : torch.Tensor, optional
        float32 (d, points, ...), displacement of the control points in voxels.
    bases : tuple of torch.Tensor
        float32 (extent, points), weights of the control points along each axis.
    """

    size: tuple[int, ...]
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    lattice: Tensor | None
    bases: tuple[Tensor, ...]

    def within(self, box: Box) -> tuple[list[Tensor], NDArray[np.int64], NDArray[np.int64]]:
        """Places of the voxels of a box.

        Returns
        -------
        places : list of torch.Tensor
            float32 of the extent of the box, one for each axis, counted from `low`.
        low, high : numpy.ndarray
            int64 (d,), between which indices of the source they lie.
        """
        moved = self._displacements(box)
        ends = np.array([(part.start, part.stop - 1) for part in box], dtype=np.float64)
        reach = np.sort(self.matrix[:, :, None] * ends[None], axis=2).sum(axis=1) + self.offset[:, None]
        for axis, each in enumerate(moved):
            least, most = torch.aminmax(each)
            reach[axis] += (float(least), float(most))
        low, high = np.floor(reach[:, 0]).astype(np.int64), np.floor(reach[:, 1]).astype(np.int64) + 1
        places = []
        for axis in range(len(box)):
            place = self._along(axis, box, float(self.offset[axis] - low[axis]))
            places.append(place.add_(moved[axis]) if moved else place)
        return places, low, high

    def _along(self, axis: int, box: Box, offset: float) -> Tensor:
        """Straight part of the places along one axis of the source, a sum over the axes of the patch."""
        lines = []
        for other, part in enumerate(box):
            line = np.arange(part.start, part.stop) * self.matrix[axis, other]
            line += offset if other == 0 else 0.0
            shape = [-1, *[1] * (len(box) - 1 - other)]
            lines.append(torch.from_numpy(line.astype(np.float32).reshape(shape)))
        return reduce(torch.add, lines)

    def _displacements(self, box: Box) -> tuple[Tensor, ...]:
        if self.lattice is None:
            return ()
        values = self.lattice
        for axis, part in enumerate(box):
            basis = self.bases[axis][part]
            values = torch.movedim(torch.movedim(values, 1 + axis, -1) @ basis.T, -1, 1 + axis)
        return tuple(values.contiguous())


def places_of(
    changes: Changes, number: int, *, source: tuple[int, ...], size: tuple[int, ...], spacing: Tensor
) -> Places:
    """Where the voxels of one of the patches come from.

    Parameters
    ----------
    changes : Changes
        What was drawn.
    number : int
        Which patch.
    source : tuple of int
        Extent of what was read; the patch is its middle.
    size : tuple of int
        Extent of the patch.
    spacing : torch.Tensor
        (d,), distance of voxels along each axis.
    """
    wide = spacing.numpy().astype(np.float64)
    mirror = changes.mirror[number].numpy().astype(np.float64)
    # Millimetres are turned, voxels are sampled; content that grows is sampled more densely.
    turned = changes.turn[number].numpy().astype(np.float64).T / float(changes.factor[number])
    matrix = wide[None, :] * turned / wide[:, None] * mirror[None, :]
    middle = (np.array(size) - 1) / 2
    offset = (np.array(source) - np.array(size)) // 2 + middle - matrix @ middle
    lattice, bases = changes.lattice[number], []
    if not bool(lattice.any()):
        return Places(size, matrix, offset, None, ())
    points = lattice.shape[1]
    cells = torch.tensor([(extent - 1) / (points - 3) for extent in size])
    for extent, sign in zip(size, mirror, strict=True):
        basis = _spline(extent, points)
        bases.append(basis.flip(0) if sign < 0 else basis)
    return Places(size, matrix, offset, lattice * cells.view(-1, *[1] * len(size)), tuple(bases))


def move_patch(
    places: Places,
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    classes: int | None,
    out: tuple[Tensor, Tensor],
) -> None:
    """Fill a patch and its mask with what is at their places.

    Parameters
    ----------
    places : Places
        Where voxels come from; beyond the source its edge is repeated, and no label counts.
    image : numpy.ndarray
        float32 (C, ...).
    labels : numpy.ndarray
        uint8 (...), index of the class of each voxel, `IGNORE` where none counts.
    classes : int, optional
        Number of classes with the background, to move masks linearly; by nearest neighbour if absent.
    out : tuple of torch.Tensor
        float32 (C, *size) and uint8 (*size), which are written.
    """
    patch, mask = out
    if classes is not None:
        shares = [labels == value for value in range(classes)]
        image = np.concatenate([image, np.stack(shares).astype(np.float32)])
    for box in _blocks(places.size):
        at, low, high = places.within(box)
        if classes is None:
            mask[box] = _nearest(labels, at, low, high)
            patch[:, *box] = _interpolated(image, at, low, high)
        else:
            beyond = _beyond(labels.shape, at, low)
            values = _interpolated(image, at, low, high)
            patch[:, *box] = values[: len(patch)]
            mask[box] = _largest(values[len(patch) :]).masked_fill_(beyond, IGNORE)


def _blocks(size: tuple[int, ...]) -> Iterator[Box]:
    parts = []
    for extent in size:
        ends = np.linspace(0, extent, -(-extent // _BLOCK) + 1).astype(int).tolist()
        parts.append([slice(*pair) for pair in pairwise(ends)])
    yield from product(*parts)


def _nearest(
    labels: NDArray[np.uint8], at: list[Tensor], low: NDArray[np.int64], high: NDArray[np.int64]
) -> Tensor:
    """Labels at the nearest voxels; `IGNORE` beyond the source."""
    # Around the source lies one layer of `IGNORE`, as far as the block reaches it.
    first = np.clip(low, -1, labels.shape)
    last = np.clip(high, first, labels.shape)
    known = np.full(last - first + 1, IGNORE, dtype=np.uint8)
    there = tuple(slice(max(begin, 0), end + 1) for begin, end in zip(first, last, strict=True))
    inside = labels[there]
    known[
        tuple(
            slice(part.start - begin, part.start - begin + extent)
            for part, begin, extent in zip(there, first, inside.shape, strict=True)
        )
    ] = inside
    exact = known.size < _EXACT
    index = torch.zeros((), dtype=torch.float32 if exact else torch.float64)
    for axis, place in enumerate(at):
        nearest = place.round()
        if first[axis] != low[axis] or last[axis] != high[axis]:
            nearest.clamp_(float(first[axis] - low[axis]), float(last[axis] - low[axis]))
        if first[axis] != low[axis]:
            nearest.sub_(float(first[axis] - low[axis]))
        index = torch.add(nearest.to(index.dtype), index, alpha=known.shape[axis])
    chosen = index.view(-1).to(torch.int32 if exact else torch.int64)
    return torch.from_numpy(known).view(-1).index_select(0, chosen).view(index.shape)


def _interpolated(
    image: NDArray[np.float32], at: list[Tensor], low: NDArray[np.int64], high: NDArray[np.int64]
) -> Tensor:
    """Linearly interpolated values, (C, ...); the places are changed."""
    sizes = np.array(image.shape[1:])
    first = np.clip(low, 0, sizes - 1)
    last = np.clip(high, first, sizes - 1)
    for axis, place in enumerate(at):
        if first[axis] != low[axis] or last[axis] != high[axis]:
            place.clamp_(float(first[axis] - low[axis]), float(last[axis] - low[axis]))
        if first[axis] != low[axis]:
            place.sub_(float(first[axis] - low[axis]))
    box = tuple(slice(begin, end + 1) for begin, end in zip(first.tolist(), last.tolist(), strict=True))
    if len(at) == 2:
        return _flat(torch.from_numpy(image[:, *box].copy())[None], *at)[0]
    known = image[:, *box]
    # Of the slice after the last one nothing is taken, but it is multiplied by zero.
    longer = np.empty((len(known), known.shape[1] + 1, *known.shape[2:]), dtype=np.float32)
    longer[:, :-1] = known
    longer[:, -1] = known[:, -1]
    return _between_slices(torch.from_numpy(longer), at)


def _between_slices(image: Tensor, at: list[Tensor]) -> Tensor:
    """Of (C, D + 1, H, W), the last slice of which is one too many."""
    channels, depth, rows, columns = image.shape
    size = rows * columns
    pairs = image.as_strided((channels, 2, (depth - 1) * rows, columns), (depth * size, size, columns, 1))
    slices = at[0].floor()
    below = torch.add(at[1], slices, alpha=rows)
    found = _flat(pairs, below.flatten(0, 1), at[2].flatten(0, 1)).view(channels, 2, *below.shape)
    return torch.lerp(found[:, 0], found[:, 1], at[0].sub_(slices))


def _flat(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Values of flat images, (N, C, H, W), at the same places of each, (N, C, *extent of the places)."""
    grid = torch.empty((*rows.shape, 2))
    for number, (at, size) in enumerate(((columns, images.shape[3]), (rows, images.shape[2]))):
        # From -1 in the middle of the first voxel to 1 in that of the last.
        half = max(size - 1, 1) / 2
        torch.mul(at.sub_(half), 1 / half, out=grid[..., number])
    grid = grid.expand(len(images), *grid.shape)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _beyond(shape: tuple[int, ...], at: list[Tensor], low: NDArray[np.int64]) -> Tensor:
    """Which places lie outside of the faces of the source."""
    found = torch.zeros(at[0].shape, dtype=torch.bool)
    for place, size, begin in zip(at, shape, low.tolist(), strict=True):
        found |= (place < -_HALF - begin) | (place > size - _HALF - begin)
    return found


def _largest(shares: Tensor) -> Tensor:
    """Class with the largest share, (K, ...) to (...); `IGNORE` where too little is known."""
    # One class after the other: looking along the first axis is slow.
    most, found = shares[0].clone(), torch.zeros(shares.shape[1:], dtype=torch.uint8)
    for value in range(1, len(shares)):
        found.masked_fill_(shares[value] > most, value)
        torch.maximum(most, shares[value], out=most)
    return found.masked_fill_(shares.sum(dim=0) < _HALF, IGNORE)


def _spline(extent: int, points: int) -> Tensor:
    """float32 (extent, points): weights of the control points of a uniform cubic B-spline."""
    at = torch.linspace(0, points - 3, extent)
    distance = (at[:, None] - (torch.arange(points, dtype=torch.float32) - 1)[None, :]).abs()
    near = 2 / 3 - distance**2 * (1 - distance / 2)
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far)
