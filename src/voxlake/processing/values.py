"""Values and their statistics, in single precision and a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from voxlake.core.errors import ItemError
from voxlake.core.volume import Volume

__all__ = [
    "Over",
    "Statistics",
    "as_float32",
    "chosen",
    "finite_range",
    "measure",
    "single_precision",
    "to_unit_range",
]


def _read_over(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 3.4e38
    if number or value in ("all", "nonzero"):
        return value
    raise ValueError('choose "all", "nonzero", or a finite number (voxels above it)')


Over = Annotated[float | Literal["all", "nonzero"], BeforeValidator(_read_over)]
"""Voxels that statistics are taken over: all, those that are not 0, or those above a number."""


@dataclass(frozen=True)
class Statistics:
    """Moments and range of the chosen finite values; `deviation` is that of the population."""

    count: int
    mean: float
    deviation: float
    low: float
    high: float


@contextmanager
def single_precision(step: str) -> Iterator[None]:
    """Turn an overflow of float32 arithmetic into an error of the item instead of infinities.

    Raises
    ------
    ItemError
        ``step_failed`` if a value does not fit float32.
    """
    try:
        with np.errstate(over="raise", invalid="ignore"):
            yield
    except FloatingPointError:
        raise ItemError(
            "step_failed", f"{step}: values beyond the range of float32 (3.4e38); rescale them first"
        ) from None


def as_float32(volume: Volume, step: str) -> NDArray[np.float32]:
    """The values as float32; not copied where they are float32 already, so never written to."""
    with single_precision(step):
        return np.asarray(volume.numpy(), dtype=np.float32)


def chosen(values: NDArray[Any], over: float | str) -> NDArray[Any]:
    """The finite values that `over` selects, as one axis."""
    keep = np.isfinite(values)
    if over == "nonzero":
        keep &= values != 0
    elif not isinstance(over, str):
        keep &= values > over
    return np.asarray(values[keep])


def finite_range(data: NDArray[Any], step: str) -> tuple[Any, Any]:
    """Smallest and largest finite value, in the type of the array.

    Raises
    ------
    ItemError
        ``step_failed`` if no value is finite.
    """
    if data.dtype.kind in "bui":
        return data.min(), data.max()
    lows, highs = [], []
    for plane in data:
        values = plane[np.isfinite(plane)]
        if values.size:
            lows.append(values.min())
            highs.append(values.max())
    if not lows:
        raise ItemError("step_failed", f"{step}: no voxel has a finite value")
    return min(lows), max(highs)


def measure(data: NDArray[np.float32], over: float | str, step: str) -> Statistics:
    """Statistics of the finite voxels that `over` selects; sums in float64, a slice at a time.

    Raises
    ------
    ItemError
        ``step_failed`` if no voxel is finite, or none lies above the number `over`.
    """
    total, count = 0.0, 0
    low, high = np.inf, -np.inf
    for plane in data:
        values = chosen(plane, over)
        if values.size:
            total += float(values.sum(dtype=np.float64))
            count += values.size
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if count == 0:
        finite_range(data, step)
        if isinstance(over, str):
            return Statistics(0, 0.0, 0.0, 0.0, 0.0)
        raise ItemError("step_failed", f'{step}: no voxel lies above {over}; lower the number or use "all"')
    mean = total / count
    # Rounding of the mean must not make a constant volume look as if it varied.
    if low == high:
        return Statistics(count, low, 0.0, low, high)
    squares = sum(float(np.square(chosen(plane, over) - mean, dtype=np.float64).sum()) for plane in data)
    return Statistics(count, mean, float(np.sqrt(squares / count)), low, high)


def to_unit_range(data: NDArray[np.float32], low: float, high: float, step: str) -> NDArray[np.float32]:
    """Clip to `low`..`high` and map to 0..1, exactly at both ends; zeros where they are equal."""
    bottom, top = np.float32(low), np.float32(high)
    with single_precision(step):
        out = np.clip(data, bottom, top)
        out -= bottom
        # The difference of the rounded limits, not the rounded difference: only so does `high` become 1.
        if top > bottom:
            out /= top - bottom
    return out
