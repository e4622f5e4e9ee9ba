"""What inner folds choose models by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError
from voxlake.metrics.classification import balanced_accuracy
from voxlake.metrics.regression import mean_absolute_error, r_squared, root_mean_squared_error
from voxlake.metrics.scores import average_precision, brier_score, log_loss, roc_auc

__all__ = ["better", "default_metric", "judge", "judge_numbers", "judge_probabilities"]

Floats = NDArray[np.float64]

_OF_SCORES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "roc_auc": roc_auc,
        "average_precision": average_precision,
        "brier_score": brier_score,
        "log_loss": log_loss,
    }
)
_OF_NUMBERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"rmse": root_mean_squared_error, "mae": mean_absolute_error, "r2": r_squared}
)
_SMALLER_IS_BETTER = frozenset({"brier_score", "log_loss", "rmse", "mae"})


def default_metric(classes: int) -> str:
    """What is chosen by where the task does not say: `classes` is 0 for numbers."""
    return {0: "rmse", 2: "roc_auc"}.get(classes, "log_loss")


def better(metric: str, one: float, other: float) -> bool:
    """Whether `one` is better than `other`; a value that is not defined never is."""
    if np.isnan(one):
        return False
    return bool(np.isnan(other) or (one < other if metric in _SMALLER_IS_BETTER else one > other))


def judge(metric: str, truth: NDArray[Any], said: Floats, *, positive: int | None) -> float:
    """Value of a metric over out-of-fold predictions; `positive` is None for numbers."""
    if positive is None:
        return judge_numbers(metric, truth, said)
    return judge_probabilities(metric, truth, said, positive=positive)


def judge_numbers(metric: str, truth: NDArray[Any], said: Floats) -> float:
    """Value of a metric of numbers, both float64 (N,).

    Raises
    ------
    UsageError
        The metric is one of classes.
    """
    if metric not in _OF_NUMBERS:
        raise UsageError(f"metric '{metric}' is not for regression; use one of {sorted(_OF_NUMBERS)}")
    return float(_OF_NUMBERS[metric](truth, said))


def judge_probabilities(metric: str, truth: NDArray[Any], said: Floats, *, positive: int) -> float:
    """Value of a metric of classes.

    Parameters
    ----------
    metric : str
        Which.
    truth : numpy.ndarray
        int64 (N,), index into the classes.
    said : numpy.ndarray
        float64 (N, classes).
    positive : int
        Index of the positive class, where there are two.

    Raises
    ------
    UsageError
        The metric is one of numbers.
    """
    if metric == "balanced_accuracy":
        return float(balanced_accuracy(truth, said.argmax(axis=1)))
    if metric not in _OF_SCORES:
        known = sorted((*_OF_SCORES, "balanced_accuracy"))
        raise UsageError(f"metric '{metric}' is not for classification; use one of {known}")
    if said.shape[1] == 2:
        return float(_OF_SCORES[metric](truth == positive, said[:, positive]))
    return float(_OF_SCORES[metric](truth, said))
