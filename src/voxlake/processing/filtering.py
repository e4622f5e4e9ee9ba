"""What filters over neighbouring voxels share: one image after the other, and voxels without a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from voxlake.core.errors import ItemError
from voxlake.core.volume import Volume
from voxlake.processing.values import as_float32, single_precision

__all__ = ["Extent", "Odd", "Positive", "Widths", "each_image", "refuse_colour", "without_holes"]

Image = NDArray[np.float32]
_WIDEST = 1e4


def _read_widths(value: Any) -> tuple[Any, ...]:
    items = tuple(value) if isinstance(value, list | tuple) else (value,) * 3
    if len(items) != 3 or not all(_is_width(item) for item in items):
        raise ValueError(
            f"a width is a number from 0 to {_WIDEST:g}, or three of them: [slice, row, column]; "
            "0 leaves an axis as it is"
        )
    return items


def _is_width(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _WIDEST


def _read_odd(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 99 and value % 2:
        return value
    raise ValueError("a size is an odd number of voxels, from 1 to 99")


Extent = Literal["slice", "volume"]
"""Whether a filter looks at each slice for itself (2D) or across slices too (3D)."""

Widths = Annotated[tuple[float, float, float], BeforeValidator(_read_widths)]
"""Standard deviations along (slice, row, column); a single number stands for three."""

Odd = Annotated[int, BeforeValidator(_read_odd)]
"""Side of a window that has a voxel at its centre."""

Positive = Annotated[float, Field(gt=0, le=3.4e38)]
"""A number above 0 that float32 holds."""


def refuse_colour(volume: Volume, step: str, why: str) -> None:
    """Refuse RGB.

    Raises
    ------
    ItemError
        ``step_failed`` if the volume has three channels.
    """
    if volume.channels == 3:
        raise ItemError("step_failed", f'{step}: RGB is refused: {why}; use "grayscale" first')


def without_holes(data: NDArray[Any], step: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Let the nearest finite voxel (in voxels) stand in for every voxel that is not finite.

    Parameters
    ----------
    data : array
        (slices, rows, columns); not written to.

    Returns
    -------
    data : array
        Finite; the array itself where nothing had to be filled.
    holes : array of bool or None
        Where it was not finite.

    Raises
    ------
    ItemError
        ``step_failed``: no voxel is finite.
    """
    if data.dtype.kind != "f" or np.isfinite(data).all():
        return data, None
    holes = ~np.isfinite(data)
    if holes.all():
        raise ItemError("step_failed", f"{step}: no voxel has a finite value")
    # Start-up: reading a plan must not load SciPy.
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(holes, return_distances=False, return_indices=True)
    return data[tuple(nearest)], holes


def each_image(
    volume: Volume, step: str, filtered: Callable[[Image], Image], *, extent: Extent = "volume"
) -> Image:
    """Filter every channel, as a whole or slice by slice; voxels that are not finite stay as they are.

    Parameters
    ----------
    filtered : callable
        Gets a finite float32 image of 2 axes (rows, columns), or 3 axes with ``extent = "volume"`` and more
        than one slice; returns another of the same shape and does not write to it.

    Returns
    -------
    array of float32
        Shape of the volume.

    Raises
    ------
    ItemError
        ``step_failed``: no voxel is finite, or a value leaves the range of float32.
    """
    data = as_float32(volume, step)
    channels = np.moveaxis(data, 3, 0) if data.ndim == 4 else data[np.newaxis]
    done = []
    for channel in channels:
        whole, holes = without_holes(channel, step)
        with single_precision(step):
            if extent == "volume" and len(whole) > 1:
                out = np.asarray(filtered(whole), dtype=np.float32)
            else:
                out = np.stack([filtered(plane) for plane in whole]).astype(np.float32, copy=False)
        done.append(out if holes is None else np.where(holes, channel, out))
    return np.ascontiguousarray(np.stack(done, axis=-1)) if data.ndim == 4 else done[0]
