"""Is this series a volume? One verdict per series, from numbers alone.

Axes. The normal of the slices is ``cross(row direction, column direction)``, where the row direction is
where a row runs to (first three cosines of ImageOrientationPatient). Slices are sorted along the positive
normal, so (column index, row index, slice index) is a right-handed frame; array axes are
``[slice, row, column]``.

Tolerances. `TOLERANCE` is the share of the spacing by which a voxel may lie off the place that the grid
gives it: 5 %, of the slice spacing along the normal and of the pixel spacing within the plane. It lets the
rounding of decimal strings pass (positions in steps of 0.1 mm at a slice spacing of 1 mm are off by half of
that, 5 %) and is far below what resampling smooths. It is measured on places, not on gaps, so that rounding
does not add up over a long series. `ANGLE` is the angle in radians by which orientations of one series may
differ: 0.001, less than half a pixel at the edge of 512. `SAME_PLACE` is the share of the spacing within
which two images stand at one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.grid import Grid
from voxlake.dicom.planes import Plane, is_mosaic, is_projection, is_untiled, planes_of

__all__ = [
    "ANGLE",
    "SAME_PLACE",
    "TOLERANCE",
    "Kind",
    "SortedPlanes",
    "Verdict",
    "base_gap",
    "judge",
    "judge_planes",
    "same_height",
    "sorted_planes",
]

Kind = Literal["regular", "gap", "uneven", "tilt", "duplicates", "mixed", "flat", "none"]
Float = NDArray[np.float64]

TOLERANCE = 0.05
ANGLE = 1e-3
SAME_PLACE = 0.01
# Two positions closer than this (mm) are one, whatever the spacing: no scanner has finer slices.
_SAME_MM = 1e-3
# How far from unit length or from a right angle the cosines of one image may be and still be cosines.
_COSINES = 1e-2
# Modalities whose images are slices: several without a position are no set of single images.
_CROSS_SECTIONAL = frozenset({"CT", "MR", "PT", "NM"})


@dataclass(frozen=True)
class Verdict:
    """What a series is in space.

    Parameters
    ----------
    kind : str
        ``regular``: a volume. ``flat``: images each for itself, without millimetres. All others are no
        volume: ``gap`` (slices missing), ``uneven``, ``tilt`` (sheared against the normal), ``duplicates``
        (several images at one place), ``mixed`` (shape, spacing, orientation or kind differ), ``none``.
    note : str
        What was measured, in a sentence.
    slices : int or None
        Slices of the volume; 1 for one flat image; None otherwise.
    spacing : tuple of float or None
        mm along (slice, row, column), where it could be measured, also for bad verdicts.
    order : tuple of (int, int)
        For every slice the index of the row and of its frame. For ``gap``, ``uneven``, ``tilt`` and
        ``duplicates`` all images as sorted; empty for ``mixed`` and ``none``.
    grid : Grid or None
        For ``regular`` and for one flat image only: no place is made up over a bad verdict.
    """

    kind: Kind
    note: str
    slices: int | None = None
    spacing: tuple[float, float, float] | None = None
    order: tuple[tuple[int, int], ...] = ()
    grid: Grid | None = None


def judge(rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge the geometry of one series.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of `instances` of one series, in any order. Instances without pixels are passed over.

    Returns
    -------
    Verdict
        A single slice with a place is ``regular`` with its thickness (or stated spacing) as the step, which
        the note says.
    """
    return judge_planes(rows, planes_of(rows))


def judge_planes(rows: Sequence[Mapping[str, Any]], planes: Sequence[Plane]) -> Verdict:
    """Judge the geometry of some of the planes of a series.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of `instances`, as for `judge`.
    planes : sequence of Plane
        Some of ``planes_of(rows)``; the order of the verdict counts in `rows`.
    """
    images = [rows[instance] for instance in dict.fromkeys(plane.instance for plane in planes)]
    if not images:
        return Verdict("none", "no object with pixels")
    if any(is_mosaic(row) and not is_untiled(row) for row in images):
        return Verdict("none", "slices tiled into one image (mosaic), without what says where each lies")
    projections = sum(is_projection(row) for row in images)
    if projections:
        if projections < len(images):
            return Verdict("mixed", f"{projections} localizers among {len(images)} images")
        return _without_places(images, planes)
    placed = [plane for plane in planes if plane.placed]
    if not placed:
        return _without_places(images, planes)
    if len(placed) < len(planes):
        return Verdict("mixed", f"{len(planes) - len(placed)} of {len(planes)} images have no place in space")
    return _difference(planes) or _judge_stack(images, planes)


def _without_places(images: Sequence[Mapping[str, Any]], planes: Sequence[Plane]) -> Verdict:
    order = tuple((plane.instance, plane.frame) for plane in planes)
    if len(planes) == 1:
        return Verdict(
            "flat", "one image without a place in space", 1, None, order, Grid.flat_image(planes[0].shape)
        )
    if len(planes) > len(images):
        return Verdict("none", f"{len(planes)} frames without places in space (a film, or a tiled image)")
    if all(is_projection(row) for row in images) or not any(
        row.get("modality") in _CROSS_SECTIONAL for row in images
    ):
        return Verdict("flat", f"{len(planes)} images, each for itself", None, None, order)
    return Verdict("none", f"{len(planes)} images that belong together have no positions")


def _difference(planes: Sequence[Plane]) -> Verdict | None:
    """A verdict if the planes cannot be slices of one volume."""
    first = planes[0]
    if any(plane.shape != first.shape for plane in planes):
        return Verdict("mixed", "images of different size")
    if any(plane.kind != first.kind for plane in planes):
        return Verdict(
            "mixed", "images of different colour, photometric interpretation or frame of reference"
        )
    spacings = np.array([plane.spacing for plane in planes])
    if (np.ptp(spacings, axis=0) * np.array(first.shape) > TOLERANCE * spacings[0]).any():
        return Verdict("mixed", "images of different pixel spacing")
    cosines = np.array([plane.orientation for plane in planes])
    lengths = np.linalg.norm(cosines.reshape(-1, 2, 3), axis=2)
    across = np.abs((cosines[:, :3] * cosines[:, 3:]).sum(axis=1))
    if np.abs(lengths - 1).max() > _COSINES or across.max() > _COSINES:
        return Verdict("none", "ImageOrientationPatient is not two directions at a right angle")
    apart = np.linalg.norm((cosines - cosines[0]).reshape(-1, 2, 3), axis=2).max()
    if apart > ANGLE:
        return Verdict("mixed", f"orientations differ by up to {np.degrees(apart):.2f} degrees")
    return None


@dataclass(frozen=True, eq=False)
class SortedPlanes:
    """Planes sorted along their normal, and what was measured on them.

    Parameters
    ----------
    planes : list of Plane
        Sorted; of equal height in the order in which they came.
    positions : array
        LPS mm, (n, 3).
    along : array
        Height along the normal in mm, (n,).
    directions : array
        Unit vectors: normal, direction of a column, direction of a row, (3, 3).
    frame : str or None
        FrameOfReferenceUID.
    """

    planes: list[Plane]
    positions: Float
    along: Float
    directions: Float
    frame: str | None

    @property
    def order(self) -> tuple[tuple[int, int], ...]:
        """Row and frame of every plane."""
        return tuple((plane.instance, plane.frame) for plane in self.planes)

    @property
    def in_plane(self) -> tuple[float, float]:
        """Mm between rows, between columns."""
        spacing = self.planes[0].spacing
        return spacing if spacing is not None else (0.0, 0.0)

    def verdict(self, kind: Kind, note: str, step: float | None) -> Verdict:
        """A verdict over these planes; `step` in mm along the normal."""
        spacing = None if step is None else (float(step), *self.in_plane)
        if kind != "regular" or step is None:
            return Verdict(kind, note, None, spacing, self.order)
        normal, down, right = self.directions
        grid = Grid.from_vectors(
            (len(self.planes), *self.planes[0].shape),
            origin=self.positions[0],
            slice_step=normal * step,
            row_step=down * self.in_plane[0],
            column_step=right * self.in_plane[1],
            frame=self.frame,
        )
        return Verdict(kind, note, len(self.planes), spacing, self.order, grid)


def _judge_stack(images: Sequence[Mapping[str, Any]], planes: Sequence[Plane]) -> Verdict:
    stack = sorted_planes(planes)
    if len(planes) == 1:
        return _single(stack, images[0])
    gaps = np.diff(stack.along)
    if np.isinf(same_height(gaps)):
        return stack.verdict("duplicates", f"{len(planes)} images at one position", None)
    base = base_gap(gaps)
    repeated = int((gaps <= same_height(gaps)).sum())
    if repeated:
        places = len(planes) - repeated
        return stack.verdict("duplicates", f"{len(planes)} images at {places} positions", base)
    uneven = _spacing_verdict(stack, gaps, base)
    # The shear first: a repair has to undo it before the spacing can be mended.
    return (
        _shear_verdict(stack, base, uneven)
        or uneven
        or _pair_verdict(stack, images)
        or stack.verdict("regular", f"{len(planes)} slices, {_step(stack):.4g} mm apart", _step(stack))
    )


def sorted_planes(planes: Sequence[Plane]) -> SortedPlanes:
    """Sort planes of one orientation, all of which have a place."""
    cosines = np.asarray(planes[0].orientation, dtype=np.float64)
    right = cosines[:3] / np.linalg.norm(cosines[:3])
    # Printed cosines are at a right angle only up to rounding; the grid wants it exact.
    down = cosines[3:] - (cosines[3:] @ right) * right
    down /= np.linalg.norm(down)
    normal = np.cross(right, down)
    positions = np.array([plane.position for plane in planes])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    return SortedPlanes(
        [planes[index] for index in order],
        positions[order],
        along[order],
        np.array([normal, down, right]),
        planes[0].kind[-1],
    )


def _single(stack: SortedPlanes, row: Mapping[str, Any]) -> Verdict:
    for name, meaning in (("slice_thickness", "thickness"), ("spacing_between_slices", "stated spacing")):
        step = row.get(name)
        if step is not None and np.isfinite(step) and step > 0:
            return stack.verdict("regular", f"one slice; its {meaning} is assumed as the spacing", step)
    plane = stack.planes[0]
    note = "one slice without thickness or spacing: no millimetres along the slices"
    return Verdict("flat", note, 1, None, stack.order, Grid.flat_image(plane.shape))


def same_height(gaps: Float) -> float:
    """The distance in mm up to which neighbours stand at one height; infinite if all do."""
    if gaps.size == 0 or gaps.max() <= _SAME_MM:
        return float("inf")
    return max(_SAME_MM, SAME_PLACE * base_gap(gaps))


def base_gap(gaps: Float) -> float:
    """The gap between neighbours: the median of those close to the smallest real one."""
    real = gaps[gaps > max(_SAME_MM, SAME_PLACE * float(np.median(gaps)))]
    return float(np.median(real[real <= 1.5 * real.min()]))


def _step(stack: SortedPlanes) -> float:
    return float((stack.along[-1] - stack.along[0]) / (len(stack.along) - 1))


def _spacing_verdict(stack: SortedPlanes, gaps: Float, base: float) -> Verdict | None:
    step = _step(stack)
    places = stack.along[0] + step * np.arange(len(stack.along))
    off = float(np.abs(stack.along - places).max())
    if off <= TOLERANCE * step:
        return None
    multiples = np.rint(gaps / base)
    # Each gap has two rounded ends, so twice the tolerance of a place.
    if multiples.max() > 1 and np.abs(gaps - multiples * base).max() <= 2 * TOLERANCE * base:
        missing = int((multiples - 1).sum())
        return stack.verdict("gap", f"{missing} slices missing between {len(gaps) + 1}", base)
    note = f"distances from {gaps.min():.4g} to {gaps.max():.4g} mm; a slice is {off:.3g} mm off its place"
    return stack.verdict("uneven", note, float(np.median(gaps)))


def _shear_verdict(stack: SortedPlanes, base: float, uneven: Verdict | None) -> Verdict | None:
    """A verdict if the slices leave the normal through the first one."""
    sideways = (stack.positions - stack.positions[0]) @ stack.directions[1:].T
    off = np.abs(sideways).max(axis=0)
    if (off <= TOLERANCE * np.array(stack.in_plane)).all():
        return None
    height = stack.along - stack.along[0]
    slope = sideways[-1] / height[-1]
    scatter = float(np.abs(sideways - np.outer(height, slope)).max())
    tangent = float(np.linalg.norm(slope))
    if scatter > TOLERANCE * max(min(stack.in_plane), tangent * base):
        note = f"slices shifted within their plane by up to {off.max():.3g} mm"
        return stack.verdict("uneven", note, base)
    note = f"slices sheared by {np.degrees(np.arctan(tangent)):.2f} degrees against their normal"
    if uneven is None or uneven.spacing is None:
        return stack.verdict("tilt", note, _step(stack))
    return stack.verdict("tilt", f"{note}; also {uneven.kind}: {uneven.note}", uneven.spacing[0])


def _pair_verdict(stack: SortedPlanes, images: Sequence[Mapping[str, Any]]) -> Verdict | None:
    """Two slices always look regular; what the device states shows if others lay between them."""
    stated = [
        row.get(name) or 0.0 for row in images for name in ("slice_thickness", "spacing_between_slices")
    ]
    if len(stack.planes) > 2 or not any(stated) or _step(stack) <= 1.5 * max(stated):
        return None
    note = f"two slices {_step(stack):.4g} mm apart, the device states {max(stated):.4g} mm"
    return stack.verdict("gap", note, _step(stack))
