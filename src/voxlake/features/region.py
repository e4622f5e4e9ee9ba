"""What is measured: values, and which voxels of them belong to a region."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import GeometryError, ItemError
from voxlake.core.grid import Grid

__all__ = ["Region", "label_region", "whole_region"]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Region:
    """A region of an image.

    Parameters
    ----------
    values : array
        (slices, rows, columns); values that are not finite are measured nowhere.
    inside : array of bool
        Same shape: the region. Empty arrays (a size of 0) for a label that no voxel has.
    steps : array
        3 x 3, columns are the steps along slice, row and column; mm (LPS), or pixels where `flat`.
    flat : bool
        A flat image: one slice, pixels for millimetres.
    unit : str
        Unit of the values, as `Volume` has it.
    """

    values: NDArray[Any] = field(repr=False)
    inside: NDArray[np.bool_] = field(repr=False)
    steps: Float
    flat: bool = False
    unit: str = "arbitrary"

    def __post_init__(self) -> None:
        if self.values.shape != self.inside.shape or self.inside.ndim != 3:
            raise GeometryError(
                f"a region of values {self.values.shape} needs a mask (slices, rows, columns) of that shape, "
                f"got {self.inside.shape}"
            )

    @cached_property
    def measured(self) -> NDArray[np.bool_]:
        """Voxels of the region with a finite value."""
        if self.values.dtype.kind != "f":
            return self.inside
        return np.asarray(self.inside & np.isfinite(self.values))

    @cached_property
    def intensities(self) -> Float:
        """Finite values of the region, float64 (voxels,), in C order."""
        return np.asarray(self.values[self.measured], dtype=np.float64)

    @property
    def length_unit(self) -> str:
        """Unit of lengths."""
        return "px" if self.flat else "mm"


def whole_region(values: NDArray[Any], grid: Grid, *, unit: str = "arbitrary") -> Region:
    """The region that is the whole image.

    Parameters
    ----------
    values : array
        (slices, rows, columns).
    grid : Grid
        Where they lie.
    unit : str
        Unit of the values.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image.
    """
    _need_scalar(values)
    return Region(values, np.ones(values.shape, dtype=bool), grid.affine[:3, :3], grid.flat, unit)


def label_region(
    values: NDArray[Any], mask: NDArray[Any], label: int, grid: Grid, *, unit: str = "arbitrary"
) -> Region:
    """The region of one label of a mask, cut to its bounding box.

    Parameters
    ----------
    values, mask : array
        (slices, rows, columns), on one grid.
    label : int
        Value of the mask.
    grid : Grid
        Where both lie.
    unit : str
        Unit of the values.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, or a mask of another shape.
    """
    _need_scalar(values)
    if mask.shape != values.shape:
        raise ItemError("step_failed", f"the mask has the shape {mask.shape}, the image {values.shape}")
    inside = np.asarray(mask == label)
    box = _bounding_box(inside)
    return Region(values[box], inside[box], grid.affine[:3, :3], grid.flat, unit)


def _need_scalar(values: NDArray[Any]) -> None:
    if values.ndim != 3:
        raise ItemError(
            "step_failed",
            'a colour image cannot be measured; put the step "grayscale" in the plan of the volumes',
        )


def _bounding_box(inside: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    # Slices first: the other two axes are then looked at where there is something.
    first = _extent(inside, (1, 2))
    rows = _extent(inside[first], (0, 2))
    return first, rows, _extent(inside[first, rows], (0, 1))


def _extent(inside: NDArray[np.bool_], over: tuple[int, int]) -> slice:
    found = np.flatnonzero(inside.any(axis=over))
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)
