"""Cox's model of times until an event, with a check of proportional hazards.

References
----------
Cox DR. Regression models and life-tables. Journal of the Royal Statistical Society B 34 (1972) 187-220.
Lin DY, Wei LJ. The robust inference for the Cox proportional hazards model. Journal of the American
Statistical Association 84 (1989) 1074-1078.
Grambsch PM, Therneau TM. Proportional hazards tests and diagnostics based on weighted residuals. Biometrika
81 (1994) 515-526.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm, rankdata
from statsmodels.duration.hazard_regression import PHReg

from voxlake.core.errors import UsageError

__all__ = ["Cox", "Proportionality", "check_proportional", "fit_cox", "independent_columns"]

Floats: TypeAlias = NDArray[np.float64]
Ties = Literal["efron", "breslow"]

# A hazard ratio of e^20 for one standard deviation is no estimate: the variable orders the events perfectly.
_LARGEST = 20.0


@dataclass(frozen=True, eq=False)
class Cox:
    """A fitted model.

    Parameters
    ----------
    coefficients : numpy.ndarray
        float64 (k,), logarithms of hazard ratios.
    covariance : numpy.ndarray
        float64 (k, k), robust to rows of one patient being alike.
    information : numpy.ndarray
        float64 (k, k), inverse of the observed information: the covariance if the model holds and all rows
        are independent.
    log_likelihood : float
        Partial logarithmic likelihood.
    ties : str
        How events at the same time were counted.
    """

    coefficients: Floats
    covariance: Floats
    information: Floats
    log_likelihood: float
    ties: Ties

    def risk(self, design: Floats) -> Floats:
        """Logarithm of the hazard beside that of a row of zeros, float64 (N,); higher is earlier."""
        return np.asarray(design @ self.coefficients, dtype=np.float64)

    def intervals(self, level: float = 0.95) -> tuple[Floats, Floats, Floats]:
        """Lower and upper ends of the coefficients and two-sided p values, each float64 (k,)."""
        deviation = np.sqrt(np.diag(self.covariance))
        half = norm.ppf(0.5 + level / 2) * deviation
        p_values = 2 * norm.sf(np.abs(self.coefficients) / deviation)
        return self.coefficients - half, self.coefficients + half, p_values


@dataclass(frozen=True)
class Proportionality:
    """Test of whether an effect stays the same over time.

    Parameters
    ----------
    statistic : float
        Chi squared.
    freedom : int
        Its degrees of freedom.
    p_value : float
        Small where the effect changes.
    """

    statistic: float
    freedom: int
    p_value: float


def fit_cox(
    time: Floats,
    event: NDArray[np.bool_],
    design: Floats,
    *,
    groups: NDArray[np.int64] | None = None,
    ties: Ties = "efron",
) -> Cox:
    """Fit Cox's model.

    Parameters
    ----------
    time : numpy.ndarray
        float64 (N,), above 0.
    event : numpy.ndarray
        bool (N,), whether the event was seen at that time.
    design : numpy.ndarray
        float64 (N, k), variables on scales of about 1, without a column of ones.
    groups : numpy.ndarray, optional
        int64 (N,), patients; without it every row is one.
    ties : {"efron", "breslow"}
        How events at the same time are counted.

    Raises
    ------
    UsageError
        Columns depend on each other, there are fewer events than columns, or the events are ordered perfectly
        by the variables.
    """
    count, columns = design.shape
    events = int(event.sum())
    if events <= columns:
        raise UsageError(
            f"{events} events cannot carry {columns} variables; choose fewer with [prepare] select and keep"
        )
    if len(independent_columns(design)) < columns:
        raise UsageError("some variables of the Cox model can be worked out from the others; leave them out")
    model: Any = PHReg(time, design, status=event.astype(np.float64), ties=ties)
    members = np.arange(count) if groups is None else groups
    with warnings.catch_warnings():
        # That it did not converge, or ran off to infinity, is said below in words of the task.
        warnings.simplefilter("ignore")
        coefficients = np.asarray(model.fit().params, dtype=np.float64)
        information = -np.asarray(model.hessian(coefficients), dtype=np.float64)
        slope = np.asarray(model.score(coefficients), dtype=np.float64)
    usable = np.isfinite(coefficients).all() and np.isfinite(information).all()
    if not usable or np.abs(coefficients).max() > _LARGEST or np.linalg.matrix_rank(information) < columns:
        raise UsageError("the variables order the events perfectly, so there is no hazard ratio; use fewer")
    inverse: Floats = np.asarray(np.linalg.inv(information), dtype=np.float64)
    if slope @ inverse @ slope > 1e-4:
        raise UsageError(
            "the Cox model did not converge; use fewer variables or [prepare] scale = 'standard'"
        )
    robust = _robust(model, coefficients, inverse, members)
    return Cox(coefficients, robust, inverse, float(model.loglike(coefficients)), ties)


def check_proportional(
    model: Cox, time: Floats, event: NDArray[np.bool_], design: Floats
) -> tuple[list[Proportionality], Proportionality]:
    """Test whether effects change over time: scaled Schoenfeld residuals against ranks of the event times.

    Parameters
    ----------
    model : Cox
        Fitted on these rows.
    time, event, design
        As for `fit_cox`.

    Returns
    -------
    each : list of Proportionality
        For each variable.
    together : Proportionality
        For all of them.

    Notes
    -----
    The form of Grambsch and Therneau, in which the variance of the residuals is taken as equal at all times.
    """
    residuals, when = _schoenfeld(model, time, event, design)
    events, columns = residuals.shape
    ranks = rankdata(when)
    moved = ranks - ranks.mean()
    scaled = residuals @ model.information * events
    slope = moved @ scaled
    spread = events * float(moved @ moved)
    each = []
    for place in range(columns):
        statistic = float(slope[place] ** 2 / (model.information[place, place] * spread))
        each.append(Proportionality(statistic, 1, float(chi2.sf(statistic, 1))))
    pulled = moved @ residuals
    total = float(pulled @ model.information @ pulled * events / (moved @ moved))
    return each, Proportionality(total, columns, float(chi2.sf(total, columns)))


def independent_columns(design: Floats) -> list[int]:
    """Columns that, beside a column of ones, cannot be worked out from those before them."""
    kept: list[int] = []
    basis: list[Floats] = []
    for place in range(design.shape[1]):
        column = design[:, place] - design[:, place].mean()
        length = float(np.linalg.norm(column))
        for each in basis:
            column = column - (each @ column) * each
        rest = float(np.linalg.norm(column))
        if rest > 1e-8 * max(length, 1e-300) and length > 0:
            kept.append(place)
            basis.append(column / rest)
    return kept


def _robust(model: Any, coefficients: Floats, inverse: Floats, members: NDArray[np.int64]) -> Floats:
    """Sandwich over groups: score residuals are added up by patient."""
    parts = np.nan_to_num(np.asarray(model.score_residuals(coefficients), dtype=np.float64))
    _, codes = np.unique(members, return_inverse=True)
    summed = np.zeros((int(codes.max()) + 1, len(coefficients)))
    np.add.at(summed, codes, parts)
    groups = len(summed)
    robust: Floats = inverse @ (summed.T @ summed) @ inverse * groups / (groups - 1)
    return robust


def _schoenfeld(model: Cox, time: Floats, event: NDArray[np.bool_], design: Floats) -> tuple[Floats, Floats]:
    """Residual of each event: its variables less their mean over those at risk, weighted by hazard."""
    hazard = np.exp(model.risk(design) - model.risk(design).max())
    order = np.argsort(-time, kind="stable")
    # Sums over all whose time is not below: from the latest on, up to the last row of the same time.
    weight, weighted = np.cumsum(hazard[order]), np.cumsum(design[order] * hazard[order, np.newaxis], axis=0)
    when = time[event]
    last = np.searchsorted(-time[order], -when, side="right") - 1
    below, above = weight[last], weighted[last]
    if model.ties == "efron":
        below, above = _efron(hazard, time, event, design, (below, above))
    return design[event] - above / below[:, np.newaxis], when


def _efron(
    hazard: Floats,
    time: Floats,
    event: NDArray[np.bool_],
    design: Floats,
    at_risk: tuple[Floats, Floats],
) -> tuple[Floats, Floats]:
    """At a time with several events, the mean over the events that leave one after the other."""
    below, above = (each.copy() for each in at_risk)
    when = time[event]
    for moment in np.unique(when):
        rows = np.flatnonzero(when == moment)
        if len(rows) == 1:
            continue
        dying = event & (time == moment)
        own, own_weighted = hazard[dying].sum(), hazard[dying] @ design[dying]
        gone = np.arange(len(rows)) / len(rows)
        means = (above[rows[0]] - gone[:, np.newaxis] * own_weighted) / (below[rows[0]] - gone * own)[
            :, np.newaxis
        ]
        below[rows], above[rows] = 1.0, means.mean(axis=0)
    return below, above
