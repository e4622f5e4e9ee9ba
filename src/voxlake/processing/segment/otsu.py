"""Otsu's thresholds, for two classes or more."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.histogram import Histogram, histogram
from voxlake.processing.segment.parts import FOREGROUND, classes, made, scalar
from voxlake.processing.values import Over

__all__ = ["Otsu", "otsu_thresholds"]

Float = NDArray[np.float64]


class Otsu(MaskStep):
    """Classes of values that differ most: the thresholds maximise the variance between the classes.

    Otsu, IEEE Trans. Syst. Man Cybern. 1979; for more than two classes the exact optimum by dynamic
    programming over the bins, with the recursion of Liao, Chen and Chung, J. Inf. Sci. Eng. 2001. Voxels of
    the lowest class become 0, those of the others 1, 2, ... NaN becomes 0. Flat images pass.

    Parameters
    ----------
    classes : int
        From 2 to 8.
    over : str or float
        Voxels that the thresholds are computed of: ``"all"``, ``"nonzero"``, or those above a number.
    bins : int
        Of the histogram over the range of these voxels.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, or fewer than two different values.
    """

    name: ClassVar[str] = "otsu"
    version: ClassVar[int] = 1

    classes: int = Field(default=2, ge=2, le=8)
    over: Over = "all"
    bins: int = Field(default=256, ge=8, le=4096)

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        thresholds = otsu_thresholds(histogram(volume, self.over, self.bins, self.name), self.classes)
        values = scalar(volume, self.name)
        found = np.zeros(values.shape, dtype=np.uint8)
        for threshold in thresholds:
            found += values > threshold
        labels = FOREGROUND if self.classes == 2 else classes(self.classes - 1)
        return made(found, volume, labels, self.tag)


def otsu_thresholds(found: Histogram, classes: int) -> list[float]:
    """Thresholds between the classes, ascending: upper edges of bins.

    The lowest of several equally good choices is taken.
    """
    weights = np.concatenate([[0.0], np.cumsum(found.counts)])
    moments = np.concatenate([[0.0], np.cumsum(found.counts * found.centres)])
    bins = len(found.counts)
    score = _gain(weights, moments, 0)[1:]
    cuts: list[NDArray[np.int64]] = []
    for _ in range(classes - 1):
        better = np.full(bins, -np.inf)
        cut = np.zeros(bins, dtype=np.int64)
        for start in range(1, bins):
            # Bins start.. form the last class; those before it are parted already.
            total = score[start - 1] + _gain(weights, moments, start)[start + 1 :]
            take = total - 1e-12 * np.abs(total) > better[start:]
            better[start:][take] = total[take]
            cut[start:][take] = start
        score = better
        cuts.append(cut)
    return _trace(cuts, found.edges)


def _gain(weights: Float, moments: Float, start: int) -> Float:
    """Share of the variance between classes of a class of the bins start..end-1, for every end."""
    weight = weights - weights[start]
    moment = moments - moments[start]
    return np.asarray(np.divide(moment**2, weight, out=np.zeros_like(moment), where=weight > 0))


def _trace(cuts: list[NDArray[np.int64]], edges: Float) -> list[float]:
    end = len(edges) - 2
    thresholds = []
    for cut in reversed(cuts):
        start = int(cut[end])
        thresholds.append(float(edges[start]))
        end = start - 1
    return thresholds[::-1]
