"""Grids: what they refuse, flat images, and a few values worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from voxlake.core.errors import FlatGridError, GeometryError
from voxlake.core.grid import Grid

AXIAL = Grid.from_spacing((4, 6, 8), (5.0, 0.5, 0.7), frame="2.25.1")


def test_axial_by_hand() -> None:
    assert AXIAL.orientation == "SPL"
    assert AXIAL.spacing == (5.0, 0.5, 0.7)
    assert AXIAL.voxel_volume == pytest.approx(1.75)
    assert AXIAL.orthogonal
    assert np.allclose(AXIAL.index_to_world((1, 2, 3)), (2.1, 1.0, 5.0))
    assert np.allclose(AXIAL.direction, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])


def test_from_vectors_by_hand() -> None:
    grid = Grid.from_vectors(
        (2, 2, 2), origin=(10, 20, 30), slice_step=(2, 0, 0), row_step=(0, 0, -1), column_step=(0, 3, 0)
    )
    assert grid.orientation == "LIP"
    assert np.array_equal(grid.index_to_world((1, 1, 1)), (12, 23, 29))
    assert np.array_equal(grid.origin, (10, 20, 30))


def test_resampled_by_hand() -> None:
    grid = AXIAL.resampled((2.5, 1.0, 0.7))
    assert grid.shape == (8, 3, 8)
    # The first slice was 5 mm thick about z = 0: its faces are at -2.5 and 2.5.
    assert grid.origin[2] == pytest.approx(-1.25)
    assert grid.origin[1] == pytest.approx(0.25)
    assert grid.frame == "2.25.1"


def test_resampled_rounds_and_never_vanishes() -> None:
    assert AXIAL.resampled((1000, 1000, 1000)).shape == (1, 1, 1)
    assert AXIAL.resampled((6.0, 0.5, 0.7)).shape == (3, 6, 8)
    assert AXIAL.resampled((8.0, 0.5, 0.7)).shape == (3, 6, 8)


def test_sheared_volume_is_the_parallelepiped() -> None:
    grid = Grid.from_vectors(
        (2, 2, 2), origin=(0, 0, 0), slice_step=(0, 1, 3), row_step=(0, 1, 0), column_step=(1, 0, 0)
    )
    assert not grid.orthogonal
    assert grid.voxel_volume == pytest.approx(3.0)
    assert grid.spacing[0] == pytest.approx(10**0.5)


@pytest.mark.parametrize(
    "shape", [(0, 1, 1), (1, -1, 1), (1, 1), (1, 1, 1, 1), (1.5, 1, 1), ("a", 1, 1), (np.nan, 1, 1)]
)
def test_bad_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError):
        Grid.from_affine(shape, np.eye(4))
    with pytest.raises(GeometryError):
        Grid(shape, tuple(map(tuple, np.eye(4))))


def changed(row: int, column: int, value: float) -> np.ndarray:
    affine = np.eye(4)
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), "4 x 4"),
        (np.ones(16), "4 x 4"),
        (5.0, "4 x 4"),
        ([[1, 2], [3]], "4 x 4"),
        ("nonsense", "4 x 4"),
        (np.zeros((2, 4, 4)), "4 x 4"),
        (changed(0, 3, np.nan), "finite"),
        (changed(0, 0, np.inf), "finite"),
        (changed(3, 0, 1.0), "last row"),
        (changed(3, 3, 2.0), "last row"),
        (changed(0, 0, 0.0), "inverted"),
        (np.eye(4)[:, [0, 0, 2, 3]], "inverted"),
    ],
)
def test_bad_affines(affine: object, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        Grid.from_affine((1, 1, 1), affine)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ((0, 0, 0), (5, 6, 8)),
        ((-1, 0, 0), (4, 6, 8)),
        ((2, 0, 0), (2, 6, 8)),
        ((3, 0, 0), (1, 6, 8)),
        ((0, 0), (1, 1)),
    ],
)
def test_bad_crops(start: tuple[int, ...], stop: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError):
        AXIAL.crop(start, stop)


def test_other_refusals() -> None:
    with pytest.raises(GeometryError, match="whole numbers"):
        AXIAL.crop((0.5, 0, 0), (2, 2, 2))
    with pytest.raises(GeometryError, match="at least 0"):
        AXIAL.pad((-1, 0, 0), (0, 0, 0))
    with pytest.raises(GeometryError, match="order of 0, 1 and 2"):
        AXIAL.transpose((0, 0, 1))
    with pytest.raises(GeometryError, match="positive sizes"):
        AXIAL.with_shape((0, 1, 1))
    for axis in (3, -4):
        with pytest.raises(GeometryError, match="flip takes an axis"):
            AXIAL.flip(axis)
    for spacing in ((1, 1), (1, 0, 1), (1, np.nan, 1), (1, -2, 1), (1, np.inf, 1)):
        with pytest.raises(GeometryError, match="three positive numbers in mm"):
            AXIAL.resampled(spacing)
    for target in ("SP", "SPP", "SPX", "", "SPLL", "SIL"):
        with pytest.raises(GeometryError, match="one letter each"):
            AXIAL.reoriented(target)


def test_negative_axis_is_numpys() -> None:
    assert AXIAL.flip(-1) == AXIAL.flip(2)
    assert AXIAL.flip(-3) == AXIAL.flip(0)


def test_flat_images_have_pixels_only() -> None:
    flat = Grid.flat_image((3, 4))
    assert flat == Grid.flat_image((1, 3, 4))
    assert flat.shape == (1, 3, 4)
    assert np.array_equal(flat.index_to_world((0, 2, 3)), (3, 2, 0))
    for attribute in ("spacing", "voxel_volume"):
        with pytest.raises(FlatGridError, match="flat"):
            getattr(flat, attribute)
    with pytest.raises(FlatGridError, match="resize to a shape"):
        flat.resampled((1, 1, 1))


def test_flat_stays_flat() -> None:
    flat = Grid.flat_image((4, 4))
    made = (
        flat.crop((0, 1, 1), (1, 3, 3)),
        flat.pad((0, 1, 1), (0, 1, 1)),
        flat.flip(1),
        flat.transpose((0, 2, 1)),
        flat.with_shape((1, 2, 2)),
    )
    assert all(grid.flat for grid in made)
    # Pixel (0, 0) of the small image covers pixels 0 and 1 of the large one.
    assert np.allclose(made[-1].index_to_world((0, 0, 0)), (0.5, 0.5, 0))


def test_equality_and_hash() -> None:
    again = Grid([4, 6, 8], AXIAL.affine.tolist(), "2.25.1")
    assert again == AXIAL
    assert hash(again) == hash(AXIAL)
    numpy_made = Grid(np.array([4, 6, 8]), AXIAL.affine, "2.25.1")
    assert numpy_made == AXIAL
    assert len({AXIAL, again, numpy_made, AXIAL.flip(0), Grid.from_spacing((4, 6, 8), (5.0, 0.5, 0.7))}) == 3


def test_affine_is_a_copy() -> None:
    AXIAL.affine[0, 0] = 99
    assert AXIAL.affine[0, 0] != 99


def test_matches() -> None:
    shifted = AXIAL.affine
    shifted[0, 3] += 5e-4
    assert AXIAL.matches(Grid.from_affine((4, 6, 8), shifted, frame="2.25.1"))
    assert AXIAL.matches(Grid.from_affine((4, 6, 8), shifted))
    assert not AXIAL.matches(Grid.from_affine((4, 6, 8), shifted), tolerance=1e-4)
    assert not AXIAL.matches(Grid.from_affine((4, 6, 8), AXIAL.affine, frame="2.25.2"))
    assert not AXIAL.matches(AXIAL.crop((0, 0, 0), (3, 6, 8)))
    assert not AXIAL.matches(AXIAL.flip(0))
    assert not Grid.flat_image((3, 4)).matches(Grid.from_spacing((1, 3, 4), (1, 1, 1)))


def test_dict_is_json() -> None:
    grid = Grid(np.array([4, 6, 8]), AXIAL.affine)
    assert Grid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


def test_reorienting_settles_a_tie() -> None:
    # Every axis is equally near to two world axes: the letters must not depend on the order of the axes.
    affine = np.eye(4)
    affine[:3, :3] = (2 - 3 * np.eye(3)) / 3
    grid = Grid.from_affine((2, 3, 4), affine)
    for target in ("SPL", "SLP", "PSL", "PLS", "LSP", "LPS", "IAR", "RAS"):
        turned = grid.reoriented(target)
        assert turned.orientation == target
        assert turned.reoriented(target) == turned
        assert turned.reoriented(grid.orientation).matches(grid, tolerance=1e-9)
