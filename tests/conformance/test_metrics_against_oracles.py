"""Metrics against scikit-learn and pROC."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as oracle

from voxlake.metrics import classification as metrics
from voxlake.metrics.curves import precision_recall_curve, roc_curve
from voxlake.metrics.delong import delong_auc, delong_test


@pytest.fixture(params=range(6))
def data(request):
    """Truth, tied scores, weights with zeros."""
    generator = np.random.default_rng(request.param)
    size = int(generator.integers(20, 300))
    truth = generator.integers(0, 2, size)
    truth[:2] = 0, 1
    scores = np.round(np.clip(generator.normal(0.4 + 0.2 * truth, 0.25), 0.01, 0.99), request.param % 3 + 1)
    # The first two samples keep both classes in, whatever the draw.
    weights = np.r_[1.0, 1.0, generator.integers(0, 4, size - 2) * generator.random(size - 2)]
    return truth, scores, weights


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("roc_auc", oracle.roc_auc_score),
        ("average_precision", oracle.average_precision_score),
        ("brier_score", oracle.brier_score_loss),
        ("log_loss", oracle.log_loss),
    ],
)
def test_scores_equal_scikit_learn(data, name: str, theirs) -> None:
    truth, scores, weights = data
    ours = getattr(metrics, name)
    assert ours(truth, scores) == pytest.approx(theirs(truth, scores), abs=1e-12)
    expected = theirs(truth, scores, sample_weight=weights)
    assert ours(truth, scores, weights=weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("accuracy", oracle.accuracy_score),
        ("balanced_accuracy", oracle.balanced_accuracy_score),
        ("recall", oracle.recall_score),
        ("precision", oracle.precision_score),
        ("f1", oracle.f1_score),
        ("matthews_corrcoef", oracle.matthews_corrcoef),
    ],
)
def test_decisions_equal_scikit_learn(data, name: str, theirs) -> None:
    truth, scores, weights = data
    calls = (scores >= 0.5).astype(int)
    ours = getattr(metrics, name)
    assert ours(truth, calls) == pytest.approx(theirs(truth, calls), abs=1e-12)
    expected = theirs(truth, calls, sample_weight=weights)
    assert ours(truth, calls, weights=weights) == pytest.approx(expected, abs=1e-12)


def test_specificity_is_recall_of_the_other_class(data) -> None:
    truth, scores, weights = data
    calls = (scores >= 0.5).astype(int)
    expected = oracle.recall_score(truth, calls, pos_label=0, sample_weight=weights)
    assert metrics.specificity(truth, calls, weights=weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_several_classes_equal_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = np.r_[0:4, generator.integers(0, 4, 100)]
    probability = generator.dirichlet(np.ones(4), truth.size) + 0.8 * np.eye(4)[truth]
    probability /= probability.sum(axis=1, keepdims=True)
    calls = probability.argmax(axis=1)
    weights = generator.random(truth.size)
    pairs = [
        (metrics.roc_auc(truth, probability), oracle.roc_auc_score(truth, probability, multi_class="ovr")),
        (metrics.log_loss(truth, probability), oracle.log_loss(truth, probability)),
        (metrics.recall(truth, calls, positive=None), oracle.recall_score(truth, calls, average="macro")),
        (metrics.f1(truth, calls, positive=None), oracle.f1_score(truth, calls, average="macro")),
        (
            metrics.matthews_corrcoef(truth, calls, weights=weights),
            oracle.matthews_corrcoef(truth, calls, sample_weight=weights),
        ),
        (
            metrics.brier_score(truth, probability),
            oracle.brier_score_loss(truth, probability, scale_by_half=False),
        ),
    ]
    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs, abs=1e-12)
    np.testing.assert_allclose(
        metrics.confusion_matrix(truth, calls, range(4), weights=weights),
        oracle.confusion_matrix(truth, calls, sample_weight=weights),
    )


def test_curves_equal_scikit_learn(data) -> None:
    truth, scores, weights = data
    ours = roc_curve(truth, scores, weights=weights)
    false, true, cuts = oracle.roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)
    # Thresholds that only samples without weight carry move nothing; scikit-learn leaves them out.
    kept = np.isin(ours.thresholds, cuts)
    np.testing.assert_allclose(ours.false_positive_rate[kept], false, atol=1e-12)
    np.testing.assert_allclose(ours.true_positive_rate[kept], true, atol=1e-12)
    ours = precision_recall_curve(truth, scores)
    precision, recall, cuts = oracle.precision_recall_curve(truth, scores)
    np.testing.assert_allclose(ours.precision, precision[::-1])
    np.testing.assert_allclose(ours.recall, recall[::-1])
    np.testing.assert_allclose(ours.thresholds[1:], cuts[::-1])


@pytest.fixture(scope="module")
def hemorrhage(realdata: Path):
    """The aSAH table that comes with pROC: poor outcome and three markers of 113 patients."""
    with (realdata / "test_only" / "asah_proc.csv").open() as file:
        rows = list(csv.DictReader(file))
    outcome = [row["outcome"] == "Poor" for row in rows]
    return outcome, {name: [float(row[name]) for row in rows] for name in ("s100b", "ndka", "wfns")}


@pytest.mark.realdata
def test_delong_equals_proc(hemorrhage) -> None:
    outcome, markers = hemorrhage
    found = {name: delong_auc(outcome, values) for name, values in markers.items()}
    assert found["s100b"].value == pytest.approx(0.7313686, abs=5e-8)
    assert found["ndka"].value == pytest.approx(0.6119580, abs=5e-8)
    assert found["wfns"].value == pytest.approx(0.8236789, abs=5e-8)
    assert found["s100b"].low == pytest.approx(0.6301, abs=5e-5)
    assert found["s100b"].high == pytest.approx(0.8326, abs=5e-5)


@pytest.mark.realdata
def test_delong_test_equals_proc(hemorrhage) -> None:
    outcome, markers = hemorrhage
    found = delong_test(outcome, markers["wfns"], markers["s100b"])
    assert found.z == pytest.approx(2.20898359, abs=5e-9)
    assert found.p_value == pytest.approx(0.02717578, abs=5e-9)


def test_delong_equals_the_quadratic_formula() -> None:
    generator = np.random.default_rng(8)
    truth = np.r_[0, 0, 1, 1, generator.integers(0, 2, 60)]
    scores = np.round(generator.normal(size=(2, truth.size)) + truth, 1)
    above, below = scores[:, truth == 1], scores[:, truth == 0]
    wins = (above[:, :, None] > below[:, None, :]) + 0.5 * (above[:, :, None] == below[:, None, :])
    covariance = np.cov(wins.mean(axis=2)) / above.shape[1] + np.cov(wins.mean(axis=1)) / below.shape[1]
    single = delong_auc(truth, scores[0])
    assert single.high - single.value == pytest.approx(1.959964 * np.sqrt(covariance[0, 0]), rel=1e-6)
    pair = delong_test(truth, *scores)
    deviation = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert pair.z == pytest.approx((wins[0].mean() - wins[1].mean()) / deviation)


def test_delong_without_variance_says_so() -> None:
    perfect = delong_auc([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert perfect.value == 1
    assert perfect.method == "none: DeLong's variance is zero"
    assert np.isnan(delong_test([0, 0, 1, 1], [1, 2, 3, 2], [10, 20, 30, 20]).p_value)
    assert "two samples of each class" in delong_auc([0, 1], [0.1, 0.2]).method
    assert np.isnan(delong_auc([1, 1], [0.1, 0.2]).value)
