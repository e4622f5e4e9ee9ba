"""Two models compared, subgroups, several classes and labels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from voxlake.core.errors import UsageError
from voxlake.metrics import classification as metrics
from voxlake.metrics.bootstrap import bootstrap, bootstrap_values, percentile_estimate
from voxlake.metrics.comparison import bootstrap_p_value, compare, compare_binary, compare_multiclass
from voxlake.metrics.delong import delong_auc, delong_test
from voxlake.metrics.figures import BinaryFigures
from voxlake.metrics.mcnemar import mcnemar_test
from voxlake.metrics.multiclass import pairwise_roc_auc, per_class_estimates, top_k_accuracy
from voxlake.metrics.multilabel import hamming_loss, multilabel_estimates, subset_accuracy
from voxlake.metrics.names import METRICS
from voxlake.metrics.subgroups import MISSING, multiclass_subgroup_table, subgroup_table
from voxlake.metrics.summary import binary_estimates


def models(seed: int = 0, patients: int = 80):
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), 2)
    truth = groups % 2
    shared = generator.normal(size=patients)[groups]
    good = 1 / (1 + np.exp(1 - 2 * truth - shared))
    poor = 1 / (1 + np.exp(1 - 2 * truth - shared - 2 * generator.normal(size=groups.size)))
    return truth, good, poor, groups


def test_a_model_does_not_differ_from_itself() -> None:
    truth, good, _, groups = models()
    for each in compare_binary(truth, good, good, groups=groups, replicates=50):
        assert each.difference == 0
        assert math.isnan(each.p_value)
        assert each.method == "none: all replicates have the same value"


def test_differences_are_those_of_the_figures_and_turn_with_the_order() -> None:
    truth, good, poor, groups = models()
    found = compare_binary(truth, good, poor, groups=groups, second_threshold=0.4, replicates=200)
    turned = compare_binary(truth, poor, good, groups=groups, first_threshold=0.4, replicates=200)
    assert [each.name for each in found] == list(METRICS)
    first = BinaryFigures(truth, good).values()
    second = BinaryFigures(truth, poor, threshold=0.4).values()
    for each, back in zip(found, turned, strict=True):
        assert (each.first, each.second) == pytest.approx((first[each.name], second[each.name]))
        assert each.difference == pytest.approx(each.first - each.second)
        assert (each.low, each.high) == pytest.approx((-back.high, -back.low))
        assert each.p_value == back.p_value
        assert (each.samples, each.groups) == (160, 80)
    assert 0 < found[0].low < found[0].difference < found[0].high
    assert found[0].p_value < 0.05


def test_a_comparison_is_the_bootstrap_of_the_difference() -> None:
    truth, good, poor, groups = models()
    scores = {"one": good, "other": poor}
    one, other = ({"roc_auc": lambda w, s=s: metrics.roc_auc(truth, s, weights=w)} for s in scores.values())
    (found,) = compare(one, other, labels=truth, groups=groups, replicates=100, seed=3)
    difference = {"d": lambda w: one["roc_auc"](w) - other["roc_auc"](w)}
    expected = bootstrap(difference, labels=truth, groups=groups, replicates=100, seed=3)["d"]
    assert (found.low, found.high) == (expected.low, expected.high)
    (binary,) = [
        each
        for each in compare_binary(truth, good, poor, groups=groups, replicates=100, seed=3)
        if each.name == "roc_auc"
    ]
    assert (binary.low, binary.high) == pytest.approx((found.low, found.high))
    with pytest.raises(UsageError, match="same metrics"):
        compare(one, {"accuracy": one["roc_auc"]}, labels=truth, groups=groups)


def test_several_classes_are_compared_too() -> None:
    generator = np.random.default_rng(1)
    truth = np.arange(150) % 3
    rows = np.eye(3)[truth] + generator.random((2, 150, 3)) * [[[1.2]], [[4.0]]]
    rows /= rows.sum(axis=2, keepdims=True)
    found = {each.name: each for each in compare_multiclass(truth, *rows, groups=None, replicates=100)}
    assert found["roc_auc"].low > 0
    assert found["accuracy"].difference > 0
    assert found["log_loss"].difference < 0


def test_p_value_counts_the_thinner_tail_twice() -> None:
    assert bootstrap_p_value(np.r_[np.full(95, 1.0), np.full(4, -1.0), np.nan]) == pytest.approx(0.1)
    assert bootstrap_p_value(np.zeros(9)) == 1
    assert bootstrap_p_value(np.ones(999)) == pytest.approx(0.002)


def test_bootstrap_values_are_the_replicates_of_the_interval() -> None:
    truth, good, _, groups = models()
    figures = BinaryFigures(truth, good, groups=groups)
    drawn = bootstrap_values(figures, labels=figures.positive, groups=figures.groups, replicates=100, seed=2)
    chosen = {"roc_auc": lambda w: metrics.roc_auc(truth, good, weights=w)}
    expected = bootstrap(chosen, labels=truth, groups=groups, replicates=100, seed=2)["roc_auc"]
    found = percentile_estimate(
        "roc_auc", figures.values()["roc_auc"], drawn["roc_auc"], level=0.95, samples=160, groups=80
    )
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert np.isnan(bootstrap_values(figures, labels=truth, groups=np.zeros(160))["f1"]).all()


def test_clustered_delong_is_wider_where_images_resemble_each_other() -> None:
    truth, good, poor, groups = models()
    plain, grouped = delong_auc(truth, good), delong_auc(truth, good, groups=groups)
    assert grouped.high - grouped.low > 1.3 * (plain.high - plain.low)
    assert grouped.method == "Obuchowski over groups"
    assert delong_test(truth, good, poor, groups=groups).method == "Obuchowski over groups"
    assert delong_auc([0, 0, 1, 1], [1, 3, 2, 4], groups=[0, 0, 1, 1]).method.startswith(
        "none: Obuchowski needs"
    )


def test_mcnemar_over_groups() -> None:
    truth, good, poor, groups = models()
    calls = truth, (good >= 0.5).astype(int), (poor >= 0.5).astype(int)
    plain, grouped = mcnemar_test(*calls), mcnemar_test(*calls, groups=groups)
    assert plain.difference == grouped.difference == pytest.approx(plain.first - plain.second)
    surplus = ((calls[1] == truth).astype(int) - (calls[2] == truth)).reshape(-1, 2).sum(axis=1)
    z = surplus.sum() / np.sqrt((surplus**2).sum())
    assert grouped.p_value == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))
    assert grouped.low < grouped.difference < grouped.high
    same = mcnemar_test(truth, calls[1], calls[1])
    assert (same.p_value, same.difference) == (1, 0)
    assert mcnemar_test(truth, calls[1], calls[1], groups=groups).method.startswith("none: ")


def test_subgroups_are_the_figures_of_their_samples() -> None:
    truth, good, _, groups = models()
    sex = np.array(["f", "m", "f", "m", None], dtype=object)[groups % 5]
    found = subgroup_table(truth, good, {"sex": sex}, groups=groups, threshold=0.4, replicates=60)
    assert [row.value for row in found] == ["f", "m", MISSING]
    assert sum(row.samples for row in found) == 160
    women = np.flatnonzero(sex == "f")
    row = found[0]
    assert (row.samples, row.groups, row.positives) == (64, 32, int(truth[women].sum()))
    inside = binary_estimates(truth[women], good[women], groups=groups[women], threshold=0.4, replicates=60)
    assert row.estimates == tuple(inside)
    others = np.flatnonzero(sex != "f")
    for each in row.differences:
        rest = BinaryFigures(truth[others], good[others], threshold=0.4).values()[each.name]
        assert each.second == pytest.approx(rest)
    assert [each.name for each in row.differences] == list(METRICS)


def test_a_variable_with_one_value_has_no_difference_and_nan_is_missing() -> None:
    truth, good, _, groups = models()
    (row,) = subgroup_table(truth, good, {"age": np.full(160, np.nan)}, groups=groups, replicates=20)
    assert (row.value, row.differences) == (MISSING, ())
    with pytest.raises(UsageError, match="'age' has 3 values for 160 samples"):
        subgroup_table(truth, good, {"age": [1, 2, 3]}, groups=groups)


def test_a_subgroup_of_one_class_says_what_it_does_not_know() -> None:
    truth, good, _, groups = models()
    rows = subgroup_table(truth, good, {"ill": truth}, groups=groups, replicates=20)
    area = {each.name: each for each in rows[1].estimates}["roc_auc"]
    assert math.isnan(area.value)
    assert "not defined" in area.method
    assert math.isnan({each.name: each for each in rows[1].differences}["roc_auc"].difference)


def test_subgroups_of_several_classes() -> None:
    truth = np.arange(60) % 3
    rows = np.eye(3)[truth] * 0.5 + np.random.default_rng(0).random((60, 3))
    scanner = np.where(np.arange(60) < 30, "a", "b")
    found = multiclass_subgroup_table(
        truth, rows / rows.sum(axis=1, keepdims=True), {"scanner": scanner}, groups=None, replicates=40
    )
    assert [row.samples for row in found] == [30, 30]
    assert found[0].positives is None
    one, other = ({each.name: each for each in row.differences} for row in found)
    assert one["accuracy"].difference == pytest.approx(-other["accuracy"].difference)


def test_each_class_by_itself() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2, 2, 0])
    rows = np.random.default_rng(4).dirichlet(np.ones(3), 8)
    found = per_class_estimates(truth, rows, groups=None, replicates=20)
    calls = rows.argmax(axis=1)
    for number, estimates in found.items():
        values = {each.name: each.value for each in estimates}
        assert values["recall"] == pytest.approx(metrics.recall(truth, calls, positive=number))
        assert values["roc_auc"] == pytest.approx(metrics.roc_auc(truth == number, rows[:, number]))


def test_best_guesses_and_pairs_by_hand() -> None:
    rows = [[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.1, 0.3, 0.6]]
    assert top_k_accuracy([1, 1, 0], rows, k=1) == 0
    assert top_k_accuracy([1, 1, 0], rows, k=2) == pytest.approx(2 / 3)
    assert math.isnan(pairwise_roc_auc([0, 1, 0], rows))
    with pytest.raises(UsageError, match="k must lie between 1 and the 3 classes"):
        top_k_accuracy([0, 1, 2], rows, k=4)
    with pytest.raises(UsageError, match="class numbers"):
        top_k_accuracy([0, 1, 3], rows)


def test_unknown_average_is_refused() -> None:
    with pytest.raises(UsageError, match="macro, micro or weighted"):
        metrics.recall([0, 1], [0, 1], positive=None, average="mean")


def test_labels_by_hand_with_unknown_ones() -> None:
    truth = np.array([[1, 0], [1, np.nan], [np.nan, np.nan]])
    called = np.array([[1, 1], [1, 0], [0, 0]])
    assert hamming_loss(truth, called) == pytest.approx(1 / 3)
    assert subset_accuracy(truth, called) == pytest.approx(1 / 2)
    with pytest.raises(UsageError, match="NaN"):
        hamming_loss([[2, 0]], [[1, 0]])
    with pytest.raises(UsageError, match="shape"):
        hamming_loss([[1, 0]], [[1, 0, 1]])


def test_estimates_of_several_labels() -> None:
    generator = np.random.default_rng(6)
    truth = (generator.random((100, 3)) < 0.4).astype(float)
    truth[:, 2] = np.nan
    probability = np.clip(0.3 + 0.4 * np.nan_to_num(truth) + 0.2 * generator.normal(size=(100, 3)), 0, 1)
    found = multilabel_estimates(
        truth, probability, names=("mass", "nodule", "unread"), groups=np.arange(100) // 2, replicates=50
    )
    assert found.labels["unread"] == ()
    area = found.labels["mass"][0]
    assert area.value == pytest.approx(metrics.roc_auc(truth[:, 0], probability[:, 0]))
    assert area.groups == 50
    overall = {each.name: each for each in found.overall}
    assert math.isnan(overall["macro_roc_auc"].value)
    assert overall["micro_f1"].low < overall["micro_f1"].value < overall["micro_f1"].high
    with pytest.raises(UsageError, match="different names"):
        multilabel_estimates(truth, probability, names=("a", "a", "b"), groups=None)


def test_threshold_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError, match="one number or 3"):
        BinaryFigures([0, 1, 1], [0.1, 0.2, 0.3], threshold=[0.5, 0.5])
