"""Contours to voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import FlatGridError, ItemError, NotFoundError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label, Lineage, Mask
from voxlake.dicom.polygon import fill
from voxlake.dicom.rtstruct import CLOSED, Contour, Region, StructureSet

__all__ = ["rasterise"]

Float = NDArray[np.float64]

# Slices by which the points of one contour may leave a slice's plane: the rounding of decimal strings on
# oblique slices, not a contour that runs through several slices.
_FLATNESS = 0.2
# Slices by which contours of one plane may differ: positions of contours are rounded too.
_SAME_PLANE = 0.05
# Slices below which a distance is rounding of the arithmetic.
_ROUNDING = 1e-6


def rasterise(structures: StructureSet, grid: Grid, roi: int) -> Mask:
    """Fill the contours of one region on a grid.

    A voxel belongs to the region if its centre lies inside the contours of its slice, see
    `voxlake.dicom.polygon.fill` (even-odd rule; ties go to the left and upper outline). Contours of one plane
    are combined, so that holes and keyholes come out; a contour that is there twice counts once, unless it is
    of type CLOSEDPLANAR_XOR. A slice takes the plane of contours that is nearest to it and at most half a
    slice away (exactly between two slices: the later one). Slices without contours stay empty: nothing is
    interpolated. Points and open contours enclose nothing and are left out.

    Parameters
    ----------
    structures : StructureSet
        From `voxlake.dicom.rtstruct.read_rtstruct`.
    grid : Grid
        Any grid whose slices are parallel to the contours.
    roi : int
        ROI Number.

    Returns
    -------
    Mask
        uint8, 1 in the region. What was left out stands in the lineage.

    Raises
    ------
    NotFoundError
        No region has this number.
    FlatGridError
        The grid is flat: contours are in millimetres.
    ItemError
        ``mask_frame``: the grid lies in another frame of reference. ``mask_plane``: a contour is not parallel
        to the slices. ``mask_empty``: the region has no closed contour.
    """
    region = structures.regions.get(roi)
    if region is None:
        known = ", ".join(map(str, structures.regions))
        raise NotFoundError(f"the structure set has no region {roi}; it has {known or 'none'}")
    if grid.flat:
        raise FlatGridError("contours are in millimetres, but this image is flat: it has no place in space")
    if region.frame and grid.frame and region.frame != grid.frame:
        raise ItemError("mask_frame", "contours and image lie in different frames of reference")
    closed = [contour for contour in region.contours if contour.kind in CLOSED]
    if not closed:
        raise ItemError("mask_empty", f"none of the {len(region.contours)} contours of the region is closed")
    indices = _indices(closed, grid)
    heights = _heights(indices)
    values = np.zeros(grid.shape, dtype=np.uint8)
    notes = ["rasterise contours: even-odd at voxel centres"]
    planes = _nearest(_planes(heights), heights)
    for place, members in planes.items():
        if 0 <= place < grid.shape[0]:
            kept = _without_repeats([closed[number] for number in members])
            outlines = [indices[members[number]][:, 1:] for number in kept]
            values[place] = fill(outlines, grid.shape[1:])
            if len(kept) < len(members):
                notes.append(f"slice {place}: {len(members) - len(kept)} repeated contours left out")
    beyond = sum(not 0 <= place < grid.shape[0] for place in planes)
    if beyond:
        notes.append(f"contours of {beyond} planes beyond the slices left out")
    unused = len(heights) - sum(map(len, planes.values()))
    if unused:
        notes.append(f"{unused} contours between the slices left out")
    return Mask(values, grid, (_label(region),), Lineage(steps=tuple(notes)))


def _label(region: Region) -> Label:
    return Label(1, region.name, None if region.code is None else (region.code.value, region.code.scheme))


def _indices(contours: Sequence[Contour], grid: Grid) -> list[Float]:
    """Fractional (slice, row, column) of all points, for each contour (N, 3)."""
    ends = np.cumsum([len(contour.points) for contour in contours])
    points = grid.world_to_index(np.concatenate([contour.points for contour in contours]))
    return np.split(points, ends[:-1])


def _heights(indices: Sequence[Float]) -> Float:
    """Where along the slice axis each contour lies, in slices."""
    spread = max(float(np.ptp(points[:, 0])) for points in indices)
    if spread > _FLATNESS:
        raise ItemError(
            "mask_plane",
            f"a contour runs through {spread:.3g} slices; contours must be parallel to the slices",
        )
    return np.array([points[:, 0].mean() for points in indices])


def _planes(heights: Float) -> list[list[int]]:
    """Numbers of the contours of each plane, from the lowest plane up."""
    order = np.argsort(heights, kind="stable")
    breaks = np.flatnonzero(np.diff(heights[order]) > _SAME_PLANE) + 1
    return [sorted(part.tolist()) for part in np.split(order, breaks)]


def _nearest(planes: Sequence[Sequence[int]], heights: Float) -> dict[int, Sequence[int]]:
    """For each slice the contours of the plane that is nearest to it; of two equally near ones the lower."""
    found: dict[int, tuple[float, Sequence[int]]] = {}
    for members in planes:
        height = float(heights[list(members)].mean())
        place = int(np.floor(height + 0.5 + _ROUNDING))
        apart = abs(height - place)
        if place not in found or apart < found[place][0] - _ROUNDING:
            found[place] = (apart, members)
    return {place: members for place, (_, members) in found.items()}


def _without_repeats(contours: Sequence[Contour]) -> list[int]:
    """Numbers of the contours that count: an outline given twice would erase itself."""
    seen: set[bytes] = set()
    kept = []
    for number, contour in enumerate(contours):
        outline = contour.points.tobytes()
        if contour.kind == "CLOSED_PLANAR" and outline in seen:
            continue
        seen.add(outline)
        kept.append(number)
    return kept
