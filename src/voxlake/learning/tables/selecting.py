"""Which columns are kept: rules that look at training rows only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import feature_selection, linear_model

from voxlake.learning.tables.estimators import Supervised

__all__ = ["choose", "uncorrelated"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


def uncorrelated(values: Floats, limit: float) -> Places:
    """Places of the columns whose correlation with every earlier one that is kept is at most `limit`.

    Parameters
    ----------
    values : numpy.ndarray
        float64 (N, P); no column may be constant.
    limit : float
        Largest absolute correlation (Pearson).
    """
    if values.shape[1] < 2:
        return np.arange(values.shape[1])
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    correlation = np.abs(standard.T @ standard) / len(values)
    kept: list[int] = []
    for place in range(values.shape[1]):
        # A copy of a column has a correlation of 1 up to rounding.
        if not kept or correlation[place, kept].max() <= min(limit, 1 - 1e-12):
            kept.append(place)
    return np.array(kept, dtype=np.int64)


def choose(how: str, values: Floats, target: NDArray[Any], keep: int, kind: Supervised, seed: int) -> Places:
    """Places of the `keep` columns that go best with the target, in their order.

    Parameters
    ----------
    how : {"univariate", "mutual_information", "lasso"}
        By the F statistic; by mutual information (Kraskov et al., 2004); by the order in which columns enter
        the path of the lasso (Efron et al., 2004), for more than two classes that of each class in turn.
    values : numpy.ndarray
        float64 (N, P), scaled.
    target : numpy.ndarray
        int64 (N,) or float64 (N,).
    keep : int
        How many.
    kind : {"classification", "regression"}
        What the target is.
    seed : int
        Of the noise that parts ties of mutual information.
    """
    if keep >= values.shape[1]:
        return np.arange(values.shape[1])
    if how == "lasso":
        return np.sort(np.array(_entered(values, target, keep, kind), dtype=np.int64))
    if how == "univariate":
        rule = feature_selection.f_classif if kind == "classification" else feature_selection.f_regression
        score = np.nan_to_num(rule(values, target)[0], nan=0.0)
    else:
        classes = kind == "classification"
        mutual = (
            feature_selection.mutual_info_classif if classes else feature_selection.mutual_info_regression
        )
        score = mutual(values, target, random_state=seed % 2**32)
    return np.sort(np.argsort(-score, kind="stable")[:keep])


def _entered(values: Floats, target: NDArray[Any], keep: int, kind: Supervised) -> list[int]:
    """The first columns on the path of the lasso."""
    if kind == "regression":
        sides = [target.astype(np.float64)]
    else:
        classes = np.unique(target)
        sides = [
            (target == one).astype(np.float64) for one in (classes[1:] if len(classes) == 2 else classes)
        ]
    centred = values - values.mean(axis=0)
    orders = []
    for side in sides:
        _, _, path = linear_model.lars_path(centred, side - side.mean(), method="lasso", max_iter=4 * keep)
        enters = [int(np.flatnonzero(one)[0]) if one.any() else len(one) + 1 for one in path]
        orders.append([place for place in np.argsort(enters, kind="stable") if path[place].any()])
    entered: list[int] = []
    for rank in range(max((len(order) for order in orders), default=0)):
        for order in orders:
            if rank < len(order) and int(order[rank]) not in entered and len(entered) < keep:
                entered.append(int(order[rank]))
    return entered
