"""An interval for the expected calibration error, which no resampling gives.

The error is a sum of absolute values, to which noise can only add: a perfectly calibrated model has an error
above zero on every finite sample, and a resampled one an error above that. Percentiles of replicates
therefore miss the truth almost always where the model is good. Here the question is turned round: which true
gaps would give an error as large, or as small, as the one that was seen?
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from voxlake.core.errors import UsageError
from voxlake.metrics.calibration_bins import Scheme, bin_starts, top_label
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, as_labels

__all__ = ["calibration_error_estimate"]


def calibration_error_estimate(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    groups: ArrayLike | None,
    bins: int = 10,
    scheme: Scheme = "equal_count",
    level: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
) -> Estimate:
    """Expected calibration error with an interval over patients that knows of its upward bias.

    The gaps of the bins are normal around the true ones, with a covariance over patients. True gaps are taken
    to be the seen ones times a factor; the interval holds all factors under which the seen error would not
    lie in either tail. Its upper end is never below the seen error.

    Parameters
    ----------
    truth, probability, bins, scheme
        As for `voxlake.metrics.calibration.calibration_error`.
    groups : array-like, shape (samples,), or None
        Patient of each sample; None takes every sample as independent.
    level : float
        Confidence level.
    draws : int
        Number of simulated errors.
    seed : int
        Their seed.

    Returns
    -------
    Estimate
        Named ``calibration_error``; the interval is NaN where a variance cannot be had.

    Raises
    ------
    UsageError
        As for `calibration_error`, or a level or number of draws that is none.
    """
    if not 0 < level < 1 or draws < 100:
        raise UsageError(f"expected a level in (0, 1) and 100 draws or more, got {level} and {draws}")
    positive, certain = top_label(truth, probability)
    size = positive.size
    _, members = np.unique(
        np.arange(size) if groups is None else as_labels(groups, "groups", size), return_inverse=True
    )
    order, starts = bin_starts(certain, bins=bins, scheme=scheme)
    gaps, covariance = _gaps((positive - certain)[order], starts, members[order])
    value, count = float(np.abs(gaps).sum()), int(members.max()) + 1
    unit = "samples" if groups is None else "groups"
    low, high, method = math.nan, math.nan, f"inverted test over {unit}, {draws} draws"
    if count < 2 or starts.size >= size:
        method = "none: too few groups for a variance"
    elif not (np.diag(covariance) > 0).any():
        method = "none: the gaps have no variance"
    else:
        noise = np.random.default_rng(seed).multivariate_normal(
            np.zeros(gaps.size), covariance, size=draws, method="eigh"
        )
        low, high = _inverted(gaps, noise, (1 - level) / 2)
    return Estimate("calibration_error", value, low, high, level, method, size, count)


def _gaps(surplus: Floats, starts: NDArray[np.intp], members: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Mean surplus of outcomes over predictions that each bin brings, and its covariance over groups."""
    size = surplus.size
    counts = np.diff(np.append(starts, size))
    bin_of = np.repeat(np.arange(starts.size), counts)
    sums = np.add.reduceat(surplus, starts)
    # A bin of one sample has no spread of its own; its surplus around zero is then the best there is.
    middle = np.where(counts > 1, sums / counts, 0.0)
    stretch = np.sqrt(counts / np.maximum(counts - 1, 1))
    rest = (surplus - middle[bin_of]) * stretch[bin_of] / size
    shape = int(members.max()) + 1, starts.size
    cells = np.bincount(members * starts.size + bin_of, rest, shape[0] * shape[1])
    table = cells.astype(np.float64).reshape(shape)
    return sums / size, table.T @ table


def _inverted(gaps: Floats, noise: Floats, tail: float) -> tuple[float, float]:
    """Smallest and largest true error that the seen one does not contradict."""
    seen = float(np.abs(gaps).sum())
    if seen == 0:
        return 0.0, 0.0

    def quantile(factor: float, share: float) -> float:
        return float(np.quantile(np.abs(factor * gaps + noise).sum(axis=1), share)) - seen

    # Noise adds to the error, so no factor above 1 is needed below, and twice the noise suffices above.
    low = (
        0.0
        if quantile(0.0, 1 - tail) >= 0
        else float(brentq(quantile, 0.0, 1.0, args=(1 - tail,), xtol=1e-4))
    )
    far = 2.0 + float(np.quantile(np.abs(noise).sum(axis=1), 1 - tail)) / seen
    high = 1.0 if quantile(1.0, tail) >= 0 else float(brentq(quantile, 1.0, far, args=(tail,), xtol=1e-4))
    return low * seen, high * seen
