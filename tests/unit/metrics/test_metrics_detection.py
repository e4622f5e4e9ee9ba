"""Lesions, FROC and summaries of segmentations: by counting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from voxlake.core.errors import UsageError
from voxlake.metrics.froc import FROC_RATES, Candidates, froc_curve, froc_estimates, froc_sensitivity
from voxlake.metrics.lesions import lesion_estimates, match_lesions
from voxlake.metrics.segmentation import segmentation_estimates, segmentation_scores


def row(*spans, size: int = 40) -> np.ndarray:
    mask = np.zeros((3, size), dtype=bool)
    for start, stop in spans:
        mask[1, start:stop] = True
    return mask


def marks(seed: int, cases: int = 30) -> Candidates:
    generator = np.random.default_rng(seed)
    lesions = generator.integers(0, 3, cases)
    rows = []
    for case, count in enumerate(lesions):
        rows += [(case, score, -1) for score in np.round(generator.random(generator.integers(0, 5)), 1)]
        for lesion in range(count):
            hits = generator.integers(0, 3)
            rows += [(case, score, lesion) for score in np.round(generator.random(hits) ** 0.5, 1)]
    case, score, lesion = (np.array(column) for column in zip(*rows, strict=True))
    return Candidates(case, score, lesion, lesions)


def test_found_missed_and_false_lesions() -> None:
    found = match_lesions(row((0, 4), (10, 12), (20, 30)), row((2, 5), (24, 36), (38, 39)))
    np.testing.assert_array_equal(found.pairs, [[0, 0], [2, 1]])
    np.testing.assert_allclose(found.iou, [2 / 5, 6 / 16])
    np.testing.assert_array_equal(found.truth_voxels, [4, 2, 10])
    np.testing.assert_array_equal(found.predicted_voxels, [3, 12, 1])
    assert (found.found, found.missed, found.false) == (2, 1, 1)
    strict = match_lesions(row((0, 4), (20, 30)), row((2, 5), (24, 36)), minimum_iou=0.4)
    assert (strict.found, strict.missed, strict.false) == (1, 1, 1)


def test_each_lesion_has_one_partner_and_as_many_as_can_be_have_one() -> None:
    # The long prediction overlaps the second lesion more, but taking it leaves the first without a partner.
    truth = row((0, 4), (6, 20))
    predicted = row((3, 12), (14, 18))
    found = match_lesions(truth, predicted)
    np.testing.assert_array_equal(found.pairs, [[0, 0], [1, 1]])
    split = match_lesions(row((0, 10)), row((0, 4), (5, 10)))
    assert (split.found, split.false) == (1, 1)
    np.testing.assert_array_equal(split.pairs, [[0, 1]])


def test_connectivity_decides_what_one_lesion_is() -> None:
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = mask[1, 1] = True
    assert match_lesions(mask, mask).found == 1
    assert match_lesions(mask, mask, connectivity=1).found == 2
    with pytest.raises(UsageError, match="connectivity of 1 to 2"):
        match_lesions(mask, mask, connectivity=3)
    with pytest.raises(UsageError, match="least overlap"):
        match_lesions(mask, mask, minimum_iou=2)


def test_lesion_figures_are_pooled_over_cases() -> None:
    cases = [
        match_lesions(row((0, 4), (10, 12)), row((0, 4))),
        match_lesions(row(), row((0, 4), (9, 12))),
        match_lesions(row((5, 9)), row((5, 8))),
        match_lesions(row((5, 9)), row()),
    ]
    found = lesion_estimates(cases)
    assert found["lesion_recall"].value == pytest.approx(2 / 4)
    assert found["lesion_precision"].value == pytest.approx(2 / 4)
    assert found["lesion_f1"].value == pytest.approx(2 * 2 / (2 * 2 + 2 + 2))
    assert found["false_lesions_per_case"].value == pytest.approx(2 / 4)
    assert found["false_lesions_per_case"].has_interval


def test_all_lesions_found_is_not_certainty() -> None:
    cases = [match_lesions(row((0, 4), (9, 12)), row((0, 4), (9, 12)))] * 6
    found = lesion_estimates(cases, groups=[0, 0, 1, 1, 2, 2])["lesion_recall"]
    assert (found.value, found.high) == (1, 1)
    # Three patients, not twelve lesions: Wilson's 3 of 3.
    assert found.low == pytest.approx(3 / (3 + 1.959964**2), abs=1e-6)
    assert found.method.startswith("Wilson over 3 units")


def test_froc_by_hand() -> None:
    found = Candidates([0, 0, 0, 1, 1], [0.9, 0.8, 0.7, 0.8, 0.3], [0, -1, 0, -1, 0], [2, 1, 0, 0])
    curve = froc_curve(found)
    np.testing.assert_array_equal(curve.threshold, [math.inf, 0.9, 0.8, 0.7, 0.3])
    np.testing.assert_allclose(curve.false_positives, [0, 0, 0.5, 0.5, 0.5])
    # The second mark on the first lesion finds nothing new.
    np.testing.assert_allclose(curve.sensitivity, [0, 1 / 3, 1 / 3, 1 / 3, 2 / 3])
    np.testing.assert_allclose(froc_sensitivity(found, [0, 0.49, 0.5, 8]), [1 / 3, 1 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize("seed", range(4))
def test_froc_by_trying_each_threshold(seed: int) -> None:
    found = marks(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (3, 30))
    batch = froc_sensitivity(found, FROC_RATES, weights=weights)
    for row_weights, values in zip(weights, batch, strict=True):
        for rate, value in zip(FROC_RATES, values, strict=True):
            best = 0.0
            for threshold in np.unique(found.score):
                taken = found.score >= threshold
                false = sum(row_weights[case] for case in found.case[taken & (found.lesion < 0)])
                if false / row_weights.sum() > rate + 1e-12:
                    continue
                chosen = taken & (found.lesion >= 0)
                hit = set(zip(found.case[chosen], found.lesion[chosen], strict=True))
                lesions = float(row_weights @ found.lesions)
                best = max(best, sum(row_weights[case] for case, _ in hit) / lesions)
            assert value == pytest.approx(best)


def test_froc_estimates_and_their_mean() -> None:
    found = marks(9, 60)
    estimates = froc_estimates(found, rates=(0.5, 1, 2), groups=np.arange(60) // 2, replicates=200)
    assert list(estimates) == ["sensitivity_at_0.5", "sensitivity_at_1", "sensitivity_at_2", "froc_score"]
    values = [estimate.value for estimate in estimates.values()]
    assert values[3] == pytest.approx(np.mean(values[:3]))
    np.testing.assert_allclose(values[:3], froc_sensitivity(found, (0.5, 1, 2)))
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in estimates.values())
    assert estimates["froc_score"].groups == 30


def test_froc_without_marks_or_lesions() -> None:
    empty = Candidates([], [], [], [1, 2])
    np.testing.assert_array_equal(froc_sensitivity(empty, (1,)), [0])
    assert np.isnan(froc_sensitivity(Candidates([0], [1.0], [-1], [0]), (1,))).all()
    with pytest.raises(UsageError, match="does not have"):
        Candidates([0], [1.0], [2], [2])
    with pytest.raises(UsageError, match="outside 0 to 0"):
        Candidates([1], [1.0], [-1], [2])
    with pytest.raises(UsageError, match="rates"):
        froc_sensitivity(empty, (-1,))


def test_scores_of_a_case_and_their_summary() -> None:
    truth, predicted = row((0, 10)), row((2, 12))
    scores = segmentation_scores(truth, predicted, (1.0, 0.5), tolerance=1.0)
    assert scores["dice"] == pytest.approx(16 / 20)
    assert scores["hausdorff_distance"] == pytest.approx(1.0)
    assert scores["surface_dice"] == 1
    cases = [segmentation_scores(truth, row((start, start + 10)), (1, 1)) for start in range(8)]
    cases.append(segmentation_scores(truth, row(), (1, 1)))
    cases.append(segmentation_scores(row(), row(), (1, 1)))
    found = segmentation_estimates(cases, replicates=300)
    overlap, distance = found["dice"], found["hausdorff_distance"]
    assert (overlap.left_out, overlap.infinite, distance.left_out, distance.infinite) == (1, 0, 1, 1)
    assert overlap.mean.value == pytest.approx((sum(1 - start / 10 for start in range(8)) + 0) / 9)
    assert overlap.mean.low < overlap.mean.value < overlap.mean.high
    assert distance.mean.value == math.inf
    assert distance.mean.method.startswith("none: a distance is infinite")
    assert distance.median.value == 4
    assert 0 <= distance.median.low < 4 < distance.median.high
    with pytest.raises(UsageError, match="different figures"):
        segmentation_estimates([{"dice": 1.0}, {"iou": 1.0}])
    nothing = segmentation_estimates([{"dice": math.nan}] * 2)["dice"]
    assert nothing.left_out == 2
    assert not nothing.mean.has_interval
