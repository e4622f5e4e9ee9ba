"""Whether probabilities of three or more classes can be believed, class by class and for the class named."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError
from voxlake.evaluation.content import Cell, Guide, Plot, Section, Table, Trace
from voxlake.evaluation.scored import Scored
from voxlake.metrics.calibration import calibration_estimates
from voxlake.metrics.calibration_interval import calibration_error_estimate
from voxlake.metrics.curves import calibration_curve
from voxlake.metrics.recalibration import fit_recalibration
from voxlake.metrics.scores import brier_score, log_loss

__all__ = ["describe_class_calibration", "tempered"]

# Lines of more classes than this cannot be told apart; the table has them all.
_DRAWN = 8
_WORDS = (
    "Of cases given a probability of 70% for a class, 70% should be of it. The slope is 1 where "
    "probabilities are neither too bold (below 1) nor too timid (above 1); the intercept is 0 where they are "
    "right on the whole. A class of few samples has wide intervals."
)
_UNDER_PLOT = (
    "Samples in bins of about equal number. Points on the diagonal are right; whiskers are 95% intervals."
)
# A recalibration of fewer samples than this says more about them than about the model.
_FEWEST = 20


def describe_class_calibration(scored: Scored) -> Section:
    """Reliability of each class against all others, calibration errors with intervals, and a temperature.

    Parameters
    ----------
    scored : Scored
        Predictions of a model of three or more classes.
    """
    classes = scored.model.classes
    counts = np.bincount(scored.truth, minlength=len(classes))
    drawn = sorted(np.argsort(-counts, kind="stable")[:_DRAWN].tolist())
    rows = [_of_class(scored, place, name, int(counts[place])) for place, name in enumerate(classes)]
    tables = [
        Table(
            "Calibration of the probabilities as given",
            ("Class", "Samples of it", "Calibration error", "Slope", "Intercept"),
            (
                (
                    "the class that is named",
                    len(scored.truth),
                    _named(scored, scored.probabilities),
                    None,
                    None,
                ),
                *rows,
            ),
            note="Each class against all others, in bins of about equal number. The first row asks whether "
            "the most probable class is as often right as its probability says.",
        )
    ]
    changed = tempered(scored)
    if changed is not None:
        tables.append(_compared(scored, changed))
    return Section(
        "calibration",
        "Calibration",
        (_WORDS,),
        plots=(
            Plot(
                "calibration-classes",
                "Calibration of each class",
                _UNDER_PLOT + ("" if len(drawn) == len(classes) else f" The {_DRAWN} most frequent classes."),
                "predicted probability of the class",
                "observed share of the class",
                tuple(_trace(scored, place) for place in drawn),
                guides=(Guide("perfect", "diagonal"),),
                x_range=(0, 1),
                y_range=(0, 1.02),
                wide=True,
            ),
        ),
        tables=tuple(tables),
    )


def tempered(scored: Scored) -> NDArray[np.float64] | None:
    """Probabilities of all classes at the temperature that fits the validation data of each fold.

    Returns
    -------
    numpy.ndarray or None
        float64 (N, classes); None where a fold has fewer than 20 validation samples, or a class without one.
    """
    result = scored.probabilities.copy()
    for fold in set(scored.folds.tolist()):
        parts = [scored.validation[fold]] if fold in scored.validation else []
        if fold == -1 and not parts:
            parts = list(scored.validation.values())
        if sum(len(part.truth) for part in parts) < _FEWEST:
            return None
        truth = np.concatenate([part.truth for part in parts])
        given = np.concatenate([part.probabilities for part in parts])
        inside = scored.folds == fold
        try:
            result[inside] = fit_recalibration("temperature", truth, given).apply(result[inside])
        except UsageError:
            # A class that no validation sample is of.
            return None
    return result


def _of_class(scored: Scored, place: int, name: str, count: int) -> tuple[Cell, ...]:
    if count in (0, len(scored.truth)):
        return (name, count, "no samples of it" if count == 0 else "no samples of others", None, None)
    found = {
        each.name: each
        for each in calibration_estimates(
            scored.truth == place, scored.probabilities[:, place], groups=scored.groups
        )
    }
    figures = ("calibration_error", "calibration_slope", "calibration_intercept")
    return (name, count, *(found[figure] for figure in figures))


def _named(scored: Scored, values: NDArray[np.float64]) -> Cell:
    return calibration_error_estimate(scored.truth, values, groups=scored.groups)


def _compared(scored: Scored, changed: NDArray[np.float64]) -> Table:
    return Table(
        "What a temperature would do, fitted on validation data only and measured on the samples above",
        ("Probabilities", "Calibration error of the class that is named", "Brier score", "Log loss"),
        tuple(
            (
                name,
                _named(scored, values),
                float(brier_score(scored.truth, values)),
                float(log_loss(scored.truth, values)),
            )
            for name, values in (("as given", scored.probabilities), ("at the temperature", changed))
        ),
        note="All other figures are of the probabilities as given. A temperature changes no class "
        "that is named.",
    )


def _trace(scored: Scored, place: int) -> Trace:
    curve = calibration_curve(scored.truth == place, scored.probabilities[:, place], groups=scored.groups)
    return Trace(
        scored.model.classes[place], curve.predicted, curve.observed, curve.low, curve.high, "errors"
    )
