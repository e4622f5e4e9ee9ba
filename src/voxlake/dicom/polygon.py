"""Polygons to pixels: pixel centres, even-odd rule, exact.

Ties. A pixel centre on an outline is decided as if it lay a hair further along the row (towards higher
columns), and by a far smaller hair further down the column. So a centre on a left or upper outline is inside,
on a right or lower one outside: polygons that share an outline share no pixel and leave none between them.

Exactness. Coordinates are rounded to 2^-16 pixel (to coarser steps for coordinates beyond 8192 pixels), and
all else is done in whole numbers. What is rounded away is far less than the rounding of the decimal strings
in which contours are written, and it makes the result independent of the rounding of the matrices by which
millimetres became pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import GeometryError

__all__ = ["fill"]

Whole = NDArray[np.int64]

_FRACTION_BITS = 16
# Products of two differences of coordinates must stay below 2^62.
_COORDINATE_BITS = 29


def fill(contours: Sequence[ArrayLike], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill closed contours by the even-odd rule.

    A pixel is inside if a ray from its centre crosses all outlines together an odd number of times. A contour
    within another is therefore a hole (XOR, as CLOSEDPLANAR_XOR of PS3.3 section C.8.8.6.3 asks for), and the
    channel of a keyhole, run through in both directions, vanishes.

    Parameters
    ----------
    contours : sequence of array
        Each (N, 2): row and column of the vertices in pixels, pixel centres at whole numbers. The last vertex
        is joined to the first. Vertices may lie outside of the image. Fewer than three enclose nothing.
    shape : tuple of int
        Rows and columns of the image.

    Returns
    -------
    array of bool
        Shape (rows, columns).

    Raises
    ------
    GeometryError
        A contour is not of shape (N, 2) or not finite.
    """
    rows, columns = shape
    filled = np.zeros((rows, columns), dtype=bool)
    outlines = [_vertices(contour) for contour in contours]
    if not outlines:
        return filled
    starts, ends = _edges(outlines)
    bits = _bits(starts)
    row, column = _crossings(_upward(starts, ends, bits), bits, rows, columns)
    if not len(row):
        return filled
    # Only the box around the outlines is worked on: a contour is small against its image.
    top, left = int(row.min()), int(column.min())
    height, width = int(row.max()) + 1 - top, int(column.max()) + 1 - left
    places = (row - top) * width + (column - left)
    flips = np.bincount(places, minlength=height * width).reshape(height, width)
    # A crossing flips all pixels from its column on; behind the last one all are outside again.
    inside = np.bitwise_xor.accumulate((flips & 1).astype(bool), axis=1)
    filled[top : top + height, left : left + width] = inside[:, : columns - left]
    return filled


def _vertices(contour: ArrayLike) -> NDArray[np.float64]:
    vertices = np.asarray(contour, dtype=np.float64)
    if vertices.ndim != 2 or vertices.shape[1] != 2 or not np.isfinite(vertices).all():
        raise GeometryError(f"a contour is a finite array of shape (N, 2), got {vertices.shape}")
    return vertices


def _edges(outlines: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    starts = np.concatenate(outlines)
    ends = np.concatenate([np.roll(outline, -1, axis=0) for outline in outlines])
    return starts, ends


def _bits(vertices: NDArray[np.float64]) -> int:
    """How many binary places all coordinates keep."""
    largest = int(np.abs(vertices).max(initial=0.0))
    if largest.bit_length() > _COORDINATE_BITS:
        raise GeometryError("a contour lies more than 500 million pixels away from the image")
    return min(_FRACTION_BITS, _COORDINATE_BITS - largest.bit_length())


def _upward(starts: NDArray[np.float64], ends: NDArray[np.float64], bits: int) -> Whole:
    """Edges as (N, 4): row and column of the end with the lower row, then of the other one.

    An edge gives the same numbers whichever way it is run through.
    """
    scale = float(1 << bits)
    edges = np.rint(np.concatenate([starts, ends], axis=1) * scale).astype(np.int64)
    down = edges[:, 0] > edges[:, 2]
    edges[down] = edges[down][:, [2, 3, 0, 1]]
    return edges[edges[:, 0] < edges[:, 2]]


def _crossings(edges: Whole, bits: int, rows: int, columns: int) -> tuple[Whole, Whole]:
    """For every edge and every row of pixel centres that it crosses: the row and the first column behind it.

    Parameters
    ----------
    edges : array of int
        As `_upward` gives them.
    bits : int
        Binary places of the coordinates.
    rows, columns : int
        Size of the image. Crossings of rows outside are left out; columns are from 0 to `columns`.
    """
    # An edge owns its upper end and not its lower one, so that two edges that meet are crossed once.
    first = np.maximum(_ceil(edges[:, 0], 1 << bits), 0)
    stop = np.minimum(_ceil(edges[:, 2], 1 << bits), rows)
    counts = np.maximum(stop - first, 0)
    which = np.repeat(np.arange(len(edges)), counts)
    row = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    top, left, bottom, right = edges[which].T
    height = bottom - top
    column = _ceil(left * height + ((row << bits) - top) * (right - left), height << bits)
    return row, np.clip(column, 0, columns)


def _ceil(numerator: Whole, denominator: Whole | int) -> Whole:
    return -(-numerator // denominator)
