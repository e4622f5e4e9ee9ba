"""Classes of tissue by k-means."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.errors import ItemError
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.histogram import histogram
from voxlake.processing.segment.parts import classes, made, scalar, selected
from voxlake.processing.values import Over

__all__ = ["KMeans", "cluster"]

Float = NDArray[np.float64]

_ROUNDS = 1000


class KMeans(MaskStep):
    """Classes of values around means, each voxel in the class of the nearest mean.

    Lloyd, IEEE Trans. Inf. Theory 1982, on a fine histogram that keeps its sums; starts from evenly spaced
    quantiles, so it draws nothing at random. Classes are numbered 1, 2, ... by ascending mean; voxels that
    `over` does not select, NaN and infinities become 0. Flat images pass.

    Parameters
    ----------
    classes : int
        From 2 to 12.
    over : str or float
        Voxels that take part: ``"all"``, ``"nonzero"``, or those above a number.
    bins : int
        Of the histogram.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, or fewer different values than classes.
    """

    name: ClassVar[str] = "kmeans"
    version: ClassVar[int] = 1

    classes: int = Field(default=3, ge=2, le=12)
    over: Over = "nonzero"
    bins: int = Field(default=65536, ge=64, le=65536)

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        means, counts = histogram(volume, self.over, self.bins, self.name).filled()
        centres = cluster(means, counts, self.classes)
        values = scalar(volume, self.name)
        limits = (centres[1:] + centres[:-1]) / 2
        result = np.ones(values.shape, dtype=np.uint8)
        for limit in limits:
            result += values > limit
        result[~selected(values, self.over)] = 0
        return made(result, volume, classes(self.classes), self.tag)


def cluster(values: Float, counts: Float, number: int) -> Float:
    """Means of the classes, ascending.

    Parameters
    ----------
    values, counts : array
        Different values, ascending, and how often each occurs.
    number : int
        How many classes.

    Raises
    ------
    ItemError
        ``step_failed``: fewer different values than classes.
    """
    if len(values) < number:
        raise ItemError("step_failed", f"fewer different values ({len(values)}) than classes ({number})")
    weights = np.concatenate([[0.0], np.cumsum(counts)])
    moments = np.concatenate([[0.0], np.cumsum(counts * values)])
    levels = (np.arange(number) + 0.5) / number * weights[-1]
    places = np.searchsorted(weights[1:], levels)
    # Every class starts with a value of its own, also where one value has most of the voxels.
    for number_before in range(1, number):
        places[number_before] = max(places[number_before], places[number_before - 1] + 1)
    for number_after in range(number - 1, -1, -1):
        places[number_after] = min(places[number_after], len(values) - number + number_after)
    centres = values[places]
    for _ in range(_ROUNDS):
        cuts = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2, side="right")
        ends = np.concatenate([[0], cuts, [len(values)]])
        total = weights[ends[1:]] - weights[ends[:-1]]
        sums = moments[ends[1:]] - moments[ends[:-1]]
        moved = np.divide(sums, total, out=centres.copy(), where=total > 0)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return np.asarray(centres)
