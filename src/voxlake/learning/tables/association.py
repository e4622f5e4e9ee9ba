"""One variable against one target: which test, which effect, which interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact
from scipy.stats.contingency import odds_ratio

from voxlake.learning.tables.correlation import correlation_effect
from voxlake.learning.tables.options import AssociationOptions
from voxlake.learning.tables.robust import Effect, linear_effect, logistic_effect

__all__ = ["Finding", "Untested", "Variable", "relate"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Variable:
    """A number, or one level of a category.

    Parameters
    ----------
    name : str
        Name; of a level ``column=level``.
    values : numpy.ndarray
        float64 (N,), NaN where missing; of a level 0 and 1.
    binary : bool
        Whether it is a level.
    """

    name: str
    values: Floats
    binary: bool


@dataclass(frozen=True)
class Finding:
    """A test that was made."""

    variable: str
    target: str
    test: str
    effect: str
    value: float
    low: float
    high: float
    p_value: float
    samples: int
    groups: int


@dataclass(frozen=True)
class Untested:
    """A test that could not be made, and why."""

    variable: str
    target: str
    reason: str


def relate(
    variable: Variable,
    target: Variable,
    groups: Sequence[str],
    options: AssociationOptions,
    covariates: Sequence[Floats] = (),
) -> Finding | Untested:
    """Test a variable against a target on the rows where nothing is missing.

    ============== ========== ====================================================================
    variable       target     test and effect
    ============== ========== ====================================================================
    level          class      odds ratio: Fisher's exact test if every row is a patient of its own
                              and nothing is adjusted for, else a logistic model
    number         class      difference of means (class less the others) in a linear model, or odds
                              ratio for one standard deviation in a logistic model
    level          number     difference of means of the target in a linear model
    number         number     correlation; with covariates, the change of the target for one standard
                              deviation, in a linear model
    ============== ========== ====================================================================

    Standard errors of the models are robust to rows of one patient being alike.

    Parameters
    ----------
    variable, target : Variable
        What is tested against what.
    groups : sequence of str
        (N,), patients.
    options : AssociationOptions
        Level, and which effects.
    covariates : sequence of numpy.ndarray
        float64 (N,) each, what is adjusted for.
    """
    whole = np.isfinite(variable.values) & np.isfinite(target.values)
    for each in covariates:
        whole &= np.isfinite(each)
    first, second = variable.values[whole], target.values[whole]
    named = np.array(groups, dtype=object)[whole]
    reason = _unfit(first, second)
    if reason:
        return Untested(variable.name, target.name, reason)
    _, codes = np.unique(named.astype(str), return_inverse=True)
    codes = codes.astype(np.int64)
    ones = [np.ones(len(first)), *(each[whole] for each in covariates)]
    test, effect, found = _tested((first, variable.binary), (second, target.binary), ones, codes, options)
    if math.isnan(found.p_value):
        return Untested(variable.name, target.name, f"{test} gives no estimate on these rows")
    return Finding(
        variable.name,
        target.name,
        test,
        effect,
        found.value,
        found.low,
        found.high,
        found.p_value,
        len(first),
        int(codes.max()) + 1,
    )


def _tested(
    variable: tuple[Floats, bool],
    target: tuple[Floats, bool],
    beside: Sequence[Floats],
    codes: NDArray[np.int64],
    options: AssociationOptions,
) -> tuple[str, str, Effect]:
    (first, first_binary), (second, second_binary) = variable, target
    adjusted, single = len(beside) > 1, int(codes.max()) + 1 == len(first)
    level = options.level
    if second_binary and first_binary and single and not adjusted:
        return "Fisher exact", "odds_ratio", _fisher(first, second, level)
    if second_binary and (first_binary or options.numbers == "odds_ratio"):
        scaled = first if first_binary else first / first.std(ddof=1)
        found = logistic_effect(second, np.column_stack((scaled, *beside)), codes, level=level)
        return "logistic, CR2", "odds_ratio", _exponential(found)
    if second_binary:
        found = linear_effect(first, np.column_stack((second, *beside)), codes, level=level)
        return "linear, CR2", "difference", found
    if first_binary:
        found = linear_effect(second, np.column_stack((first, *beside)), codes, level=level)
        return "linear, CR2", "difference", found
    if adjusted:
        scaled = first / first.std(ddof=1)
        found = linear_effect(second, np.column_stack((scaled, *beside)), codes, level=level)
        return "linear, CR2", "slope", found
    found = correlation_effect(first, second, codes, kind=options.correlation, level=level)
    return options.correlation, "correlation", found


def _fisher(first: Floats, second: Floats, level: float) -> Effect:
    """Conditional estimate of the odds ratio, with its exact interval and p value."""
    table = np.array(
        [[((first == row) & (second == column)).sum() for column in (1, 0)] for row in (1, 0)], dtype=np.int64
    )
    found = odds_ratio(table)
    interval = found.confidence_interval(level)
    p_value = float(fisher_exact(table).pvalue)
    return Effect(
        float(found.statistic), float(interval.low), float(interval.high), p_value, math.nan, math.nan
    )


def _exponential(found: Effect) -> Effect:
    # An interval that reaches beyond what a float holds has no end worth naming.
    with np.errstate(over="ignore"):
        value, low, high = (float(np.exp(each)) for each in (found.value, found.low, found.high))
    return Effect(value, low, high, found.p_value, found.deviation, found.freedom)


def _unfit(first: Floats, second: Floats) -> str:
    if len(first) < 4:
        return f"only {len(first)} rows have all values"
    if np.ptp(first) == 0:
        return "the variable has one value"
    if np.ptp(second) == 0:
        return "the target has one value"
    return ""
