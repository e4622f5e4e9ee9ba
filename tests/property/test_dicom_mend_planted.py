"""Volumes whose values are a linear function of place are spoiled and mended: inside they must be exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from voxlake.core.errors import ItemError
from voxlake.core.mends import Mends
from voxlake.dicom.mend import Mended, mend, moved, spaced
from voxlake.dicom.planes import planes_of

SHAPE = (12, 10)
FILL = -5000.0


@dataclass(frozen=True)
class Ramp:
    """Values ``offset + slope . place`` on slices at any places."""

    axes: np.ndarray  # normal, down, right
    pixel: tuple[float, float]
    slope: np.ndarray
    offset: float

    def at(self, places: np.ndarray) -> np.ndarray:
        return self.offset + places @ self.slope

    def slices(self, positions: np.ndarray) -> tuple[list[dict], np.ndarray]:
        rows, values = [], []
        down, right = np.arange(SHAPE[0]), np.arange(SHAPE[1])
        inside = (
            down[:, None, None] * self.pixel[0] * self.axes[1]
            + right[None, :, None] * self.pixel[1] * self.axes[2]
        )
        for position in positions:
            rows.append(
                {
                    "rows": SHAPE[0],
                    "columns": SHAPE[1],
                    "number_of_frames": 1,
                    "modality": "CT",
                    "pixel_spacing": list(self.pixel),
                    "image_position_patient": list(position),
                    "image_orientation_patient": [*self.axes[2], *self.axes[1]],
                }
            )
            values.append(self.at(position + inside))
        return rows, np.array(values)

    def check(self, mended: Mended, *, outside: bool) -> None:
        places = np.moveaxis(np.indices(mended.values.shape), 0, -1)
        expected = self.at(mended.grid.index_to_world(places))
        filled = mended.values == FILL
        # A slice may stay as it is if it is off its place by no more than in a regular series: around a gap,
        # or in a series that needed no mend. Within its plane a thousandth of a pixel counts as none.
        kept = not mended.steps or any("missing" in step for step in mended.steps)
        share = 0.051 * mended.grid.spacing[0] if kept else 0.0015 * max(self.pixel)
        off = share * np.linalg.norm(self.slope)
        np.testing.assert_allclose(mended.values[~filled], expected[~filled], rtol=1e-5, atol=1e-3 + off)
        assert mended.grid.orthogonal
        assert filled.any() == outside


@st.composite
def ramps(draw: st.DrawFn) -> Ramp:
    rotation = Rotation.random(random_state=draw(st.integers(0, 2**32 - 1))).as_matrix()
    right, down = rotation[:, 0], rotation[:, 1]
    slope = np.array(draw(st.tuples(*[st.floats(-2, 2)] * 3)))
    pixel = draw(st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0)))
    return Ramp(np.array([np.cross(right, down), down, right]), pixel, slope, 100.0)


def mended(ramp: Ramp, positions: np.ndarray, mends: Mends) -> Mended:
    rows, values = ramp.slices(positions)
    return mend(rows, planes_of(rows), values.astype(np.float64), mends, fill=FILL)


@settings(max_examples=50, deadline=None)
@given(ramps(), st.integers(3, 9), st.floats(1.0, 5.0), st.floats(8, 30), st.floats(0, 2 * np.pi), st.data())
def test_a_sheared_ramp_is_a_ramp_again(ramp, count, step, degrees, direction, data):
    shear = np.tan(np.radians(degrees))
    lean = ramp.axes[0] + shear * (np.cos(direction) * ramp.axes[1] + np.sin(direction) * ramp.axes[2])
    order = np.array(data.draw(st.permutations(range(count))))
    positions = order[:, None] * step * lean
    found = mended(ramp, positions, Mends(tilt="resample"))
    ramp.check(found, outside=True)
    assert found.grid.shape[0] == count
    np.testing.assert_allclose(found.grid.spacing, (step, *ramp.pixel), rtol=1e-6)
    assert "sheared by" in found.steps[0]
    with pytest.raises(ItemError, match="sheared") as caught:
        mended(ramp, positions, Mends(gap="fill", uneven="resample", duplicates="first"))
    assert caught.value.reason == "geometry_tilt"


@settings(max_examples=50, deadline=None)
@given(ramps(), st.integers(4, 12), st.floats(1.0, 5.0), st.data())
def test_missing_slices_of_a_ramp_are_filled_exactly(ramp, count, step, data):
    missing = data.draw(st.sets(st.integers(1, count - 2), min_size=1, max_size=max(1, count - 4)))
    heights = np.array([n for n in range(count) if n not in missing])
    if len(heights) < 3 or 1 not in np.diff(heights):
        return
    found = mended(ramp, heights[:, None] * step * ramp.axes[0], Mends(gap="fill"))
    ramp.check(found, outside=False)
    inside = ramp.at(found.grid.index_to_world(np.moveaxis(np.indices(found.values.shape), 0, -1)))
    np.testing.assert_allclose(found.values, inside, rtol=1e-5, atol=1e-3)
    assert found.grid.shape[0] == count
    assert f"{len(missing)} slices missing" in found.steps[0]


@settings(max_examples=50, deadline=None)
@given(ramps(), st.lists(st.floats(1.0, 4.0), min_size=3, max_size=9), st.booleans())
def test_uneven_ramps_become_even(ramp, gaps, tilted):
    heights = np.concatenate([[0.0], np.cumsum(gaps)])
    lean = ramp.axes[0] + (0.5 * ramp.axes[1] if tilted else 0.0)
    mends = Mends(uneven="resample", tilt="resample", gap="fill")
    rows, values = ramp.slices(heights[:, None] * lean)
    found = mend(rows, planes_of(rows), values, mends, fill=FILL)
    ramp.check(found, outside=tilted)
    # The first and the last slice stay where they were.
    length = found.grid.spacing[0] * (found.grid.shape[0] - 1)
    np.testing.assert_allclose(length, heights[-1], rtol=0.06)
    np.testing.assert_allclose(found.grid.direction[:, 0], ramp.axes[0], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(ramps(), st.integers(3, 8), st.integers(1, 3), st.sampled_from(["first", "mean"]))
def test_repeated_slices_become_one(ramp, count, repeats, how):
    heights = np.concatenate([np.arange(count), np.arange(repeats) % count])
    rows, values = ramp.slices(heights[:, None] * 2.0 * ramp.axes[0])
    values[count:] += 8.0
    found = mend(rows, planes_of(rows), values, Mends(duplicates=how), fill=FILL)
    expected = values[:count].copy()
    if how == "mean":
        expected[: min(repeats, count)] += 4.0
    np.testing.assert_allclose(found.values, expected, rtol=1e-6, atol=1e-4)
    assert f"{count + repeats}" in found.steps[0]


def test_whole_pixels_are_moved_without_a_change():
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    result, start = moved(values, np.array([[0.0, 0.0], [-2.0, 1.0]]), fill=-1)
    assert (result.dtype, result.shape, start) == (np.int16, (2, 5, 5), (-2, 0))
    np.testing.assert_array_equal(result[0, 2:, :4], values[0])
    np.testing.assert_array_equal(result[1, :3, 1:], values[1])
    assert (result[0, :2] == -1).all()
    assert (result[1, 3:] == -1).all()


def test_half_pixels_are_the_mean_of_two_and_the_rim_is_filled():
    values = np.array([[[0.0, 10.0, 30.0]]])
    result, start = moved(values, np.array([[0.0, 0.5]]), fill=-1)
    assert start == (0, 0)
    np.testing.assert_array_equal(result, [[[-1.0, 5.0, 20.0, -1.0]]])


def test_slices_that_stand_where_they_should_keep_their_type():
    values = np.arange(3, dtype=np.int16).reshape(3, 1, 1)
    heights = np.array([0.0, 2.0, 4.0])
    assert spaced(values, heights, np.array([0.0, 2.0, 4.0])).dtype == np.int16
    between = spaced(values, heights, np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    assert between.dtype == np.float32
    np.testing.assert_array_equal(between.ravel(), [0, 0.5, 1, 1.5, 2])


def test_colours_stay_bytes():
    values = np.array([0, 11], dtype=np.uint8).reshape(2, 1, 1, 1).repeat(3, axis=3)
    between = spaced(values, np.array([0.0, 2.0]), np.array([0.0, 1.0, 2.0]))
    assert (between.dtype, between[1, 0, 0].tolist()) == (np.uint8, [6, 6, 6])


def test_what_would_grow_without_end_is_refused():
    with pytest.raises(ItemError) as caught:
        moved(np.zeros((2, 4, 4)), np.array([[0.0, 0.0], [1e6, 0.0]]), fill=0)
    assert caught.value.reason == "geometry_tilt"
    rows, values = Ramp(np.eye(3)[[2, 1, 0]], (1.0, 1.0), np.zeros(3), 0.0).slices(
        np.array([[0, 0, 0], [0, 0, 1.0], [0, 0, 2.0], [0, 0, 1e6]])
    )
    with pytest.raises(ItemError) as caught:
        mend(rows, planes_of(rows), values, Mends(gap="fill", uneven="resample"), fill=0)
    assert caught.value.reason == "geometry_gap"


def test_nothing_is_mended_unasked():
    assert not any(Mends().allows(kind) for kind in ("tilt", "gap", "uneven", "duplicates", "mixed", "none"))
    assert not Mends(tilt="resample", gap="fill", uneven="resample", duplicates="mean").allows("mixed")
