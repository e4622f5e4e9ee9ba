"""Statistics of the histogram of grey levels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, model_validator

from voxlake.core.errors import ItemError
from voxlake.features.family import Family, Feature
from voxlake.features.region import Region
from voxlake.features.statistics import STATISTICS, first_order

__all__ = ["Histogram", "grey_levels"]

_CODES: Mapping[str, str] = MappingProxyType(
    {
        "mean": "X6K6",
        "variance": "CH89",
        "skewness": "88K1",
        "kurtosis": "C3I7",
        "median": "WIFQ",
        "minimum": "1PR8",
        "percentile_10": "GPMT",
        "percentile_90": "OZ0C",
        "maximum": "3NCY",
        "interquartile_range": "WR0O",
        "range": "5Z3W",
        "mean_absolute_deviation": "D2ZX",
        "robust_mean_absolute_deviation": "WRZB",
        "median_absolute_deviation": "4RNL",
        "coefficient_of_variation": "CWYJ",
        "quartile_coefficient_of_dispersion": "SLWD",
        "mode": "AMMC",
        "entropy": "TLU2",
        "uniformity": "BJ5W",
        "maximum_gradient": "12CE",
        "maximum_gradient_level": "8E6O",
        "minimum_gradient": "VQB3",
        "minimum_gradient_level": "RHQZ",
    }
)
_OF_COUNTS = tuple(name for name in _CODES if name not in STATISTICS)
# A width that asks for more levels than this does not fit the values.
_MOST_LEVELS = 1 << 20
_DEFAULT_BINS = 32

Float = NDArray[np.float64]
Whole = NDArray[np.int64]


class Histogram(Family):
    """Statistics of the values of a region after they were put into grey levels 1, 2, ...

    IBSI reference manual, sections 2.7 and 3.4. Either a fixed number of levels between the least and the
    greatest value of the region, which suits arbitrary units, or levels of a fixed width, which suits values
    that mean something, such as HU. Entropy is in bits.

    Parameters
    ----------
    bins : int, optional
        Number of levels; 32 if neither is given.
    width : float, optional
        Width of a level, in the unit of the volume.
    start : float, optional
        With `width`: lower end of the first level; by default the least value of the region. Lower values are
        in the first level.

    Raises
    ------
    ItemError
        ``step_failed``: `width` asks for more than a million levels.
    """

    name: ClassVar[str] = "histogram"
    version: ClassVar[int] = 1

    bins: Annotated[int, Field(ge=2, le=65536)] | None = None
    width: Annotated[FiniteFloat, Field(gt=0)] | None = None
    start: FiniteFloat | None = None

    @model_validator(mode="before")
    @classmethod
    def _default(cls, given: Any) -> Any:
        # Written down, so that the default and its number are the same settings.
        neither = isinstance(given, Mapping) and given.get("bins") is None and given.get("width") is None
        return {**given, "bins": _DEFAULT_BINS} if neither else given

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.bins is not None and self.width is not None:
            raise ValueError("give 'bins' or 'width', not both")
        if self.start is not None and self.width is None:
            raise ValueError("'start' needs 'width'")
        return self

    def __call__(self, region: Region) -> tuple[Feature, ...]:
        """Measure the region."""
        levels = grey_levels(region.intensities, bins=self.bins, width=self.width, start=self.start)
        numbers = dict(first_order(levels.astype(np.float64)))
        numbers |= _of_counts(levels, self.bins)
        return tuple(Feature(name, numbers[name], code) for name, code in _CODES.items())


def grey_levels(
    values: Float, *, bins: int | None = None, width: float | None = None, start: float | None = None
) -> Whole:
    """Put values into grey levels, counted from 1; `bins` or `width` as in `Histogram`.

    Parameters
    ----------
    values : array of float64
        (n,), finite.

    Returns
    -------
    array of int64
        (n,).
    """
    if not values.size:
        return np.zeros(0, dtype=np.int64)
    low, high = float(values.min()), float(values.max())
    if width is not None:
        low = low if start is None else start
        if (high - low) / width > _MOST_LEVELS:
            raise ItemError(
                "step_failed", f"histogram: values up to {high:g} make too many levels of the width {width:g}"
            )
        return np.maximum(np.floor((values - low) / width).astype(np.int64) + 1, 1)
    number = _DEFAULT_BINS if bins is None else bins
    if high == low:
        return np.ones(values.size, dtype=np.int64)
    # The greatest value belongs to the last level.
    return np.minimum(np.floor(number * ((values - low) / (high - low))).astype(np.int64) + 1, number)


def _of_counts(levels: Whole, bins: int | None) -> dict[str, float]:
    if not levels.size:
        return dict.fromkeys(_OF_COUNTS, math.nan)
    counts = np.bincount(levels, minlength=(bins or 0) + 1)[1:]
    shares = counts[counts > 0] / levels.size
    most = np.flatnonzero(counts == counts.max()) + 1
    # Of several modes the one that is closest to the mean, the lower one of two.
    mode = most[np.argmin(np.abs(most - levels.mean()))]
    slope = np.gradient(counts.astype(np.float64)) if counts.size > 1 else np.zeros(1)
    return {
        "mode": float(mode),
        "entropy": float(-(shares * np.log2(shares)).sum()) + 0.0,
        "uniformity": float((shares * shares).sum()),
        "maximum_gradient": float(slope.max()),
        "maximum_gradient_level": float(slope.argmax() + 1),
        "minimum_gradient": float(slope.min()),
        "minimum_gradient_level": float(slope.argmin() + 1),
    }
