"""Grey values to pictures: windows, 8 and 16 bits, PNG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from voxlake.core.errors import UsageError

__all__ = ["Scaling", "parse_window", "pictures", "png_bytes"]

Window = tuple[float, float]
_WINDOW = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True)
class Scaling:
    """How values became pixels: value = slope * pixel + intercept, where nothing was cut off.

    Parameters
    ----------
    lowest, highest : float
        Values that became the smallest and the largest pixel; what lies beyond was cut off.
    slope, intercept : float
        Back to values.
    exact : bool
        Whether every value comes back exactly.
    """

    lowest: float
    highest: float
    slope: float
    intercept: float
    exact: bool


def parse_window(text: str | None) -> Window | None:
    """Read a window written as ``centre/width``, for example ``40/400``.

    Raises
    ------
    UsageError
        It is written otherwise, or has no width.
    """
    if text is None:
        return None
    match = _WINDOW.fullmatch(text)
    if match is None or float(match[2]) <= 0:
        raise UsageError(f"a window is written centre/width, for example 40/400; got '{text}'")
    return float(match[1]), float(match[2])


def pictures(
    values: NDArray[Any], *, bits: int, window: Window | None
) -> tuple[NDArray[Any], Scaling | None]:
    """Turn the values of a volume into pixels; colours stay as they are.

    Parameters
    ----------
    values : array
        (slice, row, column[, 3]).
    bits : int
        8 or 16.
    window : tuple of float, optional
        Centre and width; by default all values. Whole numbers that fit into the pixels then stay, or are only
        shifted.

    Returns
    -------
    tuple of array and Scaling or None
        uint8 or uint16 of the same shape; None for colours.
    """
    if values.ndim == 4:
        return _colours(values), None
    dtype: type[np.unsignedinteger[Any]] = np.uint8 if bits == 8 else np.uint16
    top = float(2**bits - 1)
    numbers = np.asarray(values, dtype=np.float64)
    whole = values.dtype.kind in "biu" or bool((numbers == np.rint(numbers)).all())
    if window is None:
        lowest, highest = float(numbers.min()), float(numbers.max())
        if whole and lowest >= 0 and highest <= top:
            return numbers.astype(dtype), Scaling(lowest, highest, 1.0, 0.0, exact=True)
        if whole and highest - lowest <= top:
            shifted = (numbers - lowest).astype(dtype)
            return shifted, Scaling(lowest, highest, 1.0, lowest, exact=True)
        highest = highest if highest > lowest else lowest + 1
    else:
        lowest, highest = window[0] - window[1] / 2, window[0] + window[1] / 2
    slope = (highest - lowest) / top
    pixels = np.rint((np.clip(numbers, lowest, highest) - lowest) / slope).astype(dtype)
    return pixels, Scaling(lowest, highest, slope, lowest, exact=False)


def window_of(volume: Mapping[str, Any], row: Mapping[str, Any]) -> Window | None:
    """The window of the device, where the values are still those that it is about."""
    centre, width = row["window_center"], row["window_width"]
    known = volume["unit"] in ("HU", "arbitrary") and not any("@" in step for step in volume["steps"])
    return (centre, width) if known and centre is not None and (width or 0) > 0 else None


def png_bytes(picture: NDArray[Any]) -> bytes:
    """One picture, (row, column[, 3]), as PNG: grey of 8 or 16 bits, or RGB of 8."""
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, format="PNG")
    return stream.getvalue()


def _colours(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    lowest, highest = float(values.min()), float(values.max())
    scale = 255.0 / (highest - lowest) if highest > lowest else 0.0
    return np.rint((values.astype(np.float64) - lowest) * scale).astype(np.uint8)
