"""Whether probabilities can be believed, before and after recalibration on validation data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError
from voxlake.evaluation.class_calibration import describe_class_calibration
from voxlake.evaluation.content import Guide, Plot, Section, Table, Trace
from voxlake.evaluation.scored import Scored
from voxlake.metrics.calibration import calibration_estimates
from voxlake.metrics.curves import CalibrationCurve, calibration_curve
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.recalibration import RECALIBRATIONS, Method, fit_recalibration
from voxlake.metrics.scores import brier_score, log_loss

__all__ = ["describe_calibration", "recalibrated"]

# A recalibration of fewer samples than this says more about them than about the model.
_FEWEST = 20
_WORDS: Mapping[Method, str] = {
    "platt": "Platt's logistic curve",
    "temperature": "temperature",
    "isotonic": "isotonic steps",
}


def describe_calibration(scored: Scored) -> Section:
    """Figures, plots and the effect of recalibration; class by class where there are more than two."""
    if not scored.model.is_binary:
        return describe_class_calibration(scored)
    truth, given = scored.is_positive, scored.score
    found = calibration_estimates(truth, given, groups=scored.groups)
    others = {method: recalibrated(scored, method) for method in RECALIBRATIONS}
    known = {method: values for method, values in others.items() if values is not None}
    traces = [_trace("as given", calibration_curve(truth, given, groups=scored.groups))]
    if "platt" in known:
        curve = calibration_curve(truth, known["platt"], groups=scored.groups)
        traces.append(_trace("recalibrated (Platt)", curve))
    words = [
        (
            f"Of cases given a probability of 70% for “{scored.model.positive}”, 70% should be so. The slope "
            "is "
            "1 where "
            "probabilities are neither too bold (below 1) nor too timid (above 1); the intercept is 0 where "
            "they "
            "are "
            "right on the whole."
        )
    ]
    if not known:
        words.append(
            f"No recalibration is shown: it needs {_FEWEST} validation samples of both classes in each fold."
        )
    tables = [Table("Calibration of the probabilities as given", ("Figure", "Value"), _rows(found))]
    if known:
        tables.append(_compared(scored, known))
    return Section(
        "calibration",
        "Calibration",
        tuple(words),
        plots=(
            Plot(
                "calibration-compared",
                "Calibration",
                "Samples in bins of about equal number. Points on the diagonal are right; whiskers are 95% "
                "intervals.",
                "predicted probability",
                f"observed share of {scored.model.positive}",
                tuple(traces),
                guides=(Guide("perfect", "diagonal"),),
                x_range=(0, 1),
                y_range=(0, 1.02),
            ),
            Plot(
                "calibration-spread",
                "What probabilities were given",
                "How many samples got which probability, by their truth.",
                "predicted probability",
                "samples",
                tuple(
                    _histogram(name, given[chosen])
                    for name, chosen in ((str(scored.model.positive), truth), ("others", ~truth))
                ),
                x_range=(0, 1),
            ),
        ),
        tables=tuple(tables),
    )


def recalibrated(scored: Scored, method: Method) -> NDArray[np.float64] | None:
    """Probability of the positive class, each fold recalibrated by what its own validation data say.

    Returns
    -------
    numpy.ndarray or None
        float64 (N,); None where a fold has too little validation data, or of one class only. Samples of the
        mean over networks are recalibrated by the validation data of all of them.
    """
    result = scored.score.copy()
    for fold in set(scored.folds.tolist()):
        parts = [scored.validation[fold]] if fold in scored.validation else []
        if fold == -1 and not parts:
            parts = list(scored.validation.values())
        truth = np.concatenate([part.is_positive for part in parts]) if parts else np.zeros(0, dtype=bool)
        if truth.size < _FEWEST or truth.all() or not truth.any():
            return None
        given = np.concatenate([part.score for part in parts])
        inside = scored.folds == fold
        try:
            result[inside] = fit_recalibration(method, truth, given).apply(result[inside])
        except UsageError:
            # Separated classes have no finite logistic curve.
            return None
    return result


def _compared(scored: Scored, known: Mapping[Method, NDArray[np.float64]]) -> Table:
    rows = [("as given", *_figures(scored, scored.score))]
    rows += [(_WORDS[method], *_figures(scored, values)) for method, values in known.items()]
    return Table(
        "What recalibration would do, fitted on validation data only and measured on the samples above",
        ("Probabilities", "Calibration error", "Slope", "Brier score", "Log loss"),
        tuple(rows),
        note="All other figures are of the probabilities as given. Recalibrating by one rising curve "
        "changes no ranking within a fold.",
    )


def _figures(scored: Scored, values: NDArray[np.float64]) -> tuple[Estimate | float, ...]:
    found = {
        each.name: each for each in calibration_estimates(scored.is_positive, values, groups=scored.groups)
    }
    return (
        found["calibration_error"],
        found["calibration_slope"],
        float(brier_score(scored.is_positive, values)),
        float(log_loss(scored.is_positive, values)),
    )


def _rows(found: list[Estimate]) -> tuple[tuple[str, Estimate], ...]:
    return tuple((_NAMES.get(each.name, each.name.replace("_", " ")), each) for each in found)


def _trace(name: str, curve: CalibrationCurve) -> Trace:
    return Trace(name, curve.predicted, curve.observed, curve.low, curve.high, "errors")


def _histogram(name: str, values: NDArray[np.float64]) -> Trace:
    counts, edges = np.histogram(values, bins=20, range=(0, 1))
    return Trace(name, edges, np.append(counts, counts[-1]).astype(np.float64), form="step")


_NAMES = {
    "calibration_error": "Expected calibration error, bins of equal number",
    "calibration_error_equal_width": "Expected calibration error, bins of equal width",
    "calibration_slope": "Slope",
    "calibration_intercept": "Intercept (slope held at 1)",
    "observed_to_expected": "Observed to expected number of positives",
}
