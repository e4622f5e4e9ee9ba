"""Pixels to polygons: the exact outlines of a mask, with holes cut in through keyholes.

Outlines run along the edges of pixels, half-way between centres, so that whoever fills them by pixel
centres gets the mask back voxel for voxel, and the area that they enclose is the area of the pixels.
Pixels that touch at a corner only belong to different outlines. A hole is joined to the outline around it by
a channel without width (keyhole, PS3.3 section C.8.8.6.3): up from the hole to the next outline and back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import GeometryError

__all__ = ["outlines"]

Whole = NDArray[np.int64]
Vertex = tuple[int, int]


@dataclass
class _Loop:
    """An outline over corners of pixels; the first corner is its uppermost, and of these the left one.

    Parameters
    ----------
    corners : list of (row, column)
        In the order of the walk.
    hole : bool
        Whether it bounds a hole.
    channels : dict of int to list of (column, hole)
        By number of the corner at which a horizontal edge begins: where on it channels begin, and to what.
    """

    corners: list[Vertex]
    hole: bool
    channels: dict[int, list[tuple[int, _Loop]]] = field(default_factory=dict)
    walked: list[Vertex] = field(default_factory=list)


def outlines(region: ArrayLike) -> list[NDArray[np.float64]]:
    """Outline the pixels of a region.

    Parameters
    ----------
    region : array of bool
        Shape (rows, columns).

    Returns
    -------
    list of array
        One polygon for each part (pixels that share an edge), with its holes; (N, 2), row and column in
        pixels, centres at whole numbers, in the form that `voxlake.dicom.polygon.fill` takes. From top to
        bottom; the last corner is joined to the first. Empty for an empty region.

    Raises
    ------
    GeometryError
        The array does not have two axes.
    """
    pixels = np.asarray(region, dtype=bool)
    if pixels.ndim != 2:
        raise GeometryError(f"outlines are of an image with rows and columns, got {pixels.ndim} axes")
    padded = np.pad(pixels, 1)
    loops = _loops(padded)
    _dig_channels(loops)
    # A channel leads upwards, so what hangs on a hole begins further down than the hole.
    for loop in sorted(loops, key=lambda one: one.corners[0], reverse=True):
        loop.walked = _walk(loop)
    # A corner lies half a pixel before the centre of its pixel.
    return [np.array(loop.walked, dtype=np.float64) - 0.5 for loop in loops if not loop.hole]


def _loops(padded: NDArray[np.bool_]) -> list[_Loop]:
    """Walk along all edges; outlines from top to bottom."""
    corners, along_row, along_column = _corners(padded)
    met = np.zeros(len(corners), dtype=bool)
    places = [(int(row), int(column)) for row, column in corners]
    sideways, upright = along_row.tolist(), along_column.tolist()
    found = []
    # Corners are sorted, so the first that was not met is the uppermost left one of its loop.
    for start in range(len(places)):
        if met[start]:
            continue
        walk, here = [], start
        while not met[here]:
            there = sideways[here]
            met[here] = met[there] = True
            walk += [places[here], places[there]]
            here = upright[there]
        row, column = places[start]
        found.append(_Loop(walk, hole=not padded[row + 1, column + 1]))
    return found


def _corners(padded: NDArray[np.bool_]) -> tuple[Whole, Whole, Whole]:
    """Where outlines turn, (N, 2), sorted; and for each corner the one at the other end of its two edges.

    Where two pixels touch at a corner only, two outlines turn: that corner is there twice.
    """
    above_left, above_right = padded[:-1, :-1], padded[:-1, 1:]
    below_left, below_right = padded[1:, :-1], padded[1:, 1:]
    odd = above_left ^ above_right ^ below_left ^ below_right
    falling = above_left & below_right & ~above_right & ~below_left
    rising = above_right & below_left & ~above_left & ~below_right
    single = np.argwhere(odd)
    twice = np.repeat(np.argwhere(falling | rising), 2, axis=0)
    corners = np.concatenate([single, twice]).astype(np.int64)
    # Of the two outlines at one corner the first holds the edge to the left, the second that to the right.
    # On a falling diagonal the first goes up and the second down, on a rising one the other way round.
    second = np.concatenate([np.zeros(len(single), dtype=np.int64), np.arange(len(twice)) % 2])
    rises = np.zeros(len(corners), dtype=np.int64)
    rises[len(single) :] = rising[twice[:, 0], twice[:, 1]]
    lower = second ^ rises
    # Along a row, edges begin and end in turns; of two outlines at a corner one ends and one begins there.
    order = np.lexsort((second, corners[:, 1], corners[:, 0]))
    corners, lower = corners[order], lower[order]
    along_row = _partners(np.arange(len(corners)))
    along_column = _partners(np.lexsort((lower, corners[:, 0], corners[:, 1])))
    return corners, along_row, along_column


def _partners(order: Whole) -> Whole:
    partner = np.empty(len(order), dtype=np.int64)
    partner[order[0::2]] = order[1::2]
    partner[order[1::2]] = order[0::2]
    return partner


def _dig_channels(loops: list[_Loop]) -> None:
    """For each hole find the edge above its first corner, and let a channel begin there."""
    edges, owners = [], []
    for number, loop in enumerate(loops):
        for place in range(0, len(loop.corners), 2):
            (row, one), (_, other) = loop.corners[place], loop.corners[place + 1]
            edges.append((row, min(one, other), max(one, other)))
            owners.append((number, place))
    table = np.array(edges, dtype=np.int64).reshape(-1, 3)
    for loop in loops:
        if not loop.hole:
            continue
        row, column = loop.corners[0]
        # The pixels right of the channel, up to that edge, all belong to the part around the hole.
        above = np.flatnonzero((table[:, 0] < row) & (table[:, 1] <= column) & (column < table[:, 2]))
        number, place = owners[int(above[table[above, 0].argmax()])]
        loops[number].channels.setdefault(place, []).append((column, loop))


def _walk(loop: _Loop) -> list[Vertex]:
    """All corners in order, with those of the holes that hang on it."""
    walk: list[Vertex] = []
    for place, corner in enumerate(loop.corners):
        walk.append(corner)
        channels = loop.channels.get(place, ())
        backwards = place + 1 < len(loop.corners) and loop.corners[place + 1][1] < corner[1]
        for column, hole in sorted(channels, key=lambda one: one[0], reverse=backwards):
            # Down, around the hole to its first corner again, and up.
            walk += [(corner[0], column), *hole.walked, hole.walked[0], (corner[0], column)]
    return walk
