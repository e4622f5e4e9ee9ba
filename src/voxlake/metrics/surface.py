"""Distances between the surfaces of two masks.

Two definitions of a surface are in use and both are here. ``"surfels"``: pieces of surface at the corners of
voxels, each weighted with its area (Nikolov et al. 2021, see `voxlake.metrics.surfels`); what is large counts
more, and anisotropic voxels do no harm. ``"voxels"``: the voxels of the mask that have a face neighbour
outside it, each counted once, as older tools and many challenges do it. State which one a figure was made
with.

Only what lies in the box around both masks is looked at, and distances are taken at the surfaces alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from voxlake.core.errors import UsageError
from voxlake.metrics.inputs import Floats
from voxlake.metrics.overlap import as_masks
from voxlake.metrics.surfels import corner_codes, surfel_sizes

__all__ = ["Surface", "SurfaceDistances", "hausdorff_distance", "surface_distances"]

Surface: TypeAlias = Literal["surfels", "voxels"]

# A tree is quick where surfaces lie close; of surfaces further apart than this share of the box it would
# search half its points each time, and a distance map costs less.
_FAR = 0.15
_PROBES = 64


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distance of every piece of either surface to the other surface, in mm, and how large the piece is.

    Parameters
    ----------
    truth_to_predicted, predicted_to_truth : ndarray of float64
        Distances, ascending; infinite where the other mask is empty.
    truth_areas, predicted_areas : ndarray of float64
        Area in mm2 (of flat masks length in mm) of each piece, in the same order; ones for ``"voxels"``.
    surface : {"surfels", "voxels"}
        The definition.
    """

    truth_to_predicted: Floats
    predicted_to_truth: Floats
    truth_areas: Floats
    predicted_areas: Floats
    surface: Surface

    def hausdorff(self, percentile: float = 100.0) -> float:
        """Hausdorff distance in mm: the larger of the percentiles of both directions.

        Of ``"surfels"``, the least distance that covers the share of the area; of ``"voxels"``, the
        percentile with linear interpolation. Infinite where one mask is empty, NaN where both are.

        Raises
        ------
        UsageError
            The percentile does not lie between 0 and 100.
        """
        if not 0 <= percentile <= 100:
            raise UsageError(f"percentile must lie between 0 and 100, got {percentile}")
        directions = (
            (self.truth_to_predicted, self.truth_areas),
            (self.predicted_to_truth, self.predicted_areas),
        )
        reached = [self._percentile(found, areas, percentile) for found, areas in directions if found.size]
        return max(reached, default=math.nan)

    def average(self) -> tuple[float, float]:
        """Mean distances in mm, weighted by area: truth to predicted, predicted to truth.

        Infinite from a mask to an empty one, NaN from an empty one.
        """
        return (
            _mean(self.truth_to_predicted, self.truth_areas),
            _mean(self.predicted_to_truth, self.predicted_areas),
        )

    def symmetric_average(self) -> float:
        """Mean distance in mm over the pieces of both surfaces, weighted by area."""
        return _mean(
            np.concatenate((self.truth_to_predicted, self.predicted_to_truth)),
            np.concatenate((self.truth_areas, self.predicted_areas)),
        )

    def overlap(self, tolerance: float) -> tuple[float, float]:
        """Share of the true and of the predicted surface that lies within `tolerance` mm of the other."""
        true, claimed = self._within(tolerance)
        return (
            _ratio(true, float(self.truth_areas.sum())),
            _ratio(claimed, float(self.predicted_areas.sum())),
        )

    def surface_dice(self, tolerance: float) -> float:
        """Share of both surfaces together that lies within `tolerance` mm of the other; NaN if there is none.

        Raises
        ------
        UsageError
            The tolerance is negative or not finite.
        """
        whole = float(self.truth_areas.sum() + self.predicted_areas.sum())
        return _ratio(sum(self._within(tolerance)), whole)

    def _within(self, tolerance: float) -> tuple[float, float]:
        if not 0 <= tolerance < math.inf:
            raise UsageError(f"tolerance must be a distance in mm, got {tolerance}")
        return (
            float(self.truth_areas[self.truth_to_predicted <= tolerance].sum()),
            float(self.predicted_areas[self.predicted_to_truth <= tolerance].sum()),
        )

    def _percentile(self, found: Floats, areas: Floats, percentile: float) -> float:
        # Infinite distances leave nothing to interpolate between.
        if percentile == 100 or math.isinf(found[-1]):
            return float(found[-1])
        if self.surface == "voxels":
            return float(np.percentile(found, percentile))
        covered = np.cumsum(areas)
        place = int(np.searchsorted(covered / covered[-1], percentile / 100))
        return float(found[min(place, found.size - 1)])


def surface_distances(
    truth: ArrayLike, predicted: ArrayLike, spacing: Sequence[float], *, surface: Surface = "surfels"
) -> SurfaceDistances:
    """Measure how far the surfaces of two masks lie apart.

    Parameters
    ----------
    truth, predicted : array-like of bool, two or three axes, equal shape
        Masks [row, column] or [slice, row, column]. Of a flat image take the plane: one slice as a volume
        would have a surface above and below.
    spacing : sequence of float
        Distance of voxels along each axis, in mm.
    surface : {"surfels", "voxels"}
        Definition of the surface; see the module.

    Raises
    ------
    UsageError
        Shapes differ, the masks are not binary, or the spacing does not fit them.
    """
    true, claimed = as_masks(truth, predicted)
    steps = np.asarray(spacing, dtype=np.float64)
    if true.ndim not in (2, 3) or steps.shape != (true.ndim,):
        raise UsageError(
            f"expected masks of two or three axes and a spacing for each, got {true.ndim} and {steps.size}"
        )
    if not (np.isfinite(steps).all() and steps.min() > 0):
        raise UsageError("spacing must be positive distances in mm")
    if surface not in ("surfels", "voxels"):
        raise UsageError(f"surface must be 'surfels' or 'voxels', got {surface!r}")
    box = _box(true, claimed)
    places, sizes, shape = [], [], tuple(0 for _ in steps)
    for mask in (true[box], claimed[box]):
        place, size, shape = _surfels(mask, steps) if surface == "surfels" else _surface_voxels(mask)
        places.append(place)
        sizes.append(size)
    there, areas = _sorted(_distances(places[0], places[1], shape, steps), sizes[0])
    back, back_areas = _sorted(_distances(places[1], places[0], shape, steps), sizes[1])
    return SurfaceDistances(there, back, areas, back_areas, surface)


def hausdorff_distance(
    truth: ArrayLike,
    predicted: ArrayLike,
    spacing: Sequence[float],
    *,
    percentile: float = 100.0,
    surface: Surface = "surfels",
) -> float:
    """Hausdorff distance of two masks in mm; 95 for HD95.

    Parameters and errors are those of `surface_distances` and `SurfaceDistances.hausdorff`.
    """
    return surface_distances(truth, predicted, spacing, surface=surface).hausdorff(percentile)


def _box(true: NDArray[np.bool_], claimed: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest box that holds both masks; empty where they are."""
    box = [slice(0, size) for size in true.shape]
    for axis in range(true.ndim):
        others = tuple(each for each in range(true.ndim) if each != axis)
        # What earlier axes left out is not looked at again.
        used = true[tuple(box)].any(axis=others) | claimed[tuple(box)].any(axis=others)
        places = np.flatnonzero(used)
        box[axis] = slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)
    return tuple(box)


def _surfels(mask: NDArray[np.bool_], steps: Floats) -> tuple[NDArray[np.intp], Floats, tuple[int, ...]]:
    """Flat numbers of the corners where surface passes, its sizes, and the shape of the corners."""
    codes = corner_codes(mask)
    sizes = surfel_sizes(steps.tolist())
    places = np.flatnonzero((codes != 0) & (codes != sizes.size - 1))
    return places, sizes[codes.ravel()[places]], codes.shape


def _surface_voxels(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats, tuple[int, ...]]:
    inner = mask.copy()
    for axis in range(mask.ndim):
        moved, kept = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        kept[1:] &= moved[:-1]
        kept[:-1] &= moved[1:]
        # Outside the box there is no mask.
        kept[:1] = False
        kept[-1:] = False
    places = np.flatnonzero(mask & ~inner)
    return places, np.ones(places.size), mask.shape


def _distances(
    places: NDArray[np.intp], others: NDArray[np.intp], shape: tuple[int, ...], steps: Floats
) -> Floats:
    """Distance of each place to the nearest of the others, in mm; places are flat numbers, ascending."""
    if not places.size or not others.size:
        return np.full(places.size, math.inf)
    found = np.zeros(places.size)
    there = np.zeros(math.prod(shape), dtype=bool)
    there[others] = True
    # What both surfaces share is at distance zero and need not be searched for.
    apart = ~there[places]
    if not apart.any():
        return found
    points = _points(places[apart], shape, steps)
    tree = KDTree(_points(others, shape, steps), leafsize=32)
    probes = points[:: max(1, len(points) // _PROBES)]
    extent = float(np.min((np.asarray(shape) - 1) * steps))
    if float(np.median(tree.query(probes)[0])) > _FAR * extent > 0:
        found[apart] = distance_transform_edt(~there.reshape(shape), sampling=steps).ravel()[places[apart]]
    else:
        found[apart] = tree.query(points)[0]
    return found


def _points(places: NDArray[np.intp], shape: tuple[int, ...], steps: Floats) -> Floats:
    points = np.empty((places.size, len(shape)))
    # Narrow numbers divide several times faster, and no mask that fits into memory needs wider ones.
    rest = places.astype(np.uint32) if math.prod(shape) < 2**32 else places
    for axis in range(len(shape) - 1, -1, -1):
        above = rest // shape[axis]
        points[:, axis] = (rest - above * shape[axis]) * steps[axis]
        rest = above
    return points


def _sorted(found: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    order = np.argsort(found, kind="stable")
    return found[order], sizes[order]


def _mean(found: Floats, areas: Floats) -> float:
    whole = float(areas.sum())
    return float(np.dot(found, areas)) / whole if whole else math.nan


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan
