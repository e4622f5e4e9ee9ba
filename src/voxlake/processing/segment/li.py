"""Li's threshold."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.histogram import Histogram, histogram
from voxlake.processing.segment.parts import FOREGROUND, made, scalar
from voxlake.processing.values import Over

__all__ = ["Li", "li_threshold"]

_BINS = 65536
_ROUNDS = 1000


class Li(MaskStep):
    """Voxels above the threshold of minimum cross entropy.

    Li and Lee, Pattern Recognition 1993, by the iteration of Li and Tam, Pattern Recognition Letters 1998,
    from the mean onwards, over 65,536 bins that keep their sums. NaN is outside. Flat images pass.

    Parameters
    ----------
    over : str or float
        Voxels that the threshold is computed of: ``"all"``, ``"nonzero"``, or those above a number.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, or fewer than two different values.
    """

    name: ClassVar[str] = "li"
    version: ClassVar[int] = 1

    over: Over = "all"

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        threshold = li_threshold(histogram(volume, self.over, _BINS, self.name))
        return made(scalar(volume, self.name) > threshold, volume, FOREGROUND, self.tag)


def li_threshold(found: Histogram) -> float:
    """The threshold, to a 65,536th of the range."""
    low = found.edges[0]
    means, counts = found.filled()
    # The logarithms need positive values; the method shifts by the smallest one.
    shifted = means - low
    weights, moments = np.cumsum(counts), np.cumsum(counts * shifted)
    tolerance = (found.edges[-1] - low) / _BINS / 2
    threshold = float(moments[-1] / weights[-1])
    for _ in range(_ROUNDS):
        last = int(np.searchsorted(shifted, threshold, side="right")) - 1
        back = moments[last] / weights[last]
        front = (moments[-1] - moments[last]) / (weights[-1] - weights[last])
        before = threshold
        # Where the background is the smallest value alone the logarithmic mean tends to 0.
        threshold = float((front - back) / np.log(front / back)) if back > 0 else 0.0
        if abs(threshold - before) <= tolerance or threshold <= 0:
            break
    return float(low + threshold)
