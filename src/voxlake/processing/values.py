"""Values and their statistics, in single precision and a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from voxlake.core.errors import ItemError
from voxlake.core.settings import Settings
from voxlake.core.volume import Volume

__all__ = [
    "Box",
    "Over",
    "Region",
    "Statistics",
    "as_float32",
    "chosen",
    "finite_range",
    "measure",
    "mixable",
    "narrow",
    "select",
    "single_precision",
    "to_unit_range",
]


class Box(Settings):
    """The voxels between two corners.

    Parameters
    ----------
    start, stop : three numbers of voxels
        Slice, row, column of the first voxel inside, and of the first one no longer inside.
    """

    start: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
    stop: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if any(low >= high for low, high in zip(self.start, self.stop, strict=True)):
            raise ValueError(f"start must be below stop on every axis, got {self.start} and {self.stop}")
        return self


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 3.4e38


def _read_over(value: Any) -> Any:
    if _is_number(value) or value in ("all", "nonzero"):
        return value
    raise ValueError('choose "all", "nonzero", or a finite number (voxels above it)')


Over = Annotated[float | Literal["all", "nonzero"], BeforeValidator(_read_over)]
"""Voxels that statistics are taken over: all, those that are not 0, or those above a number."""


def _read_region(value: Any) -> Any:
    if _is_number(value) or isinstance(value, Mapping | Box) or value in ("all", "nonzero", "above_mean"):
        return value
    raise ValueError(
        'choose "all", "nonzero", "above_mean", a finite number (voxels above it) or a box '
        "{start = [slice, row, column], stop = [slice, row, column]}"
    )


Region = Annotated[float | Literal["all", "nonzero", "above_mean"] | Box, BeforeValidator(_read_region)]
"""Voxels that statistics are taken over: all, those that are not 0, those above the mean of all (a rough
foreground), those above a number, or those in a box."""


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


def mixable(volume: Volume, step: str) -> NDArray[Any]:
    """The values in a type that becomes float32 slice by slice without loss of range: no copy as a whole."""
    data = volume.numpy()
    return data if data.dtype.kind in "ui" else as_float32(volume, step)


def narrow(data: NDArray[Any], over: float | str | Box, step: str) -> tuple[NDArray[Any], float | str]:
    """Bring `over` to the kinds that look at one value at a time: the part of the array, and what is left.

    Raises
    ------
    ItemError
        ``step_failed``: the box leaves the volume.
    """
    if isinstance(over, Box):
        if any(high > size for high, size in zip(over.stop, data.shape, strict=False)):
            raise ItemError(
                "step_failed",
                f"{step}: the box up to {over.stop} leaves a volume of {tuple(data.shape[:3])}",
            )
        return data[tuple(slice(a, b) for a, b in zip(over.start, over.stop, strict=True))], "all"
    if over == "above_mean":
        mean = measure(data, "all", step).mean
        # Nothing lies above the mean of a constant.
        return data, mean if finite_range(data, step)[1] > mean else "all"
    return data, over


def select(data: NDArray[Any], over: float | str | Box, step: str) -> NDArray[Any]:
    """The finite values that `over` selects, as one axis; see `Region`."""
    return chosen(*narrow(data, over, step))


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


def measure(data: NDArray[np.float32], over: float | str | Box, step: str) -> Statistics:
    """Statistics of the finite voxels that `over` selects; sums in float64, a slice at a time.

    Raises
    ------
    ItemError
        ``step_failed`` if no voxel is finite, none lies above the number `over`, or the box leaves the
        volume.
    """
    data, over = narrow(data, over, step)
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
