"""How values are scaled before a pre-trained network sees them."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError

__all__ = ["Scaling", "scaled"]

Scaling = Literal["range", "quantiles"]

_LOW, _HIGH = 0.05, 0.95


def scaled(values: NDArray[Any], scaling: Scaling) -> NDArray[np.float32]:
    """Scale a whole volume.

    Parameters
    ----------
    values : ndarray
        (slices, rows, columns), finite.
    scaling : {"range", "quantiles"}
        ``"range"``: the smallest value becomes 0, the largest 1. ``"quantiles"``: the 5% quantile becomes 0
        and the 95% quantile 1, and what lies beyond goes beyond. A quantile is a value that is there (rank
        floor(0.05 n) and ceil(0.95 n) - 1 of n sorted values, from 0), not interpolated.

    Returns
    -------
    ndarray of float32
        (slices, rows, columns).

    Raises
    ------
    ItemError
        ``step_failed``: values that are not finite, or nothing between the two limits.
    """
    numbers = np.asarray(values, dtype=np.float32)
    if not np.isfinite(numbers).all():
        raise ItemError("step_failed", "a pre-trained network needs finite values")
    low, high = _limits(numbers, scaling)
    if high <= low:
        raise ItemError("step_failed", "nearly all voxels have one value: there is nothing to see")
    return (numbers - low) / (high - low)


def _limits(numbers: NDArray[np.float32], scaling: Scaling) -> tuple[np.float32, np.float32]:
    if scaling == "range":
        return numbers.min(), numbers.max()
    ranks = (math.floor(numbers.size * _LOW), math.ceil(numbers.size * _HIGH) - 1)
    ranked = np.partition(numbers.reshape(-1), ranks)
    return ranked[ranks[0]], ranked[ranks[1]]
