"""Filling polygons: which pixels are inside, to the last tie."""

from __future__ import annotations

import numpy as np
import pytest

from voxlake.core.errors import GeometryError
from voxlake.dicom.polygon import fill


def square(top: float, left: float, bottom: float, right: float) -> np.ndarray:
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left)])


def pixels(mask: np.ndarray) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in np.argwhere(mask)}


def test_the_pixels_whose_centres_lie_inside() -> None:
    filled = fill([square(0.5, 1.5, 2.5, 4.5)], (5, 6))
    assert filled.dtype == bool
    assert pixels(filled) == {(r, c) for r in (1, 2) for c in (2, 3, 4)}


def test_a_centre_on_the_left_or_upper_outline_is_inside_and_on_the_others_outside() -> None:
    assert pixels(fill([square(1, 1, 3, 4)], (6, 6))) == {(r, c) for r in (1, 2) for c in (1, 2, 3)}


def test_the_direction_and_the_first_vertex_do_not_matter() -> None:
    outline = np.array([(0, 0), (1, 5), (4, 4), (2, 2), (5, 1)], dtype=float)
    expected = fill([outline], (7, 7))
    assert expected.sum() > 5
    for turn in range(5):
        np.testing.assert_array_equal(fill([np.roll(outline, turn, axis=0)], (7, 7)), expected)
        np.testing.assert_array_equal(fill([np.roll(outline, turn, axis=0)[::-1]], (7, 7)), expected)


def test_squares_side_by_side_share_no_pixel_and_leave_none_out() -> None:
    tiles = [square(r, c, r + 2, c + 3) for r in (0, 2, 4) for c in (0, 3, 6)]
    counted = sum(fill([tile], (6, 9)).astype(int) for tile in tiles)
    np.testing.assert_array_equal(counted, np.ones((6, 9)))


def test_a_contour_inside_another_is_a_hole_and_one_in_the_hole_an_island() -> None:
    filled = fill(
        [square(0.5, 0.5, 9.5, 9.5), square(2.5, 2.5, 7.5, 7.5), square(4.5, 4.5, 5.5, 5.5)], (11, 11)
    )
    assert filled.sum() == 81 - 25 + 1
    assert filled[1, 1]
    assert not filled[3, 3]
    assert filled[5, 5]


@pytest.mark.parametrize("channel", [5.0, 4.5, 5.25])
def test_the_channel_of_a_keyhole_vanishes(channel: float) -> None:
    outer, inner = square(0.5, 0.5, 9.5, 9.5), square(3.5, 3.5, 6.5, 6.5)
    keyhole = np.concatenate(
        [
            [(0.5, channel)],
            [(0.5, 9.5), (9.5, 9.5), (9.5, 0.5), (0.5, 0.5), (0.5, channel)],
            [(3.5, channel), (3.5, 3.5), (6.5, 3.5), (6.5, 6.5), (3.5, 6.5), (3.5, channel)],
        ]
    )
    np.testing.assert_array_equal(fill([keyhole], (11, 11)), fill([outer, inner], (11, 11)))


def test_a_slanting_channel_vanishes_too() -> None:
    outer, inner = square(0.5, 0.5, 9.5, 9.5), square(4.5, 4.5, 6.5, 6.5)
    keyhole = np.concatenate([outer, outer[:1], inner, inner[:1]])
    np.testing.assert_array_equal(fill([keyhole], (11, 11)), fill([outer, inner], (11, 11)))


def test_what_lies_outside_of_the_image_is_cut_off() -> None:
    assert fill([square(-100, -100, 100, 100)], (3, 4)).all()
    assert pixels(fill([square(-5, -5, 0.5, 1.5)], (3, 4))) == {(0, 0), (0, 1)}
    assert pixels(fill([square(1.5, 2.5, 50, 50)], (3, 4))) == {(2, 3)}
    for beyond in (square(-9, 0, -2, 3), square(5, 0, 9, 3), square(0, -9, 2, -2), square(0, 7, 2, 9)):
        assert not fill([beyond], (3, 4)).any()


def test_what_encloses_nothing_fills_nothing() -> None:
    line = np.array([(0, 0), (4, 4), (0, 0)], dtype=float)
    for nothing in ([], [line], [line[:2]], [line[:1]], [np.empty((0, 2))], [square(1, 1, 1, 3)]):
        assert not fill(nothing, (5, 5)).any()


def test_rounding_of_the_arithmetic_does_not_decide_ties() -> None:
    exact = fill([square(1, 1, 3, 4)], (6, 6))
    for noise in (1e-9, -1e-9):
        np.testing.assert_array_equal(fill([square(1, 1, 3, 4) + noise], (6, 6)), exact)


def test_far_vertices_cost_precision_and_nothing_else() -> None:
    spike = np.array([(0, 0), (0, 4), (3, 4), (3, 400_000_000)], dtype=float)
    assert fill([spike], (5, 6)).shape == (5, 6)
    with pytest.raises(GeometryError, match="million pixels"):
        fill([spike * 10], (5, 6))


@pytest.mark.parametrize("contour", [np.zeros((4, 3)), np.zeros(4), [(0, 0), (1, np.nan), (2, 2)]])
def test_what_is_no_contour_is_refused(contour: object) -> None:
    with pytest.raises(GeometryError, match=r"\(N, 2\)"):
        fill([contour], (5, 5))
