"""Whether clusters come out again from part of the data.

References
----------
Ben-Hur A, Elisseeff A, Guyon I. A stability based method for discovering structure in clustered data. Pacific
Symposium on Biocomputing 7 (2002) 6-17.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from voxlake.core.errors import UsageError
from voxlake.metrics.clustering import adjusted_rand_index
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats
from voxlake.metrics.normal import normal_deviate
from voxlake.metrics.resampling import as_groups

__all__ = ["Cluster", "cluster_stability"]

# Values (samples, features) and a seed in, a cluster for each sample out.
Cluster: TypeAlias = Callable[[Floats, int], ArrayLike]


def cluster_stability(
    cluster: Cluster,
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    draws: int = 50,
    share: float = 0.8,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean agreement of the clusters of two random parts of the data, on the samples that both hold.

    Parameters
    ----------
    cluster : callable
        Clusters values of shape (samples, features); the second argument is a seed.
    values : array-like, shape (samples, features)
        The data.
    groups : array-like, shape (samples,), optional
        Patient of each sample; a part holds all samples of a patient or none.
    draws : int
        Pairs of parts.
    share : float
        Share of the patients in each part, above a half so that any two have some in common.
    level : float
        Confidence level.
    seed : int
        Seed of the parts and of the clustering.

    Returns
    -------
    Estimate
        Mean adjusted Rand index over the draws. The interval is for what endless draws from these data would
        give, not for other data. Draws on which the index is not defined are left out and counted.

    Raises
    ------
    UsageError
        A setting is out of range, or there are too few patients to draw from.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2:
        raise UsageError(f"values must be (samples, features), got shape {points.shape}")
    normal_deviate(level)  # refuses what is no level
    members, units = as_groups(groups, len(points))
    taken = round(share * units)
    if draws < 2 or not units / 2 < taken < units:
        raise UsageError(
            f"expected 2 draws or more and a share that takes more than half of the {units} units "
            f"and leaves one out, got {draws} and {share}"
        )
    generator = np.random.default_rng(seed)
    agreed = np.array([_one_draw(cluster, points, members, (units, taken), generator) for _ in range(draws)])
    defined = agreed[~np.isnan(agreed)]
    counts = (len(points), units)
    if defined.size < 2:
        method = "none: the index is not defined on the draws"
        return Estimate("cluster_stability", math.nan, math.nan, math.nan, level, method, *counts)
    value, error = float(defined.mean()), float(defined.std(ddof=1)) / math.sqrt(defined.size)
    if error <= 1e-12:
        method = "none: all draws agree alike"
        return Estimate("cluster_stability", value, math.nan, math.nan, level, method, *counts)
    half = float(student.ppf(0.5 + level / 2, defined.size - 1)) * error
    left_out = f", {draws - defined.size} undefined left out" if defined.size < draws else ""
    method = f"Student over {draws} draws of {share:.0%}{left_out}"
    low, high = value - half, min(1.0, value + half)
    return Estimate("cluster_stability", value, low, high, level, method, *counts)


def _one_draw(
    cluster: Cluster,
    points: Floats,
    members: np.ndarray,
    sizes: tuple[int, int],
    generator: np.random.Generator,
) -> float:
    units, taken = sizes
    labels = []
    inside = []
    for _ in range(2):
        chosen = np.isin(members, generator.permutation(units)[:taken])
        found = np.asarray(cluster(points[chosen], int(generator.integers(2**31))))
        if found.shape != (int(chosen.sum()),):
            raise UsageError(f"cluster gave labels of shape {found.shape} for {int(chosen.sum())} samples")
        placed = np.zeros(len(points), dtype=np.int64)
        placed[chosen] = np.unique(found, return_inverse=True)[1]
        labels.append(placed)
        inside.append(chosen)
    shared = inside[0] & inside[1]
    return float(adjusted_rand_index(labels[0][shared], labels[1][shared]))
