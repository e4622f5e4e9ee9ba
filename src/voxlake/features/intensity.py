"""Intensity-based statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from voxlake.features.family import Family, Feature
from voxlake.features.region import Region
from voxlake.features.statistics import first_order

__all__ = ["Intensity"]

_CODES: Mapping[str, str] = MappingProxyType(
    {
        "mean": "Q4LE",
        "variance": "ECT3",
        "skewness": "KE2A",
        "kurtosis": "IPH6",
        "median": "Y12H",
        "minimum": "1GSF",
        "percentile_10": "QG58",
        "percentile_90": "8DWT",
        "maximum": "84IY",
        "interquartile_range": "SALO",
        "range": "2OJQ",
        "mean_absolute_deviation": "4FUA",
        "robust_mean_absolute_deviation": "1128",
        "median_absolute_deviation": "N72L",
        "coefficient_of_variation": "7TET",
        "quartile_coefficient_of_dispersion": "9S40",
        "energy": "N8CA",
        "root_mean_square": "5ZWQ",
    }
)
_PURE = frozenset({"skewness", "kurtosis", "coefficient_of_variation", "quartile_coefficient_of_dispersion"})
_SQUARED = frozenset({"variance", "energy"})
# Not units: a number without one is not squared.
_UNITLESS = frozenset({"arbitrary", "normalised", "fraction"})


class Intensity(Family):
    """Statistics of the values of a region, as they are.

    IBSI reference manual, section 3.3: mean, variance, skewness, kurtosis, median, least and greatest value,
    10th and 90th percentile, interquartile range, range, mean and robust mean absolute deviation, median
    absolute deviation, coefficient of variation, quartile coefficient of dispersion, energy and root mean
    square.
    Values that are not finite are left out; without any value, all are undefined.
    """

    name: ClassVar[str] = "intensity"
    version: ClassVar[int] = 1

    def __call__(self, region: Region) -> tuple[Feature, ...]:
        """Measure the region."""
        values = region.intensities
        energy = float(np.dot(values, values)) if values.size else math.nan
        root = math.sqrt(energy / values.size) if values.size else math.nan
        numbers = {**first_order(values), "energy": energy, "root_mean_square": root}
        return tuple(
            Feature(name, value, _CODES[name], _unit(name, region.unit)) for name, value in numbers.items()
        )


def _unit(name: str, unit: str) -> str:
    if name in _PURE or unit in _UNITLESS:
        return "" if name in _PURE else unit
    return f"({unit})^2" if name in _SQUARED else unit
