"""Names of the figures of a classifier, as tasks, tables and reports write them."""

from __future__ import annotations

__all__ = ["METRICS"]

METRICS = (
    "roc_auc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "recall",
    "specificity",
    "precision",
    "f1",
    "matthews_corrcoef",
    "brier_score",
    "log_loss",
)
