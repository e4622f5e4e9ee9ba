"""The bootstrap over patients: what is drawn, what is said without an interval, and its coverage."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy.stats import norm

from voxlake.core.errors import UsageError
from voxlake.metrics.bootstrap import bootstrap, group_weights
from voxlake.metrics.classification import accuracy, roc_auc
from voxlake.metrics.summary import binary_estimates, multiclass_estimates


def cohort(generator, patients: int, images: int, spread: float = 1.0):
    """Half of the patients ill; scores share a part within a patient."""
    groups = np.repeat(np.arange(patients), images)
    truth = groups % 2
    scores = truth + spread * generator.normal(size=patients)[groups] + generator.normal(size=groups.size)
    return truth, scores, groups


def test_all_samples_of_a_group_are_drawn_together() -> None:
    groups = np.array(["b", "a", "a", "c", "b", "d"])
    labels = np.array([0, 1, 1, 0, 0, 1])
    weights = np.concatenate(list(group_weights(labels, groups, replicates=300, seed=1)))
    np.testing.assert_array_equal(weights[:, 1], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 0], weights[:, 4])
    assert set(np.unique(weights)) == {0, 1, 2}


def test_every_replicate_has_as_many_groups_of_each_class() -> None:
    labels = np.array([0] * 7 + [1] * 3)
    weights = np.concatenate(list(group_weights(labels, np.arange(10), replicates=200, seed=2)))
    np.testing.assert_array_equal(weights[:, :7].sum(axis=1), 7)
    np.testing.assert_array_equal(weights[:, 7:].sum(axis=1), 3)


def test_blocks_do_not_change_the_draws(monkeypatch) -> None:
    labels, groups = np.arange(40) % 2, np.arange(40) // 2
    whole = np.concatenate(list(group_weights(labels, groups, replicates=50, seed=3)))
    monkeypatch.setattr("voxlake.metrics.bootstrap._BLOCK", 120)
    blocks = list(group_weights(labels, groups, replicates=50, seed=3))
    assert len(blocks) == 17
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_weights_give_what_gathering_would_give() -> None:
    generator = np.random.default_rng(0)
    truth, scores, groups = cohort(generator, 20, 3)
    weights = next(group_weights(truth, groups, replicates=20, seed=0))
    fast = roc_auc(truth, scores, weights=weights)
    for row, value in zip(weights.astype(int), fast, strict=True):
        chosen = np.repeat(np.arange(truth.size), row)
        assert roc_auc(truth[chosen], scores[chosen]) == pytest.approx(value)


def test_equal_seed_equal_interval_other_seed_other_interval() -> None:
    truth, scores, groups = cohort(np.random.default_rng(1), 30, 2)
    chosen = {"roc_auc": lambda weights: roc_auc(truth, scores, weights=weights)}
    first, again, other = (
        bootstrap(chosen, labels=truth, groups=groups, replicates=100, seed=seed)["roc_auc"]
        for seed in (4, 4, 5)
    )
    assert first == again
    assert first.low != other.low
    assert (first.samples, first.groups, first.level) == (60, 30, 0.95)
    assert first.method == "percentile bootstrap over groups, 100 replicates"


def test_a_difference_of_two_models_is_a_metric_too() -> None:
    truth, scores, groups = cohort(np.random.default_rng(2), 60, 2)
    worse = scores + np.random.default_rng(3).normal(size=truth.size) * 3

    def difference(weights):
        return roc_auc(truth, scores, weights=weights) - roc_auc(truth, worse, weights=weights)

    found = bootstrap({"difference": difference}, labels=truth, groups=groups, replicates=500)["difference"]
    assert 0 < found.low < found.value < found.high


def test_degenerate_data_have_no_interval_and_say_why() -> None:
    truth, calls = np.array([1, 0, 1, 0]), np.array([1, 0, 0, 0])
    chosen = {"accuracy": lambda weights: accuracy(truth, calls, weights=weights)}
    alone = bootstrap(chosen, labels=truth, groups=np.zeros(4), replicates=10)["accuracy"]
    assert alone.value == 0.75
    assert not alone.has_interval
    assert "one group only" in alone.method
    ill = np.ones(4, dtype=int)
    auc = {"roc_auc": lambda weights: roc_auc(ill, [0.1, 0.2, 0.3, 0.4], weights=weights)}
    undefined = bootstrap(auc, labels=ill, groups=None, replicates=10)["roc_auc"]
    assert math.isnan(undefined.value)
    assert "not defined on these data" in undefined.method
    same = {"one": lambda weights: np.ones(len(weights))}
    assert "same value" in bootstrap(same, labels=truth, groups=None, replicates=10)["one"].method


def test_undefined_replicates_are_counted_or_refused() -> None:
    truth = np.arange(40) % 2

    def sometimes(lost: int):
        def metric(weights):
            values = weights[:, 0].astype(float) + np.linspace(0, 1, len(weights))
            values[: lost if len(weights) > 1 else 0] = math.nan
            return values

        return bootstrap({"m": metric}, labels=truth, groups=None, replicates=200)["m"]

    assert sometimes(10).method.endswith("10 undefined left out")
    assert sometimes(10).has_interval
    assert sometimes(11).method == "none: not defined in 11 of 200 replicates"
    assert not sometimes(11).has_interval


@pytest.mark.parametrize("wrong", [{"replicates": 1}, {"level": 1.0}, {"groups": [1, 2]}])
def test_nonsense_is_refused(wrong) -> None:
    arguments = {"labels": [0, 1, 0], "groups": None, **wrong}
    with pytest.raises(UsageError):
        bootstrap({}, **arguments)


def test_perfect_scores_still_have_an_interval() -> None:
    groups = np.arange(60) // 2
    truth = (groups % 3 == 0).astype(int)
    found = {each.name: each for each in binary_estimates(truth, truth * 0.8 + 0.1, groups=groups)}
    for name in ("roc_auc", "accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1"):
        assert found[name].value == 1
        assert 0.6 < found[name].low < 1, name
        assert found[name].high == 1
    assert found["recall"].method == "Wilson over 10 groups"
    assert found["specificity"].low == pytest.approx(1 / (1 + 1.959964**2 / 20), rel=1e-6)
    share = 1 / (1 + 1.959964**2 / 10)
    assert found["f1"].low == pytest.approx(2 * share / (1 + share), rel=1e-6)


def test_binary_estimates_follow_the_threshold_of_each_sample() -> None:
    truth, probability = np.array([1, 1, 0, 0]), np.array([0.3, 0.8, 0.2, 0.7])
    thresholds = [0.25, 0.75, 0.25, 0.75]
    found = {
        each.name: each.value
        for each in binary_estimates(truth, probability, groups=None, threshold=thresholds, replicates=20)
    }
    assert found["accuracy"] == 1
    assert found["roc_auc"] == 0.75


def test_multiclass_estimates_have_intervals() -> None:
    generator = np.random.default_rng(0)
    truth = np.arange(120) % 3
    logits = generator.normal(size=(120, 3)) + 1.5 * np.eye(3)[truth]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for each in multiclass_estimates(truth, probability, groups=np.arange(120) // 2, replicates=200):
        assert each.low < each.value < each.high, each.name


def test_speed_of_a_large_evaluation() -> None:
    truth, scores, groups = cohort(np.random.default_rng(0), 1250, 2)
    probability = 1 / (1 + np.exp(-scores))
    started = time.process_time()
    assert len(binary_estimates(truth, probability, groups=groups, replicates=2000)) >= 8
    assert time.process_time() - started < 10


@pytest.mark.slow
def test_coverage_over_patients_is_nominal_and_over_images_is_not() -> None:
    # Patients differ as much as images of one patient do, so five images are far from five witnesses.
    true = {"roc_auc": norm.cdf(1 / 2), "accuracy": norm.cdf(0.5 / np.sqrt(2))}
    simulated = 400
    covered = {"patients": dict.fromkeys(true, 0), "images": dict.fromkeys(true, 0)}
    for seed in range(simulated):
        truth, scores, groups = cohort(np.random.default_rng(seed), 80, 5)
        chosen = {
            "roc_auc": lambda w, t=truth, s=scores: roc_auc(t, s, weights=w),
            "accuracy": lambda w, t=truth, s=scores: accuracy(t, s >= 0.5, weights=w),
        }
        for unit, members in (("patients", groups), ("images", None)):
            found = bootstrap(chosen, labels=truth, groups=members, replicates=300, seed=seed)
            for name, value in true.items():
                covered[unit][name] += found[name].low <= value <= found[name].high
    for name in true:
        assert 0.92 <= covered["patients"][name] / simulated <= 0.98, covered
        assert covered["images"][name] / simulated < 0.85, covered
