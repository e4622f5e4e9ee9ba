"""Euclidean distance in millimetres, and balls made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["closed", "dilated", "distance_map", "eroded", "opened"]

# Distances come in single precision; a radius that a voxel centre meets exactly must reach it.
_ROUNDING = 1e-5


def distance_map(
    mask: NDArray[Any], *, spacing: Sequence[float] = (1.0, 1.0, 1.0), threads: int = 1
) -> NDArray[np.float32]:
    """Distance of every voxel of a mask to the nearest voxel outside of it, centre to centre.

    The values are those of ``scipy.ndimage.distance_transform_edt`` with ``sampling=spacing``, in single
    precision. What lies beyond the array is neither inside nor outside. Method: lower envelope of parabolas
    along each axis (Felzenszwalb and Huttenlocher, Theory of Computing 2012), by edt.

    Parameters
    ----------
    mask : array
        (slices, rows, columns), any type; what is not 0 is inside.
    spacing : three numbers
        Size of a voxel along each axis, mm.
    threads : int
        How many threads work on it.

    Returns
    -------
    array of float32
        mm; 0 outside of the mask, infinity everywhere if nothing is outside.

    Examples
    --------
    >>> distance_map(np.array([[[0, 1, 1]]]), spacing=(1, 1, 2.5))
    array([[[0. , 2.5, 5. ]]], dtype=float32)
    """
    # Start-up: reading a plan must not load edt.
    import edt

    inside = np.ascontiguousarray(mask if mask.dtype == bool else mask != 0)
    if inside.all():
        return np.full(inside.shape, np.inf, dtype=np.float32)
    steps = tuple(float(step) for step in spacing)
    found = edt.edt(inside, anisotropy=steps, black_border=False, order="C", parallel=threads)
    return np.asarray(found, dtype=np.float32)


def dilated(mask: NDArray[Any], radius: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Every voxel whose centre lies within `radius` mm of the centre of a voxel of the mask."""
    outside = np.asarray(mask) == 0
    if outside.all():
        return np.zeros(outside.shape, dtype=bool)
    return np.asarray(distance_map(outside, spacing=spacing) <= radius * (1 + _ROUNDING))


def eroded(mask: NDArray[Any], radius: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Every voxel of the mask with no voxel outside of the mask within `radius` mm.

    What lies beyond the array does not count, so a mask that is cut by its border is not eroded there.
    """
    return np.asarray(distance_map(mask, spacing=spacing) > radius * (1 + _ROUNDING))


def opened(mask: NDArray[Any], radius: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Eroded, then dilated: what is thinner than the ball of `radius` mm goes."""
    return dilated(eroded(mask, radius, spacing), radius, spacing)


def closed(mask: NDArray[Any], radius: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Dilated, then eroded: gaps narrower than the ball of `radius` mm are filled."""
    return eroded(dilated(mask, radius, spacing), radius, spacing)
