"""Kappa, silhouettes, partitions and concordance: by definition, derivative and published figures."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from voxlake.core.errors import UsageError
from voxlake.metrics.clustering import adjusted_rand_estimate, adjusted_rand_index, silhouette_estimate
from voxlake.metrics.icc import icc_estimate
from voxlake.metrics.kappa import (
    cohen_kappa,
    cohen_kappa_estimate,
    fleiss_kappa,
    fleiss_kappa_estimate,
    rating_counts,
)
from voxlake.metrics.linearised import linearised_error, linearised_estimate
from voxlake.metrics.stability import cluster_stability
from voxlake.metrics.survival import (
    concordance_estimate,
    concordance_index,
    concordance_test,
    uno_concordance,
    uno_estimate,
)

# Fleiss (1971): ten subjects, fourteen raters, five categories; kappa 0.210.
FLEISS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def recovered_error(estimate, scale: str) -> float:
    """Standard error behind an interval of `linearised_estimate`."""
    from scipy.stats import t

    move = {"logit": lambda p: math.log(p / (1 - p)), "fisher": math.atanh, "plain": float}[scale]
    flat = 1 - estimate.value**2
    slope = {"logit": estimate.value * (1 - estimate.value), "fisher": flat, "plain": 1.0}[scale]
    half = (move(estimate.high) - move(estimate.low)) / 2
    return half / t.ppf(0.975, estimate.groups - 1) * slope


def numeric_error(metric, samples: int, groups=None) -> float:
    """Standard error from derivatives by weights, taken numerically."""
    step = 1e-5
    moved = np.eye(samples) * step
    influence = (metric(1 + moved) - metric(1 - moved)) / (2 * step)
    return linearised_error(influence, groups=groups)[0]


def survival_data(seed: int, size: int):
    generator = np.random.default_rng(seed)
    risk = np.round(generator.normal(size=size), 1)
    times = np.round(generator.exponential(np.exp(-risk)) * 10) + 1
    censoring = np.round(generator.exponential(12, size)) + 1
    return np.minimum(times, censoring), (times <= censoring).astype(int), risk


def test_fleiss_own_example() -> None:
    assert fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=0.0005)
    found = fleiss_kappa_estimate(FLEISS)
    assert found.low < found.value < found.high


def test_cohen_own_figures() -> None:
    # 50 applications, two readers: 20 times yes and 15 times no by both, 5 and 10 times apart; kappa 0.4.
    first = np.repeat(["yes", "yes", "no", "no"], [20, 5, 10, 15])
    second = np.repeat(["yes", "no", "yes", "no"], [20, 5, 10, 15])
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa(first, first) == 1
    assert math.isnan(cohen_kappa(["a", "a"], ["a", "a"]))


def test_order_of_categories_is_what_is_named() -> None:
    first, second = ["low", "high", "mid", "low"], ["mid", "high", "high", "low"]
    order = ["low", "mid", "high"]
    codes = [[order.index(name) for name in reader] for reader in (first, second)]
    found = cohen_kappa(first, second, weighting="quadratic", categories=order)
    assert found == pytest.approx(cohen_kappa(*codes, weighting="quadratic"))
    assert found != pytest.approx(cohen_kappa(first, second, weighting="quadratic"))
    with pytest.raises(UsageError, match="not among"):
        cohen_kappa(first, second, categories=["low", "mid"])
    with pytest.raises(UsageError, match="named twice"):
        cohen_kappa(first, second, categories=[*order, "low"])
    with pytest.raises(UsageError, match="weighting"):
        cohen_kappa(first, second, weighting="cubic")  # type: ignore[arg-type]


@pytest.mark.parametrize("weighting", [None, "linear", "quadratic"])
@pytest.mark.parametrize("grouped", [False, True])
def test_variance_of_cohen_is_that_of_its_derivative(weighting, grouped: bool) -> None:
    generator = np.random.default_rng(8)
    first = generator.integers(0, 4, 60)
    second = np.where(generator.random(60) < 0.6, first, generator.integers(0, 4, 60))
    groups = np.arange(60) // 3 if grouped else None
    found = cohen_kappa_estimate(first, second, weighting=weighting, groups=groups)
    assert found.value == pytest.approx(cohen_kappa(first, second, weighting=weighting))
    expected = numeric_error(
        lambda weights: cohen_kappa(first, second, weighting=weighting, weights=weights), 60, groups
    )
    assert recovered_error(found, "fisher") == pytest.approx(expected, rel=1e-5)


def test_variance_of_fleiss_is_that_of_its_derivative() -> None:
    found = fleiss_kappa_estimate(FLEISS)
    expected = numeric_error(lambda weights: fleiss_kappa(FLEISS, weights=weights), 10)
    assert recovered_error(found, "fisher") == pytest.approx(expected, rel=1e-5)
    assert fleiss_kappa_estimate(FLEISS, groups=np.arange(10) // 2).groups == 5


def test_missing_ratings_and_unequal_numbers_of_raters() -> None:
    ratings = [["a", None, "b"], ["b", "b", "b"], ["a", "a", float("nan")]]
    counts, categories = rating_counts(ratings)
    assert categories == ("a", "b")
    np.testing.assert_array_equal(counts, [[1, 1], [0, 3], [2, 0]])
    share = np.array([0.5 + 0 + 1, 0.5 + 1 + 0]) / 3
    expected = ((0 + 1 + 1) / 3 - np.sum(share**2)) / (1 - np.sum(share**2))
    assert fleiss_kappa(counts) == pytest.approx(expected)
    with pytest.raises(UsageError, match="fewer than two"):
        fleiss_kappa([[1, 0], [1, 1]])
    assert math.isnan(fleiss_kappa([[3, 0], [2, 0]]))
    with pytest.raises(UsageError, match="not among"):
        rating_counts(ratings, categories=["a"])


def test_grouped_icc_rests_on_patients() -> None:
    generator = np.random.default_rng(2)
    ratings = generator.normal(size=(20, 1)).repeat(3, axis=0) + 0.5 * generator.normal(size=(60, 3))
    found = icc_estimate(ratings, "ICC(3,1)", groups=np.arange(60) // 3, replicates=300)
    assert (found.samples, found.groups) == (60, 20)
    assert found.method.startswith("BCa bootstrap over groups")
    assert found.low < found.value < found.high


def test_concordance_by_looking_at_each_pair() -> None:
    time, event, risk = survival_data(0, 60)
    won = pairs = 0.0
    for one, other in itertools.permutations(range(60), 2):
        earlier = time[one] < time[other] or (time[one] == time[other] and not event[other])
        if event[one] and earlier:
            pairs += 1
            won += 1.0 if risk[one] > risk[other] else 0.5 * (risk[one] == risk[other])
    assert concordance_index(time, event, risk) == pytest.approx(won / pairs)
    assert concordance_estimate(time, event, risk).value == pytest.approx(won / pairs)
    assert concordance_index(time, event, -risk) == pytest.approx(1 - won / pairs)


def test_concordance_equals_lifelines() -> None:
    """Figures of lifelines 0.30.3, which itself asks for an older pandas than voxlake."""
    theirs = (0.7613744075829384, 0.7320640176600441, 0.7415324819544697, 0.7532861476238625)
    for seed, expected in enumerate(theirs):
        assert concordance_index(*survival_data(seed, 80)) == pytest.approx(expected)


def test_uno_by_definition() -> None:
    time, event, risk = survival_data(3, 50)

    def free_before(moment: float) -> float:
        share = 1.0
        for point in np.unique(time[time < moment]):
            censored = np.sum((time == point) & (event == 0))
            still = np.sum(time > point) + censored
            share *= 1 - censored / still if still else 1.0
        return share

    for horizon in (None, 8.0):
        won = pairs = 0.0
        for one, other in itertools.permutations(range(50), 2):
            earlier = time[one] < time[other] or (time[one] == time[other] and not event[other])
            if event[one] and earlier and (horizon is None or time[one] < horizon):
                weight = free_before(time[one]) ** -2
                pairs += weight
                won += weight * (0.5 + 0.5 * np.sign(risk[one] - risk[other]))
        assert uno_concordance(time, event, risk, horizon=horizon) == pytest.approx(won / pairs)
    nobody = np.ones_like(event)
    assert uno_concordance(time, nobody, risk) == pytest.approx(concordance_index(time, nobody, risk))


@pytest.mark.parametrize("metric", [concordance_index, uno_concordance])
def test_weights_repeat_samples_but_no_pair_with_itself(metric) -> None:
    time, event, risk = survival_data(5, 40)
    weights = np.random.default_rng(0).integers(0, 3, size=(4, 40))
    found = metric(time, event, risk, weights=weights)
    for row, value in zip(weights, found, strict=True):
        chosen = np.repeat(np.arange(40), row)
        # Copies of one sample tie in time, and two events at one time are no pair; censored copies are none
        # either.
        assert value == pytest.approx(metric(time[chosen], event[chosen], risk[chosen]))
    assert math.isnan(metric(time, np.zeros(40), risk))


@pytest.mark.parametrize("groups", [None, np.arange(60) // 2])
def test_variance_of_concordance_is_that_of_its_derivative(groups) -> None:
    time, event, risk = survival_data(1, 60)
    found = concordance_estimate(time, event, risk, groups=groups)

    def metric(weights):
        return concordance_index(time, event, risk, weights=weights)

    assert recovered_error(found, "logit") == pytest.approx(numeric_error(metric, 60, groups), rel=1e-5)


def test_two_risks_are_compared_in_pairs() -> None:
    time, event, risk = survival_data(7, 150)
    noise = np.random.default_rng(1).normal(size=150)
    found = concordance_test(time, event, risk, noise)
    assert found.difference == pytest.approx(found.first - found.second)
    assert found.first == pytest.approx(concordance_index(time, event, risk))
    assert found.low > 0
    assert found.p_value < 0.001
    back = concordance_test(time, event, noise, risk)
    assert (back.t, back.high) == pytest.approx((-found.t, -found.low))
    same = concordance_test(time, event, risk, 2 * risk)
    assert same.difference == 0
    assert math.isnan(same.p_value)


def test_uno_interval_holds_its_value() -> None:
    time, event, risk = survival_data(2, 60)
    found = uno_estimate(time, event, risk, replicates=200)
    assert found.low < found.value < found.high
    assert found.method.startswith("BCa bootstrap over samples")


def test_rand_by_looking_at_each_pair() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.integers(0, 3, 30), generator.integers(0, 4, 30)
    pairs = list(itertools.combinations(range(30), 2))
    together = [first[i] == first[j] for i, j in pairs]
    apart = [second[i] == second[j] for i, j in pairs]
    both = np.sum(np.array(together) & np.array(apart))
    expected = np.sum(together) * np.sum(apart) / len(pairs)
    index = (both - expected) / ((np.sum(together) + np.sum(apart)) / 2 - expected)
    assert adjusted_rand_index(first, second) == pytest.approx(index)
    assert adjusted_rand_index(first, first + 7) == pytest.approx(1)
    assert math.isnan(adjusted_rand_index(np.zeros(5), np.ones(5)))
    found = adjusted_rand_estimate(first, np.where(generator.random(30) < 0.8, first, 0), replicates=200)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("grouped", [False, True])
def test_variance_of_silhouettes_is_that_of_their_derivative(grouped: bool) -> None:
    from scipy.spatial.distance import cdist

    generator = np.random.default_rng(4)
    labels = np.arange(30) % 3
    values = generator.normal(size=(30, 2)) + labels[:, np.newaxis]
    distances = cdist(values, values)

    def weighted(batch):
        found = []
        for weights in np.atleast_2d(batch):
            means = np.empty((30, 3))
            for cluster in range(3):
                # A sample is no neighbour of itself, whatever its weight.
                mass = weights * (labels == cluster)
                own = labels == cluster
                means[:, cluster] = distances @ mass / (mass.sum() - weights * own)
            own = means[np.arange(30), labels]
            means[np.arange(30), labels] = np.inf
            other = means.min(axis=1)
            found.append(np.average((other - own) / np.maximum(own, other), weights=weights))
        return np.array(found)

    groups = np.arange(30) // 2 if grouped else None
    found = silhouette_estimate(values, labels, groups=groups)
    assert found.value == pytest.approx(weighted(np.ones(30))[0])
    expected = numeric_error(weighted, 30, groups)
    assert recovered_error(found, "plain") == pytest.approx(expected, rel=1e-4)


def test_clusters_that_are_there_are_stable() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(size=(60, 1)) + 20 * (np.arange(60) % 2)[:, np.newaxis]

    def halves(points, seed):
        return points[:, 0] > points[:, 0].mean()

    def chance(points, seed):
        return np.random.default_rng(seed).integers(0, 2, len(points))

    sure = cluster_stability(halves, values, draws=20)
    assert sure.value == pytest.approx(1)
    assert sure.method.startswith("none: all draws agree")
    found = cluster_stability(chance, values, draws=40)
    assert abs(found.value) < 0.1
    assert found.low < 0 < found.high
    assert found == cluster_stability(chance, values, draws=40)
    with pytest.raises(UsageError, match="more than half"):
        cluster_stability(halves, values, share=0.4)


def test_linearised_interval_of_a_mean_is_students() -> None:
    from scipy.stats import t

    values = np.random.default_rng(6).normal(size=25)
    found = linearised_estimate("mean", values.mean(), (values - values.mean()) / 25, groups=None)
    half = t.ppf(0.975, 24) * values.std(ddof=1) / 5
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert not linearised_estimate("mean", 1.0, np.zeros(3), groups=None).has_interval
    assert not linearised_estimate("mean", 1.0, np.ones(3), groups=[1, 1, 1]).has_interval
    assert not linearised_estimate("share", 1.0, np.arange(3.0), groups=None, scale="logit").has_interval
