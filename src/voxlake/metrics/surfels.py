"""Elements of the surface of a mask, and how large each is.

The surface is looked at from the corners at which voxels meet. The 2 x 2 (x 2) voxels around a corner form a
code, one bit for each voxel of the mask; where neither all nor none belong to the mask, a piece of surface
passes by. Its length or area is that of the marching-cubes piece through the middles of the edges. The areas
are those that Nikolov et al. measure surfaces with, so that distances and surface Dice are comparable with
theirs.

References
----------
Lorensen WE, Cline HE. Marching cubes: a high resolution 3D surface construction algorithm. Computer Graphics
21 (1987) 163-169.
Nikolov S, et al. Clinically applicable segmentation of head and neck anatomy for radiotherapy: deep learning
algorithm development and validation study. Journal of Medical Internet Research 23 (2021) e26151.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from voxlake.metrics.inputs import Floats

__all__ = ["corner_codes", "surfel_sizes"]

Corner = tuple[int, int, int]
Normal = tuple[int, int, int]

# One way to fill the voxels around a corner of each kind (the others are its rotations, reflections and
# complements): the voxels of the mask, and of each triangle the normal, as long as its area, in eighths.
_KINDS: tuple[tuple[tuple[Corner, ...], tuple[Normal, ...]], ...] = (
    (((1, 1, 1),), ((1, 1, 1),)),
    (((1, 1, 0), (1, 1, 1)), ((2, 2, 0), (2, 2, 0))),
    (((1, 0, 1), (1, 1, 0)), ((1, 1, 1), (1, 1, 1))),
    (((0, 1, 1), (1, 0, 0)), ((1, 1, 1), (1, 1, 1))),
    (((1, 0, 1), (1, 1, 0), (1, 1, 1)), ((4, 0, 0), (2, 2, 2), (1, 1, 1))),
    (((0, 1, 1), (1, 0, 1), (1, 1, 0)), ((1, 1, 1), (1, 1, 1), (1, 1, 1))),
    (((0, 1, 1), (1, 0, 0), (1, 1, 1)), ((0, 2, 2), (0, 2, 2), (1, 1, 1))),
    (((1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)), ((4, 0, 0), (4, 0, 0))),
    (((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1)), ((2, 2, 2), (2, 2, 2), (1, 1, 1), (1, 1, 1))),
    (((0, 1, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1)), ((3, 3, 3), (1, 1, 1), (0, 2, 2), (2, 0, 2))),
    (((0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0)), ((4, 0, 0), (2, 2, 2), (1, 1, 1), (1, 1, 1))),
    (((0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1)), ((2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0))),
    (((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)), ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1))),
)


def corner_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Which voxels around each corner belong to the mask.

    Parameters
    ----------
    mask : ndarray of bool, two or three axes
        Outside the array there is no mask.

    Returns
    -------
    ndarray of uint8
        One more along each axis than the mask; corner ``i`` lies before voxel ``i``. The bit of a voxel is
        ``sum (offset along the axis) * 2 ** axis`` counted in ``2 ** bit``, the first axis being the lowest.
    """
    codes = np.pad(mask, 1).view(np.uint8)
    for axis in range(mask.ndim):
        before = tuple(slice(None, -1) if each == axis else slice(None) for each in range(mask.ndim))
        after = tuple(slice(1, None) if each == axis else slice(None) for each in range(mask.ndim))
        # 1, 2 and 4 bits further: each axis doubles the number of voxels that a code has seen.
        moved = np.left_shift(codes[after], 2**axis)
        moved |= codes[before]
        codes = moved
    return codes


def surfel_sizes(spacing: Sequence[float]) -> Floats:
    """Length (two axes, mm) or area (three axes, mm2) of the piece of surface of each code.

    Parameters
    ----------
    spacing : sequence of two or three floats
        Distance of voxels along each axis in mm.

    Returns
    -------
    ndarray of float64, shape (16,) or (256,)
        Zero where no surface passes.
    """
    steps = np.asarray(spacing, dtype=np.float64)
    if steps.size == 2:
        return _lengths(steps)
    # A normal is an area in each plane; the area in the plane of two axes grows with both spacings.
    planes = np.array([steps[1] * steps[2], steps[0] * steps[2], steps[0] * steps[1]]) / 8
    return np.asarray(np.sqrt(np.sum((_normals() * planes) ** 2, axis=2)).sum(axis=1))


def _lengths(steps: Floats) -> Floats:
    diagonal = 0.5 * float(np.hypot(*steps))
    sizes = np.zeros(16)
    for code in range(1, 15):
        inside = [corner for corner in product((0, 1), repeat=2) if code >> _bit(corner) & 1]
        if len(inside) != 2:
            sizes[code] = diagonal
            continue
        shared = [one == other for one, other in zip(*inside, strict=True)]
        # Two voxels side by side: the contour runs along the axis on which they differ.
        sizes[code] = 2 * diagonal if not any(shared) else steps[shared.index(False)]
    return sizes


@lru_cache(maxsize=1)
def _normals() -> Floats:
    """Triangles of all 256 codes, from those of the kinds by the 48 symmetries of the cube: (256, 4, 3)."""
    found: dict[int, tuple[Normal, ...]] = {0: (), 255: ()}
    for corners, normals in _KINDS:
        for axes, mirrored in product(permutations(range(3)), product((0, 1), repeat=3)):
            turned = [
                tuple(corner[axis] ^ flip for axis, flip in zip(axes, mirrored, strict=True))
                for corner in corners
            ]
            code = sum(1 << _bit(corner) for corner in turned)
            pieces = tuple((normal[axes[0]], normal[axes[1]], normal[axes[2]]) for normal in normals)
            # What two voxels of the mask have between them and six without, six have between them and two.
            found.setdefault(code, pieces)
            found.setdefault(255 - code, pieces)
    table = np.zeros((256, 4, 3))
    for code, pieces in found.items():
        table[code, : len(pieces)] = np.reshape(pieces, (-1, 3))
    return table


def _bit(corner: Sequence[int]) -> int:
    return sum(place << axis for axis, place in enumerate(corner))
