"""Segments to voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label, Lineage, Mask, Volume
from voxlake.dicom.masks import EXACT, NEAREST, sample_nearest
from voxlake.dicom.seg import Segment, Segmentation

__all__ = ["segment_fractions", "segment_masks"]

# Voxels by which a frame may be off the voxels of an image and still show them, as in `geometry`.
_TOLERANCE = 0.05
# Slices of the image; between one and two.
_SEVERAL_SLICES = 1.5


def segment_masks(
    segmentation: Segmentation, grid: Grid | None = None, *, threshold: float = 0.5
) -> list[Mask]:
    """Make masks of all segments.

    Parameters
    ----------
    segmentation : Segmentation
        From `voxlake.dicom.seg.read_seg`.
    grid : Grid, optional
        The grid of the image; by default the segmentation's own. Frames that show its voxels, perhaps
        cropped, flipped or transposed, are put there as they are, wherever frames are missing in between. All
        others, those that stand for several slices among them, are sampled at the nearest voxel
        (`voxlake.dicom.masks.transfer_mask`). The lineage says which.
    threshold : float
        Of a fractional segmentation: voxels above this share belong to the segment.

    Returns
    -------
    list of Mask
        The values are segment numbers. One mask with all segments, or, if segments share voxels, one mask for
        each segment.

    Raises
    ------
    ItemError
        ``mask_frame``: image and segmentation lie in different frames of reference. ``unsupported_mask``: the
        frames lie on no lattice. ``geometry_duplicates``: a segment has two frames at one place.
    """
    places = _places(segmentation, grid)
    numbers = [number for number in segmentation.segments if number > 0]
    dtype = np.min_scalar_type(max([*numbers, 1]))
    together = np.zeros(places.grid.shape, dtype=dtype)
    if segmentation.kind == "LABELMAP":
        for frame, window, part in places:
            stored = segmentation.values[frame]
            together[window] = places.turned(np.where(stored == segmentation.padding, 0, stored))[part]
        return [_mask(segmentation, places, together, numbers)]
    for frame, window, part in places:
        segment = segmentation.planes[frame].segment
        inside = places.turned(segmentation.values[frame] > threshold * segmentation.maximum)[part]
        if np.any(together[window][inside]):
            return [_alone(segmentation, places, number, threshold, dtype) for number in numbers]
        together[window][inside] = segment
    return [_mask(segmentation, places, together, numbers)]


def segment_fractions(segmentation: Segmentation, grid: Grid | None = None) -> list[tuple[Segment, Volume]]:
    """Make a volume of shares, from 0 to 1, for each segment.

    Parameters
    ----------
    segmentation : Segmentation
        Binary or fractional.
    grid : Grid, optional
        As in `segment_masks`.

    Returns
    -------
    list of (Segment, Volume)
        float32, unit ``fraction``: the probability or the occupancy that the object stores, 0 or 1 for a
        binary one.

    Raises
    ------
    ItemError
        As `segment_masks`; ``unsupported_mask`` for a label map.
    """
    if segmentation.kind == "LABELMAP":
        raise ItemError("unsupported_mask", "a label map has no fractions; use its mask")
    places = _places(segmentation, grid)
    found = []
    for segment in segmentation.segments.values():
        values = np.zeros(places.grid.shape, dtype=np.float32)
        for frame, window, part in places.of(segment.number):
            shares = segmentation.values[frame].astype(np.float32) / np.float32(segmentation.maximum)
            values[window] = places.turned(shares)[part]
        data, steps = places.finished(values)
        step = f"segment {segment.number}: {segmentation.fractional_type or segmentation.kind}"
        lineage = Lineage(steps=(step, *steps))
        found.append((segment, Volume(data, places.target, "fraction", lineage=lineage)))
    return found


@dataclass(frozen=True, eq=False)
class _Places:
    """Where each frame goes.

    Parameters
    ----------
    grid, target : Grid
        On which the frames are put, and onto which the result is brought.
    swap, flips : bool, tuple of bool
        Whether rows and columns change places, and which axes of the result run backwards.
    starts : array of int
        (frames, 3): slice, row and column of the first pixel of each turned frame.
    shape : tuple of int
        Rows and columns of a turned frame.
    segments : tuple of int or None
        Segment of each frame.
    """

    grid: Grid
    target: Grid
    swap: bool
    flips: tuple[bool, bool]
    starts: NDArray[np.int64]
    shape: tuple[int, int]
    segments: tuple[int | None, ...]

    def __iter__(self) -> Iterator[tuple[int, Any, Any]]:
        """Frame number, where on the grid it goes, and what of the turned frame goes there."""
        for frame, start in enumerate(self.starts.tolist()):
            if not 0 <= start[0] < self.grid.shape[0]:
                continue
            window, part = [], []
            for first, length, size in zip(start[1:], self.shape, self.grid.shape[1:], strict=True):
                low, high = max(first, 0), max(min(first + length, size), first, 0)
                window.append(slice(low, high))
                part.append(slice(low - first, high - first))
            yield frame, (start[0], *window), tuple(part)

    def of(self, segment: int) -> Iterator[tuple[int, Any, Any]]:
        """The frames of one segment."""
        return (item for item in self if self.segments[item[0]] == segment)

    def turned(self, values: NDArray[Any]) -> NDArray[Any]:
        """A frame with its axes along those of the grid."""
        turned = values.T if self.swap else values
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def finished(self, values: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
        """Values on the target, and the steps that this took."""
        steps = []
        beyond = int(((self.starts[:, 0] < 0) | (self.starts[:, 0] >= self.grid.shape[0])).sum())
        if beyond:
            steps.append(f"{beyond} frames beyond the slices left out")
        if self.grid is not self.target:
            values, exact = sample_nearest(values, self.grid, self.target)
            steps.append(EXACT if exact else NEAREST)
        return values, tuple(steps)


def _places(segmentation: Segmentation, grid: Grid | None) -> _Places:
    own = segmentation.grid
    target = own if grid is None else grid
    if target is None:
        raise ItemError(
            "unsupported_mask", "the frames lie on no regular lattice; give the grid of the image"
        )
    frames = segmentation.frame_of_reference, target.frame
    if (frames[0] and frames[1] and frames[0] != frames[1]) or _flat(segmentation) != target.flat:
        raise ItemError("mask_frame", "segmentation and image lie in different frames of reference")
    found = None if _coarser(segmentation, target) else _aligned(segmentation, target)
    if found is None and own is not None:
        found = _aligned(segmentation, own)
    if found is None or (target.flat and found.grid.shape != target.shape):
        raise ItemError("unsupported_mask", "the frames of the segmentation do not fit the image")
    placed = [(segment, start) for segment, (start, *_) in zip(found.segments, found.starts, strict=True)]
    if len(set(placed)) < len(placed):
        raise ItemError("geometry_duplicates", "a segment has several frames at one place")
    return _Places(**{**vars(found), "target": target})


def _coarser(segmentation: Segmentation, target: Grid) -> bool:
    """Whether a frame stands for several slices of the grid, and not for one among others without frames."""
    own, extent = segmentation.grid, segmentation.slice_extent
    if own is None or extent is None or own.flat or target.flat:
        return False
    return min(own.spacing[0], extent) > _SEVERAL_SLICES * target.spacing[0]


def _flat(segmentation: Segmentation) -> bool:
    return not segmentation.planes or segmentation.planes[0].position is None


def _aligned(segmentation: Segmentation, grid: Grid) -> _Places | None:
    """Where the frames go if they show the voxels of a grid; None if they do not."""
    shape = segmentation.values.shape[1], segmentation.values.shape[2]
    segments = tuple(plane.segment for plane in segmentation.planes)
    if _flat(segmentation):
        starts = np.zeros((len(segments), 3), dtype=np.int64)
        fits = grid.shape == (1, *shape)
        return _Places(grid, grid, False, (False, False), starts, shape, segments) if fits else None
    to_index = np.linalg.inv(grid.affine)
    steps = to_index[:3, :3] @ np.array([plane.steps for plane in segmentation.planes])
    whole = np.rint(steps[0])
    firsts = grid.world_to_index(np.array([plane.position for plane in segmentation.planes]))
    starts = np.rint(firsts).astype(np.int64)
    off = np.abs(firsts - starts).max() + (np.abs(steps - whole) * np.asarray(shape)).sum(axis=2).max()
    one_to_one = (np.abs(whole).sum(axis=0) == 1).all() and not whole[0].any() and whole[1:].any(axis=1).all()
    if off > _TOLERANCE or not one_to_one:
        return None
    swap = bool(whole[1, 1])
    sizes = shape[::-1] if swap else shape
    backwards = whole[1:].sum(axis=1) < 0
    starts[:, 1:] -= backwards * (np.asarray(sizes) - 1)
    flips = (bool(backwards[0]), bool(backwards[1]))
    return _Places(grid, grid, swap, flips, starts, (sizes[0], sizes[1]), segments)


def _mask(segmentation: Segmentation, places: _Places, values: NDArray[Any], numbers: Sequence[int]) -> Mask:
    data, steps = places.finished(values)
    labels = tuple(_label(segmentation.segments[number]) for number in numbers)
    return Mask(data, places.target, labels, Lineage(steps=(f"{segmentation.kind} segmentation", *steps)))


def _alone(
    segmentation: Segmentation, places: _Places, number: int, threshold: float, dtype: np.dtype[Any]
) -> Mask:
    values = np.zeros(places.grid.shape, dtype=dtype)
    for frame, window, part in places.of(number):
        inside = places.turned(segmentation.values[frame] > threshold * segmentation.maximum)[part]
        values[window][inside] = number
    return _mask(segmentation, places, values, [number])


def _label(segment: Segment) -> Label:
    code = None if segment.type is None else (segment.type.value, segment.type.scheme)
    return Label(segment.number, segment.label, code)
