"""Surfaces of masks: DeepMind's published cases, areas by geometry, and distances by definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from voxlake.core.errors import UsageError
from voxlake.metrics import surface as module
from voxlake.metrics.overlap import (
    dice,
    iou,
    relative_volume_difference,
    volume_similarity,
    voxel_precision,
    voxel_recall,
)
from voxlake.metrics.surface import hausdorff_distance, surface_distances
from voxlake.metrics.surfels import corner_codes, surfel_sizes

UNIT = (1.0, 1.0, 1.0)


def one_voxel(*place: int, shape=(100, 100, 100)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[place] = True
    return mask


def ball(radius: float, centre, size: int) -> np.ndarray:
    axes = np.indices((size,) * len(centre))
    return sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)) <= radius**2


def test_two_voxels_two_millimetres_apart() -> None:
    found = surface_distances(one_voxel(50, 60, 70), one_voxel(50, 60, 72), UNIT)
    assert found.average() == pytest.approx((1.5, 1.5))
    assert found.symmetric_average() == pytest.approx(1.5)
    assert found.hausdorff() == pytest.approx(2.0)
    assert found.overlap(1.0) == pytest.approx((0.5, 0.5))
    assert found.surface_dice(1.0) == pytest.approx(0.5)
    # Eight triangles, each with the corners of a cube cut off at half its edges.
    assert found.truth_areas.sum() == pytest.approx(8 * math.sqrt(3) / 8)


def test_spacing_moves_distances_and_areas() -> None:
    found = surface_distances(one_voxel(50, 60, 70), one_voxel(50, 60, 72), (3.0, 2.0, 1.0))
    assert found.average() == pytest.approx((1.5, 1.5))
    assert found.hausdorff() == pytest.approx(2.0)
    # Each triangle has edges of half the diagonals of the voxel's faces.
    sides = sorted(0.5 * math.hypot(*pair) for pair in itertools.combinations((3.0, 2.0, 1.0), 2))
    half = sum(sides) / 2
    area = math.sqrt(half * math.prod(half - side for side in sides))
    np.testing.assert_allclose(found.truth_areas, area)


def test_an_empty_prediction_is_infinitely_far() -> None:
    found = surface_distances(one_voxel(5, 6, 7), np.zeros((100,) * 3, dtype=bool), UNIT)
    assert found.hausdorff() == math.inf
    assert found.hausdorff(95) == math.inf
    there, back = found.average()
    assert there == math.inf
    assert math.isnan(back)
    assert found.overlap(1.0)[0] == 0
    assert math.isnan(found.overlap(1.0)[1])
    assert found.surface_dice(1.0) == 0
    other = surface_distances(np.zeros((4, 4), dtype=bool), one_voxel(1, 1, shape=(4, 4)), (1, 1))
    assert other.hausdorff(50) == math.inf


@pytest.mark.parametrize("surface", ["surfels", "voxels"])
def test_two_empty_masks_have_no_distance(surface) -> None:
    nothing = np.zeros((4, 5, 6), dtype=bool)
    found = surface_distances(nothing, nothing, UNIT, surface=surface)
    assert math.isnan(found.hausdorff())
    assert math.isnan(found.symmetric_average())
    assert math.isnan(found.surface_dice(1))
    assert math.isnan(dice(nothing, nothing))


def test_two_planes_lie_as_far_apart_as_they_are_placed() -> None:
    first, second = np.zeros((40, 10, 10), dtype=bool), np.zeros((40, 10, 10), dtype=bool)
    first[5:15], second[5:20] = True, True
    for surface in ("surfels", "voxels"):
        assert hausdorff_distance(first, second, (2.0, 1.0, 1.0), surface=surface) == pytest.approx(10.0)


def test_the_same_mask_is_at_no_distance() -> None:
    mask = ball(6, (8, 8, 8), 18)
    found = surface_distances(mask, mask, (1.0, 2.0, 3.0))
    assert (found.hausdorff(), found.symmetric_average(), found.surface_dice(0)) == (0, 0, 1)


def test_area_of_a_box_is_that_of_its_faces_with_bevelled_edges() -> None:
    mask = np.zeros((20, 22, 24), dtype=bool)
    sides = 10, 12, 14
    mask[4:14, 4:16, 4:18] = True
    steps = (1.5, 1.0, 0.5)
    area = surface_distances(mask, mask, steps).truth_areas.sum()
    inner = [(side - 1) * step for side, step in zip(sides, steps, strict=True)]
    flat = 2 * (inner[0] * inner[1] + inner[0] * inner[2] + inner[1] * inner[2])
    edges = sum(4 * inner[axis] * 0.5 * math.hypot(*np.delete(steps, axis)) for axis in range(3))
    corners = 8 * surfel_sizes(steps)[1]
    assert area == pytest.approx(flat + edges + corners)


def test_length_of_a_rectangle_is_that_of_its_sides_with_cut_corners() -> None:
    mask = np.zeros((12, 20), dtype=bool)
    mask[3:8, 5:15] = True
    length = surface_distances(mask, mask, (2.0, 0.5)).truth_areas.sum()
    assert length == pytest.approx(2 * 4 * 2.0 + 2 * 9 * 0.5 + 4 * 0.5 * math.hypot(2.0, 0.5))


def test_area_of_a_ball_is_near_that_of_a_sphere() -> None:
    radius = 20
    area = surface_distances(ball(radius, (24,) * 3, 49), ball(radius, (24,) * 3, 49), UNIT).truth_areas.sum()
    assert area == pytest.approx(4 * math.pi * radius**2, rel=0.12)


def test_sizes_do_not_change_when_inside_and_outside_do() -> None:
    for steps in ((1.3, 0.7), (1.3, 0.7, 2.9)):
        sizes = surfel_sizes(steps)
        np.testing.assert_allclose(sizes, sizes[::-1])
        assert sizes[0] == sizes[-1] == 0
        assert (sizes[1:-1] > 0).all()


def test_sizes_turn_with_the_axes() -> None:
    steps = (1.3, 0.7, 2.9)
    sizes = surfel_sizes(steps)
    for axes in itertools.permutations(range(3)):
        turned = surfel_sizes([steps[axis] for axis in axes])
        for code in range(256):
            voxels = np.array([code >> bit & 1 for bit in range(8)]).reshape(2, 2, 2).transpose(2, 1, 0)
            moved = voxels.transpose(axes).transpose(2, 1, 0).ravel()
            other = int(np.sum(moved << np.arange(8)))
            assert turned[other] == pytest.approx(sizes[code])


def test_codes_say_which_voxels_stand_around_a_corner() -> None:
    mask = np.random.default_rng(3).random((4, 3, 5)) < 0.5
    codes = corner_codes(mask)
    padded = np.pad(mask, 1)
    assert codes.shape == (5, 4, 6)
    for place in np.ndindex(codes.shape):
        around = [
            padded[place[0] + (bit & 1), place[1] + (bit >> 1 & 1), place[2] + (bit >> 2 & 1)]
            for bit in range(8)
        ]
        assert codes[place] == sum(1 << bit for bit in range(8) if around[bit])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("far", [0.0, 10.0])
def test_distances_are_those_of_all_pairs(seed: int, far: float, monkeypatch) -> None:
    """Tree and distance map give what comparing every point with every other gives."""
    monkeypatch.setattr(module, "_FAR", far)
    generator = np.random.default_rng(seed)
    axes = 2 + seed % 2
    steps = generator.uniform(0.4, 3, axes)
    first, second = (generator.random((7, 8, 9)[:axes]) < generator.uniform(0.1, 0.6) for _ in range(2))
    found = surface_distances(first, second, steps, surface="voxels")
    points = []
    for mask in (first, second):
        inner = np.pad(mask, 1)
        for axis, step in itertools.product(range(axes), (-1, 1)):
            inner &= np.roll(np.pad(mask, 1), step, axis)
        points.append(np.argwhere(mask & ~inner[(slice(1, -1),) * axes]) * steps)
    between = cdist(*points)
    np.testing.assert_allclose(found.truth_to_predicted, np.sort(between.min(axis=1)))
    np.testing.assert_allclose(found.predicted_to_truth, np.sort(between.min(axis=0)))
    expected = max(np.percentile(between.min(axis=1), 95), np.percentile(between.min(axis=0), 95))
    assert found.hausdorff(95) == pytest.approx(expected)
    corners = surface_distances(first, second, steps)
    places = []
    for mask in (first, second):
        codes = corner_codes(mask)
        places.append(np.argwhere((codes > 0) & (codes < 2 ** (2**axes) - 1)) * steps)
    between = cdist(*places)
    np.testing.assert_allclose(corners.truth_to_predicted, np.sort(between.min(axis=1)))
    np.testing.assert_allclose(corners.predicted_to_truth, np.sort(between.min(axis=0)))


def test_percentile_of_surfels_covers_the_share_of_the_area() -> None:
    first, second = ball(8, (10, 10, 10), 24), ball(8, (11, 12, 10), 24)
    found = surface_distances(first, second, (2.0, 1.0, 0.5))
    for percentile in (10, 50, 95):
        reached = []
        for far, areas in (
            (found.truth_to_predicted, found.truth_areas),
            (found.predicted_to_truth, found.predicted_areas),
        ):
            enough = [d for d in far if areas[far <= d].sum() >= percentile / 100 * areas.sum() - 1e-9]
            reached.append(min(enough))
        assert found.hausdorff(percentile) == max(reached)


def test_what_cannot_be_measured_is_refused() -> None:
    mask = np.ones((3, 3), dtype=bool)
    with pytest.raises(UsageError, match="shapes"):
        surface_distances(mask, np.ones((3, 4), dtype=bool), (1, 1))
    with pytest.raises(UsageError, match="spacing for each"):
        surface_distances(mask, mask, UNIT)
    with pytest.raises(UsageError, match="positive"):
        surface_distances(mask, mask, (1, 0))
    with pytest.raises(UsageError, match="one label"):
        dice(np.array([0, 2]), np.array([0, 1]))
    with pytest.raises(UsageError, match="surface must be"):
        surface_distances(mask, mask, (1, 1), surface="skin")  # type: ignore[arg-type]
    found = surface_distances(mask, mask, (1, 1))
    with pytest.raises(UsageError, match="percentile"):
        found.hausdorff(101)
    with pytest.raises(UsageError, match="tolerance"):
        found.surface_dice(-1)


def test_overlap_by_counting() -> None:
    truth, predicted = np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([0, 1, 1, 1, 1, 1, 0, 0])
    assert dice(truth, predicted) == pytest.approx(4 / 8)
    assert iou(truth, predicted) == pytest.approx(2 / 6)
    assert voxel_recall(truth, predicted) == pytest.approx(2 / 3)
    assert voxel_precision(truth, predicted) == pytest.approx(2 / 5)
    assert volume_similarity(truth, predicted) == pytest.approx(1 - 2 / 8)
    assert relative_volume_difference(truth, predicted) == pytest.approx(2 / 3)
    assert math.isnan(relative_volume_difference(np.zeros(3), np.ones(3)))
