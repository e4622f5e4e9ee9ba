"""What must hold of regression, agreement, segmentation and survival figures on any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from voxlake.metrics.clustering import adjusted_rand_index, normalised_mutual_information
from voxlake.metrics.icc import ICC_FORMS, intraclass_correlation
from voxlake.metrics.kappa import cohen_kappa, fleiss_kappa, rating_counts
from voxlake.metrics.lesions import match_lesions
from voxlake.metrics.overlap import dice, iou
from voxlake.metrics.regression import REGRESSION_METRICS
from voxlake.metrics.surface import surface_distances
from voxlake.metrics.survival import concordance_index, uno_concordance

FEW = settings(max_examples=40, deadline=None)
NUMBERS = st.integers(-50, 50).map(float)
MASKS = st.tuples(
    *[arrays(bool, (4, 5, 3), elements=st.booleans())] * 2,
    st.tuples(*[st.floats(0.3, 4)] * 3),
)


@FEW
@given(MASKS)
def test_segmentation_figures_keep_their_bounds_and_order(given_masks) -> None:
    truth, predicted, spacing = given_masks
    found = surface_distances(truth, predicted, spacing)
    back = surface_distances(predicted, truth, spacing)
    if not truth.any() and not predicted.any():
        assert math.isnan(dice(truth, predicted))
        assert math.isnan(found.hausdorff())
        return
    overlap = iou(truth, predicted)
    assert 0 <= overlap <= 1
    assert dice(truth, predicted) == pytest.approx(2 * overlap / (1 + overlap))
    assert found.hausdorff(50) <= found.hausdorff(95) <= found.hausdorff()
    assert found.hausdorff(95) == back.hausdorff(95)
    assert 0 <= found.surface_dice(0.5) <= found.surface_dice(1) <= 1 + 1e-12
    if truth.any() and predicted.any():
        doubled = surface_distances(truth, predicted, [2 * step for step in spacing])
        assert doubled.hausdorff() == pytest.approx(2 * found.hausdorff())
        assert doubled.truth_areas.sum() == pytest.approx(4 * found.truth_areas.sum())
        axes = (2, 0, 1)
        turned = surface_distances(
            truth.transpose(axes), predicted.transpose(axes), [spacing[axis] for axis in axes]
        )
        assert turned.symmetric_average() == pytest.approx(found.symmetric_average())


@FEW
@given(MASKS, st.floats(0, 1))
def test_lesions_are_counted_once(given_masks, least: float) -> None:
    truth, predicted, _ = given_masks
    found = match_lesions(truth, predicted, minimum_iou=least)
    assert found.truth_voxels.sum() == truth.sum()
    assert found.predicted_voxels.sum() == predicted.sum()
    assert found.found == np.unique(found.pairs[:, 0]).size == np.unique(found.pairs[:, 1]).size
    assert min(found.missed, found.false) >= 0
    assert (found.iou >= least).all()
    back = match_lesions(predicted, truth, minimum_iou=least)
    assert (back.found, back.missed, back.false) == (found.found, found.false, found.missed)


@FEW
@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(0, 3)), min_size=2, max_size=20))
def test_regression_weights_are_copies(rows) -> None:
    truth, predicted, weights = (np.array(column) for column in zip(*rows, strict=True))
    copies = np.repeat(np.arange(len(rows)), weights)
    for metric in REGRESSION_METRICS.values():
        found = metric(truth, predicted, weights=weights)
        if copies.size == 0:
            assert math.isnan(found)
            continue
        assert found == pytest.approx(metric(truth[copies], predicted[copies]), nan_ok=True, abs=1e-9)


@FEW
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=30))
def test_agreement_is_at_most_full_and_does_not_depend_on_names(rows) -> None:
    first, second = (np.array(column) for column in zip(*rows, strict=True))
    names = np.array(["c", "a", "b"])
    for metric in (cohen_kappa, adjusted_rand_index, normalised_mutual_information):
        found = metric(first, second)
        assert math.isnan(found) or found <= 1 + 1e-12
        assert found == pytest.approx(metric(second, first), nan_ok=True)
        assert found == pytest.approx(metric(names[first], names[second]), nan_ok=True, abs=1e-12)
    both = fleiss_kappa(rating_counts(np.column_stack((first, second)))[0])
    assert math.isnan(both) or both <= cohen_kappa(first, second) + 1e-12


@FEW
@given(arrays(np.float64, (6, 3), elements=st.integers(0, 9).map(float)), st.floats(0.1, 10))
def test_icc_does_not_depend_on_the_unit(ratings, unit: float) -> None:
    for form in ICC_FORMS:
        found = intraclass_correlation(ratings, form)
        assert math.isnan(found) or found <= 1 + 1e-9
        if np.ptp(ratings.mean(axis=1)) > 0.1:
            moved = intraclass_correlation(unit * ratings + 3, form)
            assert moved == pytest.approx(found, rel=1e-6, abs=1e-6, nan_ok=True)


@FEW
@given(
    st.lists(
        st.tuples(st.integers(1, 6).map(float), st.booleans(), st.integers(0, 4).map(float)),
        min_size=2,
        max_size=20,
    )
)
def test_concordance_of_the_opposite_risk_is_the_rest(rows) -> None:
    time, event, risk = (np.array(column) for column in zip(*rows, strict=True))
    for metric in (concordance_index, uno_concordance):
        found = metric(time, event, risk)
        assert math.isnan(found) or 0 <= found <= 1 + 1e-12
        assert metric(time, event, -risk) == pytest.approx(1 - found, nan_ok=True)
        assert metric(time, event, 3 * risk + 1) == pytest.approx(found, nan_ok=True)
