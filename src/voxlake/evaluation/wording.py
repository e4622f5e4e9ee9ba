"""How numbers and metrics are put into words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from voxlake.evaluation.content import Cell
from voxlake.metrics.estimate import Estimate

__all__ = [
    "GROUPS",
    "METRICS",
    "MetricWords",
    "metric_words",
    "show_cell",
    "show_interval",
    "show_p",
    "show_value",
]


@dataclass(frozen=True)
class MetricWords:
    """How a metric is presented.

    Parameters
    ----------
    title : str
        Name for people.
    meaning : str
        One line without jargon.
    group : str
        Key of `GROUPS`.
    percent : bool
        Whether it is a share that reads best in percent.
    bar : bool
        Whether it lies between 0 and 1 with 1 the best, so that a bar tells something.
    """

    title: str
    meaning: str
    group: str
    percent: bool = False
    bar: bool = False


GROUPS = MappingProxyType(
    {
        "ranking": "Ranking, whatever the threshold",
        "decision": "Decisions at the threshold",
        "probability": "Trust in the probabilities",
        "number": "Predicted numbers",
        "time": "Order of events",
        "other": "Other figures",
    }
)

METRICS = MappingProxyType(
    {
        "roc_auc": MetricWords(
            "Area under the ROC curve",
            "How often a positive case gets a higher probability than a negative one; 0.5 is guessing.",
            "ranking",
            bar=True,
        ),
        "average_precision": MetricWords(
            "Average precision",
            "How pure the positive calls stay as the model calls more and more cases positive.",
            "ranking",
            bar=True,
        ),
        "accuracy": MetricWords("Accuracy", "Share of all cases called right.", "decision", True, True),
        "balanced_accuracy": MetricWords(
            "Balanced accuracy",
            "Share called right when every class counts the same, however rare it is.",
            "decision",
            True,
            True,
        ),
        "recall": MetricWords(
            "Sensitivity (recall)", "Share of the positive cases that were found.", "decision", True, True
        ),
        "specificity": MetricWords(
            "Specificity", "Share of the negative cases that were rightly left alone.", "decision", True, True
        ),
        "precision": MetricWords(
            "Precision (positive predictive value)",
            "Share of the positive calls that are right; it depends on how common the positive class is.",
            "decision",
            True,
            True,
        ),
        "f1": MetricWords("F1 score", "Sensitivity and precision in one number.", "decision", True, True),
        "matthews_corrcoef": MetricWords(
            "Matthews correlation",
            "Agreement of decision and truth, from \N{MINUS SIGN}1 to 1; 0 is chance.",
            "decision",
        ),
        "brier_score": MetricWords(
            "Brier score",
            "Mean squared distance between probability and outcome; 0 is best, lower is better.",
            "probability",
        ),
        "log_loss": MetricWords(
            "Log loss",
            "Penalty for confident mistakes; 0 is best, lower is better.",
            "probability",
        ),
        "mean_absolute_error": MetricWords(
            "Mean absolute error",
            "How far off a prediction is on average, in the unit of the truth.",
            "number",
        ),
        "root_mean_squared_error": MetricWords(
            "Root mean squared error", "The same, with large errors counting more.", "number"
        ),
        "median_absolute_error": MetricWords(
            "Median absolute error", "Half of the predictions are off by less than this.", "number"
        ),
        "mean_error": MetricWords(
            "Mean error (bias)", "Above 0 where predictions are too high on average.", "number"
        ),
        "r_squared": MetricWords(
            "R squared",
            "Share of the variation that the predictions tell; below 0 is worse than the mean.",
            "number",
        ),
        "pearson_correlation": MetricWords(
            "Correlation (Pearson)", "How well a straight line goes through predicted and true.", "number"
        ),
        "spearman_correlation": MetricWords(
            "Rank correlation (Spearman)", "How well predictions put samples in the right order.", "number"
        ),
        "concordance_index": MetricWords(
            "C-index (Harrell)",
            "How often the one of two with the higher risk has the earlier event; 0.5 is guessing.",
            "time",
            bar=True,
        ),
        "uno_concordance": MetricWords(
            "C-index (Uno)",
            "The same, whatever share of the samples was lost from sight.",
            "time",
            bar=True,
        ),
    }
)


def metric_words(name: str) -> MetricWords:
    """Words for a metric; a name that is not known stands for itself."""
    return METRICS.get(name) or MetricWords(name.replace("_", " "), "", "other")


def show_value(value: float, *, percent: bool = False) -> str:
    """Three decimals, or percent with one; NaN is "not defined"."""
    if math.isnan(value):
        return "not defined"
    if math.isinf(value):
        return "infinite"
    # A minus sign, not a hyphen; and no "-0.000".
    text = f"{value * 100:.1f}%" if percent else f"{value:.3f}"
    shown = text.lstrip("-") if float(text.rstrip("%")) == 0 else text
    return shown.replace("-", "\N{MINUS SIGN}")


def show_p(value: float) -> str:
    """A p value with its sign: ``"= 0.012"``, or ``"< 0.001"``; NaN is ``"not defined"``."""
    if math.isnan(value):
        return "not defined"
    return "< 0.001" if value < 0.0005 else f"= {show_value(value)}"


def show_interval(estimate: Estimate, *, percent: bool = False) -> str:
    """Both ends of an interval, or "not defined"."""
    if not estimate.has_interval:
        return "not defined"
    return f"{show_value(estimate.low, percent=percent)} to {show_value(estimate.high, percent=percent)}"


def show_cell(cell: Cell) -> str:
    """A cell of a table as text."""
    if cell is None:
        return "not known"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Estimate):
        percent = metric_words(cell.name).percent
        value = show_value(cell.value, percent=percent)
        return f"{value} ({show_interval(cell, percent=percent)})" if cell.has_interval else value
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    whole = isinstance(cell, int | np.integer)
    return f"{int(cell):,}" if whole else _show_real(float(cell))


def _show_real(number: float) -> str:
    """Three decimals for shares and losses, fewer for ages and sizes."""
    size = abs(number)
    if math.isnan(number) or math.isinf(number) or size < 2:
        return show_value(number)
    return (f"{number:,.2f}" if size < 10 else f"{number:,.1f}").replace("-", "\N{MINUS SIGN}")
