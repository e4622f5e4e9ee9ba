"""What the methods share: values of one channel, spacing, masks with labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.volume import Label, Mask, Volume
from voxlake.processing.values import Over, as_float32

__all__ = ["FOREGROUND", "classes", "made", "need_hounsfield", "scalar", "selected", "spacing_of"]

FOREGROUND = (Label(1, "Foreground"),)


def scalar(volume: Volume, name: str) -> NDArray[np.float32]:
    """The values, (slices, rows, columns), float32; NaN stays, so comparisons with it are false.

    Raises
    ------
    ItemError
        ``step_failed`` for a colour image.
    """
    if volume.channels != 1:
        raise ItemError("step_failed", f'{name}: a colour image; put the step "grayscale" before it')
    return as_float32(volume, name)


def need_hounsfield(volume: Volume, name: str) -> NDArray[np.float32]:
    """The values of a CT in HU, see `scalar`.

    Raises
    ------
    ItemError
        ``step_failed`` if the unit is another.
    FlatGridError
        The image is flat.
    """
    if volume.unit != "HU":
        raise ItemError("step_failed", f"{name}: needs a volume in HU, got one in '{volume.unit}'")
    # A flat image says itself what is wrong with it.
    _ = volume.grid.spacing
    return scalar(volume, name)


def selected(values: NDArray[np.float32], over: Over) -> NDArray[np.bool_]:
    """Where the finite voxels are that `over` selects."""
    keep = np.isfinite(values)
    if over == "nonzero":
        keep &= values != 0
    elif not isinstance(over, str):
        keep &= values > over
    return keep


def spacing_of(volume: Volume) -> tuple[float, float, float]:
    """Size of a voxel in mm, or in pixels for a flat image."""
    return (1.0, 1.0, 1.0) if volume.grid.flat else volume.grid.spacing


def made(values: NDArray[Any], volume: Volume, labels: Sequence[Label], tag: str) -> Mask:
    """A mask on the grid of a volume, uint8, with the volume's inputs and steps and one step more."""
    return Mask(
        np.ascontiguousarray(values, dtype=np.uint8), volume.grid, tuple(labels), volume.lineage.then(tag)
    )


def classes(count: int, *, first: int = 1) -> tuple[Label, ...]:
    """Labels of classes that have no meaning yet, in the order of their values."""
    return tuple(Label(value, f"Class {value}") for value in range(first, first + count))
