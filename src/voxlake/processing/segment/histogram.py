"""Values as a histogram that keeps sums, so that iterations over voxels become iterations over bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.volume import Volume
from voxlake.processing.segment.parts import scalar
from voxlake.processing.values import Over, chosen

__all__ = ["Histogram", "histogram"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Histogram:
    """Bins of equal width over the range of the values.

    Parameters
    ----------
    counts : array
        Voxels of each bin.
    sums : array
        Sum of the values of each bin.
    edges : array
        One more than there are bins.
    """

    counts: Float
    sums: Float
    edges: Float

    @property
    def centres(self) -> Float:
        """Middle of each bin."""
        return np.asarray((self.edges[1:] + self.edges[:-1]) / 2)

    def place(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Number of the bin of each value; values beyond the ends count to the outermost bins."""
        low, high, bins = self.edges[0], self.edges[-1], len(self.counts)
        places = (values.astype(np.float64) - low) * (bins / (high - low))
        return np.asarray(np.clip(places, 0, bins - 1), dtype=np.int64)

    def filled(self) -> tuple[Float, Float]:
        """Means and counts of the bins that are not empty."""
        full = self.counts > 0
        return self.sums[full] / self.counts[full], self.counts[full]


def histogram(volume: Volume, over: Over, bins: int, name: str) -> Histogram:
    """Histogram of the finite values that `over` selects.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, or fewer than two different values.
    """
    values = chosen(scalar(volume, name), over)
    if values.size == 0 or values.min() == values.max():
        raise ItemError("step_failed", f"{name}: fewer than two different values; there is nothing to part")
    return _histogram(values, bins)


def _histogram(values: NDArray[Any], bins: int) -> Histogram:
    edges = np.linspace(float(values.min()), float(values.max()), bins + 1)
    place = Histogram(np.zeros(bins), np.zeros(bins), edges).place(values)
    counts = np.bincount(place, minlength=bins).astype(np.float64)
    sums = np.bincount(place, weights=values.astype(np.float64), minlength=bins)
    return Histogram(counts, np.asarray(sums, dtype=np.float64), edges)
