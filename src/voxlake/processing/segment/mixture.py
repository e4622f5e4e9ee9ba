"""Classes of tissue as a mixture of normal distributions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.histogram import histogram
from voxlake.processing.segment.kmeans import cluster
from voxlake.processing.segment.parts import classes, made, scalar, selected
from voxlake.processing.values import Over

__all__ = ["GaussianMixture", "fit_mixture"]

Float = NDArray[np.float64]

_ROUNDS = 500
_TOLERANCE = 1e-7


class GaussianMixture(MaskStep):
    """The most probable of several normal distributions of values, fitted by expectation-maximisation.

    Dempster, Laird and Rubin, J. R. Stat. Soc. B 1977; for tissue of the brain Wells et al., IEEE Trans. Med.
    Imaging 1996, here without a bias field (put ``n4`` before it). Starts from `kmeans`, so it draws nothing
    at random. Classes are numbered 1, 2, ... by ascending mean; voxels that `over` does not select, NaN and
    infinities become 0. Flat images pass.

    Parameters
    ----------
    classes : int
        From 2 to 12.
    over : str or float
        Voxels that take part: ``"all"``, ``"nonzero"``, or those above a number.
    bins : int
        Of the histogram whose bins, at their means, stand for the voxels.

    Raises
    ------
    ItemError
        ``step_failed``: a colour image, or fewer than two different values.
    """

    name: ClassVar[str] = "gaussian_mixture"
    version: ClassVar[int] = 1

    classes: int = Field(default=3, ge=2, le=12)
    over: Over = "nonzero"
    bins: int = Field(default=4096, ge=64, le=65536)

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        found = histogram(volume, self.over, self.bins, self.name)
        means, counts = found.filled()
        centres, deviations, shares = fit_mixture(means, counts, self.classes)
        best = _log_density(means, centres, deviations, shares).argmax(axis=0) + 1
        by_bin = np.zeros(self.bins, dtype=np.uint8)
        by_bin[found.counts > 0] = best
        values = scalar(volume, self.name)
        result = np.zeros(values.shape, dtype=np.uint8)
        keep = selected(values, self.over)
        result[keep] = by_bin[found.place(values[keep])]
        return made(result, volume, classes(self.classes), self.tag)


def fit_mixture(values: Float, counts: Float, number: int) -> tuple[Float, Float, Float]:
    """Means, standard deviations and shares of the distributions, by ascending mean.

    Parameters
    ----------
    values, counts : array
        Different values and how often each occurs.
    number : int
        How many distributions.
    """
    centres = cluster(values, counts, number)
    nearest = np.abs(values[None] - centres[:, None]).argmin(axis=0)
    members = (np.arange(number)[:, None] == nearest).astype(np.float64)
    # No distribution may shrink to a single value, where its density would have no limit.
    floor = max(float(np.ptp(values)) * 1e-4, np.finfo(np.float64).tiny)
    means, deviations, shares = _maximise(values, counts, members, floor)
    before = -np.inf
    for _ in range(_ROUNDS):
        logs = _log_density(values, means, deviations, shares)
        top = logs.max(axis=0)
        weights = np.exp(logs - top)
        total = weights.sum(axis=0)
        likelihood = float(((top + np.log(total)) * counts).sum() / counts.sum())
        means, deviations, shares = _maximise(values, counts, weights / total, floor)
        if likelihood - before < _TOLERANCE:
            break
        before = likelihood
    order = np.argsort(means)
    return means[order], deviations[order], shares[order]


def _maximise(values: Float, counts: Float, members: Float, floor: float) -> tuple[Float, Float, Float]:
    weights = members * counts
    total = np.maximum(weights.sum(axis=1), np.finfo(np.float64).tiny)
    means = (weights * values).sum(axis=1) / total
    variances = (weights * (values[None] - means[:, None]) ** 2).sum(axis=1) / total
    return means, np.sqrt(np.maximum(variances, floor**2)), total / counts.sum()


def _log_density(values: Float, means: Float, deviations: Float, shares: Float) -> Float:
    apart = (values[None] - means[:, None]) / deviations[:, None]
    return np.asarray(-(apart**2) / 2 - np.log(deviations)[:, None] + np.log(shares)[:, None])
