"""What steps that move content share: a matrix as settings, what lies outside, masks that follow."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from voxlake.core.grid import Grid
from voxlake.core.volume import Mask
from voxlake.processing.sizes import Value
from voxlake.processing.values import finite_range

__all__ = ["IDENTITY", "Matrix", "Outside", "matrix_rows", "moved_mask", "outside_value", "square"]

Float = NDArray[np.float64]
_Entry = Annotated[float, Field(ge=-1e6, le=1e6)]
_Row = tuple[_Entry, _Entry, _Entry, _Entry]
Matrix = tuple[_Row, _Row, _Row]
"""Three rows of an affine map, LPS mm to LPS mm."""

IDENTITY: Matrix = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))


def _read_outside(value: object) -> object:
    if value in ("edge", "minimum") or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ValueError('what lies outside is "edge", "minimum" or a number')


Outside = Annotated[Value | Literal["edge", "minimum"], BeforeValidator(_read_outside)]


def moved_mask(mask: Mask, data: NDArray[Any], tag: str, grid: Grid | None = None) -> Mask:
    """The mask with other values, the step recorded in its lineage."""
    return replace(mask, data=data, grid=grid or mask.grid, lineage=mask.lineage.then(tag))


def outside_value(outside: float | str, data: NDArray[np.float32], step: str) -> float | None:
    """The number that `outside` stands for; None where the edge is repeated."""
    if outside == "edge":
        return None
    return float(finite_range(data, step)[0]) if outside == "minimum" else float(outside)


def square(matrix: Matrix) -> Float:
    """The 4 x 4 array of three rows."""
    return np.vstack([np.asarray(matrix, dtype=np.float64), (0.0, 0.0, 0.0, 1.0)])


def matrix_rows(matrix: Float) -> Matrix:
    """The upper three rows of an array as plain numbers."""
    one, two, three = ((float(row[0]), float(row[1]), float(row[2]), float(row[3])) for row in matrix[:3])
    return one, two, three
