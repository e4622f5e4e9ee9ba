"""Real-world value maps: stored values to quantities with a unit (PS3.3 section C.7.6.16.2.11).

Images carry them on the top level or in their functional groups; objects of the class Real World Value
Mapping Storage (PS3.3 section A.46) carry them for images of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from voxlake.core.volume import Unit
from voxlake.dicom.elements import items, number, numbers, text

__all__ = ["RealWorldMap", "ReferencedMaps", "chosen_map", "real_world_maps", "referenced_maps"]

_SEQUENCE = "RealWorldValueMappingSequence"
# UCUM codes (PS3.16 context groups 82, 84 and 85) of units that volumes know.
_UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        "[hnsf'U]": "HU",
        "Bq/ml": "Bq/ml",
        "g/ml{SUVbw}": "SUVbw",
        "{SUVbw}g/ml": "SUVbw",
        "g/ml{SUVlbm(Janma)}": "SUVlbm(Janma)",
        "{SUVlbm(Janma)}g/ml": "SUVlbm(Janma)",
        "g/ml{SUVlbm(James128)}": "SUVlbm(James128)",
        "{SUVlbm(James128)}g/ml": "SUVlbm(James128)",
        "cm2/ml{SUVbsa}": "SUVbsa",
        "{SUVbsa}cm2/ml": "SUVbsa",
        "g/ml{SUVibw}": "SUVibw",
        "{SUVibw}g/ml": "SUVibw",
    }
)


@dataclass(frozen=True, eq=False)
class RealWorldMap:
    """One map.

    Parameters
    ----------
    first, last : float
        Smallest and greatest stored value that it is defined for.
    slope, intercept : float
        The quantity is ``stored * slope + intercept``; unused where there is a table.
    table : array or None
        The quantity for `first`, `first` + 1, ...; float64.
    code : str
        Unit as a UCUM code, ``""`` where none is given.
    label : str
        What the device calls the map.
    """

    first: float
    last: float
    slope: float
    intercept: float
    table: NDArray[np.float64] | None
    code: str
    label: str

    @property
    def unit(self) -> Unit:
        """The unit of volumes; ``"arbitrary"`` for all quantities that have no name of their own there."""
        return _UNITS.get(self.code, "arbitrary")

    def covers(self, low: float, high: float) -> bool:
        """Whether the map is defined from one stored value to another."""
        return self.first <= low and high <= self.last

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Map stored values; those outside the range of a table become NaN."""
        if self.table is None:
            return np.asarray(stored, dtype=np.float64) * self.slope + self.intercept
        places = np.asarray(stored, dtype=np.int64) - int(self.first)
        inside = (places >= 0) & (places < len(self.table))
        return np.where(inside, self.table[np.clip(places, 0, len(self.table) - 1)], np.nan)


@dataclass(frozen=True, eq=False)
class ReferencedMaps:
    """Maps for images of others: the SOPInstanceUIDs and what holds for them."""

    instances: frozenset[str]
    maps: tuple[RealWorldMap, ...]


def real_world_maps(dataset: Dataset, frame: int = 0) -> tuple[RealWorldMap, ...]:
    """Read the maps of one frame of an image.

    Parameters
    ----------
    dataset : Dataset
        The image, classic or with functional groups.
    frame : int
        Index of the frame.

    Returns
    -------
    tuple of RealWorldMap
        In the order of the object; those of the frame before those of all. Maps without a slope and
        intercept or a table are left out.
    """
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    holders = [
        *per_frame[frame : frame + 1],
        *items(dataset, "SharedFunctionalGroupsSequence")[:1],
        dataset,
    ]
    found = (_map(item) for holder in holders for item in items(holder, _SEQUENCE))
    return tuple(one for one in found if one is not None)


def referenced_maps(dataset: Dataset) -> tuple[ReferencedMaps, ...]:
    """Read the maps of a Real World Value Mapping object, with the images that they are for."""
    found = []
    for group in items(dataset, "ReferencedImageRealWorldValueMappingSequence"):
        maps = (_map(item) for item in items(group, _SEQUENCE))
        images = (text(item, "ReferencedSOPInstanceUID") for item in items(group, "ReferencedImageSequence"))
        found.append(
            ReferencedMaps(
                frozenset(uid for uid in images if uid), tuple(one for one in maps if one is not None)
            )
        )
    return tuple(found)


def chosen_map(maps: Sequence[RealWorldMap], low: float, high: float) -> RealWorldMap | None:
    """The first map that covers all values and whose unit volumes know, else the first that covers them."""
    covering = [one for one in maps if one.covers(low, high)]
    return next((one for one in covering if one.unit != "arbitrary"), covering[0] if covering else None)


def _map(item: Dataset) -> RealWorldMap | None:
    first = _either(item, "RealWorldValueFirstValueMapped", "DoubleFloatRealWorldValueFirstValueMapped")
    last = _either(item, "RealWorldValueLastValueMapped", "DoubleFloatRealWorldValueLastValueMapped")
    slope, intercept = number(item, "RealWorldValueSlope"), number(item, "RealWorldValueIntercept")
    values = numbers(item, "RealWorldValueLUTData")
    table = None if values is None else np.array(values, dtype=np.float64)
    linear = slope is not None and intercept is not None
    if first is None or last is None or first > last or not (linear or table is not None):
        return None
    if not linear and table is not None and len(table) != last - first + 1:
        return None
    units = items(item, "MeasurementUnitsCodeSequence")
    return RealWorldMap(
        first,
        last,
        slope if slope is not None else 1.0,
        intercept if intercept is not None else 0.0,
        None if linear else table,
        (text(units[0], "CodeValue") or "") if units else "",
        text(item, "LUTLabel") or "",
    )


def _either(item: Dataset, *keywords: str) -> float | None:
    return next((value for word in keywords if (value := number(item, word)) is not None), None)
