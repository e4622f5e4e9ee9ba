"""Surface of a region: area and volume of the mesh half-way between voxels inside and outside.

Marching cubes (Lorensen and Cline, SIGGRAPH 1987) on a mask at level 0.5. What the mesh is within a cube of
eight voxels depends on nothing but which of them are inside. So the 256 cases are made once, and a region is
measured by counting its cases; no mesh is ever stored.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["mesh_area_and_volume", "outline_length", "surface_points"]

Float = NDArray[np.float64]

# Corner number = 4 * slice + 2 * row + column.
_CORNERS = tuple(product((0, 1), repeat=3))
# Corners of every face, counter-clockwise seen from outside (axes slice, row, column are right-handed).
_FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))


def mesh_area_and_volume(inside: NDArray[np.bool_], steps: Float) -> tuple[float, float]:
    """Area and volume of the mesh around a region.

    Parameters
    ----------
    inside : array of bool
        (slices, rows, columns); the surface is closed at the border of the array.
    steps : array
        3 x 3, columns are the steps along the three axes.

    Returns
    -------
    tuple of float
        Area and volume, in the square and the cube of the unit of `steps`.
    """
    triangles, owner, weights = _triangles()
    areas = np.bincount(owner, weights * np.linalg.norm(_normals(triangles @ steps.T), axis=1), minlength=256)
    # Divergence theorem: the volume is the integral of the slice number times the slice part of the normal.
    across = weights * _normals(triangles)[:, 0]
    flux = np.bincount(owner, across, minlength=256)
    moment = np.bincount(owner, across * triangles[:, :, 0].mean(axis=1), minlength=256)
    area = volume = 0.0
    for number, cases in enumerate(_cases(inside)):
        area += float(cases @ areas)
        volume += float(cases @ (number * flux + moment))
    return area, abs(volume * float(np.linalg.det(steps)))


def outline_length(inside: NDArray[np.bool_], steps: Float) -> float:
    """Length of the outline of a flat region, half-way between pixels inside and outside (marching squares).

    Parameters
    ----------
    inside : array of bool
        (rows, columns).
    steps : array
        (n, 2), columns are the steps along the two axes.
    """
    around = np.pad(inside, 1).astype(np.uint8)
    case = around[:-1, :-1] | around[:-1, 1:] << 1 | around[1:, 1:] << 2 | around[1:, :-1] << 3
    counts = np.bincount(case.ravel(), minlength=16)
    down, right = steps[:, 0] / 2, steps[:, 1] / 2
    # A segment that cuts off a corner of the square is half of one of its diagonals.
    falling, rising = float(np.linalg.norm(down + right)), float(np.linalg.norm(down - right))
    lengths = np.zeros(16)
    lengths[[1, 4, 11, 14]] = rising
    lengths[[2, 8, 7, 13]] = falling
    lengths[[3, 12]], lengths[[6, 9]] = 2 * np.linalg.norm(right), 2 * np.linalg.norm(down)
    lengths[5], lengths[10] = 2 * rising, 2 * falling
    return float(counts @ lengths)


def surface_points(inside: NDArray[np.bool_]) -> Float:
    """Points of the mesh that are the outermost on a line of voxels, as indices (n, axes).

    All others lie between two of them, so that hull and diameter are those of the whole mesh.
    """
    found = []
    for axis, size in enumerate(inside.shape):
        lines = np.argwhere(inside.any(axis=axis)).astype(np.float64)
        hit = np.moveaxis(inside, axis, -1)[inside.any(axis=axis)]
        first, last = hit.argmax(axis=1) - 0.5, size - hit[:, ::-1].argmax(axis=1) - 0.5
        found += [np.insert(lines, axis, end, axis=1) for end in (first, last)]
    return np.concatenate(found)


def _cases(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often each case occurs between two slices, (slices + 1, 256)."""
    around = np.pad(inside, 1).view(np.uint8)
    counts = np.empty((len(around) - 1, 256), dtype=np.int64)
    for number in range(len(counts)):
        case = np.zeros([size - 1 for size in around.shape[1:]], dtype=np.uint8)
        for bit, (z, y, x) in enumerate(_CORNERS):
            part = around[number + z, y : y + case.shape[0], x : x + case.shape[1]]
            case |= part << np.uint8(bit)
        counts[number] = np.bincount(case.ravel(), minlength=256)
    return counts


@cache
def _triangles() -> tuple[Float, NDArray[np.int64], Float]:
    """Triangles of all cases, (n, 3 points, 3) in the unit cube, the case and the weight of each."""
    filled = [
        (case, *_filled(np.array([_middle(edge) for edge in loop])))
        for case in range(256)
        for loop in _loops(case)
    ]
    owner = np.repeat([case for case, _, _ in filled], [len(one) for _, one, _ in filled])
    return np.concatenate([one for _, one, _ in filled]), owner, np.concatenate([one for _, _, one in filled])


def _filled(loop: Float) -> tuple[Float, Float]:
    """Triangles between the points (n, 3) of a loop, (m, 3, 3), and the weight of each.

    Of the fans the one of the largest area, which is that of the first tables for marching cubes; several
    that are equally large share the weight, so that the mesh of a turned or mirrored region is turned or
    mirrored.
    """
    fans = []
    for start in range(len(loop)):
        turned = np.roll(loop, -start, axis=0)
        fans.append(np.array([turned[[0, at, at + 1]] for at in range(1, len(loop) - 1)]))
    areas = np.round([np.linalg.norm(_normals(fan), axis=1).sum() for fan in fans], 9)
    best = [fan for fan, area in zip(fans, areas, strict=True) if area == areas.max()]
    triangles = np.concatenate(best)
    return triangles, np.full(len(triangles), 1 / len(best))


def _normals(triangles: Float) -> Float:
    """Normals whose lengths are the areas, (n, 3)."""
    first, second, third = (triangles[:, corner] for corner in range(3))
    return np.asarray(np.cross(second - first, third - first) / 2, dtype=np.float64)


def _loops(case: int) -> list[list[frozenset[int]]]:
    """Closed lines in which the mesh of a case cuts the edges of the cube.

    On a face, a line cuts off every run of corners inside; two opposite corners inside are kept apart. The
    neighbour cuts the common face in the same way, so that there is no hole in the mesh.
    """
    follows: dict[frozenset[int], frozenset[int]] = {}
    for face in _FACES:
        inside = [bool(case >> corner & 1) for corner in face]
        for place in range(4):
            if inside[place] or not inside[(place + 1) % 4]:
                continue
            end = place + 1
            while inside[(end + 1) % 4]:
                end += 1
            enters = frozenset((face[place], face[(place + 1) % 4]))
            follows[enters] = frozenset((face[end % 4], face[(end + 1) % 4]))
    loops = []
    while follows:
        start, at = follows.popitem()
        loop = [start]
        while at != start:
            loop.append(at)
            at = follows.pop(at)
        loops.append(loop)
    return loops


def _middle(edge: frozenset[int]) -> Float:
    one, other = (np.array(_CORNERS[corner], dtype=np.float64) for corner in edge)
    return (one + other) / 2
