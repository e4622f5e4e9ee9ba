"""Scores of segmentations: all figures of a case, and their mean and median over cases with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voxlake.core.errors import UsageError
from voxlake.metrics.bootstrap import Metric
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, ratio
from voxlake.metrics.overlap import dice, iou, relative_volume_difference, volume_similarity
from voxlake.metrics.regression import weighted_median
from voxlake.metrics.resampling import Interval, as_groups, resample
from voxlake.metrics.surface import Surface, surface_distances

__all__ = ["CaseSummary", "segmentation_estimates", "segmentation_scores"]


@dataclass(frozen=True)
class CaseSummary:
    """One figure over all cases.

    Parameters
    ----------
    mean, median : Estimate
        Over the cases for which the figure is defined. The mean is infinite where a distance is.
    left_out : int
        Cases for which it is not, for example with both masks empty.
    infinite : int
        Cases with an infinite distance: one of the masks is empty.
    """

    mean: Estimate
    median: Estimate
    left_out: int
    infinite: int


def segmentation_scores(
    truth: ArrayLike,
    predicted: ArrayLike,
    spacing: Sequence[float],
    *,
    tolerance: float | None = None,
    surface: Surface = "surfels",
) -> dict[str, float]:
    """All figures of one case.

    Parameters
    ----------
    truth, predicted : array-like of bool, two or three axes, equal shape
        Masks.
    spacing : sequence of float
        Distance of voxels along each axis, in mm.
    tolerance : float, optional
        Distance in mm that counts as none, for the surface Dice; without it that figure is left out. Readers'
        disagreement is a good choice.
    surface : {"surfels", "voxels"}
        See `voxlake.metrics.surface`.

    Returns
    -------
    dict of str to float
        ``dice``, ``iou``, ``volume_similarity``, ``relative_volume_difference``, and in mm
        ``hausdorff_distance``, ``hausdorff_distance_95``, ``average_surface_distance`` (both directions
        together); ``surface_dice``.

    Raises
    ------
    UsageError
        Shapes differ, masks are not binary, or the spacing does not fit.
    """
    distances = surface_distances(truth, predicted, spacing, surface=surface)
    scores = {
        "dice": dice(truth, predicted),
        "iou": iou(truth, predicted),
        "volume_similarity": volume_similarity(truth, predicted),
        "relative_volume_difference": relative_volume_difference(truth, predicted),
        "hausdorff_distance": distances.hausdorff(),
        "hausdorff_distance_95": distances.hausdorff(95),
        "average_surface_distance": distances.symmetric_average(),
    }
    if tolerance is not None:
        scores["surface_dice"] = distances.surface_dice(tolerance)
    return scores


def segmentation_estimates(
    cases: Sequence[Mapping[str, float]],
    *,
    groups: ArrayLike | None = None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, CaseSummary]:
    """Mean and median of each figure over cases, with intervals over patients.

    Parameters
    ----------
    cases : sequence of mappings
        The figures of each case, for example from `segmentation_scores`; all with the same names.
    groups : array-like, shape (cases,), optional
        Patient of each case.
    replicates, level, seed
        As for `voxlake.metrics.resampling.resample`.

    Raises
    ------
    UsageError
        There are no cases, names differ between them, or not one group for each.
    """
    members, _ = as_groups(groups, len(cases))
    names = list(cases[0])
    if any(set(case) != set(names) for case in cases):
        raise UsageError("the cases have different figures; score all of them in the same way")
    summaries = {}
    for name in names:
        values = np.array([case[name] for case in cases], dtype=np.float64)
        defined = ~np.isnan(values)
        kept = None if groups is None else members[defined]
        chosen = values[defined]
        made = [
            _over_cases(name, chosen, kept, kind, (replicates, level, seed)) for kind in ("mean", "median")
        ]
        infinite = int(np.isinf(chosen).sum())
        summaries[name] = CaseSummary(made[0], made[1], int(np.sum(~defined)), infinite)
    return summaries


def _over_cases(
    name: str, values: Floats, groups: ArrayLike | None, kind: str, how: tuple[int, float, int]
) -> Estimate:
    replicates, level, seed = how
    label = f"{kind}_{name}"
    if not values.size:
        return Estimate(label, math.nan, math.nan, math.nan, level, "none: defined for no case", 0, 0)
    if np.isinf(values).any():
        return _with_infinite(label, values, groups, kind, how)
    interval: Interval = "bca" if kind == "mean" else "percentile"
    return resample(
        {label: _mean_of(values) if kind == "mean" else _median_of(values)},
        samples=values.size,
        groups=groups,
        replicates=replicates,
        level=level,
        seed=seed,
        interval=interval,
    )[label]


def _with_infinite(
    label: str, values: Floats, groups: ArrayLike | None, kind: str, how: tuple[int, float, int]
) -> Estimate:
    """A mean over an infinite distance is infinite; a median and its interval may still be finite."""
    _, units = as_groups(groups, values.size)
    level = how[1]
    if kind == "median":
        # Ranks are resampled in place of the distances, and the ends read back as distances.
        known, ranks = np.unique(values, return_inverse=True)
        found = _over_cases(label, ranks.astype(np.float64), groups, kind, how)
        low, value, high = (_read_back(known, rank) for rank in (found.low, found.value, found.high))
        return Estimate(label, value, low, high, level, found.method, values.size, units)
    method = "none: a distance is infinite, as one of the masks is empty"
    return Estimate(label, math.inf, math.nan, math.nan, level, method, values.size, units)


def _read_back(known: Floats, rank: float) -> float:
    if math.isnan(rank):
        return math.nan
    below, above = known[math.floor(rank)], known[math.ceil(rank)]
    # Between a number and infinity there is no middle but infinity.
    return float(above if math.isinf(above) else below + (rank - math.floor(rank)) * (above - below))


def _mean_of(values: Floats) -> Metric:
    return lambda weights: ratio(weights @ values, weights.sum(axis=-1))


def _median_of(values: Floats) -> Metric:
    return lambda weights: weighted_median(values, weights)
