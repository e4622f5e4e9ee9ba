"""Laws that hold for any data."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.metrics import classification as metrics
from voxlake.metrics.bootstrap import group_weights
from voxlake.metrics.curves import calibration_curve, roc_curve
from voxlake.metrics.delong import delong_auc
from voxlake.metrics.newcombe import newcombe_auc_interval
from voxlake.metrics.threshold import threshold_at_recall, youden_threshold
from voxlake.metrics.wilson import wilson_interval

often = settings(max_examples=60, deadline=None)


@st.composite
def binary(draw, both: bool = False):
    size = draw(st.integers(2, 30))
    truth = np.array(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)))
    if both:
        truth[:2] = 0, 1
    # A coarse grid, so that ties are common.
    probability = np.array(draw(st.lists(st.integers(0, 10), min_size=size, max_size=size))) / 10
    return truth, probability


@often
@given(binary(both=True))
def test_auc_is_the_share_of_pairs_won(data) -> None:
    truth, scores = data
    above, below = scores[truth == 1][:, None], scores[truth == 0][None]
    share = np.mean((above > below) + 0.5 * (above == below))
    assert abs(metrics.roc_auc(truth, scores) - share) < 1e-12
    assert abs(delong_auc(truth, scores).value - share) < 1e-12


@often
@given(binary(both=True))
def test_auc_turns_with_the_scores_and_knows_only_their_order(data) -> None:
    truth, scores = data
    assert abs(metrics.roc_auc(truth, scores) + metrics.roc_auc(truth, -scores) - 1) < 1e-12
    assert abs(metrics.roc_auc(truth, scores) - metrics.roc_auc(truth, np.exp(3 * scores))) < 1e-12


@often
@given(binary(), st.data())
def test_whole_weights_are_repeated_samples(data, more) -> None:
    truth, scores = data
    size = truth.size
    weights = np.array(more.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    if weights.sum() == 0:
        weights[0] = 1
    chosen = np.repeat(np.arange(size), weights)
    batch = np.stack([weights, np.ones(size)]).astype(float)
    for metric in (metrics.roc_auc, metrics.average_precision, metrics.brier_score, metrics.log_loss):
        expected = metric(truth[chosen], scores[chosen])
        np.testing.assert_allclose(metric(truth, scores, weights=weights), expected, atol=1e-12)
        np.testing.assert_allclose(
            metric(truth, scores, weights=batch), [expected, metric(truth, scores)], atol=1e-12
        )
    calls = scores >= 0.5
    for metric in (metrics.accuracy, metrics.recall, metrics.specificity, metrics.precision, metrics.f1):
        expected = metric(truth[chosen], calls[chosen])
        np.testing.assert_allclose(metric(truth, calls, weights=weights), expected, atol=1e-12)


@often
@given(binary())
def test_rates_come_from_the_confusion_matrix(data) -> None:
    truth, scores = data
    calls = (scores >= 0.5).astype(int)
    (left, false), (missed, hit) = metrics.confusion_matrix(truth, calls, [0, 1])
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(metrics.recall(truth, calls), hit / (hit + missed))
        np.testing.assert_allclose(metrics.specificity(truth, calls), left / (left + false))
        np.testing.assert_allclose(metrics.precision(truth, calls), hit / (hit + false))
    assert metrics.accuracy(truth, calls) == (hit + left) / truth.size


@often
@given(binary(both=True))
def test_the_roc_curve_rises_and_its_area_is_the_auc(data) -> None:
    curve = roc_curve(*data)
    assert (np.diff(curve.true_positive_rate) >= 0).all()
    assert (np.diff(curve.thresholds) < 0).all()
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert abs(area - metrics.roc_auc(*data)) < 1e-12


@often
@given(binary(), st.integers(1, 12))
def test_calibration_loses_no_sample(data, bins: int) -> None:
    truth, probability = data
    curve = calibration_curve(truth, probability, bins=bins)
    assert curve.counts.sum() == truth.size
    assert curve.counts.size <= bins
    assert abs((curve.observed * curve.counts).sum() - truth.sum()) < 1e-9
    assert (curve.low <= curve.observed).all()
    assert (curve.observed <= curve.high).all()
    assert (np.diff(curve.predicted) > 0).all()


@often
@given(binary(both=True), st.floats(0.05, 1.0))
def test_thresholds_do_what_they_promise(data, wanted: float) -> None:
    truth, probability = data
    cut = threshold_at_recall(truth, probability, wanted)
    assert metrics.recall(truth, probability >= cut) >= wanted - 1e-9
    higher = probability[probability >= cut].min()
    assert metrics.recall(truth, probability > higher) < wanted
    best = youden_threshold(truth, probability)
    assert 0 <= best <= 1


@often
@given(st.integers(0, 50), st.integers(1, 50), st.floats(0.5, 0.99))
def test_wilson_holds_the_share_and_is_mirrored(successes: int, total: int, level: float) -> None:
    successes = min(successes, total)
    low, high = wilson_interval(successes, total, level)
    assert 0 <= low <= successes / total <= high <= 1
    mirrored = wilson_interval(total - successes, total, level)
    np.testing.assert_allclose((low, high), (1 - mirrored[1], 1 - mirrored[0]), atol=1e-12)


@often
@given(st.floats(0, 1), st.integers(1, 60), st.integers(1, 60))
def test_newcombe_holds_the_area(area: float, positives: int, negatives: int) -> None:
    low, high = newcombe_auc_interval(area, positives, negatives)
    assert -1e-9 <= low <= area + 1e-9
    assert area - 1e-9 <= high <= 1 + 1e-9
    assert high - low > 0


@often
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=25), st.integers(0, 99))
def test_drawn_groups_stay_whole_and_their_number_stays(rows, seed: int) -> None:
    groups, labels = np.array(rows).T
    for weights in group_weights(labels, groups, replicates=5, seed=seed):
        for group in np.unique(groups):
            assert (np.ptp(weights[:, groups == group], axis=1) == 0).all()
        first = [np.flatnonzero(groups == group)[0] for group in np.unique(groups)]
        np.testing.assert_array_equal(weights[:, first].sum(axis=1), len(first))
