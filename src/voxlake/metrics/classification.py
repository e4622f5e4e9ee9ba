"""Metrics of classification, all in one place: decisions (`confusion`) and scores (`scores`)."""

from __future__ import annotations

from voxlake.metrics.confusion import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    f1,
    matthews_corrcoef,
    precision,
    recall,
    specificity,
)
from voxlake.metrics.scores import average_precision, brier_score, log_loss, roc_auc

__all__ = [
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "brier_score",
    "confusion_matrix",
    "f1",
    "log_loss",
    "matthews_corrcoef",
    "precision",
    "recall",
    "roc_auc",
    "specificity",
]
