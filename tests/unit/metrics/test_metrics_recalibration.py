"""Recalibration, calibration and decision curves on data small enough to think through."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.special import expit, logit

from voxlake.core.errors import UsageError
from voxlake.metrics.calibration import (
    calibration_error,
    calibration_estimates,
    calibration_intercept,
    calibration_slope,
)
from voxlake.metrics.calibration_interval import calibration_error_estimate
from voxlake.metrics.curves import calibration_curve
from voxlake.metrics.decision import decision_curve, net_benefit
from voxlake.metrics.recalibration import RECALIBRATIONS, Recalibration, fit_recalibration


def overconfident(seed: int, size: int = 4000):
    generator = np.random.default_rng(seed)
    odds = generator.normal(size=size)
    return (generator.random(size) < expit(odds)).astype(int), expit(2 * odds + 0.5)


@pytest.mark.parametrize("method", RECALIBRATIONS)
def test_a_map_fitted_on_one_part_improves_the_other(method: str) -> None:
    fitted = fit_recalibration(method, *overconfident(0))
    truth, probability = overconfident(1)
    better = fitted.apply(probability)
    assert calibration_error(truth, better) < 0.6 * calibration_error(truth, probability)
    assert calibration_slope(truth, np.clip(better, 1e-3, 1 - 1e-3)) == pytest.approx(1, abs=0.12)
    assert (np.diff(better[np.argsort(probability)]) >= 0).all()


def test_platt_finds_the_line_that_was_bent() -> None:
    (parameters,) = fit_recalibration("platt", *overconfident(2, 20000)).parameters
    assert parameters == pytest.approx((-0.25, 0.5), abs=0.03)


@pytest.mark.parametrize("method", RECALIBRATIONS)
def test_several_classes_stay_probabilities_and_get_better(method: str) -> None:
    generator = np.random.default_rng(3)
    honest = generator.dirichlet(np.ones(3), 3000)
    truth = (generator.random((3000, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    bold = honest**2 / (honest**2).sum(axis=1, keepdims=True)
    fitted = fit_recalibration(method, truth[:1500], bold[:1500])
    better = fitted.apply(bold[1500:])
    np.testing.assert_allclose(better.sum(axis=1), 1)
    assert calibration_error(truth[1500:], better) < 0.6 * calibration_error(truth[1500:], bold[1500:])


@pytest.mark.parametrize("method", RECALIBRATIONS)
def test_a_map_survives_json(method: str) -> None:
    truth, probability = overconfident(4, 200)
    fitted = fit_recalibration(method, truth, probability)
    again = Recalibration.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted
    np.testing.assert_array_equal(again.apply(probability), fitted.apply(probability))


@pytest.mark.parametrize("method", RECALIBRATIONS)
def test_separated_and_constant_predictions_have_a_map(method: str) -> None:
    truth = np.array([0, 0, 0, 1, 1, 1])
    for probability in (np.linspace(0, 1, 6), np.full(6, 0.3)):
        found = fit_recalibration(method, truth, probability).apply(probability)
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()
    if method != "temperature":
        np.testing.assert_allclose(found, 0.5, atol=1e-9)


def test_isotonic_by_hand() -> None:
    fitted = fit_recalibration("isotonic", [0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9])
    np.testing.assert_allclose(
        fitted.apply([0.0, 0.1, 0.4, 0.5, 0.6, 0.75, 1.0]), [0, 0, 0.5, 0.5, 0.5, 0.75, 1]
    )


def test_rows_that_no_class_claims_stay_as_they_were() -> None:
    never = Recalibration("isotonic", 2, ((0.0, 1.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0)))
    np.testing.assert_array_equal(never.apply([[0.3, 0.7]]), [[0.3, 0.7]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_recalibration("beta", [0, 1], [0.1, 0.2]), "platt, temperature, isotonic"),
        (lambda: fit_recalibration("platt", [1, 1], [0.1, 0.2]), "samples of every class"),
        (lambda: fit_recalibration("platt", [0, 1], [0.1, 1.2]), "between 0 and 1"),
        (lambda: fit_recalibration("platt", [0, 7], [[0.1, 0.9], [0.2, 0.8]]), "class numbers 0 to 1"),
        (lambda: fit_recalibration("platt", [0, 1], [0.1, 0.2]).apply([[0.1, 0.9]]), "1 columns"),
        (lambda: fit_recalibration("platt", [0, 1], [0.1, 0.2], weights=np.ones((2, 2))), "one set"),
        (lambda: Recalibration.from_dict({"method": "platt"}), "as to_dict gives them"),
        (lambda: calibration_error([0, 1], [0.1, 0.2], bins=0), "one bin or more"),
        (lambda: calibration_error([0, 1], [0.1, 0.2], scheme="equal"), "one bin or more"),
        (lambda: calibration_error_estimate([0, 1], [0.1, 0.2], groups=None, draws=3), "100 draws"),
        (lambda: calibration_slope([0, 1], [[0.1, 0.9], [0.1, 0.9]]), "positive class"),
        (lambda: net_benefit([0, 1], [0.1, 0.2], 1.0), "between 0 and 1"),
        (lambda: decision_curve([0, 1], [0.1, 0.2], groups=None, thresholds=[0.5, 0.4]), "rising"),
        (lambda: decision_curve([0, 1], [0.1, 0.2], groups=None, level=2), "level"),
    ],
)
def test_wrong_input_is_refused(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_calibration_error_by_hand() -> None:
    truth, probability = [0, 0, 1, 1], [0.1, 0.3, 0.35, 0.9]
    assert calibration_error(truth, probability, bins=2) == pytest.approx((0.4 + 0.75) / 4)
    assert calibration_error(truth, probability, bins=2, scheme="equal_width") == pytest.approx(
        (0.25 + 0.1) / 4
    )
    twice = calibration_error(truth, probability, bins=2, weights=[[1, 1, 1, 1], [2, 0, 0, 1]])
    np.testing.assert_allclose(twice, [(0.4 + 0.75) / 4, (0.2 + 0.1) / 3])
    rows = np.array([[0.6, 0.4], [0.2, 0.8]])
    assert calibration_error([0, 0], rows, bins=1) == pytest.approx(abs(0.5 - 0.7))


def test_a_good_model_may_have_no_calibration_error_and_a_bad_one_may_not() -> None:
    generator = np.random.default_rng(5)
    probability = generator.random(2000)
    truth = (generator.random(2000) < probability).astype(int)
    good = calibration_error_estimate(truth, probability, groups=None)
    assert good.low == 0 < good.value <= good.high < 0.05
    bad = calibration_error_estimate(truth, probability**3, groups=None)
    assert 0.2 < bad.low < bad.value < bad.high < 0.3
    assert bad.method == "inverted test over samples, 4000 draws"


def test_slope_and_intercept_undo_what_was_done() -> None:
    truth, probability = overconfident(6, 20000)
    assert calibration_slope(truth, probability) == pytest.approx(0.5, abs=0.03)
    assert calibration_intercept(truth, expit(logit(probability) / 2)) == pytest.approx(-0.25, abs=0.05)
    honest = expit((logit(probability) - 0.5) / 2)
    found = {each.name: each for each in calibration_estimates(truth, honest, groups=None)}
    for name, best in (("calibration_slope", 1), ("calibration_intercept", 0), ("observed_to_expected", 1)):
        assert found[name].low < best < found[name].high
        assert found[name].method == "robust variance over samples"


def test_no_line_fits_separated_or_equal_predictions() -> None:
    assert math.isnan(calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8]))
    assert math.isnan(calibration_slope([0, 1, 0, 1], [0.5] * 4))
    assert math.isnan(calibration_intercept([1, 1], [0.5, 0.6]))
    found = {each.name: each for each in calibration_estimates([0, 0, 0], [0.1, 0.2, 0.3], groups=None)}
    assert found["calibration_slope"].method == "none: the metric is not defined on these data"
    assert found["observed_to_expected"].value == 0
    assert "too few events" in found["observed_to_expected"].method
    alone = calibration_estimates([0, 1, 0], [0.1, 0.2, 0.3], groups=[1, 1, 1])
    assert not any(each.has_interval for each in alone)


def test_groups_widen_the_whiskers_of_the_calibration_curve() -> None:
    truth, probability = overconfident(7, 200)
    once = calibration_curve(truth, probability, bins=4)
    four = [np.repeat(values, 4) for values in (truth, probability, np.arange(200))]
    grouped = calibration_curve(*four[:2], bins=4, groups=four[2])
    naive = calibration_curve(*four[:2], bins=4)
    np.testing.assert_allclose(grouped.observed, once.observed)
    # Copies of a sample are no new evidence.
    np.testing.assert_allclose(grouped.high - grouped.low, once.high - once.low, rtol=0.02)
    assert ((naive.high - naive.low) < 0.6 * (grouped.high - grouped.low)).all()


def test_equal_width_bins_lie_where_they_should() -> None:
    curve = calibration_curve([0, 1, 1], [0.05, 0.95, 1.0], bins=10, scheme="equal_width")
    np.testing.assert_array_equal(curve.counts, [1, 2])
    np.testing.assert_allclose(curve.predicted, [0.05, 0.975])


def test_net_benefit_by_hand() -> None:
    truth, probability = [1, 1, 0, 0, 0], [0.9, 0.3, 0.6, 0.2, 0.1]
    assert net_benefit(truth, probability, 0.5) == pytest.approx(1 / 5 - 1 / 5)
    assert net_benefit(truth, probability, 0.25) == pytest.approx(2 / 5 - 1 / 5 / 3)
    batch = net_benefit(truth, probability, 0.25, weights=[[1, 1, 1, 1, 1], [0, 0, 1, 0, 1]])
    np.testing.assert_allclose(batch, [2 / 5 - 1 / 15, -1 / 2 / 3])


def test_decision_curve_knows_what_treating_all_is_worth() -> None:
    truth, probability = overconfident(8, 600)
    groups = np.arange(600) // 2
    curve = decision_curve(truth, probability, groups=groups, replicates=300)
    assert curve.thresholds.size == 99
    prevalence = truth.mean()
    price = curve.thresholds / (1 - curve.thresholds)
    np.testing.assert_allclose(curve.treat_all, prevalence - (1 - prevalence) * price)
    np.testing.assert_allclose(curve.gain, curve.net_benefit - curve.treat_all)
    single = [net_benefit(truth, probability, cut) for cut in curve.thresholds]
    np.testing.assert_allclose(curve.net_benefit, single)
    assert (curve.low <= curve.net_benefit).all()
    assert (curve.net_benefit <= curve.high).all()
    assert (curve.gain_low[40:] > 0).all()
    assert curve.method == "percentile bootstrap over groups, 300 replicates"
    alone = decision_curve(truth, probability, groups=np.zeros(600), replicates=10)
    assert np.isnan(alone.low).all()
    assert alone.method == "none: one group only"
