from __future__ import annotations

import numpy as np
import pytest

from voxlake.core.grid import Grid
from voxlake.dicom.geometry import judge

AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def slice_at(z: float, x: float = 0.0, y: float = 0.0, **columns):
    return {
        "rows": 4,
        "columns": 5,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "modality": "CT",
        "image_type": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "frame_of_reference_uid": "1.2",
        "pixel_spacing": [0.5, 0.75],
        "image_position_patient": [x, y, z],
        "image_orientation_patient": AXIAL,
        "slice_thickness": 2.0,
        **columns,
    }


def stack(*heights: float):
    return [slice_at(z) for z in heights]


def test_regular_slices_are_sorted_along_the_normal():
    verdict = judge(stack(6, 0, 4, 2))
    assert (verdict.kind, verdict.slices, verdict.spacing) == ("regular", 4, (2.0, 0.5, 0.75))
    assert verdict.order == ((1, 0), (3, 0), (2, 0), (0, 0))
    assert verdict.grid == Grid.from_vectors(
        (4, 4, 5),
        origin=(0, 0, 0),
        slice_step=(0, 0, 2),
        row_step=(0, 0.5, 0),
        column_step=(0.75, 0, 0),
        frame="1.2",
    )


def test_slices_of_a_head_down_scan_run_along_their_own_normal():
    rows = [slice_at(z, image_orientation_patient=[1, 0, 0, 0, -1, 0]) for z in (0, 2, 4)]
    verdict = judge(rows)
    assert verdict.kind == "regular"
    assert verdict.order == ((2, 0), (1, 0), (0, 0))
    np.testing.assert_allclose(verdict.grid.affine[:3, 0], [0, 0, -2])
    np.testing.assert_allclose(verdict.grid.affine[:3, 3], [0, 0, 4])


def test_a_missing_slice_is_a_gap():
    verdict = judge(stack(0, 2, 4, 8, 10))
    assert (verdict.kind, verdict.spacing, verdict.grid) == ("gap", (2.0, 0.5, 0.75), None)
    assert "1 slices missing" in verdict.note
    assert len(verdict.order) == 5


@pytest.mark.parametrize("heights", [(0, 2, 6, 10, 14), (0, 4, 6, 8, 14), (0, 2, 4, 40)])
def test_many_missing_slices_are_a_gap(heights):
    verdict = judge(stack(*heights))
    assert verdict.kind == "gap"
    assert verdict.spacing[0] == 2.0


@pytest.mark.parametrize("heights", [(0, 2, 4, 6.5, 8.5), (0, 1, 2, 3, 4.5, 6)])
def test_other_distances_are_uneven(heights):
    verdict = judge(stack(*heights))
    assert (verdict.kind, verdict.grid) == ("uneven", None)


def test_rounded_positions_are_regular():
    # 200 slices at 0.625 mm, written with two decimals: off by 0.005 mm, never adding up.
    heights = np.round(np.arange(200) * 0.625, 2)
    verdict = judge(stack(*heights))
    assert verdict.kind == "regular"
    assert verdict.spacing[0] == pytest.approx(0.625, abs=1e-4)


def test_tolerance_is_five_percent_of_the_spacing():
    assert judge(stack(0, 2 + 0.099, 4)).kind == "regular"
    assert judge(stack(0, 2 + 0.101, 4)).kind == "uneven"


def test_repeated_positions_are_duplicates():
    verdict = judge(stack(0, 2, 4, 0, 2, 4))
    assert verdict.kind == "duplicates"
    assert "6 images at 3 positions" in verdict.note
    assert judge(stack(1, 1, 1)).kind == "duplicates"
    assert judge(stack(0, 2, 2.01, 4)).kind == "duplicates"


def test_sheared_slices_are_tilted():
    verdict = judge([slice_at(z, y=0.3 * z) for z in (0, 2, 4, 6)])
    assert (verdict.kind, verdict.grid) == ("tilt", None)
    assert "16.70 degrees" in verdict.note


def test_tilt_is_found_though_the_spacing_changes_too():
    verdict = judge([slice_at(z, y=0.3 * z) for z in (0, 2, 4, 7)])
    assert (verdict.kind, verdict.spacing[0]) == ("tilt", 2.0)
    assert "also uneven" in verdict.note


def test_a_single_slice_that_moved_sideways_is_uneven():
    rows = stack(0, 2, 4, 6)
    rows[2] = slice_at(4, x=3)
    assert judge(rows).kind == "uneven"


def test_a_drift_below_the_tolerance_is_regular_and_the_grid_stays_orthogonal():
    verdict = judge([slice_at(z, y=0.004 * z) for z in (0, 2, 4, 6)])
    assert verdict.kind == "regular"
    assert verdict.grid.orthogonal


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 8},
        {"pixel_spacing": [0.5, 0.8]},
        {"image_orientation_patient": [0, 1, 0, 0, 0, -1]},
        {"image_orientation_patient": [1, 0, 0, 0, 0.9999, 0.0141]},
        {"frame_of_reference_uid": "1.3"},
        {"photometric_interpretation": "MONOCHROME1"},
        {"samples_per_pixel": 3},
        {"image_position_patient": None},
        {"pixel_spacing": None},
        {"image_type": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    ],
)
def test_one_image_that_differs_makes_it_mixed(change):
    rows = stack(0, 2, 4)
    rows[1] = rows[1] | change
    verdict = judge(rows)
    assert (verdict.kind, verdict.grid, verdict.order) == ("mixed", None, ())


@pytest.mark.parametrize(
    "cosines", [[1, 0, 0, 1, 0, 0], [0.5, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], [1, 0, 0, 0.1, 1, 0]]
)
def test_cosines_that_are_none(cosines):
    rows = [row | {"image_orientation_patient": cosines} for row in stack(0, 2, 4)]
    verdict = judge(rows)
    assert (verdict.kind, verdict.grid) == ("none", None)


def test_values_that_are_no_numbers_are_no_place():
    rows = [row | {"image_position_patient": [0, 0, float("nan")]} for row in stack(0, 2)]
    assert judge(rows).kind == "none"
    rows = [row | {"pixel_spacing": [0.0, 0.5]} for row in stack(0, 2)]
    assert judge(rows).kind == "none"


def test_one_slice_takes_its_thickness_and_says_so():
    verdict = judge([slice_at(7, spacing_between_slices=2.5)])
    assert (verdict.kind, verdict.slices, verdict.spacing) == ("regular", 1, (2.0, 0.5, 0.75))
    assert "assumed" in verdict.note
    verdict = judge([slice_at(7, slice_thickness=None, spacing_between_slices=2.5)])
    assert verdict.spacing[0] == 2.5


def test_one_slice_that_states_nothing_is_flat():
    verdict = judge([slice_at(7, slice_thickness=None)])
    assert verdict.kind == "flat"
    assert verdict.grid.flat


def test_two_slices_far_apart_are_a_gap():
    assert judge(stack(0, 2)).kind == "regular"
    assert judge(stack(0, 3)).kind == "regular"
    assert judge(stack(0, 8)).kind == "gap"
    assert judge([slice_at(z, spacing_between_slices=8.0) for z in (0, 8)]).kind == "regular"
    assert judge([slice_at(z, slice_thickness=None) for z in (0, 8)]).kind == "regular"


def projection(**columns):
    return slice_at(0, modality="DX", image_position_patient=None, image_orientation_patient=None) | columns


def test_projections_are_flat_each_for_itself():
    verdict = judge([projection()])
    assert (verdict.kind, verdict.slices, verdict.spacing, verdict.order) == ("flat", 1, None, ((0, 0),))
    assert verdict.grid == Grid.flat_image((4, 5))
    verdict = judge([projection(), projection()])
    assert (verdict.kind, verdict.slices, verdict.grid, len(verdict.order)) == ("flat", None, None, 2)


def test_the_localizer_of_a_ct_is_a_projection_in_spite_of_its_place():
    localizer = slice_at(0, image_type=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert judge([localizer]).kind == "flat"
    assert judge([localizer, localizer | {"rows": 9}]).kind == "flat"


def test_a_film_is_none():
    verdict = judge([projection(modality="US", number_of_frames=30)])
    assert (verdict.kind, verdict.grid) == ("none", None)
    assert "30 frames" in verdict.note


def test_slices_without_positions_are_none():
    row = projection(modality="MR")
    assert judge([row, row]).kind == "none"
    assert judge([row]).kind == "flat"


@pytest.mark.parametrize("rows", [[], [{"modality": "SR"}], [slice_at(0, number_of_frames=None)]])
def test_no_images(rows):
    verdict = judge(rows)
    assert (verdict.kind, verdict.slices, verdict.note) == ("none", None, "no object with pixels")


def test_objects_without_pixels_are_passed_over():
    verdict = judge([{"modality": "PR"}, *stack(0, 2)])
    assert verdict.order == ((1, 0), (2, 0))


@pytest.mark.parametrize(
    "mark", [{"mosaic_tiles": 36}, {"image_type": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}]
)
def test_mosaics_are_none(mark):
    verdict = judge([row | mark for row in stack(0, 2)])
    assert (verdict.kind, verdict.grid) == ("none", None)
    assert "mosaic" in verdict.note


def frames(positions, **columns):
    flat = [float(part) for position in positions for part in position]
    return slice_at(0, number_of_frames=len(positions), image_position_patient=None, frame_positions=flat) | {
        "frame_orientations": AXIAL,
        **columns,
    }


def test_frames_are_sorted():
    verdict = judge([frames([(0, 0, 4), (0, 0, 0), (0, 0, 2)])])
    assert (verdict.kind, verdict.order) == ("regular", ((0, 1), (0, 2), (0, 0)))


def test_frames_of_several_volumes_are_duplicates():
    one = frames([(0, 0, 0), (0, 0, 2)])
    assert judge([one, one]).kind == "duplicates"
    assert judge([frames([(0, 0, 0), (0, 0, 2), (0, 0, 0), (0, 0, 2)])]).kind == "duplicates"


def test_frames_of_several_orientations_are_mixed():
    turned = [*AXIAL, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
    assert judge([frames([(0, 0, 0), (0, 0, 2)], frame_orientations=turned)]).kind == "mixed"


def test_frames_split_over_instances_are_one_volume():
    verdict = judge([frames([(0, 0, 4), (0, 0, 6)]), frames([(0, 0, 2), (0, 0, 0)])])
    assert (verdict.kind, verdict.order) == ("regular", ((1, 1), (1, 0), (0, 0), (0, 1)))
