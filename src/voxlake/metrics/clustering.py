"""How well clusters hold together, and how far two ways of clustering agree.

References
----------
Rousseeuw PJ. Silhouettes: a graphical aid to the interpretation and validation of cluster analysis. Journal
of Computational and Applied Mathematics 20 (1987) 53-65.
Hubert L, Arabie P. Comparing partitions. Journal of Classification 2 (1985) 193-218.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, Score, as_labels, as_weights, ratio
from voxlake.metrics.linearised import linearised_estimate
from voxlake.metrics.resampling import resample

__all__ = [
    "adjusted_rand_estimate",
    "adjusted_rand_index",
    "normalised_mutual_information",
    "silhouette_estimate",
    "silhouette_samples",
]

# Distances in memory at a time, 16 MB.
_DISTANCES = 2_000_000


class _Around(NamedTuple):
    """Of a block of samples: distances to all, mean distance in the own and the nearest other cluster."""

    rows: slice
    distances: Floats
    own: Floats
    other: Floats
    nearest: NDArray[np.intp]


def silhouette_samples(values: ArrayLike, labels: ArrayLike) -> Floats:
    """Silhouette of each sample: how much nearer its own cluster is than the next one.

    Parameters
    ----------
    values : array-like, shape (samples, features)
        Where the samples lie; distances are Euclidean.
    labels : array-like, shape (samples,)
        Cluster of each sample, two clusters at least.

    Returns
    -------
    ndarray of float64, shape (samples,)
        -1 to 1; 0 for a sample alone in its cluster.

    Raises
    ------
    UsageError
        Shapes differ, a value is not finite, or there is one cluster only.
    """
    points, cluster, sizes = _clustered(values, labels)
    found = np.zeros(cluster.size)
    for around in _blocks(points, cluster, sizes):
        found[around.rows] = _silhouette(around, sizes[cluster[around.rows]])
    return found


def silhouette_estimate(
    values: ArrayLike, labels: ArrayLike, *, groups: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """Mean silhouette with an interval over patients, from influence values.

    The interval is for these clusters as a rule that assigns samples; it does not cover that another sample
    would have led to other clusters (see `voxlake.metrics.stability`).

    Parameters
    ----------
    values, labels
        As for `silhouette_samples`.
    groups : array-like, shape (samples,), optional
        Patient of each sample.
    level : float
        Confidence level.
    """
    points, cluster, sizes = _clustered(values, labels)
    found, moved = np.zeros(cluster.size), np.zeros(cluster.size)
    member = np.eye(sizes.size)[cluster]
    for around in _blocks(points, cluster, sizes):
        mine = cluster[around.rows]
        found[around.rows] = _silhouette(around, sizes[mine])
        larger = np.maximum(around.own, around.other)
        counts = (sizes[mine] > 1) & (larger > 0)
        safe = np.where(counts, larger, 1.0)
        outside = around.own > around.other
        by_own = np.where(outside, -around.other / safe**2, -1 / safe) * counts
        by_other = np.where(outside, 1 / safe, around.own / safe**2) * counts
        # Each sample moves the mean distance of all that look at its cluster, by how far it lies off that
        # mean.
        own_part = by_own / np.maximum(sizes[mine] - 1, 1)
        other_part = by_other / sizes[around.nearest]
        part = np.zeros((mine.size, sizes.size))
        part[np.arange(mine.size), mine] = own_part
        part[np.arange(mine.size), around.nearest] = other_part
        level_part = np.zeros_like(part)
        level_part[np.arange(mine.size), mine] = own_part * around.own
        level_part[np.arange(mine.size), around.nearest] = other_part * around.other
        moved += np.sum((around.distances.T @ part) * member, axis=1) - level_part.sum(axis=0)[cluster]
        # A sample is no neighbour of itself: its own zero distance was counted against its own mean.
        moved[around.rows] += own_part * around.own
    value = float(found.mean())
    influence = (found - value + moved) / found.size
    return linearised_estimate("silhouette", value, influence, groups=groups, level=level)


def adjusted_rand_index(first: ArrayLike, second: ArrayLike, *, weights: ArrayLike | None = None) -> Score:
    """Adjusted Rand index: share of pairs on which two partitions agree, less what chance would give.

    Parameters
    ----------
    first, second : array-like, shape (samples,)
        Cluster of each sample in both partitions.
    weights : array-like, shape (samples,) or (replicates, samples), optional
        Weight of each sample. A pair counts the product of its weights, and no sample pairs with itself.

    Returns
    -------
    float or ndarray, shape (replicates,)
        1 for equal partitions, about 0 for unrelated ones; NaN where both put all samples into one cluster or
        each into its own.

    Raises
    ------
    UsageError
        Lengths differ.
    """
    one, other = _codes(first, second)
    weight = as_weights(weights, one.size)
    cells = one * (int(other.max()) + 1) + other
    _, cell = np.unique(cells, return_inverse=True)
    together, apart, joined = (_pairs(weight, code) for code in (one, other, cell))
    total = _pairs(weight, np.zeros_like(one))
    expected = np.asarray(ratio(together * apart, total))
    most = (together + apart) / 2
    room = np.where(most - expected > 1e-12 * total, most - expected, 0.0)
    return ratio(joined - expected, room)


def adjusted_rand_estimate(
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Adjusted Rand index with a bootstrap interval over patients.

    Parameters are those of `adjusted_rand_index` and `voxlake.metrics.resampling.resample`.
    """
    one, other = _codes(first, second)
    name = "adjusted_rand_index"
    return resample(
        {name: lambda weights: adjusted_rand_index(one, other, weights=weights)},
        samples=one.size,
        groups=groups,
        replicates=replicates,
        level=level,
        seed=seed,
    )[name]


def normalised_mutual_information(first: ArrayLike, second: ArrayLike) -> float:
    """Mutual information of two partitions over the mean of their entropies; NaN of two single clusters."""
    one, other = _codes(first, second)
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1))
    np.add.at(table, (one, other), 1 / one.size)
    rows, columns = _entropy(table.sum(axis=1)), _entropy(table.sum(axis=0))
    return float(ratio(2 * (rows + columns - _entropy(table.ravel())), rows + columns))


def _clustered(values: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.intp], Floats]:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise UsageError(f"values must be finite numbers (samples, features), got shape {points.shape}")
    known, cluster = np.unique(as_labels(labels, "labels", len(points)), return_inverse=True)
    if known.size < 2:
        raise UsageError("there is one cluster only; a silhouette compares two at least")
    return points, cluster, np.bincount(cluster).astype(np.float64)


def _blocks(points: Floats, cluster: NDArray[np.intp], sizes: Floats) -> Iterator[_Around]:
    member = np.eye(sizes.size)[cluster]
    block = max(1, _DISTANCES // len(points))
    for start in range(0, len(points), block):
        rows = slice(start, min(len(points), start + block))
        distances = cdist(points[rows], points)
        sums = distances @ member
        mine = cluster[rows]
        place = np.arange(mine.size)
        own = sums[place, mine] / np.maximum(sizes[mine] - 1, 1)
        means = sums / sizes
        means[place, mine] = np.inf
        nearest = means.argmin(axis=1)
        yield _Around(rows, distances, own, means[place, nearest], nearest)


def _silhouette(around: _Around, sizes: Floats) -> Floats:
    larger = np.maximum(around.own, around.other)
    found = np.divide(around.other - around.own, larger, out=np.zeros_like(larger), where=larger > 0)
    return np.where(sizes > 1, found, 0.0)


def _codes(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    one = as_labels(first, "first")
    other = as_labels(second, "second", one.size)
    return np.unique(one, return_inverse=True)[1], np.unique(other, return_inverse=True)[1]


def _pairs(weights: Floats, code: NDArray[np.intp]) -> Floats:
    """Weight of the pairs of different samples that share a code."""
    indicator = np.eye(int(code.max()) + 1)[code]
    return np.asarray((np.sum((weights @ indicator) ** 2, axis=-1) - np.sum(weights**2, axis=-1)) / 2)


def _entropy(shares: Floats) -> float:
    some = shares[shares > 0]
    return float(-np.sum(some * np.log(some)))
