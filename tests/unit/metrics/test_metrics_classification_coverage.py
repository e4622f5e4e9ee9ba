"""Every interval of classification holds the truth as often as it says, where the truth is known.

Data are drawn again and again from a population; 92 to 98% of the intervals at a level of 95% must hold its
value. Patients have two images that resemble each other, so that intervals over images would fail.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import binom

from voxlake.metrics import multilabel
from voxlake.metrics.calibration import calibration_error, calibration_estimates
from voxlake.metrics.calibration_interval import calibration_error_estimate
from voxlake.metrics.comparison import compare_binary
from voxlake.metrics.curves import calibration_curve
from voxlake.metrics.decision import decision_curve, net_benefit
from voxlake.metrics.delong import delong_auc, delong_test
from voxlake.metrics.figures import BinaryFigures
from voxlake.metrics.mcnemar import mcnemar_test
from voxlake.metrics.newcombe import newcombe_auc_interval
from voxlake.metrics.scores import roc_auc
from voxlake.metrics.subgroups import subgroup_table
from voxlake.metrics.summary import binary_estimates, multiclass_estimates, multiclass_metrics
from voxlake.metrics.wilson import wilson_interval

LARGE = 200_000


def binary(seed: int, patients: int = 150):
    """Half of the patients ill; two models, the first of which is better, both over-confident."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), 2)
    truth = groups % 2
    shared = generator.normal(size=(2, patients))[:, groups]
    rest = shared[:1] * 0.7 + 0.5 * shared + generator.normal(size=(2, groups.size))
    odds = 1.5 * ((truth - 0.5) * [[1.6], [1.2]] + rest)
    return truth, *expit(odds), groups


def cohort(seed: int, patients: int = 300):
    """Patients as they come, some with more risk; predictions are too bold and too high."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), 2)
    odds = -0.7 + generator.normal(size=patients)[groups] + 0.5 * generator.normal(size=groups.size)
    hidden = generator.random(patients)[groups]
    # Half of the images of a patient share their luck, which ties their outcomes.
    luck = np.where(generator.random(groups.size) < 0.5, hidden, generator.random(groups.size))
    truth = (luck < expit(odds)).astype(int)
    return truth, expit(1.5 * odds + 0.4), groups


def hold(counts: Counter[str], simulated: int, margin: float = 0.0) -> None:
    shares = {name: count / simulated for name, count in counts.items()}
    outside = {name: share for name, share in shares.items() if not 0.92 - margin <= share <= 0.98 + margin}
    assert shares
    assert not outside, shares


def noise(simulated: int) -> float:
    """Two standard errors of a share of 95%: what the costly simulations, which are fewer, may be off by."""
    return 2 * (0.95 * 0.05 / simulated) ** 0.5


def count_held(counts: Counter[str], estimates, true) -> None:
    for each in estimates:
        counts[each.name] += each.low <= true[each.name] <= each.high


@cache
def true_figures():
    truth, *probabilities, _ = binary(10**6, LARGE)
    return [BinaryFigures(truth, probability).values() for probability in probabilities]


def figures_covered(simulated: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in range(simulated):
        truth, probability, _, groups = binary(seed)
        found = binary_estimates(truth, probability, groups=groups, replicates=400, seed=seed)
        count_held(counts, found, true_figures()[0])
    return counts


def test_figures_of_two_classes_quickly() -> None:
    assert min(figures_covered(60).values()) / 60 > 0.85


@pytest.mark.slow
def test_figures_of_two_classes() -> None:
    hold(figures_covered(400), 400)


@pytest.mark.slow
def test_differences_of_two_models() -> None:
    first, second = true_figures()
    counts: Counter[str] = Counter()
    for seed in range(400):
        truth, one, other, groups = binary(seed)
        for each in compare_binary(truth, one, other, groups=groups, replicates=400, seed=seed):
            counts[each.name] += each.low <= first[each.name] - second[each.name] <= each.high
    hold(counts, 400)


@pytest.mark.slow
def test_delong_and_obuchowski() -> None:
    first, second = (values["roc_auc"] for values in true_figures())
    counts: Counter[str] = Counter()
    for seed in range(1000):
        truth, one, other, groups = binary(seed)
        single = slice(0, None, 2)
        found = {
            "DeLong": (delong_auc(truth[single], one[single]), first),
            "DeLong difference": (delong_test(truth[single], one[single], other[single]), first - second),
            "Obuchowski": (delong_auc(truth, one, groups=groups), first),
            "Obuchowski difference": (delong_test(truth, one, other, groups=groups), first - second),
        }
        for name, (each, true) in found.items():
            counts[name] += each.low <= true <= each.high
    hold(counts, 1000)


@pytest.mark.slow
def test_mcnemar_intervals() -> None:
    truth, one, other, _ = binary(10**6, LARGE)
    true = float(((one >= 0.5) == truth).mean() - ((other >= 0.5) == truth).mean())
    counts: Counter[str] = Counter()
    for seed in range(1000):
        truth, one, other, groups = binary(seed)
        calls = truth, (one >= 0.5).astype(int), (other >= 0.5).astype(int)
        found = {
            "samples": mcnemar_test(*(values[::2] for values in calls)),
            "groups": mcnemar_test(*calls, groups=groups),
        }
        for name, each in found.items():
            counts[name] += each.low <= true <= each.high
    hold(counts, 1000)


@pytest.mark.slow
def test_figures_of_several_classes() -> None:
    def draw(seed: int, patients: int):
        generator = np.random.default_rng(seed)
        groups = np.repeat(np.arange(patients), 2)
        truth = groups % 3
        rest = generator.normal(size=(patients, 3))[groups] + generator.normal(size=(groups.size, 3))
        return truth, softmax(1.5 * np.eye(3)[truth] + rest, axis=1), groups

    truth, probability, _ = draw(10**6, LARGE // 2)
    one = np.ones((1, truth.size))
    true = {name: float(metric(one)[0]) for name, metric in multiclass_metrics(truth, probability).items()}
    counts: Counter[str] = Counter()
    for seed in range(250):
        truth, probability, groups = draw(seed, 150)
        found = multiclass_estimates(truth, probability, groups=groups, replicates=300, seed=seed)
        count_held(counts, found, true)
    hold(counts, 250, noise(250))


@pytest.mark.slow
def test_figures_of_several_labels() -> None:
    def draw(seed: int, patients: int):
        generator = np.random.default_rng(seed)
        groups = np.repeat(np.arange(patients), 2)
        truth = (generator.random((patients, 3)) < [0.3, 0.4, 0.5])[groups].astype(float)
        rest = generator.normal(size=(patients, 3))[groups] + generator.normal(size=(groups.size, 3))
        probability = expit(2 * truth - 1 + rest)
        truth[generator.random(truth.shape) < 0.1] = np.nan
        return truth, probability, groups

    truth, probability, _ = draw(10**6, LARGE // 2)
    true = {
        name: float(metric(np.ones((1, len(truth))))[0])
        for name, metric in multilabel._overall(truth, probability, probability >= 0.5).items()
    }
    counts: Counter[str] = Counter()
    for seed in range(200):
        truth, probability, groups = draw(seed, 120)
        found = multilabel.multilabel_estimates(
            truth, probability, names=("a", "b", "c"), groups=groups, replicates=300, seed=seed
        )
        count_held(counts, found.overall, true)
    hold(counts, 200, noise(200))


@cache
def true_calibration():
    truth, probability, groups = cohort(10**6, LARGE)
    return {each.name: each.value for each in calibration_estimates(truth, probability, groups=groups)}


def calibration_covered(simulated: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in range(simulated):
        truth, probability, groups = cohort(seed)
        found = calibration_estimates(truth, probability, groups=groups, seed=seed)
        count_held(counts, found, true_calibration())
    return counts


def test_calibration_quickly() -> None:
    assert min(calibration_covered(40).values()) / 40 > 0.85


@pytest.mark.slow
def test_calibration() -> None:
    hold(calibration_covered(400), 400)


@pytest.mark.slow
@pytest.mark.parametrize("slope", [1.0, 1.3, 2.5])
def test_calibration_error_of_good_and_bad_models(slope: float) -> None:
    def draw(seed: int, size: int):
        generator = np.random.default_rng(seed)
        odds = generator.normal(size=size)
        return (generator.random(size) < expit(odds)).astype(int), expit(slope * odds)

    # Expected outcomes instead of drawn ones: a perfect model has an error of exactly 0.
    odds = np.sort(np.random.default_rng(0).normal(size=LARGE))
    true = np.abs((expit(odds) - expit(slope * odds)).reshape(10, -1).mean(axis=1)).mean()
    counts: Counter[str] = Counter()
    for seed in range(400):
        truth, probability = draw(seed, 400)
        found = calibration_error_estimate(truth, probability, groups=None, draws=500, seed=seed)
        counts["calibration_error"] += found.low <= true <= found.high
        assert found.value == pytest.approx(calibration_error(truth, probability))
        assert found.high >= found.value
    if slope == 1:
        # There is no error below 0, so only one end can miss.
        assert counts["calibration_error"] / 400 >= 0.96
    else:
        hold(counts, 400)


@pytest.mark.slow
def test_decision_curve() -> None:
    cuts = [0.2, 0.4, 0.6]
    truth, probability, _ = cohort(10**6, LARGE)
    true = np.array([net_benefit(truth, probability, cut) for cut in cuts])
    everybody = np.array([net_benefit(truth, np.ones(truth.size), cut) for cut in cuts])
    counts: Counter[str] = Counter()
    for seed in range(400):
        truth, probability, groups = cohort(seed)
        found = decision_curve(truth, probability, groups=groups, thresholds=cuts, replicates=500, seed=seed)
        for place, cut in enumerate(cuts):
            counts[f"model {cut}"] += found.low[place] <= true[place] <= found.high[place]
            counts[f"all {cut}"] += (
                found.treat_all_low[place] <= everybody[place] <= found.treat_all_high[place]
            )
            gain = true[place] - everybody[place]
            counts[f"gain {cut}"] += found.gain_low[place] <= gain <= found.gain_high[place]
    hold(counts, 400)


@pytest.mark.slow
def test_points_of_the_calibration_curve() -> None:
    truth, probability, _ = cohort(10**6, LARGE)
    order = np.argsort(probability)
    ordered, events = probability[order], np.append(0, np.cumsum(truth[order]))
    counts: Counter[str] = Counter()
    for seed in range(300):
        mine, said, groups = cohort(seed)
        curve = calibration_curve(mine, said, bins=5, groups=groups)
        ends = np.append(np.sort(said)[np.arange(5) * said.size // 5], 1.1)
        for place, (first, last) in enumerate(pairwise(np.searchsorted(ordered, ends))):
            true = (events[last] - events[first]) / (last - first)
            counts["points"] += curve.low[place] <= true <= curve.high[place]
    hold(counts, 300 * 5)


@pytest.mark.slow
def test_subgroups_and_their_differences() -> None:
    def draw(seed: int, patients: int):
        truth, probability, other, groups = binary(seed, patients)
        women = groups // 2 % 3 == 0
        return truth, np.where(women, other, probability), groups, np.where(women, "f", "m")

    first, second = true_figures()
    counts: Counter[str] = Counter()
    for seed in range(150):
        truth, probability, groups, sex = draw(seed, 240)
        women, _ = subgroup_table(truth, probability, {"sex": sex}, groups=groups, replicates=300, seed=seed)
        count_held(counts, women.estimates, second)
        for each in women.differences:
            apart = second[each.name] - first[each.name]
            counts[f"{each.name} difference"] += each.low <= apart <= each.high
    hold(counts, 150, noise(150))


def test_wilson_over_all_outcomes() -> None:
    for total in (20, 50, 200):
        ends = np.array([wilson_interval(successes, total) for successes in range(total + 1)])
        held = []
        for share in np.linspace(0.1, 0.9, 81):
            inside = (ends[:, 0] <= share) & (share <= ends[:, 1])
            held.append(binom.pmf(np.arange(total + 1), total, share) @ inside)
        assert 0.94 <= np.mean(held) <= 0.96
        assert min(held) > 0.9


def test_newcombe_interval_of_the_area() -> None:
    generator = np.random.default_rng(1)
    for apart, true in ((1.19, 0.8), (1.8124, 0.9)):
        scores = generator.normal(size=(1000, 60)) + np.r_[np.zeros(30), np.full(30, apart)]
        truth = np.repeat([0, 1], 30)
        areas = [float(roc_auc(truth, row)) for row in scores]
        ends = np.array([newcombe_auc_interval(area, 30, 30) for area in areas])
        assert 0.92 <= np.mean((ends[:, 0] <= true) & (true <= ends[:, 1])) <= 0.98


def test_balanced_accuracy_without_replicates_over_all_outcomes() -> None:
    # What stands in where all replicates agree: two Wilson intervals combined by MOVER.
    from voxlake.metrics.summary import _mean_of_two

    chances = [binom.pmf(np.arange(31), 30, share) for share in (0.9, 0.8)]
    held = 0.0
    counts = {"recall": 30, "specificity": 30}
    for hits, first in enumerate(chances[0]):
        for left, second in enumerate(chances[1]):
            if first * second > 1e-7:
                low, high = _mean_of_two(hits / 30, left / 30, counts, 0.95)
                held += first * second * (low <= 0.85 <= high)
    assert 0.92 <= held <= 0.98
