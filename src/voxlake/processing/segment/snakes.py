"""Moves of morphological active contours (Marquez-Neila, Baumela and Alvarez, IEEE TPAMI 2014).

Written out because scikit-image alternates the two smoothing operators over the life of the process, so that
its result depends on what was computed before.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["Smoothing", "edge_lengths", "follow_edges", "push"]

Bool = NDArray[np.bool_]
Real = NDArray[np.float64]


class Smoothing:
    """Smooth a contour, with sup-inf and inf-sup in turns: a morphological mean curvature flow.

    Parameters
    ----------
    dimensions : int
        2 or 3.
    """

    def __init__(self, dimensions: int) -> None:
        self._elements = _lines() if dimensions == 2 else _planes()
        self._first = True

    def __call__(self, inside: Bool) -> Bool:
        """One move; the next one takes the operators in the other order."""
        first, second = (self._lower, self._raise) if self._first else (self._raise, self._lower)
        self._first = not self._first
        return first(second(inside))

    def _raise(self, inside: Bool) -> Bool:
        # Start-up: reading a plan must not load SciPy.
        from scipy.ndimage import binary_erosion

        # Beyond the array nothing is inside, as in the published program.
        return np.asarray(np.logical_or.reduce([binary_erosion(inside, one) for one in self._elements]))

    def _lower(self, inside: Bool) -> Bool:
        # Start-up: reading a plan must not load SciPy.
        from scipy.ndimage import binary_dilation

        return np.asarray(np.logical_and.reduce([binary_dilation(inside, one) for one in self._elements]))


def edge_lengths(inside: Bool) -> Real:
    """Sum of the absolute central differences: above 0 next to the contour only."""
    return np.asarray(sum(np.abs(one) for one in _gradient(inside.astype(np.float64))))


def follow_edges(inside: Bool, slopes: list[Real]) -> Bool:
    """Move the contour down the slopes of the speed, towards edges."""
    moves = sum(slope * one for slope, one in zip(slopes, _gradient(inside.astype(np.float64)), strict=True))
    return np.asarray((inside | (moves > 0)) & ~(moves < 0))


def push(inside: Bool, direction: int, free: Bool) -> Bool:
    """Grow (1) or shrink (-1) by one voxel where nothing holds the contour."""
    # Start-up: reading a plan must not load SciPy.
    from scipy.ndimage import binary_dilation, binary_erosion

    if direction == 0:
        return inside
    cube = np.ones((3,) * inside.ndim, dtype=bool)
    moved = binary_dilation(inside, cube) if direction > 0 else binary_erosion(inside, cube)
    return np.where(free, moved, inside)


def _gradient(values: Real) -> list[Real]:
    # An axis of one voxel has no slope.
    return [np.gradient(values, axis=axis) for axis, size in enumerate(values.shape) if size > 1]


def _lines() -> list[Bool]:
    """The four lines through the middle of a square of 3 x 3."""
    return [_through((1, 0)), _through((0, 1)), _through((1, 1)), _through((1, -1))]


def _planes() -> list[Bool]:
    """The nine planes through the middle of a cube of 3 x 3 x 3."""
    straight = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    slanted = ((0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0))
    return [_through(normal) for normal in (*straight, *slanted)]


def _through(normal: tuple[int, ...]) -> Bool:
    places = np.array(list(product((-1, 0, 1), repeat=len(normal))))
    return np.asarray((places @ np.array(normal) == 0).reshape((3,) * len(normal)))
