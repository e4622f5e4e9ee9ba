"""Curves, thresholds and closed-form intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from voxlake.core.errors import UsageError
from voxlake.metrics.classification import recall, roc_auc, specificity
from voxlake.metrics.curves import calibration_curve, precision_recall_curve, roc_curve
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.newcombe import newcombe_auc_interval
from voxlake.metrics.threshold import threshold_at_recall, youden_threshold
from voxlake.metrics.wilson import wilson_interval

TRUTH = np.array([0, 0, 1, 0, 1, 1])
SCORES = np.array([0.1, 0.4, 0.4, 0.6, 0.8, 0.9])


def test_roc_curve_by_hand_and_its_area() -> None:
    curve = roc_curve(TRUTH, SCORES)
    np.testing.assert_allclose(curve.false_positive_rate, [0, 0, 0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.true_positive_rate, [0, 1 / 3, 2 / 3, 2 / 3, 1, 1])
    np.testing.assert_array_equal(curve.thresholds, [np.inf, 0.9, 0.8, 0.6, 0.4, 0.1])
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(roc_auc(TRUTH, SCORES))


def test_precision_recall_curve_by_hand() -> None:
    curve = precision_recall_curve(TRUTH, SCORES)
    np.testing.assert_allclose(curve.precision, [1, 1, 1, 2 / 3, 3 / 5, 3 / 6])
    np.testing.assert_allclose(curve.recall, [0, 1 / 3, 2 / 3, 2 / 3, 1, 1])


def test_a_missing_class_leaves_its_rate_undefined() -> None:
    assert np.isnan(roc_curve([1, 1], [0.1, 0.2]).false_positive_rate).all()
    assert np.isnan(precision_recall_curve([0, 0], [0.1, 0.2]).recall).all()


def test_calibration_bins_hold_about_equal_counts_and_keep_ties_together() -> None:
    probability = np.r_[np.zeros(50), np.linspace(0.5, 1, 50)]
    truth = np.r_[np.zeros(50), np.ones(50)].astype(int)
    curve = calibration_curve(truth, probability, bins=4)
    np.testing.assert_array_equal(curve.counts, [50, 25, 25])
    np.testing.assert_array_equal(curve.observed, [0, 1, 1])
    assert curve.predicted[0] == 0
    np.testing.assert_allclose(curve.low[0], 0)
    np.testing.assert_allclose(curve.high[0], wilson_interval(0, 50)[1])


def test_calibration_does_not_depend_on_the_order() -> None:
    generator = np.random.default_rng(1)
    probability = generator.integers(0, 8, 60) / 8
    truth = generator.integers(0, 2, 60)
    order = generator.permutation(60)
    first = calibration_curve(truth, probability, bins=5)
    second = calibration_curve(truth[order], probability[order], bins=5)
    np.testing.assert_allclose(first.predicted, second.predicted)
    np.testing.assert_allclose(first.observed, second.observed)


def test_youden_takes_the_middle_of_the_gap() -> None:
    assert youden_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]) == pytest.approx(0.4)


def test_youden_is_the_best_of_all_cuts() -> None:
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 2, 80)
    probability = np.round(generator.random(80) * 0.6 + truth * 0.3, 2)

    def index(cut: float) -> float:
        return float(recall(truth, probability >= cut) + specificity(truth, probability >= cut))

    best = max(index(cut) for cut in np.unique(probability))
    assert index(youden_threshold(truth, probability)) == pytest.approx(best)


def test_threshold_at_recall_reaches_it_and_not_more_than_needed() -> None:
    truth = np.array([1] * 10 + [0] * 10)
    probability = np.r_[np.arange(1, 11) / 10, np.arange(10) / 100]
    cut = threshold_at_recall(truth, probability, 0.8)
    assert cut == pytest.approx(0.25)
    assert recall(truth, probability >= cut) == pytest.approx(0.8)


def test_threshold_between_neighbouring_floats_keeps_the_decision() -> None:
    low = 0.5
    high = np.nextafter(low, 1)
    cut = youden_threshold([0, 1], [low, high])
    assert low < cut <= high


@pytest.mark.parametrize("truth", [[1, 1], [0, 0]])
def test_a_threshold_needs_both_classes(truth: list[int]) -> None:
    with pytest.raises(UsageError, match="one class only"):
        youden_threshold(truth, [0.2, 0.4])


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (1, 10), (37, 90), (10, 10)])
def test_wilson_is_that_of_scipy(successes: int, total: int) -> None:
    expected = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_trials_is_nan_and_nonsense_is_refused() -> None:
    assert all(math.isnan(end) for end in wilson_interval(0, 0))
    with pytest.raises(UsageError, match="successes <= total"):
        wilson_interval(3, 2)


def test_newcombe_solves_its_own_equation() -> None:
    low, high = newcombe_auc_interval(0.8, 30, 40)
    for end in (low, high):
        inner = 1 + 34 * ((1 - end) / (2 - end) + end / (1 + end))
        variance = end * (1 - end) / (30 * 40) * inner
        assert abs(0.8 - end) / math.sqrt(variance) == pytest.approx(1.959964, rel=1e-5)
    assert low < 0.8 < high


def test_newcombe_at_the_ends_has_a_length_and_is_mirrored() -> None:
    low, high = newcombe_auc_interval(1.0, 20, 30)
    assert high == 1
    assert 0.8 < low < 0.99
    assert newcombe_auc_interval(0.0, 20, 30) == pytest.approx((1 - high, 1 - low))
    assert newcombe_auc_interval(1.0, 200, 300)[0] > low
    assert all(math.isnan(end) for end in newcombe_auc_interval(0.5, 0, 3))


def test_estimate_says_what_it_knows() -> None:
    known = Estimate("roc_auc", 0.9, 0.85, 0.94, 0.95, "DeLong", 100, 80)
    assert str(known) == "roc_auc 0.900 (95% interval 0.850 to 0.940)"
    bare = Estimate("f1", 0.9, math.nan, math.nan, 0.95, "none: one group only", 3, 1)
    assert str(bare) == "f1 0.900 (interval none: one group only)"
    assert str(Estimate("f1", math.nan, math.nan, math.nan, 0.95, "none", 3, 1)) == "f1 not defined"


@pytest.mark.parametrize(("distance", "size"), [(1.0, 30), (2.0, 20), (2.5, 12)])
def test_newcombe_covers_the_true_area(distance: float, size: int) -> None:
    generator = np.random.default_rng(1)
    true = norm.cdf(distance / math.sqrt(2))
    truth = np.repeat([0, 1], size)
    covered = 0
    for _ in range(600):
        area = roc_auc(truth, generator.normal(size=2 * size) + distance * truth)
        low, high = newcombe_auc_interval(float(area), size, size)
        covered += low <= true <= high
    assert 0.92 <= covered / 600 <= 0.985
