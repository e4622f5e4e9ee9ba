"""Metrics by definition, on tables small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from voxlake.core.errors import UsageError
from voxlake.metrics import classification as metrics
from voxlake.metrics.summary import binary_estimates
from voxlake.metrics.wilson import wilson_interval

# 3 hits, 1 false call, 2 missed, 4 rightly left.
TRUTH = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
CALLS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])


def test_rates_by_hand() -> None:
    assert metrics.accuracy(TRUTH, CALLS) == pytest.approx(7 / 10)
    assert metrics.recall(TRUTH, CALLS) == pytest.approx(3 / 5)
    assert metrics.specificity(TRUTH, CALLS) == pytest.approx(4 / 5)
    assert metrics.precision(TRUTH, CALLS) == pytest.approx(3 / 4)
    assert metrics.f1(TRUTH, CALLS) == pytest.approx(6 / 9)
    assert metrics.balanced_accuracy(TRUTH, CALLS) == pytest.approx(0.7)
    expected = (3 * 4 - 1 * 2) / math.sqrt(4 * 5 * 5 * 6)
    assert metrics.matthews_corrcoef(TRUTH, CALLS) == pytest.approx(expected)


def test_confusion_matrix_keeps_the_order_of_the_classes() -> None:
    truth = ["ill", "ill", "well", "well", "well"]
    calls = ["ill", "well", "well", "well", "ill"]
    table = metrics.confusion_matrix(truth, calls, ["well", "ill"])
    np.testing.assert_array_equal(table, [[2, 1], [1, 1]])


def test_confusion_matrix_of_a_batch_has_one_table_per_row() -> None:
    weights = np.array([np.ones(10), np.r_[np.zeros(5), np.ones(5)]])
    tables = metrics.confusion_matrix(TRUTH, CALLS, [0, 1], weights=weights)
    np.testing.assert_array_equal(tables, [[[4, 1], [2, 3]], [[4, 0], [1, 0]]])


def test_string_labels_need_the_positive_one() -> None:
    truth, calls = ["ill", "ill", "well"], ["ill", "well", "well"]
    assert metrics.recall(truth, calls, positive="ill") == 0.5
    assert metrics.precision(truth, calls, positive="ill") == 1.0


def test_macro_is_the_mean_over_classes() -> None:
    truth, calls = [0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 0]
    assert metrics.recall(truth, calls, positive=None) == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert metrics.precision(truth, calls, positive=None) == pytest.approx((2 / 3 + 1 + 0.5) / 3)


@pytest.mark.parametrize(
    ("name", "truth", "calls"),
    [
        ("precision", [1, 0, 1], [0, 0, 0]),
        ("recall", [0, 0, 0], [1, 0, 0]),
        ("specificity", [1, 1, 1], [1, 0, 1]),
        ("f1", [0, 0, 0], [0, 0, 0]),
        ("matthews_corrcoef", [1, 0, 1], [1, 1, 1]),
        ("roc_auc", [1, 1, 1], [0.1, 0.2, 0.3]),
        ("average_precision", [0, 0, 0], [0.1, 0.2, 0.3]),
    ],
)
def test_what_is_not_defined_is_nan_and_not_zero(name: str, truth: list[int], calls: list[float]) -> None:
    assert math.isnan(getattr(metrics, name)(truth, calls))


def test_no_weight_at_all_leaves_nothing_defined() -> None:
    values = metrics.accuracy(TRUTH, CALLS, weights=np.zeros((2, 10)))
    assert np.isnan(values).all()


def test_auc_counts_ties_half() -> None:
    # Pairs: (0.5, 0.5) tie, (0.5, 0.1) win, (0.9, both) win: 3.5 of 4.
    assert metrics.roc_auc([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]) == 0.875
    assert metrics.roc_auc([0, 1, 0, 1], [0.3] * 4) == 0.5


def test_multiclass_auc_is_the_mean_of_one_against_rest() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    scores = np.random.default_rng(3).random((6, 3))
    each = [metrics.roc_auc(truth == number, scores[:, number]) for number in range(3)]
    assert metrics.roc_auc(truth, scores) == pytest.approx(np.mean(each))
    assert math.isnan(metrics.roc_auc(np.minimum(truth, 1), scores))


def test_average_precision_by_hand() -> None:
    # Recall steps at rank 1 (precision 1) and at rank 3 (precision 2/3).
    assert metrics.average_precision([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]) == pytest.approx((1 + 2 / 3) / 2)


def test_brier_and_log_loss_by_hand() -> None:
    assert metrics.brier_score([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)
    assert metrics.log_loss([1, 0], [0.8, 0.4]) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    rows = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
    assert metrics.brier_score([0, 1], rows) == pytest.approx((0.09 + 0.04 + 0.01 + 0.01 + 0.81 + 0.64) / 2)
    assert metrics.log_loss([0, 1], rows) == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)


def test_certain_and_wrong_is_costly_but_finite() -> None:
    assert metrics.log_loss([1], [0.0]) == pytest.approx(-math.log(np.finfo(float).eps))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy([1, 0], [1]), "1 values for 2 samples"),
        (lambda: metrics.accuracy([], []), "one label per sample"),
        (lambda: metrics.roc_auc([1, 2], [0.1, 0.2]), "truth must be 0"),
        (lambda: metrics.roc_auc([1, 0], [0.1, math.nan]), "not finite"),
        (lambda: metrics.roc_auc([1, 5], np.ones((2, 3))), "class numbers 0 to 2"),
        (lambda: metrics.brier_score([1, 0], [1.5, 0.0]), "between 0 and 1"),
        (lambda: metrics.accuracy([1, 0], [1, 0], weights=[1, -1]), "not negative"),
        (lambda: metrics.accuracy([1, 0], [1, 0], weights=[1, math.nan]), "finite"),
        (lambda: metrics.accuracy([1, 0], [1, 0], weights=[1, 1, 1]), "weights have shape"),
        (lambda: metrics.confusion_matrix([1, 3], [1, 0], [0, 1]), "1 of 2 values of truth"),
    ],
)
def test_wrong_input_is_refused_with_what_to_do(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_a_perfect_sample_of_one_class_still_has_intervals() -> None:
    """A subgroup may hold one class only: what needs the other is not defined, the rest rests on its size."""
    for positive in (0, 1):
        truth = np.full(12, positive)
        found = {
            one.name: one
            for one in binary_estimates(
                truth, np.where(truth == 1, 0.9, 0.1), groups=np.arange(12), replicates=50
            )
        }
        assert np.isnan(found["roc_auc"].value)
        for name in ("accuracy", "balanced_accuracy"):
            assert found[name].value == 1.0
            assert found[name].low == pytest.approx(wilson_interval(12, 12)[0])
