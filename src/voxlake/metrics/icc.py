"""Intraclass correlation: how much of the variance of ratings lies between the subjects.

Form (1, .): each subject is rated by other raters. (2, .): the same raters, drawn from many; absolute
agreement. (3, .): the same raters, and no others are of interest; consistency. (., 1) is the reliability of
one rating, (., k) that of the mean over all raters.

References
----------
Shrout PE, Fleiss JL. Intraclass correlations: uses in assessing rater reliability. Psychological Bulletin
86 (1979) 420-428.
McGraw KO, Wong SP. Forming inferences about some intraclass correlation coefficients. Psychological Methods
1 (1996) 30-46.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import f as fisher

from voxlake.core.errors import UsageError
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.inputs import Floats, Score, as_weights, ratio
from voxlake.metrics.normal import normal_deviate
from voxlake.metrics.resampling import resample

__all__ = ["ICC_FORMS", "IccForm", "icc_estimate", "icc_estimates", "intraclass_correlation"]

IccForm: TypeAlias = Literal["ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)"]

ICC_FORMS: tuple[IccForm, ...] = get_args(IccForm)


class _Squares(NamedTuple):
    """Mean squares of the analysis of variance, one number per set of weights."""

    subjects: Floats
    raters: Floats
    error: Floats
    within: Floats
    units: Floats
    raters_count: int


def intraclass_correlation(
    ratings: ArrayLike, form: IccForm = "ICC(2,1)", *, weights: ArrayLike | None = None
) -> Score:
    """Intraclass correlation of complete ratings.

    Parameters
    ----------
    ratings : array-like, shape (subjects, raters)
        Every subject rated by two raters or more.
    form : str
        One of `ICC_FORMS`.
    weights : array-like, shape (subjects,) or (replicates, subjects), optional
        Weight of each subject; a subject of weight 2 counts like two subjects.

    Returns
    -------
    float or ndarray, shape (replicates,)
        At most 1; below 0 where subjects differ less than their ratings. NaN where nothing varies.

    Raises
    ------
    UsageError
        The shape is another, a rating is missing, or the form is unknown.
    """
    table = _as_ratings(ratings, form)
    squares = _mean_squares(table, as_weights(weights, len(table)))
    return _coefficient(squares, form)


def icc_estimate(
    ratings: ArrayLike,
    form: IccForm = "ICC(2,1)",
    *,
    groups: ArrayLike | None = None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Intraclass correlation with its interval.

    Parameters
    ----------
    ratings, form
        As for `intraclass_correlation`.
    groups : array-like, shape (subjects,), optional
        Patient of each subject, where a patient has several (lesions, eyes): patients are resampled then.
        Without groups the intervals are those of Shrout and Fleiss, from F distributions. The forms (2, .)
        need several raters to say how raters differ: with two or three the interval is wide, and rightly so.
    replicates, seed
        Of the bootstrap over groups.
    level : float
        Confidence level.

    Raises
    ------
    UsageError
        As for `intraclass_correlation`.
    """
    table = _as_ratings(ratings, form)
    normal_deviate(level)  # refuses what is no level
    name = form.lower().replace("(", "_").replace(",", "_").replace(")", "")
    subjects = len(table)
    if groups is not None:
        found = resample(
            {name: lambda weights: intraclass_correlation(table, form, weights=weights)},
            samples=subjects,
            groups=groups,
            replicates=replicates,
            level=level,
            seed=seed,
        )
        return found[name]
    squares = _mean_squares(table, np.ones(subjects))
    value = float(_coefficient(squares, form))
    if math.isnan(value) or squares.error <= 0 or squares.within <= 0:
        reason = "none: the ratings do not differ, so there is no variance to see"
        return Estimate(name, value, math.nan, math.nan, level, reason, subjects, subjects)
    low, high = _interval(squares, form, level)
    return Estimate(name, value, low, high, level, "F distribution, Shrout and Fleiss", subjects, subjects)


def icc_estimates(
    ratings: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """All six forms by name, for example ``"ICC(2,1)"``; parameters are those of `icc_estimate`."""
    return {
        form: icc_estimate(ratings, form, groups=groups, replicates=replicates, level=level, seed=seed)
        for form in ICC_FORMS
    }


def _as_ratings(ratings: ArrayLike, form: str) -> Floats:
    table = np.asarray(ratings, dtype=np.float64)
    if form not in ICC_FORMS:
        raise UsageError(
            f"unknown form {form!r} of the intraclass correlation; one of {', '.join(ICC_FORMS)}"
        )
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 2:
        raise UsageError(
            f"ratings must be (subjects, raters) with two of each at least, got shape {table.shape}"
        )
    if not np.isfinite(table).all():
        raise UsageError("ratings are missing or not finite; keep the subjects that all raters rated")
    return table


def _mean_squares(table: Floats, weights: Floats) -> _Squares:
    raters = table.shape[1]
    # About the grand mean, so that large offsets do not eat the digits.
    table = table - table.mean() if np.ptp(table) > 0 else np.zeros_like(table)
    count = weights.sum(axis=-1)
    some = np.where(count > 0, count, 1.0)
    subject_means = table.mean(axis=1)
    rater_means = np.einsum("...i,ij->...j", weights, table) / some[..., np.newaxis]
    grand = rater_means.mean(axis=-1)
    between = raters * (np.einsum("...i,i->...", weights, subject_means**2) - some * grand**2)
    among = some * np.sum((rater_means - grand[..., np.newaxis]) ** 2, axis=-1)
    apart = np.sum((table - subject_means[:, np.newaxis]) ** 2, axis=1)
    within = np.einsum("...i,i->...", weights, apart)
    freedom = np.where(count > 1, count - 1, np.nan)
    return _Squares(
        subjects=np.maximum(between, 0) / freedom,
        raters=among / (raters - 1),
        error=np.maximum(within - among, 0) / (freedom * (raters - 1)),
        within=within / (some * (raters - 1)),
        units=count,
        raters_count=raters,
    )


def _coefficient(squares: _Squares, form: IccForm) -> Score:
    subjects, raters, error, within, count, k = squares
    single = form.endswith("1)")
    if form.startswith("ICC(1"):
        return ratio(subjects - within, subjects + (k - 1) * within if single else subjects)
    if form.startswith("ICC(3"):
        return ratio(subjects - error, subjects + (k - 1) * error if single else subjects)
    some = np.where(count > 0, count, 1.0)
    if single:
        return ratio(subjects - error, subjects + (k - 1) * error + k * (raters - error) / some)
    return ratio(subjects - error, subjects + (raters - error) / some)


def _interval(squares: _Squares, form: IccForm, level: float) -> tuple[float, float]:
    k = squares.raters_count
    if form.startswith("ICC(2"):
        low, high = _interval_of_random_raters(squares, level)
    else:
        low, high = _interval_of_ratio(squares, level, within=form.startswith("ICC(1"))
    if form.endswith("1)"):
        return low, high
    # Spearman and Brown: the mean of k ratings.
    return k * low / (1 + (k - 1) * low), k * high / (1 + (k - 1) * high)


def _interval_of_ratio(squares: _Squares, level: float, *, within: bool) -> tuple[float, float]:
    n, k = float(squares.units), squares.raters_count
    below = float(squares.within if within else squares.error)
    freedom = n * (k - 1) if within else (n - 1) * (k - 1)
    observed = float(squares.subjects) / below
    tail = 0.5 + level / 2
    least = observed / float(fisher.ppf(tail, n - 1, freedom))
    most = observed * float(fisher.ppf(tail, freedom, n - 1))
    return (least - 1) / (least + k - 1), (most - 1) / (most + k - 1)


def _interval_of_random_raters(squares: _Squares, level: float) -> tuple[float, float]:
    """Satterthwaite's freedom for the sum of rater and error variance (Shrout and Fleiss)."""
    n, k = float(squares.units), squares.raters_count
    subjects, raters, error = float(squares.subjects), float(squares.raters), float(squares.error)
    value = float(_coefficient(squares, "ICC(2,1)"))
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    freedom = (a * raters + b * error) ** 2 / (
        (a * raters) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    )
    tail = 0.5 + level / 2
    upper, lower = float(fisher.ppf(tail, n - 1, freedom)), float(fisher.ppf(tail, freedom, n - 1))
    rest = k * raters + (k * n - k - n) * error
    return (
        n * (subjects - upper * error) / (upper * rest + n * subjects),
        n * (lower * subjects - error) / (rest + n * lower * subjects),
    )
