"""Lesion by lesion: which connected parts of the truth were found, and which predicted ones are false.

A Dice coefficient is ruled by the large lesions; a missed small one hardly shows. Here each counts as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import generate_binary_structure, label
from scipy.optimize import linear_sum_assignment

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, ratio
from voxlake.metrics.linearised import Scale, linearised_estimate
from voxlake.metrics.overlap import as_masks
from voxlake.metrics.resampling import as_groups
from voxlake.metrics.wilson import wilson_interval

__all__ = ["LesionMatch", "lesion_estimates", "match_lesions"]


@dataclass(frozen=True, eq=False)
class LesionMatch:
    """Lesions of one case and which of them belong together.

    Parameters
    ----------
    truth_voxels, predicted_voxels : ndarray of int64, shape (lesions,)
        Size of each true and each predicted lesion.
    pairs : ndarray of int64, shape (found, 2)
        Number of a true and of a predicted lesion, from 0; each stands in one pair at most.
    iou : ndarray of float64, shape (found,)
        Intersection over union of each pair.
    """

    truth_voxels: NDArray[np.int64]
    predicted_voxels: NDArray[np.int64]
    pairs: NDArray[np.int64]
    iou: Floats

    @property
    def found(self) -> int:
        """Number of true lesions that were found."""
        return len(self.pairs)

    @property
    def missed(self) -> int:
        """Number of true lesions that were not."""
        return self.truth_voxels.size - self.found

    @property
    def false(self) -> int:
        """Number of predicted lesions that are none."""
        return self.predicted_voxels.size - self.found


def match_lesions(
    truth: ArrayLike, predicted: ArrayLike, *, minimum_iou: float = 0.0, connectivity: int | None = None
) -> LesionMatch:
    """Match the connected parts of two masks one to one.

    Parameters
    ----------
    truth, predicted : array-like of bool, equal shape
        Masks.
    minimum_iou : float
        Least intersection over union of a pair; with 0 any common voxel is enough. From 0.5 on the match is
        the only possible one; below, the most pairs and among these the largest overlap is taken.
    connectivity : int, optional
        Voxels of one lesion share faces (1), edges (2) or corners (3). Default: as many as there are axes.

    Raises
    ------
    UsageError
        Shapes differ, masks are not binary, or a setting is out of range.
    """
    true, claimed = as_masks(truth, predicted)
    reach = true.ndim if connectivity is None else connectivity
    if not 0 <= minimum_iou <= 1 or not 1 <= reach <= true.ndim:
        raise UsageError(
            f"expected a least overlap of 0 to 1 and a connectivity of 1 to {true.ndim}, "
            f"got {minimum_iou} and {reach}"
        )
    structure = generate_binary_structure(true.ndim, reach)
    (true_labels, trues), (claimed_labels, claims) = label(true, structure), label(claimed, structure)
    true_sizes = np.bincount(true_labels.ravel(), minlength=trues + 1)[1:]
    claimed_sizes = np.bincount(claimed_labels.ravel(), minlength=claims + 1)[1:]
    both = true & claimed
    codes = true_labels[both].astype(np.int64) * (claims + 1) + claimed_labels[both]
    touching, common = np.unique(codes, return_counts=True)
    rows, columns = touching // (claims + 1) - 1, touching % (claims + 1) - 1
    shares = common / (true_sizes[rows] + claimed_sizes[columns] - common)
    pairs, iou = _assign(rows, columns, np.where(shares >= minimum_iou, shares, 0.0), (trues, claims))
    return LesionMatch(true_sizes.astype(np.int64), claimed_sizes.astype(np.int64), pairs, iou)


def lesion_estimates(
    matches: Sequence[LesionMatch], *, groups: ArrayLike | None = None, level: float = 0.95
) -> dict[str, Estimate]:
    """Recall, precision and F1 of lesions, and false lesions per case, with intervals over patients.

    Lesions of one case are not independent: each figure is a ratio of sums over cases, or over patients where
    they have several, and its variance comes from these. Where all cases are alike (every lesion found), that
    has nothing to tell, and Wilson's interval stands in, with each case or patient that has lesions counted
    once.

    Parameters
    ----------
    matches : sequence of LesionMatch
        One for each case.
    groups : array-like, shape (cases,), optional
        Patient of each case.
    level : float
        Confidence level.

    Raises
    ------
    UsageError
        There are no cases, not one group for each, or the level is none.
    """
    found = np.array([match.found for match in matches], dtype=np.float64)
    missed = np.array([match.missed for match in matches], dtype=np.float64)
    false = np.array([match.false for match in matches], dtype=np.float64)
    members, _ = as_groups(groups, found.size)
    parts: tuple[tuple[str, Floats, Floats, Scale], ...] = (
        ("lesion_recall", found, found + missed, "logit"),
        ("lesion_precision", found, found + false, "logit"),
        ("lesion_f1", 2 * found, 2 * found + missed + false, "logit"),
        ("false_lesions_per_case", false, np.ones(found.size), "plain"),
    )
    estimates = {}
    for name, above, below, scale in parts:
        whole = float(below.sum())
        value = float(ratio(above.sum(), whole))
        influence = (above - value * below) / whole if whole else np.zeros(found.size)
        made = linearised_estimate(name, value, influence, groups=groups, level=level, scale=scale)
        estimates[name] = made
        if name in ("lesion_recall", "lesion_precision"):
            estimates[name] = _at_the_end(made, np.unique(members[below > 0]).size)
    return estimates


def _assign(
    rows: NDArray[np.int64], columns: NDArray[np.int64], shares: Floats, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], Floats]:
    """Most pairs, and among these the largest sum of shares."""
    if not (shares > 0).any():
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    # Lesions without a partner do not enter the table, which would grow with the square of their number.
    used_rows, row = np.unique(rows, return_inverse=True)
    used_columns, column = np.unique(columns, return_inverse=True)
    table = np.zeros((used_rows.size, used_columns.size))
    table[row, column] = shares
    # A pair more is worth more than all overlap together.
    worth = np.where(table > 0, table + min(shape) + 1, 0.0)
    one, other = linear_sum_assignment(worth, maximize=True)
    kept = table[one, other] > 0
    one, other = one[kept], other[kept]
    return np.column_stack((used_rows[one], used_columns[other])).astype(np.int64), table[one, other]


def _at_the_end(estimate: Estimate, units: int) -> Estimate:
    if estimate.has_interval or estimate.value not in (0.0, 1.0) or not units:
        return estimate
    low, high = wilson_interval(units * estimate.value, units, estimate.level)
    method = f"Wilson over {units} units with lesions, as all are alike"
    return replace(estimate, low=low, high=high, method=method)
