"""Work on axial slices, whatever the order of the axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.grid import Grid

__all__ = ["in_axial_slices"]

Find = Callable[[NDArray[np.float32], tuple[float, float, float]], NDArray[Any]]

# Slices from the feet to the head, rows to posterior, columns to the patient's left.
_AXIAL = "SPL"


def in_axial_slices(values: NDArray[np.float32], grid: Grid, find: Find) -> NDArray[Any]:
    """Find a mask with the axes in the order superior, posterior, left; give it in the old order.

    Parameters
    ----------
    values : array
        On `grid`, (slices, rows, columns).
    grid : Grid
        Not flat.
    find : callable
        Gets the values and the spacing (mm) and gives a mask of that shape.
    """
    order, flips = grid.reorientation(_AXIAL)
    turned = np.ascontiguousarray(np.flip(np.transpose(values, order), flips))
    found = find(turned, grid.reoriented(_AXIAL).spacing)
    back = [order.index(axis) for axis in range(3)]
    return np.ascontiguousarray(np.transpose(np.flip(found, flips), back))
