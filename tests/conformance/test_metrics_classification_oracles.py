"""Metrics of several classes and labels, calibration and tests against scikit-learn and statsmodels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from sklearn import metrics as oracle
from sklearn.isotonic import IsotonicRegression
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from voxlake.metrics import classification as metrics
from voxlake.metrics import multilabel
from voxlake.metrics.calibration import (
    calibration_error,
    calibration_estimates,
    calibration_intercept,
    calibration_slope,
)
from voxlake.metrics.comparison import compare_binary
from voxlake.metrics.delong import delong_auc, delong_test
from voxlake.metrics.figures import BinaryFigures
from voxlake.metrics.mcnemar import mcnemar_test
from voxlake.metrics.multiclass import pairwise_roc_auc, top_k_accuracy
from voxlake.metrics.names import METRICS
from voxlake.metrics.recalibration import fit_recalibration


@pytest.fixture(params=range(3))
def several(request):
    """Truth, probabilities and weights of four classes, all of which occur."""
    generator = np.random.default_rng(request.param)
    truth = np.r_[0:4, generator.integers(0, 4, 150)]
    probability = generator.dirichlet(np.ones(4), truth.size) + 0.5 * np.eye(4)[truth]
    probability = np.round(probability / probability.sum(axis=1, keepdims=True), request.param + 1)
    return truth, probability, generator.random(truth.size)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("name", ["recall", "precision", "f1"])
def test_averages_over_classes_equal_scikit_learn(several, name: str, average: str) -> None:
    truth, probability, weights = several
    calls = probability.argmax(axis=1)
    ours = getattr(metrics, name)(truth, calls, positive=None, average=average, weights=weights)
    theirs = getattr(oracle, f"{name}_score")(truth, calls, average=average, sample_weight=weights)
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_rank_metrics_of_several_classes_equal_scikit_learn(several, average: str) -> None:
    truth, probability, weights = several
    outcome = np.eye(4)[truth]
    for name in ("roc_auc", "average_precision"):
        theirs = getattr(oracle, f"{name}_score")(
            outcome, probability, average=average, sample_weight=weights
        )
        ours = getattr(metrics, name)(truth, probability, average=average, weights=weights)
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_pairs_of_classes_and_best_guesses_equal_scikit_learn(several) -> None:
    truth, probability, weights = several
    # Hand and Till's M does not ask for rows that add up to 1, scikit-learn does.
    rows = probability / probability.sum(axis=1, keepdims=True)
    expected = oracle.roc_auc_score(truth, rows, multi_class="ovo")
    assert pairwise_roc_auc(truth, rows) == pytest.approx(expected, abs=1e-12)
    distinct = rows + 1e-9 * np.random.default_rng(0).random(rows.shape)
    for k in (1, 2, 3):
        theirs = oracle.top_k_accuracy_score(truth, distinct, k=k, sample_weight=weights)
        assert top_k_accuracy(truth, distinct, k=k, weights=weights) == pytest.approx(theirs, abs=1e-12)


@pytest.fixture
def findings():
    """Truth, scores and weights of five findings in 120 images."""
    generator = np.random.default_rng(5)
    truth = (generator.random((120, 5)) < [0.5, 0.3, 0.2, 0.4, 0.6]).astype(int)
    scores = np.clip(np.round(generator.normal(0.35 + 0.3 * truth, 0.2), 2), 0, 1)
    return truth, scores, generator.random(120)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_several_labels_equal_scikit_learn(findings, average: str) -> None:
    truth, scores, weights = findings
    called = scores >= 0.5
    pairs = [
        (multilabel.multilabel_roc_auc, oracle.roc_auc_score, scores),
        (multilabel.multilabel_average_precision, oracle.average_precision_score, scores),
        (multilabel.multilabel_recall, oracle.recall_score, called),
        (multilabel.multilabel_precision, oracle.precision_score, called),
        (multilabel.multilabel_f1, oracle.f1_score, called),
    ]
    for ours, theirs, given in pairs:
        expected = theirs(truth, given, average=average, sample_weight=weights)
        assert ours(truth, given, average=average, weights=weights) == pytest.approx(expected, abs=1e-12)


def test_samples_of_several_labels_equal_scikit_learn(findings) -> None:
    truth, scores, weights = findings
    called = scores >= 0.5
    pairs = [
        (multilabel.hamming_loss, oracle.hamming_loss, called),
        (multilabel.subset_accuracy, oracle.accuracy_score, called),
        (
            multilabel.label_ranking_average_precision,
            oracle.label_ranking_average_precision_score,
            scores,
        ),
    ]
    for ours, theirs, given in pairs:
        expected = theirs(truth, given, sample_weight=weights)
        assert ours(truth, given, weights=weights) == pytest.approx(expected, abs=1e-12)


def test_unknown_labels_are_left_out_of_each_label(findings) -> None:
    truth, scores, _ = findings
    partly = truth.astype(float)
    partly[np.random.default_rng(1).random(truth.shape) < 0.3] = np.nan
    known = ~np.isnan(partly)
    each = [
        oracle.roc_auc_score(truth[inside, column], scores[inside, column])
        for column, inside in enumerate(known.T)
    ]
    assert multilabel.multilabel_roc_auc(partly, scores) == pytest.approx(np.mean(each), abs=1e-12)
    pooled = oracle.f1_score(truth[known], scores[known] >= 0.5)
    found = multilabel.multilabel_f1(partly, scores >= 0.5, average="micro")
    assert found == pytest.approx(pooled, abs=1e-12)
    wrong = (truth != (scores >= 0.5))[known].mean()
    assert multilabel.hamming_loss(partly, scores >= 0.5) == pytest.approx(wrong, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_figures_in_one_pass_equal_each_metric_by_itself(ties: bool) -> None:
    generator = np.random.default_rng(2)
    truth = generator.random(90) < 0.4
    probability = np.clip(generator.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    probability = np.round(probability, 1) if ties else probability
    weights = generator.integers(0, 3, (7, 90)).astype(float)
    cuts = generator.uniform(0.3, 0.7, 90)
    figures = BinaryFigures(truth, probability, threshold=cuts)
    found = figures(weights[:, figures.order])
    assert set(found) == set(METRICS)
    for name, values in found.items():
        decided = name in ("roc_auc", "average_precision", "brier_score", "log_loss")
        given = probability if decided else (probability >= cuts)
        expected = getattr(metrics, name)(truth, given, weights=weights)
        np.testing.assert_allclose(values, expected, atol=1e-12, err_msg=name)


@pytest.fixture
def predicted():
    """Truth and probability of 150 patients with two images each; the model is too sure of itself."""
    generator = np.random.default_rng(11)
    groups = np.repeat(np.arange(150), 2)
    odds = generator.normal(-0.3, 1.2, groups.size)
    truth = (generator.random(groups.size) < expit(odds + 0.8 * generator.normal(size=150)[groups])).astype(
        int
    )
    return truth, expit(1.6 * odds + 0.3), groups


def test_slope_and_intercept_equal_statsmodels(predicted) -> None:
    truth, probability, groups = predicted
    odds = logit(probability)
    found = {each.name: each for each in calibration_estimates(truth, probability, groups=groups)}
    clustered = {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
    line = sm.GLM(truth, sm.add_constant(odds), family=sm.families.Binomial()).fit(tol=1e-12, **clustered)
    large = sm.GLM(truth, np.ones(truth.size), family=sm.families.Binomial(), offset=odds).fit(**clustered)
    for name, fit in (("calibration_slope", line), ("calibration_intercept", large)):
        assert found[name].value == pytest.approx(fit.params[-1], abs=1e-7)
        np.testing.assert_allclose((found[name].low, found[name].high), fit.conf_int()[-1], atol=1e-6)
    assert found["observed_to_expected"].value == pytest.approx(truth.sum() / probability.sum())


def test_weighted_slopes_equal_statsmodels(predicted) -> None:
    truth, probability, _ = predicted
    weights = np.random.default_rng(3).integers(0, 4, (3, truth.size)).astype(float)
    slopes = calibration_slope(truth, probability, weights=weights)
    shifts = calibration_intercept(truth, probability, weights=weights)
    odds = logit(probability)
    for row, slope, shift in zip(weights, slopes, shifts, strict=True):
        family = sm.families.Binomial()
        line = sm.GLM(truth, sm.add_constant(odds), family=family, freq_weights=row).fit(tol=1e-12)
        large = sm.GLM(truth, np.ones(truth.size), family=family, offset=odds, freq_weights=row).fit(
            tol=1e-12
        )
        assert slope == pytest.approx(line.params[1], abs=1e-7)
        assert shift == pytest.approx(large.params[0], abs=1e-7)


@pytest.mark.parametrize("scheme", ["equal_count", "equal_width"])
def test_calibration_error_by_definition(predicted, scheme: str) -> None:
    truth, probability, _ = predicted
    if scheme == "equal_count":
        parts = np.array_split(np.argsort(probability, kind="stable"), 10)
    else:
        bins = np.minimum((probability * 10).astype(int), 9)
        parts = [np.flatnonzero(bins == number) for number in range(10)]
    expected = sum(
        part.size / truth.size * abs(truth[part].mean() - probability[part].mean())
        for part in parts
        if part.size
    )
    assert calibration_error(truth, probability, scheme=scheme) == pytest.approx(expected, abs=1e-12)


def test_isotonic_recalibration_equals_scikit_learn(predicted) -> None:
    truth, probability, _ = predicted
    rounded = np.round(probability, 2)
    weights = np.random.default_rng(4).integers(1, 4, truth.size).astype(float)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(rounded, truth, weights)
    ours = fit_recalibration("isotonic", truth, rounded, weights=weights)
    grid = np.linspace(0, 1, 501)
    np.testing.assert_allclose(ours.apply(grid), theirs.predict(grid), atol=1e-12)


def test_platt_solves_its_equations_and_temperature_is_the_best(predicted) -> None:
    truth, probability, _ = predicted
    hits = truth.sum()
    target = np.where(truth == 1, (hits + 1) / (hits + 2), 1 / (truth.size - hits + 2))
    rest = target - fit_recalibration("platt", truth, probability).apply(probability)
    assert abs(rest.sum()) < 1e-7
    assert abs(rest @ logit(probability)) < 1e-7
    fitted = fit_recalibration("temperature", truth, probability)
    (temperature,) = fitted.parameters[0]
    best = metrics.log_loss(truth, fitted.apply(probability))
    for factor in (0.98, 1.02):
        assert metrics.log_loss(truth, expit(logit(probability) / (temperature * factor))) > best
    np.testing.assert_allclose(fitted.apply(probability), expit(logit(probability) / temperature), atol=1e-12)


def test_mcnemar_equals_statsmodels() -> None:
    generator = np.random.default_rng(6)
    truth, first, second = (generator.integers(0, 2, 80) for _ in range(3))
    one, other = first == truth, second == truth
    table = [[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]]
    found = mcnemar_test(truth, first, second)
    assert found.p_value == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-12)
    assert (found.first_only, found.second_only) == (table[0][1], table[1][0])


def test_interval_of_a_paired_difference_by_its_definition() -> None:
    both, first_only, second_only, neither = 20, 12, 2, 16
    one = np.repeat([1, 1, 0, 0], [both, first_only, second_only, neither])
    other = np.repeat([1, 0, 1, 0], [both, first_only, second_only, neither])
    found = mcnemar_test(np.ones(50, dtype=int), one, other)
    (low_one, high_one), (low_other, high_other) = (
        proportion_confint(count, 50, method="wilson") for count in (32, 22)
    )
    correlation = (both * neither - first_only * second_only - 25) / np.sqrt(32 * 18 * 22 * 28)
    down, up = (0.64 - low_one, high_other - 0.44), (high_one - 0.64, 0.44 - low_other)
    reach = [np.sqrt(a**2 - 2 * correlation * a * b + b**2) for a, b in (down, up)]
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.2 - reach[0], 0.2 + reach[1]), abs=1e-9)


def test_obuchowski_by_its_definition() -> None:
    generator = np.random.default_rng(9)
    groups = generator.integers(0, 40, 120)
    truth = generator.integers(0, 2, 120)
    scores = np.round(truth + generator.normal(size=40)[groups] + generator.normal(size=120), 1)
    above, below = scores[truth == 1], scores[truth == 0]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    area = wins.mean()
    ill, well = [
        np.array([(part - area)[groups[truth == label] == group].sum() for group in np.unique(groups)])
        for label, part in ((1, wins.mean(axis=1)), (0, wins.mean(axis=0)))
    ]
    count = np.unique(groups).size
    numbers = [np.unique(groups[truth == label]).size for label in (1, 0)]
    variance = (
        numbers[0] / (numbers[0] - 1) * (ill**2).sum() / above.size**2
        + numbers[1] / (numbers[1] - 1) * (well**2).sum() / below.size**2
        + 2 * count / (count - 1) * (ill * well).sum() / (above.size * below.size)
    )
    found = delong_auc(truth, scores, groups=groups)
    assert found.value == pytest.approx(area)
    assert found.high - found.value == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)
    assert found.groups == count


def test_one_sample_per_group_is_delong() -> None:
    generator = np.random.default_rng(10)
    truth = generator.integers(0, 2, 70)
    scores = truth + generator.normal(size=(2, 70))
    plain, grouped = delong_auc(truth, scores[0]), delong_auc(truth, scores[0], groups=np.arange(70))
    assert (grouped.low, grouped.high) == pytest.approx((plain.low, plain.high), abs=1e-12)
    pair, both = delong_test(truth, *scores), delong_test(truth, *scores, groups=np.arange(70))
    assert (both.z, both.p_value) == pytest.approx((pair.z, pair.p_value), abs=1e-12)


@pytest.mark.realdata
def test_bootstrap_of_a_difference_agrees_with_proc(realdata: Path) -> None:
    with (realdata / "test_only" / "asah_proc.csv").open() as file:
        rows = list(csv.DictReader(file))
    outcome = np.array([row["outcome"] == "Poor" for row in rows])
    wfns, s100b = (np.array([float(row[name]) for row in rows]) for name in ("wfns", "s100b"))
    found = compare_binary(outcome, wfns / 5, s100b / s100b.max(), groups=None, replicates=4000)[0]
    paired = delong_test(outcome, wfns, s100b)
    assert (found.first, found.second) == pytest.approx((0.8236789, 0.7313686), abs=5e-8)
    assert found.low == pytest.approx(paired.low, abs=0.01)
    assert found.high == pytest.approx(paired.high, abs=0.01)
    assert found.p_value == pytest.approx(0.02717578, abs=0.015)
