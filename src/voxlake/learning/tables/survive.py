"""Mining of kind survival: Cox's model, tested on patients whom it has not seen."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from voxlake.core.errors import UsageError
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.cox import Cox, check_proportional, fit_cox, independent_columns
from voxlake.learning.tables.figures import estimate_row, finite
from voxlake.learning.tables.folds import make_folds
from voxlake.learning.tables.kinds import ModelParts, Tick
from voxlake.learning.tables.options import SurvivalOptions, options_as
from voxlake.learning.tables.prepare import Preparation, fit_preparation
from voxlake.learning.tables.rates import discovery_rates
from voxlake.learning.tables.result import Mined, Predicted
from voxlake.learning.tables.table import Column, FeatureTable
from voxlake.metrics.survival import concordance_estimate

__all__ = ["Hazards", "fit_hazards", "mine_survive", "read_events", "speak"]

Floats: TypeAlias = NDArray[np.float64]

_FILE = "cox.json"
_SEEN = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, eq=False)
class Hazards:
    """A preparation and the model behind it.

    Parameters
    ----------
    preparation : Preparation
        Of the variables.
    kept : tuple of int
        Prepared columns that enter the model: one level of each category stands for none of the others.
    model : Cox
        Coefficients in the order of `kept`.
    """

    preparation: Preparation
    kept: tuple[int, ...]
    model: Cox

    @property
    def names(self) -> list[str]:
        """Names of the columns of the model."""
        return [self.preparation.names[place] for place in self.kept]

    def risk(self, table: FeatureTable) -> Floats:
        """Logarithm of the hazard of each row, float64 (N,)."""
        return self.model.risk(self.preparation.apply(table)[:, list(self.kept)])


def fit_hazards(
    table: FeatureTable, task: MiningTask, time: Floats, event: NDArray[np.bool_]
) -> tuple[Hazards, Floats]:
    """Prepare the variables and fit Cox's model on all rows of a table.

    Returns
    -------
    Hazards
    design : numpy.ndarray
        float64 (N, k), what the model was fitted on.

    Raises
    ------
    UsageError
        The variables or the events do not suffice.
    """
    options = options_as(task.settings, SurvivalOptions)
    preparation = fit_preparation(table, task.prepare)
    matrix = preparation.apply(table)
    # From the end: of a category whose levels add up to one the first level is left out.
    reverse = independent_columns(matrix[:, ::-1])
    kept = tuple(sorted(matrix.shape[1] - 1 - place for place in reverse))
    design = matrix[:, list(kept)]
    _, codes = np.unique(np.array(table.groups), return_inverse=True)
    model = fit_cox(time, event, design, groups=codes.astype(np.int64), ties=options.ties)
    return Hazards(preparation, kept, model), design


def mine_survive(table: FeatureTable, task: MiningTask, tick: Tick) -> Mined:
    """Fit Cox's model, check proportional hazards, and test it by cross-validation over patients.

    The hazard ratios are those of the model on all rows. The C-index rests on predictions of rows by models
    that have not seen their patients. Risks of two folds are compared through their ranks within the fold,
    since each fold has a scale of its own.

    Raises
    ------
    UsageError
        Times or events are missing, or there are too few of them.
    """
    options = options_as(task.settings, SurvivalOptions)
    time, event = read_events(table, options)
    folds = make_folds(table, _strata(event, task), task.folds)
    predicted = []
    for number, fold in enumerate(folds):
        train, test = np.array(fold.train), np.array(fold.test)
        hazards, _ = fit_hazards(table.take(train), task, time[train], event[train])
        risk = hazards.risk(table.take(test))
        predicted.append(Predicted("test", number, test.astype(np.int64), values=risk))
        tick(f"fold {number + 1}")
    final, design = fit_hazards(table, task, time, event)
    tick("final model")
    groups = np.array(table.groups)
    estimates = _concordances(predicted, (time, event), groups, options.level)
    rows, checks = _hazard_ratios(final, design, (time, event), table, options)
    stored = {
        "preparation": final.preparation.to_dict(),
        "kept": list(final.kept),
        "coefficients": final.model.coefficients.tolist(),
    }
    return Mined(
        kind="survival",
        predicted=tuple(predicted),
        folds=folds,
        results={
            "events": int(event.sum()),
            "rows": len(table),
            "log_likelihood": final.model.log_likelihood,
            "ties": options.ties,
            "proportional_hazards": checks,
            "estimates": estimates,
        },
        artefacts={_FILE: json.dumps(stored).encode()},
        associations=rows,
        parameters=len(final.kept),
    )


def speak(parts: ModelParts, task: MiningTask, table: FeatureTable) -> Predicted:
    """Risk of other rows: the logarithm of the hazard, higher is earlier.

    Raises
    ------
    UsageError
        A column is missing or of another kind.
    """
    options_as(task.settings, SurvivalOptions)
    stored = json.loads(parts.get(_FILE))
    matrix = Preparation.from_dict(stored["preparation"]).apply(table)[:, stored["kept"]]
    risk = matrix @ np.asarray(stored["coefficients"], dtype=np.float64)
    return Predicted("new", -1, np.arange(len(table), dtype=np.int64), values=risk)


def read_events(table: FeatureTable, options: SurvivalOptions) -> tuple[Floats, NDArray[np.bool_]]:
    """Times and events of a table.

    Returns
    -------
    time : numpy.ndarray
        float64 (N,).
    event : numpy.ndarray
        bool (N,).

    Raises
    ------
    UsageError
        A time is missing or not above 0, or an event is none of 1, 0, true, false, yes, no.
    """
    time = table.column(options.time)
    if time.kind != "number":
        raise UsageError(f"the time '{options.time}' must be a number, got categories")
    bad = int((~(time.values > 0)).sum())
    if bad:
        raise UsageError(f"{bad} rows have no time '{options.time}' above 0; leave them out and say so")
    return time.values.astype(np.float64), _seen(table.column(options.event))


def _seen(column: Column) -> NDArray[np.bool_]:
    words = [None if value is None else str(value).strip().lower() for value in column.as_category().values]
    unknown = sorted({str(word) for word in words if word not in _SEEN})
    if unknown:
        raise UsageError(
            f"the event '{column.name}' must be 1 or 0, true or false, yes or no; got '{unknown[0]}'"
        )
    return np.array([_SEEN[str(word)] for word in words], dtype=np.bool_)


def _strata(event: NDArray[np.bool_], task: MiningTask) -> list[str]:
    if not task.folds.stratify:
        return ["all"] * len(event)
    return ["event" if seen else "censored" for seen in event]


def _concordances(
    predicted: Sequence[Predicted],
    outcome: tuple[Floats, NDArray[np.bool_]],
    groups: NDArray[Any],
    level: float,
) -> list[dict[str, Any]]:
    """C-index over all test rows, with risks as shares of the ranks of their fold."""
    time, event = outcome
    risk = np.full(len(time), math.nan)
    for part in predicted:
        if part.values is not None:
            risk[part.rows] = (rankdata(part.values) - 0.5) / len(part.values)
    return [estimate_row(concordance_estimate(time, event, risk, groups=groups, level=level))]


def _hazard_ratios(
    final: Hazards,
    design: Floats,
    outcome: tuple[Floats, NDArray[np.bool_]],
    table: FeatureTable,
    options: SurvivalOptions,
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    low, high, p_values = final.model.intervals(options.level)
    each, together = check_proportional(final.model, *outcome, design)
    rates = discovery_rates(p_values)
    rows = tuple(
        {
            "variable": name,
            "target": options.event,
            "test": f"Cox, {options.ties}, robust",
            "effect": "hazard_ratio",
            "value": math.exp(final.model.coefficients[place]),
            "low": float(np.exp(low[place])),
            "high": float(np.exp(high[place])),
            "level": options.level,
            "p_value": float(p_values[place]),
            "q_value": float(rates[place]),
            "samples": len(table),
            "groups": len(set(table.groups)),
        }
        for place, name in enumerate(final.names)
    )
    checks = {
        "together": vars(together),
        "variables": [
            {"variable": name, "statistic": finite(one.statistic), "p_value": finite(one.p_value)}
            for name, one in zip(final.names, each, strict=True)
        ],
        "method": "Grambsch and Therneau, ranks of the event times",
    }
    return rows, checks
