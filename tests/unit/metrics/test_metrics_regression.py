"""Regression, limits of agreement and intraclass correlation: by definition and against published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from voxlake.core.errors import UsageError
from voxlake.metrics import regression as metrics
from voxlake.metrics.bland_altman import bland_altman
from voxlake.metrics.icc import ICC_FORMS, icc_estimate, icc_estimates, intraclass_correlation
from voxlake.metrics.regression import REGRESSION_METRICS, regression_estimates

# Shrout and Fleiss (1979), table 2: six subjects, four judges.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])


def test_figures_by_hand() -> None:
    truth, predicted = [1.0, 2.0, 3.0, 6.0], [2.0, 2.0, 1.0, 7.0]
    assert metrics.mean_error(truth, predicted) == pytest.approx(0.0)
    assert metrics.mean_absolute_error(truth, predicted) == pytest.approx(1.0)
    assert metrics.mean_squared_error(truth, predicted) == pytest.approx(1.5)
    assert metrics.root_mean_squared_error(truth, predicted) == pytest.approx(math.sqrt(1.5))
    assert metrics.median_absolute_error(truth, predicted) == pytest.approx(1.0)
    assert metrics.r_squared(truth, predicted) == pytest.approx(1 - 6 / 14)


@pytest.mark.parametrize("name", REGRESSION_METRICS)
def test_whole_weights_count_samples(name: str) -> None:
    generator = np.random.default_rng(5)
    truth = np.round(generator.normal(size=40), 1)
    predicted = np.round(truth + generator.normal(size=40), 1)
    weights = generator.integers(0, 4, size=(6, 40))
    found = REGRESSION_METRICS[name](truth, predicted, weights=weights)
    for row, value in zip(weights, found, strict=True):
        repeated = np.repeat(np.arange(40), row)
        assert value == pytest.approx(REGRESSION_METRICS[name](truth[repeated], predicted[repeated]))


def test_what_does_not_vary_has_no_correlation() -> None:
    constant, varied = np.full(7, 0.1), np.arange(7.0)
    for metric in (metrics.r_squared, metrics.pearson_correlation, metrics.spearman_correlation):
        assert math.isnan(metric(constant, varied))
    assert math.isnan(metrics.pearson_correlation(varied, constant))
    weights = np.array([0, 0, 1, 0, 0, 0, 0])
    assert math.isnan(metrics.r_squared(varied, varied, weights=weights))
    assert math.isnan(metrics.mean_error(varied, varied, weights=np.zeros(7)))


def test_large_offsets_keep_their_digits() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=50)
    predicted = truth + 0.5 * generator.normal(size=50)
    for metric in (metrics.r_squared, metrics.pearson_correlation):
        assert metric(truth + 1e7, predicted + 1e7) == pytest.approx(metric(truth, predicted), abs=1e-6)


def test_estimates_rest_on_patients() -> None:
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(30), 4)
    truth = generator.normal(size=120)
    predicted = truth + generator.normal(size=30)[groups]
    by_patient = regression_estimates(truth, predicted, groups=groups, replicates=400)
    by_image = regression_estimates(truth, predicted, groups=None, replicates=400)
    assert list(by_patient) == list(REGRESSION_METRICS)
    bias, short = by_patient["mean_error"], by_image["mean_error"]
    assert (bias.samples, bias.groups, short.groups) == (120, 30, 120)
    assert bias.high - bias.low > 1.5 * (short.high - short.low)
    assert bias.method.startswith("BCa bootstrap over groups")
    assert by_patient["median_absolute_error"].method.startswith("percentile bootstrap over groups")
    assert bias == regression_estimates(truth, predicted, groups=groups, replicates=400)["mean_error"]


def test_one_patient_and_perfect_predictions_have_no_interval() -> None:
    truth = np.arange(6.0)
    one = regression_estimates(truth, truth + 1, groups=np.zeros(6), replicates=50)
    assert all(not estimate.has_interval for estimate in one.values())
    perfect = regression_estimates(truth, truth, groups=None, replicates=50)["mean_absolute_error"]
    assert perfect.value == 0
    assert perfect.method.startswith("none: ")


def test_bca_differs_from_percentile_where_the_figure_is_skewed() -> None:
    """The mean of a skewed sample: BCa moves the interval towards the long tail (Efron)."""
    values = np.random.default_rng(2).exponential(size=30)
    estimate = regression_estimates(np.zeros(30), values, groups=None)["mean_error"]
    ranks = np.random.default_rng(3).integers(0, 30, size=(4000, 30))
    plain = np.quantile(values[ranks].mean(axis=1), (0.025, 0.975))
    assert estimate.low > plain[0]
    assert estimate.high > plain[1]


def test_limits_of_agreement_by_definition() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.normal(10, 1, 40), generator.normal(9, 1, 40)
    found = bland_altman(first, second)
    difference = first - second
    assert found.bias.value == pytest.approx(difference.mean())
    reach = norm.ppf(0.975) * difference.std(ddof=1)
    assert found.lower_limit.value == pytest.approx(difference.mean() - reach)
    assert found.upper_limit.value == pytest.approx(difference.mean() + reach)
    assert found.upper_limit.low < found.upper_limit.value < found.upper_limit.high
    # The exact interval reaches further out than in, and lies near Bland and Altman's approximation.
    approximate = 2.02 * math.sqrt(1 / 40 + norm.ppf(0.975) ** 2 / (2 * 39)) * difference.std(ddof=1)
    assert found.upper_limit.high - found.upper_limit.low == pytest.approx(2 * approximate, rel=0.05)
    assert found.upper_limit.high - found.upper_limit.value > found.upper_limit.value - found.upper_limit.low
    mirrored = bland_altman(second, first)
    assert mirrored.lower_limit.low == pytest.approx(-found.upper_limit.high)
    np.testing.assert_allclose(found.means, (first + second) / 2)
    np.testing.assert_allclose(found.differences, difference)


def test_repeated_measurements_are_told_apart_from_patients() -> None:
    generator = np.random.default_rng(6)
    groups = np.repeat(np.arange(25), 4)
    difference = 2 * generator.normal(size=25)[groups] + generator.normal(size=100)
    found = bland_altman(difference, np.zeros(100), groups=groups)
    means = difference.reshape(25, 4).mean(axis=1)
    within = difference.reshape(25, 4).var(axis=1, ddof=1).mean()
    # Between patients by the analysis of variance, plus within them: the spread of single differences.
    between = means.var(ddof=1) - within / 4
    assert found.deviation == pytest.approx(math.sqrt(between + within))
    assert found.bias.groups == 25
    careless = bland_altman(difference, np.zeros(100))
    assert found.bias.high - found.bias.low > 1.5 * (careless.bias.high - careless.bias.low)


def test_equal_measurements_have_limits_without_interval() -> None:
    found = bland_altman(np.arange(5.0), np.arange(5.0))
    assert (found.bias.value, found.lower_limit.value, found.deviation) == (0, 0, 0)
    assert not found.bias.has_interval
    assert not found.upper_limit.has_interval
    alone = bland_altman([1.0, 2.0], [2.0, 4.0], groups=["a", "a"])
    assert alone.bias.value == -1.5
    assert alone.bias.method.startswith("none: one group")


@pytest.mark.parametrize(
    ("form", "value", "low", "high"),
    [
        # Values of Shrout and Fleiss, table 4; intervals as the R package psych prints them for these data.
        ("ICC(1,1)", 0.17, -0.13, 0.72),
        ("ICC(2,1)", 0.29, 0.02, 0.76),
        ("ICC(3,1)", 0.71, 0.34, 0.95),
        ("ICC(1,k)", 0.44, -0.88, 0.91),
        ("ICC(2,k)", 0.62, 0.07, 0.93),
        ("ICC(3,k)", 0.91, 0.68, 0.99),
    ],
)
def test_the_judges_of_shrout_and_fleiss(form, value: float, low: float, high: float) -> None:
    found = icc_estimate(JUDGES, form)
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high), abs=0.0051)
    assert intraclass_correlation(JUDGES, form) == pytest.approx(found.value)
    assert icc_estimates(JUDGES)[form] == found


@pytest.mark.parametrize("form", ICC_FORMS)
def test_weights_repeat_subjects(form) -> None:
    weights = np.array([2, 1, 0, 3, 1, 1])
    repeated = np.repeat(JUDGES, weights, axis=0)
    assert intraclass_correlation(JUDGES, form, weights=weights) == pytest.approx(
        intraclass_correlation(repeated, form)
    )


def test_ratings_that_cannot_be_used() -> None:
    with pytest.raises(UsageError, match="missing"):
        intraclass_correlation([[1, 2], [np.nan, 2]])
    with pytest.raises(UsageError, match="unknown form"):
        intraclass_correlation(JUDGES, "ICC(4,1)")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="two of each"):
        intraclass_correlation([[1], [2]])
    same = icc_estimate(np.repeat([[1], [2], [3]], 3, axis=1))
    assert same.value == 1
    assert not same.has_interval
    assert math.isnan(intraclass_correlation(np.ones((4, 3))))
