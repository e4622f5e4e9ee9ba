"""What the edits share: work on every label of a mask by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import FlatGridError
from voxlake.core.volume import Mask
from voxlake.processing.distance import distance_map

__all__ = ["Lengths", "each_label", "edited", "grown", "steps_of", "values_of"]

Lengths = Literal["mm", "voxel"]
"""What a radius is measured in."""


def values_of(mask: Mask) -> NDArray[Any]:
    """The values; of a mask of bool as uint8."""
    values = mask.numpy()
    return values.view(np.uint8) if values.dtype == bool else values


def steps_of(mask: Mask, lengths: Lengths) -> tuple[float, float, float]:
    """Size of a voxel in the unit of a radius.

    Raises
    ------
    FlatGridError
        Millimetres on a grid that has none.
    """
    if lengths == "mm" and mask.grid.flat:
        raise FlatGridError('this mask is flat and has no millimetres; give the radius in "voxel"')
    return mask.grid.spacing if lengths == "mm" else (1.0, 1.0, 1.0)


def each_label(
    mask: Mask, change: Callable[[NDArray[np.bool_]], NDArray[np.bool_]], *, together: bool = False
) -> NDArray[Any]:
    """Change every label by itself; voxels of other labels are never taken.

    Parameters
    ----------
    mask : Mask
        Any labels.
    change : callable
        From the voxels of one label to those that it shall have.
    together : bool
        Treat all labels as one region, which may only lose voxels.
    """
    values = values_of(mask)
    if together:
        return np.where(change(values != 0), values, values.dtype.type(0))
    result = np.zeros_like(values)
    for label in _labels(values):
        inside = values == label
        result[change(inside) & (inside | ((values == 0) & (result == 0)))] = label
    return result


def grown(mask: Mask, radius: float, spacing: Sequence[float]) -> NDArray[Any]:
    """Every label grows into the background by `radius`; between two, the nearer one wins."""
    values = values_of(mask)
    result = values.copy()
    nearest = np.full(values.shape, np.inf, dtype=np.float32)
    for label in _labels(values):
        apart = distance_map(values != label, spacing=spacing)
        take = (values == 0) & (apart <= radius * (1 + 1e-5)) & (apart < nearest)
        result[take] = label
        nearest[take] = apart[take]
    return result


def edited(mask: Mask, values: NDArray[Any], tag: str) -> Mask:
    """The mask with other values and one step more."""
    return replace(mask, data=np.ascontiguousarray(values), lineage=mask.lineage.then(tag))


def _labels(values: NDArray[Any]) -> list[int]:
    return [int(value) for value in np.unique(values) if value != 0]
