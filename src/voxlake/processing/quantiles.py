"""Quantiles of a volume and the piecewise linear map from one set of values to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.processing.values import Box, select

__all__ = ["map_values", "quantiles"]


def quantiles(
    data: NDArray[Any], percents: Sequence[float], over: float | str | Box, step: str
) -> NDArray[np.float64]:
    """Values at percentiles of the finite voxels that `over` selects, interpolated linearly.

    Raises
    ------
    ItemError
        ``step_failed``: nothing is selected.
    """
    values = select(data, over, step)
    if values.size == 0:
        raise ItemError("step_failed", f"{step}: no voxel to take percentiles over; is the volume empty?")
    return np.asarray(np.percentile(values, percents, overwrite_input=True), dtype=np.float64)


def map_values(
    data: NDArray[np.float32], have: NDArray[np.float64], want: NDArray[np.float64], *, overall: bool
) -> NDArray[np.float32]:
    """Send `have` to `want` and interpolate linearly in between; NaN stays NaN.

    Beyond the ends the line goes on with the slope of the outermost piece, or with the `overall` one. Where
    several values of `have` are equal, the middle of their targets counts; where all are, values are shifted.
    Infinities stay infinite.
    """
    places, group = np.unique(have, return_inverse=True)
    ends = [np.searchsorted(group, np.arange(len(places)), side=side) for side in ("left", "right")]
    targets = (want[ends[0]] + want[ends[1] - 1]) / 2
    first, last = _slopes(places, targets, overall)
    out = np.empty(data.shape, dtype=np.float32)
    # A slice at a time: interp works in double precision.
    for number, plane in enumerate(data):
        made = np.interp(plane, places, targets)
        for beyond, end, slope in ((plane < places[0], 0, first), (plane > places[-1], -1, last)):
            made[beyond] = targets[end] + (plane[beyond] - places[end]) * slope
        out[number] = made
    return out


def _slopes(places: NDArray[np.float64], targets: NDArray[np.float64], overall: bool) -> tuple[float, float]:
    if len(places) == 1:
        return 1.0, 1.0
    if overall:
        slope = float((targets[-1] - targets[0]) / (places[-1] - places[0]))
        return slope, slope
    rises = np.diff(targets) / np.diff(places)
    return float(rises[0]), float(rises[-1])
