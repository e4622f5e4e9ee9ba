"""Effects in linear and logistic models whose rows are not independent: rows of one patient belong together.

The variance is the bias-reduced sandwich CR2, the degrees of freedom are Satterthwaite's. With one row for
each patient and two groups of rows the standard error is that of Welch's test.

References
----------
Bell RM, McCaffrey DF. Bias reduction in standard errors for linear regression with multi-stage samples.
Survey Methodology 28 (2002) 169-181.
Pustejovsky JE, Tipton E. Small-sample methods for cluster-robust variance estimation and hypothesis testing
in fixed effects models. Journal of Business and Economic Statistics 36 (2018) 672-683.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import t as student

__all__ = ["Effect", "linear_effect", "logistic_effect", "robust_deviation"]

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]

_STEPS = 50
# Beyond this a fitted probability is 0 or 1 to rounding: the classes are separated and there is no estimate.
_LARGEST = 25.0


@dataclass(frozen=True)
class Effect:
    """One coefficient.

    Parameters
    ----------
    value, low, high : float
        Coefficient and interval; NaN where there is none.
    p_value : float
        Two-sided, of no effect.
    deviation : float
        Standard error.
    freedom : float
        Degrees of freedom.
    """

    value: float
    low: float
    high: float
    p_value: float
    deviation: float
    freedom: float


def linear_effect(outcome: Floats, design: Floats, codes: Codes, *, level: float = 0.95) -> Effect:
    """Coefficient of the first column in a linear model.

    Parameters
    ----------
    outcome : numpy.ndarray
        float64 (n,).
    design : numpy.ndarray
        float64 (n, k), the variable first, a column of ones among the others.
    codes : numpy.ndarray
        int64 (n,), group of each row, 0 and up.
    level : float
        Level of the interval.

    Returns
    -------
    Effect
        All NaN where the columns depend on each other, or nothing is left to estimate the error from.
    """
    if not _full_rank(design):
        return _nothing()
    coefficients = np.linalg.lstsq(design, outcome, rcond=None)[0]
    deviation, freedom = robust_deviation(design, outcome - design @ coefficients, codes)
    return _effect(float(coefficients[0]), deviation, freedom, level)


def logistic_effect(outcome: Floats, design: Floats, codes: Codes, *, level: float = 0.95) -> Effect:
    """Coefficient of the first column in a logistic model: a logarithm of an odds ratio.

    Parameters
    ----------
    outcome : numpy.ndarray
        float64 (n,) of 0 and 1.
    design, codes, level
        As in `linear_effect`.

    Returns
    -------
    Effect
        All NaN where the columns depend on each other, or a combination of them separates the outcomes.
    """
    if not _full_rank(design):
        return _nothing()
    coefficients = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        fitted = expit(design @ coefficients)
        spread = fitted * (1 - fitted)
        information = design.T @ (design * spread[:, np.newaxis])
        if np.linalg.cond(information) > 1e12:
            return _nothing()
        step = np.linalg.solve(information, design.T @ (outcome - fitted))
        coefficients = coefficients + step
        if np.abs(design @ coefficients).max() > _LARGEST:
            return _nothing()
        if np.abs(design @ step).max() < 1e-9:
            break
    else:
        return _nothing()
    fitted = expit(design @ coefficients)
    root = np.sqrt(fitted * (1 - fitted))
    deviation, freedom = robust_deviation(design * root[:, np.newaxis], (outcome - fitted) / root, codes)
    return _effect(float(coefficients[0]), deviation, freedom, level)


def robust_deviation(design: Floats, residuals: Floats, codes: Codes) -> tuple[float, float]:
    """CR2 standard error of the first coefficient, and its degrees of freedom.

    Parameters
    ----------
    design : numpy.ndarray
        float64 (n, k) of full rank; of a weighted model, times the roots of the weights.
    residuals : numpy.ndarray
        float64 (n,), likewise.
    codes : numpy.ndarray
        int64 (n,), group of each row.

    Returns
    -------
    deviation, freedom : float
        NaN where no group but one tells anything about the coefficient.
    """
    values, vectors = np.linalg.eigh(design.T @ design)
    root = (vectors / np.sqrt(values)) @ vectors.T
    rows = design @ root
    groups = int(codes.max()) + 1
    columns = design.shape[1]
    inner = np.empty((groups, columns, columns))
    for first in range(columns):
        for second in range(columns):
            inner[:, first, second] = np.bincount(codes, rows[:, first] * rows[:, second], groups)
    # (I - H)^(-1/2) of a group times its rows has the same eigenvalues as a small matrix: k by k, not n by n.
    share, basis = np.linalg.eigh(inner)
    left = 1 - share
    scale = np.where(left > 1e-10, 1 / np.sqrt(np.maximum(left, 1e-10)), 0)
    contrast = root[:, 0]
    weights = np.einsum("gij,gj,gkj,k->gi", basis, scale, basis, contrast)
    along = np.einsum("ik,ik->i", rows, weights[codes])
    scores = np.bincount(codes, along * residuals, groups)
    size = np.bincount(codes, along * along, groups)
    pulled = np.einsum("gij,gj->gi", inner, weights)
    trace = size.sum() - (pulled**2).sum()
    square = (size**2).sum() - 2 * (size * (pulled**2).sum(axis=1)).sum() + ((pulled.T @ pulled) ** 2).sum()
    if not trace > 1e-12 * max(size.sum(), 1e-300) or not square > 0:
        return math.nan, math.nan
    return math.sqrt(float(scores @ scores)), float(trace * trace / square)


def _effect(value: float, deviation: float, freedom: float, level: float) -> Effect:
    if math.isnan(deviation) or deviation <= 1e-12 * max(1.0, abs(value)):
        return _nothing()
    half = float(student.ppf(0.5 + level / 2, freedom)) * deviation
    p_value = float(2 * student.sf(abs(value) / deviation, freedom))
    return Effect(value, value - half, value + half, p_value, deviation, freedom)


def _nothing() -> Effect:
    return Effect(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan)


def _full_rank(design: Floats) -> bool:
    lengths = np.linalg.norm(design, axis=0)
    if len(design) <= design.shape[1] or not (lengths > 0).all():
        return False
    return bool(np.linalg.matrix_rank(design / lengths, tol=1e-9 * math.sqrt(len(design))) == design.shape[1])
