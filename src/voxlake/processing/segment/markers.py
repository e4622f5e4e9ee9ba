"""Markers: where it is clear from the values alone what a voxel is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError

__all__ = ["marked", "whole"]


def marked(values: NDArray[np.float32], below: float, above: float, name: str) -> NDArray[np.int32]:
    """1 where a value is at most `below`, 2 where it is at least `above`, 0 where it is to be decided.

    Raises
    ------
    ItemError
        ``step_failed``: one of the two has no voxel.
    """
    markers = np.zeros(values.shape, dtype=np.int32)
    markers[values <= below] = 1
    markers[values >= above] = 2
    if not (markers == 1).any() or not (markers == 2).any():
        raise ItemError(
            "step_failed", f"{name}: no voxel lies at or below {below}, or none at or above {above}"
        )
    return markers


def whole(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """The values, all of them finite.

    Raises
    ------
    ItemError
        ``step_failed``: NaN or infinities.
    """
    if not np.isfinite(values).all():
        raise ItemError("step_failed", f"{name}: needs finite values")
    return values
