"""What features must keep to whatever they measure."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist

from voxlake.core.grid import Grid
from voxlake.features.histogram import Histogram, grey_levels
from voxlake.features.intensity import Intensity
from voxlake.features.mesh import mesh_area_and_volume, outline_length, surface_points
from voxlake.features.region import label_region, whole_region
from voxlake.features.shape import Shape

SHAPES = st.tuples(*[st.integers(1, 5)] * 3)
MASKS = SHAPES.flatmap(lambda shape: arrays.arrays(np.bool_, shape))
STEPS = st.tuples(*[st.floats(0.3, 4.0)] * 3).map(np.diag)
NUMBERS = st.one_of(st.floats(-1000, 1000, width=32), st.just(math.nan))
VALUES = SHAPES.flatmap(lambda shape: arrays.arrays(np.float32, shape, elements=NUMBERS))


@settings(max_examples=25, deadline=None)
@given(mask=MASKS, steps=STEPS)
def test_a_turned_region_has_the_same_mesh(mask: NDArray[np.bool_], steps: NDArray[np.float64]) -> None:
    area, volume = mesh_area_and_volume(mask, steps)
    turned = np.flip(mask.transpose(2, 0, 1), axis=1)
    other = mesh_area_and_volume(turned, steps[np.ix_((2, 0, 1), (2, 0, 1))])
    assert other == pytest.approx((area, volume), rel=1e-9)
    padded = mesh_area_and_volume(np.pad(mask, 2), steps)
    assert padded == pytest.approx((area, volume), rel=1e-9)
    # The mesh leaves out at most the corners of the voxels.
    whole = np.count_nonzero(mask) * float(np.linalg.det(steps))
    assert volume <= whole * (1 + 1e-9)
    assert volume >= whole / 6 * (1 - 1e-9)


@settings(max_examples=25, deadline=None)
@given(mask=MASKS.filter(np.any))
def test_outermost_points_hold_the_diameter(mask: NDArray[np.bool_]) -> None:
    padded = np.pad(mask, 1).astype(np.int8)
    middles = []
    for axis in range(3):
        place = np.argwhere(np.diff(padded, axis=axis) != 0).astype(float) - 1
        place[:, axis] += 0.5
        middles.append(place)
    assert pdist(surface_points(mask)).max() == pytest.approx(pdist(np.concatenate(middles)).max())


@settings(max_examples=25, deadline=None)
@given(plane=arrays.arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_outline_of_a_mirrored_plane(plane: NDArray[np.bool_]) -> None:
    steps = np.diag([1.5, 0.5])
    length = outline_length(plane, steps)
    assert outline_length(plane[::-1], steps) == pytest.approx(length)
    assert outline_length(plane.T, steps[::-1, ::-1]) == pytest.approx(length)
    # A corner is cut, so the way is shorter than along the edges of the pixels.
    edges = 0.0
    for axis, across in ((0, 0.5), (1, 1.5)):
        edges += across * np.count_nonzero(np.diff(np.pad(plane, 1).astype(np.int8), axis=axis))
    assert length <= edges * (1 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(values=VALUES, shift=st.integers(-50, 50), scale=st.sampled_from([0.5, 2.0, 4.0]))
def test_statistics_follow_the_values(values: NDArray[np.float32], shift: int, scale: float) -> None:
    grid = Grid.from_spacing(values.shape, (1, 1, 1))
    exact = np.round(values.astype(np.float64))
    one = {each.name: each.value for each in Intensity()(whole_region(exact, grid))}
    other = {each.name: each.value for each in Intensity()(whole_region(exact * scale + shift, grid))}
    if not np.isfinite(exact).any():
        assert all(math.isnan(value) for value in one.values())
        return
    for name in ("mean", "median", "minimum", "maximum", "percentile_10", "percentile_90"):
        assert other[name] == pytest.approx(one[name] * scale + shift, abs=1e-6)
    for name in ("interquartile_range", "range", "mean_absolute_deviation", "median_absolute_deviation"):
        assert other[name] == pytest.approx(one[name] * scale, abs=1e-6)
    for name in ("skewness", "kurtosis"):
        assert other[name] == pytest.approx(one[name], abs=1e-5)
    assert one["minimum"] <= one["percentile_10"] <= one["median"] <= one["percentile_90"] <= one["maximum"]
    assert one["root_mean_square"] ** 2 == pytest.approx(
        one["variance"] + one["mean"] ** 2, abs=1e-4, rel=1e-9
    )


@settings(max_examples=25, deadline=None)
@given(values=VALUES, bins=st.integers(2, 40))
def test_levels_by_definition(values: NDArray[np.float32], bins: int) -> None:
    flat = values[np.isfinite(values)].astype(np.float64)
    levels = grey_levels(flat, bins=bins)
    assert levels.size == flat.size
    if flat.size:
        assert levels.min() == 1
        assert levels.max() == (bins if flat.max() > flat.min() else 1)
        assert (np.diff(levels[np.argsort(flat, kind="stable")]) >= 0).all()
        fixed = grey_levels(flat, width=25.0, start=-1000.0)
        np.testing.assert_array_equal(fixed, np.floor((flat + 1000) / 25).astype(int) + 1)
    names = [
        one.name
        for one in Histogram(bins=bins)(whole_region(values, Grid.from_spacing(values.shape, (1, 1, 1))))
    ]
    assert len(names) == len(set(names)) == 23


@settings(max_examples=25, deadline=None)
@given(mask=MASKS, data=st.data())
def test_a_label_is_measured_wherever_it_lies(mask: NDArray[np.bool_], data: st.DataObject) -> None:
    before = data.draw(st.tuples(*[st.integers(0, 3)] * 3))
    rng = np.random.default_rng(3)
    values = rng.integers(1, 9, mask.shape).astype(np.float64)
    grown, moved = (np.pad(one, [(n, 1) for n in before]) for one in (mask, values))
    for family in (Intensity(), Shape(), Histogram()):
        one, other = (
            [
                each.value
                for each in family(label_region(v, m, 1, Grid.from_spacing(m.shape, (2.0, 1.0, 0.7))))
            ]
            for v, m in ((values, mask.astype(np.uint8)), (moved, grown.astype(np.uint8)))
        )
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_parts_are_added() -> None:
    two = np.zeros((5, 5, 12), dtype=bool)
    two[1:4, 1:4, 1:4] = two[1:4, 1:4, 7:11] = True
    labels, count = ndimage.label(two)
    alone = np.sum([mesh_area_and_volume(labels == n, np.eye(3)) for n in range(1, count + 1)], axis=0)
    assert mesh_area_and_volume(two, np.eye(3)) == pytest.approx(tuple(alone))
