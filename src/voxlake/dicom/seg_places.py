"""Where the frames of a segmentation lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.dicom.elements import items, numbers, whole
from voxlake.dicom.frames import FrameGroups, frame_count, frame_groups

__all__ = ["FramePlane", "frame_planes", "lattice"]

Float = NDArray[np.float64]

# As in `voxlake.dicom.geometry`: the share of a spacing by which a voxel may lie off its place.
_TOLERANCE = 0.05
# Positions closer than this (mm) are one.
_SAME_MM = 1e-3
# A lattice of more slices than this between two frames is no volume.
_MOST_SLICES = 65_536


@dataclass(frozen=True, eq=False)
class FramePlane:
    """One frame of a segmentation.

    Parameters
    ----------
    segment : int or None
        The segment that it shows; None in a label map, where the values are the segments.
    position : array or None
        LPS mm of the centre of the first pixel, (3,); None for an image without a place.
    steps : array or None
        LPS mm from a pixel to the next one down a column and along a row, as two columns, (3, 2).
    """

    segment: int | None
    position: Float | None = field(default=None, repr=False)
    steps: Float | None = field(default=None, repr=False)


def frame_planes(dataset: Dataset, *, labelmap: bool) -> tuple[FramePlane, ...]:
    """Segment and place of every frame, from the functional groups.

    Raises
    ------
    ItemError
        ``unsupported_mask``: frames of a slide, or without a place although there are several images.
        ``parse_error``: frames without a segment, or places for some frames only.
    """
    groups = frame_groups(dataset)
    _refuse_slides(dataset, groups)
    count = frame_count(dataset) or 0
    if len(groups.frames) != count:
        raise ItemError("parse_error", f"{len(groups.frames)} of {count} frames are described")
    segments = [None] * count if labelmap else _segments(groups)
    positions = groups.each("ImagePositionPatient", lambda item, key: numbers(item, key, 3))
    cosines = groups.each("ImageOrientationPatient", lambda item, key: numbers(item, key, 6))
    spacings = groups.each("PixelSpacing", lambda item, key: numbers(item, key, 2))
    if not positions:
        return _flat(segments)
    if not all(len(values) == count and all(values) for values in (positions, cosines, spacings)):
        raise ItemError("parse_error", "only some of the frames have position, orientation and pixel spacing")
    planes = []
    for segment, position, six, spacing in zip(segments, positions, cosines, spacings, strict=True):
        right, down = np.reshape(np.asarray(six, dtype=np.float64), (2, 3))
        rows, columns = np.asarray(spacing, dtype=np.float64)
        steps = np.stack([down * rows, right * columns], axis=1)
        planes.append(FramePlane(segment, np.asarray(position, dtype=np.float64), steps))
    return tuple(planes)


def _refuse_slides(dataset: Dataset, groups: FrameGroups) -> None:
    tiled = "TotalPixelMatrixColumns" in dataset or any(
        "PlanePositionSlideSequence" in item for item in groups.frames[:1]
    )
    if tiled:
        raise ItemError(
            "unsupported_mask", "a segmentation of slide microscopy: its frames are tiles, not slices"
        )


def _segments(groups: FrameGroups) -> list[int]:
    found = []
    for item in groups.frames:
        sources = items(item, "SegmentIdentificationSequence")
        if not sources and groups.shared is not None:
            sources = items(groups.shared, "SegmentIdentificationSequence")
        segment = whole(sources[0], "ReferencedSegmentNumber") if sources else None
        if segment is None:
            raise ItemError("parse_error", "a frame does not say which segment it shows")
        found.append(segment)
    return found


def _flat(segments: Sequence[int | None]) -> tuple[FramePlane, ...]:
    if len(set(segments)) < len(segments):
        raise ItemError("unsupported_mask", "several frames of a segment have no place in space")
    return tuple(FramePlane(segment) for segment in segments)


def lattice(
    planes: Sequence[FramePlane],
    shape: tuple[int, int],
    frame: str | None,
    stated: tuple[float | None, float | None],
) -> Grid | None:
    """The regular grid on which all frames lie; places between them may have no frame.

    Parameters
    ----------
    planes : sequence of FramePlane
        From `frame_planes`.
    shape : tuple of int
        Rows and columns.
    frame : str or None
        FrameOfReferenceUID.
    stated : tuple of float or None
        Spacing between slices and slice thickness in mm, as the object states them.

    Returns
    -------
    Grid or None
        Slices along the normal ``cross(row direction, column direction)``. The step is the stated spacing
        where all positions agree with it, else the smallest distance of two frames; for a single position
        the stated spacing or thickness. None where this gives no lattice.
    """
    first = planes[0] if planes else FramePlane(None)
    if first.position is None or first.steps is None:
        return Grid.flat_image(shape)
    if not _parallel(planes, shape):
        return None
    positions = np.array([plane.position for plane in planes])
    normal = np.cross(first.steps[:, 1], first.steps[:, 0])
    normal /= np.linalg.norm(normal)
    along = positions @ normal
    origin = positions[along.argmin()]
    sideways = positions - origin - np.outer(along - along.min(), normal)
    if np.linalg.norm(sideways, axis=1).max() > _TOLERANCE * np.linalg.norm(first.steps, axis=0).min():
        return None
    heights = np.sort(along)
    heights = heights[np.concatenate([[True], np.diff(heights) > _SAME_MM])]
    step, slices = _step(heights, stated)
    if step is None:
        return None
    return Grid.from_vectors(
        (slices, *shape),
        origin=origin,
        slice_step=normal * step,
        row_step=first.steps[:, 0],
        column_step=first.steps[:, 1],
        frame=frame,
    )


def _parallel(planes: Sequence[FramePlane], shape: tuple[int, int]) -> bool:
    """Whether all frames have the orientation and pixel spacing of the first one."""
    steps = np.array([plane.steps for plane in planes])
    apart = np.abs(steps - steps[0]) * np.array(shape)
    return bool(apart.max() <= _TOLERANCE * np.linalg.norm(steps[0], axis=0).min())


def _step(heights: Float, stated: tuple[float | None, float | None]) -> tuple[float | None, int]:
    """Step and number of slices of the lattice through sorted, different heights."""
    spacing, thickness = (value if value is not None and value > 0 else None for value in stated)
    if len(heights) == 1:
        return spacing or thickness, 1
    gaps = np.diff(heights)
    for guess in (spacing, float(gaps.min())):
        if guess is None:
            continue
        counts = np.maximum(1, np.rint(gaps / guess))
        total = float(counts.sum())
        step = float(heights[-1] - heights[0]) / total
        off = np.abs(heights[1:] - heights[0] - np.cumsum(counts) * step).max()
        if abs(step - guess) <= _TOLERANCE * guess and off <= _TOLERANCE * step and total < _MOST_SLICES:
            return step, int(total) + 1
    return None, 0
