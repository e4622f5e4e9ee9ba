"""A grid is planted, cut into slices, shuffled; the verdict must find it, or the fault planted with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from voxlake.dicom.geometry import judge

COUNT = st.integers(4, 40)
SPACING = st.floats(0.2, 8.0)


@dataclass(frozen=True)
class Planted:
    axes: np.ndarray  # columns: normal, direction of a column, direction of a row
    spacing: tuple[float, float, float]
    origin: np.ndarray
    order: tuple[int, ...]  # order[i]: slice that row i holds

    def row(self, index: int, offset: np.ndarray | float = 0.0) -> dict:
        place = self.origin + self.axes[:, 0] * self.spacing[0] * index + offset
        return {
            "rows": 64,
            "columns": 48,
            "number_of_frames": 1,
            "modality": "MR",
            "samples_per_pixel": 1,
            "photometric_interpretation": "MONOCHROME2",
            "pixel_spacing": list(self.spacing[1:]),
            "image_position_patient": list(place),
            "image_orientation_patient": [*self.axes[:, 2], *self.axes[:, 1]],
        }

    def rows(self) -> list[dict]:
        return [self.row(index) for index in self.order]


@st.composite
def planted(draw: st.DrawFn) -> Planted:
    rotation = Rotation.random(random_state=draw(st.integers(0, 2**32 - 1))).as_matrix()
    right, down = rotation[:, 0], rotation[:, 1]
    axes = np.stack([np.cross(right, down), down, right], axis=1)
    origin = np.array(draw(st.tuples(*[st.floats(-1000, 1000)] * 3)))
    order = tuple(draw(st.permutations(range(draw(COUNT)))))
    return Planted(axes, draw(st.tuples(SPACING, SPACING, SPACING)), origin, order)


@settings(max_examples=60, deadline=None)
@given(planted())
def test_the_planted_affine_and_order_are_found(plant):
    verdict = judge(plant.rows())
    assert verdict.kind == "regular"
    expected = np.eye(4)
    expected[:3, :3] = plant.axes * plant.spacing
    expected[:3, 3] = plant.origin
    np.testing.assert_allclose(verdict.grid.affine, expected, atol=1e-6)
    np.testing.assert_allclose(verdict.spacing, plant.spacing, atol=1e-6)
    assert [plant.order[instance] for instance, _ in verdict.order] == sorted(plant.order)


@settings(max_examples=60, deadline=None)
@given(planted())
def test_frames_of_one_instance_are_judged_like_slices(plant):
    rows = plant.rows()
    frames = rows[0] | {
        "number_of_frames": len(rows),
        "image_position_patient": None,
        "frame_positions": [part for row in rows for part in row["image_position_patient"]],
        "frame_orientations": rows[0]["image_orientation_patient"],
    }
    classic, enhanced = judge(rows), judge([frames])
    assert enhanced.grid == classic.grid
    assert [frame for _, frame in enhanced.order] == [instance for instance, _ in classic.order]


@settings(max_examples=60, deadline=None)
@given(planted(), st.data())
def test_a_dropped_inner_slice_is_a_gap(plant, data):
    # Of four slices three remain, one gap twice the other: that much must be left to see it.
    dropped = data.draw(st.integers(1, len(plant.order) - 2))
    verdict = judge([plant.row(index) for index in plant.order if index != dropped])
    assert (verdict.kind, verdict.grid) == ("gap", None)
    np.testing.assert_allclose(verdict.spacing, plant.spacing, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(planted(), st.data())
def test_a_repeated_slice_makes_duplicates(plant, data):
    repeated = data.draw(st.integers(0, len(plant.order) - 1))
    verdict = judge([*plant.rows(), plant.row(repeated)])
    assert (verdict.kind, verdict.grid) == ("duplicates", None)


@settings(max_examples=60, deadline=None)
@given(planted(), st.data())
def test_a_slice_off_its_place_is_uneven(plant, data):
    moved = data.draw(st.integers(1, len(plant.order) - 2))
    share = data.draw(st.floats(0.12, 0.4)) * data.draw(st.sampled_from([-1, 1]))
    offset = plant.axes[:, 0] * plant.spacing[0] * share
    rows = [plant.row(index, offset if index == moved else 0.0) for index in plant.order]
    verdict = judge(rows)
    assert (verdict.kind, verdict.grid) == ("uneven", None)


@settings(max_examples=60, deadline=None)
@given(planted(), st.floats(2.0, 40.0), st.floats(0, 2 * np.pi))
def test_a_shear_is_a_tilt(plant, degrees, direction):
    sideways = plant.axes[:, 1] * np.cos(direction) + plant.axes[:, 2] * np.sin(direction)
    step = plant.spacing[0] * np.tan(np.radians(degrees))
    rows = [plant.row(index, sideways * step * index) for index in plant.order]
    drift = step * (len(rows) - 1) * np.abs([np.cos(direction), np.sin(direction)])
    verdict = judge(rows)
    # A shear of less than the tolerance over the whole stack cannot be seen.
    if (drift > 0.051 * np.array(plant.spacing[1:])).any():
        assert (verdict.kind, verdict.grid) == ("tilt", None)
        assert f"{degrees:.2f}"[:-1] in verdict.note or f"{degrees:.1f}" in verdict.note


@settings(max_examples=60, deadline=None)
@given(planted())
def test_cosines_rounded_as_decimal_strings_stay_regular(plant):
    rows = [
        row
        | {
            "image_orientation_patient": [
                float(f"{value:.6f}") for value in row["image_orientation_patient"]
            ],
            "image_position_patient": [float(f"{value:.5f}") for value in row["image_position_patient"]],
        }
        for row in plant.rows()
    ]
    assert judge(rows).kind == "regular"


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "rows": st.one_of(st.none(), st.integers(0, 3)),
                "columns": st.integers(1, 2),
                "number_of_frames": st.integers(1, 3),
                "modality": st.sampled_from(["CT", "DX", None]),
                "pixel_spacing": st.one_of(st.none(), st.lists(st.floats(), max_size=3)),
                "image_position_patient": st.one_of(st.none(), st.lists(st.floats(), max_size=4)),
                "image_orientation_patient": st.one_of(
                    st.just([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), st.lists(st.floats(), min_size=6, max_size=6)
                ),
                "frame_positions": st.one_of(st.none(), st.lists(st.floats(-9, 9), max_size=9)),
                "slice_thickness": st.floats(),
            },
        ),
        max_size=5,
    )
)
def test_any_rows_get_a_verdict_and_only_good_ones_a_grid(rows):
    verdict = judge(rows)
    assert (verdict.grid is None) or verdict.kind in ("regular", "flat")
    if verdict.kind == "regular":
        assert verdict.slices == len(verdict.order) == verdict.grid.shape[0]
