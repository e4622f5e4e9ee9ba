"""A picture of a volume, for people."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["picture"]

_LARGEST = 256


def picture(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The middle slice, from its 1st to its 99th percentile; colour is shown as it is.

    Large images are shown as means over square blocks, at most 256 pixels wide and high.

    Parameters
    ----------
    values : ndarray
        (slices, rows, columns) or with 3 channels at the end.

    Returns
    -------
    ndarray of uint8
        (rows, columns) or (rows, columns, 3).
    """
    middle = np.asarray(values[values.shape[0] // 2])
    colour = middle.ndim == 3 and middle.dtype == np.uint8
    middle = _smaller(middle)
    if colour:
        return np.asarray(middle.round(), dtype=np.uint8)
    numbers = middle.astype(np.float64)
    low, high = np.percentile(numbers, (1, 99))
    if high <= low:
        low, high = float(numbers.min()), float(numbers.max())
    scaled = (numbers - low) / (high - low) if high > low else np.zeros_like(numbers)
    return np.asarray(np.clip(scaled * 255, 0, 255).round(), dtype=np.uint8)


def _smaller(image: NDArray[Any]) -> NDArray[Any]:
    rows, columns = image.shape[:2]
    block = -(-max(rows, columns) // _LARGEST)
    if block == 1 or min(rows, columns) < block:
        return image
    kept = image[: rows // block * block, : columns // block * block].astype(np.float64)
    blocks = kept.reshape(rows // block, block, columns // block, block, *image.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)))
