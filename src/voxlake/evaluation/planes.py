"""Planes through a volume as a reader expects them: axial, coronal and sagittal, in true proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.volume import ArrayLike3D, Volume

__all__ = ["Plane", "planes_through", "shown_at"]

# Slices go down, rows to the back and columns to the left of the patient: seen from below, from the front
# and from the left, as radiologists look.
_SEEN = "IPL"


@dataclass(frozen=True, eq=False)
class Plane:
    """A cut through a volume.

    Parameters
    ----------
    values : ndarray
        (rows, columns), or with 3 channels at the end.
    labels : ndarray of integers or None
        (rows, columns) of the mask.
    spacing : tuple of float
        Distance of rows and of columns, in mm; pixels of a flat image.
    """

    values: NDArray[Any]
    labels: NDArray[Any] | None
    spacing: tuple[float, float]

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width in the unit of the spacing."""
        rows, columns = self.values.shape[:2]
        return rows * self.spacing[0], columns * self.spacing[1]


def planes_through(volume: Volume, labels: NDArray[Any] | None = None) -> tuple[Plane, ...]:
    """Cut a volume where its mask is largest, or in the middle.

    Parameters
    ----------
    volume : Volume
        May be lazy: only the planes are read.
    labels : ndarray of integers, optional
        Values of a mask on the grid of the volume, (slices, rows, columns).

    Returns
    -------
    tuple of Plane
        The axial, the coronal and the sagittal one; of a flat image or a single slice the image itself.
    """
    if volume.grid.flat or volume.grid.shape[0] == 1:
        spacing = (1.0, 1.0) if volume.grid.flat else volume.grid.spacing[1:]
        image = np.asarray(volume.data[0])
        return (Plane(image, None if labels is None else labels[0], (spacing[0], spacing[1])),)
    order, flips = volume.grid.reorientation(_SEEN)
    steps = [volume.grid.spacing[axis] for axis in order]
    found = []
    for across in range(3):
        place = _place(volume.grid.shape, order[across], labels)
        rest = [axis for axis in range(3) if axis != across]
        cut = [_cut(each, order, flips, across, place) for each in (volume.data, labels) if each is not None]
        found.append(Plane(cut[0], cut[1] if len(cut) > 1 else None, (steps[rest[0]], steps[rest[1]])))
    return tuple(found)


def shown_at(plane: Plane, scale: float) -> Plane:
    """A plane with square pixels, `scale` of them to a unit of its spacing.

    Values are means over the area of a pixel; a label is that of the voxel in which the middle of the pixel
    lies.
    """
    rows, columns = (max(1, round(length * scale)) for length in plane.extent)
    height, width = plane.values.shape[:2]
    across = np.einsum("ij,jk...->ik...", _areas(rows, height), plane.values.astype(np.float64))
    values = np.einsum("kj,ij...->ik...", _areas(columns, width), across)
    labels = None
    if plane.labels is not None:
        labels = plane.labels[np.ix_(_nearest(rows, height), _nearest(columns, width))]
    return Plane(values, labels, (1 / scale, 1 / scale))


def _place(shape: tuple[int, ...], axis: int, labels: NDArray[Any] | None) -> int:
    middle = shape[axis] // 2
    if labels is None:
        return middle
    others = tuple(other for other in range(3) if other != axis)
    counts = np.count_nonzero(labels, axis=others)
    largest = np.flatnonzero(counts == counts.max())
    # Of several that are level, the one nearest to the middle.
    return int(largest[np.abs(largest - middle).argmin()])


def _cut(
    data: ArrayLike3D, order: tuple[int, ...], flips: tuple[int, ...], across: int, place: int
) -> NDArray[Any]:
    key: list[Any] = [slice(None)] * 3
    key[order[across]] = place
    plane = np.asarray(data[tuple(key)])
    rest = [axis for axis in range(3) if axis != across]
    if order[rest[0]] > order[rest[1]]:
        plane = np.swapaxes(plane, 0, 1)
    turned: NDArray[Any] = np.flip(plane, tuple(number for number, axis in enumerate(rest) if axis in flips))
    return turned


def _areas(new: int, old: int) -> NDArray[np.float64]:
    """Share of each old pixel in each new one, (new, old); rows add up to 1."""
    edges = np.arange(new + 1) * (old / new)
    starts = np.arange(old)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    weights: NDArray[np.float64] = np.clip(overlap, 0, None) * (new / old)
    return weights


def _nearest(new: int, old: int) -> NDArray[np.intp]:
    return np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.intp), old - 1)
