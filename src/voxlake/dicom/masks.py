"""Masks from one grid to another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Mask

__all__ = ["EXACT", "NEAREST", "sample_nearest", "transfer_mask"]

Float = NDArray[np.float64]

# Voxels by which a place may be off and still be the same voxel: it covers the rounding of positions and
# spacings in decimal strings, as in `voxlake.dicom.geometry`.
_TOLERANCE = 0.05
# Voxels below which a distance is rounding of the arithmetic.
_ROUNDING = 1e-6

EXACT = "to another grid: voxels moved, none resampled"
NEAREST = "to another grid: nearest voxel"


def transfer_mask(mask: Mask, grid: Grid) -> Mask:
    """Bring a mask onto another grid.

    Each voxel takes the value of the voxel of `mask` in which its centre lies (nearest neighbour through both
    affines; exactly between two, the one with the higher index), and 0 outside. Where the grids differ by
    crops, padding, flips and permutations alone, this moves voxels and changes none. The lineage says which.

    Raises
    ------
    ItemError
        ``mask_frame``: the grids lie in different frames of reference, or only one of them is flat.
    """
    values, exact = sample_nearest(mask.numpy(), mask.grid, grid)
    return Mask(values, grid, mask.labels, mask.lineage.then(EXACT if exact else NEAREST))


def sample_nearest(values: NDArray[Any], source: Grid, target: Grid) -> tuple[NDArray[Any], bool]:
    """Values at the voxel centres of another grid, see `transfer_mask`.

    Parameters
    ----------
    values : array
        On `source`, (slices, rows, columns).
    source, target : Grid
        From where, to where.

    Returns
    -------
    values : array
        On `target`, of the same type; 0 outside of `source`.
    exact : bool
        Whether voxels were moved only.
    """
    other_frames = source.frame and target.frame and source.frame != target.frame
    if other_frames or source.flat != target.flat:
        raise ItemError("mask_frame", "mask and image lie in different frames of reference")
    matrix = np.asarray(np.linalg.solve(source.affine, target.affine), dtype=np.float64)
    axes = _axes(matrix, target.shape)
    if axes is None:
        return _through_matrix(values, matrix, target.shape), False
    centre = (np.asarray(target.shape) - 1) / 2
    lines = []
    exact = True
    for axis, along in enumerate(axes):
        # The other axes move this coordinate by less than the tolerance; in the middle by nothing.
        start = matrix[axis, :3] @ centre + matrix[axis, 3] - matrix[axis, along] * centre[along]
        line = start + matrix[axis, along] * np.arange(target.shape[along])
        lines.append(line)
        exact = exact and _moves_only(line)
    return _along_axes(values, lines, axes), exact


def _axes(matrix: Float, shape: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """For each axis of the source the axis of the target that runs along it; None if oblique."""
    lengths = np.abs(matrix[:3, :3]) * np.asarray(shape)
    axes = [int(axis) for axis in np.abs(matrix[:3, :3]).argmax(axis=1)]
    if sorted(axes) != [0, 1, 2]:
        return None
    lengths[np.arange(3), axes] = 0
    return (axes[0], axes[1], axes[2]) if lengths.sum(axis=1).max() <= _TOLERANCE else None


def _moves_only(line: Float) -> bool:
    whole = np.rint(line)
    return bool(np.abs(line - whole).max() <= _TOLERANCE and (np.abs(np.diff(whole)) == 1).all())


def _nearest(places: Float) -> NDArray[np.int64]:
    return np.floor(places + 0.5 + _ROUNDING).astype(np.int64)


def _along_axes(values: NDArray[Any], lines: list[Float], axes: tuple[int, int, int]) -> NDArray[Any]:
    taken = values
    for axis, line in enumerate(lines):
        index = _nearest(line)
        inside = (index >= 0) & (index < values.shape[axis])
        taken = np.take(taken, np.where(inside, index, 0), axis=axis)
        if not inside.all():
            taken[(slice(None),) * axis + (~inside,)] = 0
    return np.ascontiguousarray(np.transpose(taken, [axes.index(axis) for axis in range(3)]))


def _through_matrix(values: NDArray[Any], matrix: Float, shape: tuple[int, int, int]) -> NDArray[Any]:
    result = np.zeros(shape, dtype=values.dtype)
    plane = np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij"), axis=-1)
    in_plane = plane @ matrix[:3, 1:3].T + matrix[:3, 3]
    sizes = np.asarray(values.shape)
    for number in range(shape[0]):
        index = _nearest(in_plane + number * matrix[:3, 0])
        inside = ((index >= 0) & (index < sizes)).all(axis=-1)
        result[number][inside] = values[tuple(index[inside].T)]
    return result
