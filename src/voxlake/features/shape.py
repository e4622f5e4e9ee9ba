"""Shape of a region."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from voxlake.features.family import Family, Feature
from voxlake.features.mesh import mesh_area_and_volume, outline_length, surface_points
from voxlake.features.region import Region
from voxlake.features.statistics import ratio

__all__ = ["Shape"]

Float = NDArray[np.float64]

# Name -> IBSI code and power of the unit of length.
_SOLID: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "mesh_volume": ("RNU0", 3),
        "voxel_volume": ("YEKZ", 3),
        "surface_area": ("C0JK", 2),
        "surface_to_volume_ratio": ("2PR5", -1),
        "compactness_1": ("SKGS", 0),
        "compactness_2": ("BQWJ", 0),
        "spherical_disproportion": ("KRCK", 0),
        "sphericity": ("QCFX", 0),
        "asphericity": ("25C7", 0),
        "centre_of_mass_shift": ("KLMA", 1),
        "maximum_diameter": ("L0JK", 1),
        "major_axis_length": ("TDIC", 1),
        "minor_axis_length": ("P9VJ", 1),
        "least_axis_length": ("7J51", 1),
        "elongation": ("Q3CK", 0),
        "flatness": ("N17B", 0),
        "bounding_box_volume_density": ("PBX1", 0),
        "bounding_box_area_density": ("R59B", 0),
        "convex_hull_volume_density": ("R3ER", 0),
        "convex_hull_area_density": ("7T7F", 0),
        "integrated_intensity": ("99N0", 3),
    }
)
# The standard is about volumes: what stands for its features in the plane has no code.
_FLAT: Mapping[str, int] = MappingProxyType(
    {
        "area": 2,
        "perimeter": 1,
        "circularity": 0,
        "centre_of_mass_shift": 1,
        "maximum_diameter": 1,
        "major_axis_length": 1,
        "minor_axis_length": 1,
        "elongation": 0,
        "bounding_box_area_density": 0,
        "convex_hull_area_density": 0,
    }
)
_PAIRS_AT_ONCE = 1 << 22


class Shape(Family):
    """Size and shape of a region: of a volume in mm, of a flat image in pixels.

    IBSI reference manual, section 3.1, without the features of enclosing ellipsoids and minimum boxes: volume
    and surface of a mesh (see `mesh`), what follows from their ratio, lengths of the principal axes, largest
    diameter, how much of its bounding box and of its convex hull the region fills. The bounding box is that
    of the axes of the array. A region without voxels has no shape: its size is 0, all else is undefined.

    On a flat image: area, perimeter, circularity (4 pi area / perimeter squared), and the like of the others.
    """

    name: ClassVar[str] = "shape"
    version: ClassVar[int] = 1
    of_image: ClassVar[bool] = False

    def __call__(self, region: Region) -> tuple[Feature, ...]:
        """Measure the region."""
        if region.flat:
            flat = _flat(region)
            return tuple(
                Feature(name, flat.get(name, math.nan), None, _power(region.length_unit, power))
                for name, power in _FLAT.items()
            )
        solid = _solid(region)
        return tuple(
            Feature(name, solid.get(name, math.nan), code, _unit(name, region, power))
            for name, (code, power) in _SOLID.items()
        )


def _solid(region: Region) -> dict[str, float]:
    count, steps = int(np.count_nonzero(region.inside)), region.steps
    if not count:
        return {"mesh_volume": 0.0, "voxel_volume": 0.0, "surface_area": 0.0}
    area, volume = mesh_area_and_volume(region.inside, steps)
    sphere = (36 * math.pi * volume**2) ** (1 / 3)
    box = np.array(region.inside.shape) * np.linalg.norm(steps, axis=0)
    box_area = 2 * float(box[0] * box[1] + box[0] * box[2] + box[1] * box[2])
    hull = ConvexHull(surface_points(region.inside) @ steps.T)
    major, minor, least = _axes(region.inside, steps)
    mean = float(region.intensities.mean()) if region.intensities.size else math.nan
    return {
        "mesh_volume": volume,
        "voxel_volume": count * abs(float(np.linalg.det(steps))),
        "surface_area": area,
        "surface_to_volume_ratio": area / volume,
        "compactness_1": volume / (math.sqrt(math.pi) * area**1.5),
        "compactness_2": (sphere / area) ** 3,
        "spherical_disproportion": area / sphere,
        "sphericity": sphere / area,
        "asphericity": area / sphere - 1,
        "centre_of_mass_shift": _centre_shift(region),
        "maximum_diameter": _largest_distance(hull.points[hull.vertices]),
        "major_axis_length": major,
        "minor_axis_length": minor,
        "least_axis_length": least,
        "elongation": ratio(minor, major),
        "flatness": ratio(least, major),
        "bounding_box_volume_density": volume / float(box.prod()),
        "bounding_box_area_density": area / box_area,
        "convex_hull_volume_density": volume / float(hull.volume),
        "convex_hull_area_density": area / float(hull.area),
        "integrated_intensity": volume * mean,
    }


def _flat(region: Region) -> dict[str, float]:
    plane, steps = np.asarray(region.inside.any(axis=0)), region.steps[:, 1:]
    count = int(np.count_nonzero(plane))
    if not count:
        return {"area": 0.0, "perimeter": 0.0}
    lengths = np.linalg.norm(steps, axis=0)
    area, perimeter = count * float(lengths.prod()), outline_length(plane, steps)
    # In the plane, what is called volume is the area.
    hull = ConvexHull(surface_points(plane) * lengths)
    major, minor = _axes(plane, steps)[:2]
    return {
        "area": area,
        "perimeter": perimeter,
        "circularity": 4 * math.pi * area / perimeter**2,
        "centre_of_mass_shift": _centre_shift(region),
        "maximum_diameter": _largest_distance(hull.points[hull.vertices]),
        "major_axis_length": major,
        "minor_axis_length": minor,
        "elongation": ratio(minor, major),
        "bounding_box_area_density": area / float((plane.shape * lengths).prod()),
        "convex_hull_area_density": area / float(hull.volume),
    }


def _axes(inside: NDArray[np.bool_], steps: Float) -> list[float]:
    """Four times the standard deviation along the principal axes, longest first."""
    places = np.argwhere(inside).astype(np.float64)
    places -= places.mean(axis=0)
    # The reference values are reached with the variance of a sample.
    moments = places.T @ places / max(len(places) - 1, 1)
    found = np.linalg.eigvalsh(steps @ moments @ steps.T)[::-1]
    # Rounding makes the thickness of a plane a little more or less than none.
    found[found < found[0] * 1e-12] = 0.0
    return [4 * math.sqrt(value) for value in found]


def _centre_shift(region: Region) -> float:
    weights = region.intensities
    total = float(weights.sum())
    if not total:
        return math.nan
    weighted = weights @ np.argwhere(region.measured) / total
    return float(np.linalg.norm(region.steps @ (weighted - np.argwhere(region.inside).mean(axis=0))))


def _largest_distance(points: Float) -> float:
    some = max(1, _PAIRS_AT_ONCE // len(points))
    return max(float(cdist(points[at : at + some], points).max()) for at in range(0, len(points), some))


def _unit(name: str, region: Region, power: int) -> str:
    length = _power(region.length_unit, power)
    return f"{region.unit}*{length}" if name == "integrated_intensity" else length


def _power(unit: str, power: int) -> str:
    return "" if not power else unit if power == 1 else f"{unit}^{power}"
