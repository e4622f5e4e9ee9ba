"""Means of neighbours weighted by how much they are alike, one shift of the image after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["shifts", "weighted_mean"]

Image = NDArray[np.float32]
Shift = tuple[int, ...]
Weigh = Callable[[Image, Shift], Image]


def shifts(axes: int, reach: int) -> Iterator[Shift]:
    """One of each pair of opposite shifts of at most `reach` voxels per axis, without the shift by 0."""
    for shift in product(range(-reach, reach + 1), repeat=axes):
        if shift > (0,) * axes:
            yield shift


def weighted_mean(image: Image, around: Sequence[Shift], weigh: Weigh, *, patch: int = 0) -> Image:
    """Average each voxel with its neighbours.

    Parameters
    ----------
    image : array of float32
        Finite, 2 or 3 axes; mirrored beyond its faces (without repeating the edge).
    around : sequence of shifts
        One of each pair of opposite neighbours; a weight serves both directions.
    weigh : callable
        Gets the differences between voxels and their neighbours (a box that is `patch` voxels larger on each
        side than what it returns) and the shift; returns weights. The voxel itself weighs 1.
    patch : int
        See `weigh`.

    Returns
    -------
    array of float32
        Within the range of the image.
    """
    reach = max((abs(step) for shift in around for step in shift), default=0)
    margin = reach + patch
    # A numpy pad by reflection repeats itself where the margin is wider than the image.
    padded = np.pad(image, margin, mode="reflect")
    total, weights = image.astype(np.float32), np.ones(image.shape, np.float32)
    for shift in around:
        # From all voxels that have this neighbour inside, or are this neighbour of one inside.
        start = [margin - max(step, 0) for step in shift]
        stop = [margin + n + max(-step, 0) for n, step in zip(image.shape, shift, strict=True)]
        here, there = _box(start, stop, (0,) * image.ndim, patch), _box(start, stop, shift, patch)
        both = weigh(padded[here] - padded[there], shift)
        for sign in (1, -1):
            first = [
                (margin if sign > 0 else margin - step) - a for a, step in zip(start, shift, strict=True)
            ]
            part = both[tuple(slice(a, a + n) for a, n in zip(first, image.shape, strict=True))]
            at = tuple(
                slice(margin + sign * step, margin + sign * step + n)
                for step, n in zip(shift, image.shape, strict=True)
            )
            total += part * padded[at]
            weights += part
    total /= weights
    return np.clip(total, image.min(), image.max(), out=total)


def _box(start: Sequence[int], stop: Sequence[int], shift: Shift, patch: int) -> tuple[slice, ...]:
    return tuple(
        slice(a + step - patch, b + step + patch) for a, b, step in zip(start, stop, shift, strict=True)
    )
