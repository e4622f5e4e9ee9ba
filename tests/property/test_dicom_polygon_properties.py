"""Filling polygons against a ray caster in fractions, and against laws that hold for any polygon."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from voxlake.dicom.polygon import fill

ROWS, COLUMNS = 7, 9
# A hair to the right, and a far smaller one downwards: finer than any distance between coordinates below.
RIGHT, DOWN = Fraction(1, 2**60), Fraction(1, 2**140)

# Many whole and half numbers, so that vertices and outlines fall on pixel centres.
coordinate = st.one_of(
    st.integers(-3, 12).map(float),
    st.integers(-6, 24).map(lambda n: n / 2),
    st.integers(-3 * 2**16, 12 * 2**16).map(lambda n: n / 2**16),
)
contour = st.lists(st.tuples(coordinate, coordinate), min_size=0, max_size=8).map(
    lambda points: np.array(points, dtype=float).reshape(-1, 2)
)
contours = st.lists(contour, max_size=3)
SETTINGS = settings(max_examples=60, deadline=None)


def inside(outlines: list[np.ndarray], row: int, column: int) -> bool:
    """Cast a ray to the top, in fractions, from a centre that is moved off all ties."""
    y, x = row + DOWN, column + RIGHT
    crossed = 0
    for outline in outlines:
        points = [(Fraction(a), Fraction(b)) for a, b in outline.tolist()]
        for (y0, x0), (y1, x1) in zip(points, points[1:] + points[:1], strict=True):
            if (x0 > x) != (x1 > x) and y0 + (x - x0) * (y1 - y0) / (x1 - x0) < y:
                crossed += 1
    return crossed % 2 == 1


@SETTINGS
@given(contours)
def test_every_pixel_is_what_a_ray_says(outlines: list[np.ndarray]) -> None:
    expected = [[inside(outlines, row, column) for column in range(COLUMNS)] for row in range(ROWS)]
    np.testing.assert_array_equal(fill(outlines, (ROWS, COLUMNS)), expected)


@SETTINGS
@given(contours)
def test_contours_combine_by_exclusive_or(outlines: list[np.ndarray]) -> None:
    alone = [fill([outline], (ROWS, COLUMNS)) for outline in outlines]
    expected = np.logical_xor.reduce(alone) if alone else np.zeros((ROWS, COLUMNS), dtype=bool)
    np.testing.assert_array_equal(fill(outlines, (ROWS, COLUMNS)), expected)


@SETTINGS
@given(contour.filter(lambda points: len(points) >= 4), st.data())
def test_a_polygon_cut_along_a_chord_falls_into_two_without_remainder(
    outline: np.ndarray, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(outline) - 2))
    halves = [outline[: cut + 1], np.concatenate([outline[cut:], outline[:1]])]
    together = np.logical_xor(*(fill([half], (ROWS, COLUMNS)) for half in halves))
    np.testing.assert_array_equal(together, fill([outline], (ROWS, COLUMNS)))


@SETTINGS
@given(contours, st.integers(0, 5), st.integers(0, 5))
def test_moving_by_whole_pixels_moves_the_mask(outlines: list[np.ndarray], down: int, right: int) -> None:
    still = fill(outlines, (ROWS, COLUMNS))
    moved = fill([np.add(outline, (down, right)) for outline in outlines], (ROWS + down, COLUMNS + right))
    np.testing.assert_array_equal(moved[down:, right:], still)


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_a_star_is_what_matplotlib_makes_of_it(seed: int, corners: int) -> None:
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    radii = random.uniform(2, 12, corners)
    star = np.stack([15 + radii * np.sin(angles), 14 + radii * np.cos(angles)], axis=1)
    centres = np.stack(np.meshgrid(np.arange(30), np.arange(29), indexing="ij"), axis=-1).reshape(-1, 2)
    expected = Outline(star, closed=False).contains_points(centres).reshape(30, 29)
    np.testing.assert_array_equal(fill([star], (30, 29)), expected)
