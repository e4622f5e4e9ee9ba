"""Masks from one grid to another."""

from __future__ import annotations

import numpy as np
import pytest

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label, Lineage, Mask
from voxlake.dicom.masks import EXACT, NEAREST, sample_nearest, transfer_mask

GRID = Grid.from_spacing((4, 5, 6), (3.0, 0.7, 1.1), frame="1.2")
VALUES = np.random.default_rng(3).integers(0, 5, GRID.shape).astype(np.uint8)


@pytest.mark.parametrize("target", ["SPL", "IAR", "LSP", "ASL", "PRI"])
def test_other_orientations_and_crops_move_voxels_and_change_none(target: str) -> None:
    order, flips = GRID.reorientation(target)
    expected = np.flip(VALUES.transpose(order), flips)
    low, high = (1, 0, 2), tuple(n - 1 for n in expected.shape)
    grid = GRID.reoriented(target).crop(low, high)
    values, exact = sample_nearest(VALUES, GRID, grid)
    assert exact
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(values, expected[low[0] : high[0], low[1] : high[1], low[2] : high[2]])


def test_outside_of_the_mask_there_is_nothing() -> None:
    mask = Mask(VALUES, GRID, (Label(1, "liver"),), Lineage(("a",), ("made",)))
    moved = transfer_mask(mask, GRID.pad((1, 2, 0), (0, 1, 3)))
    np.testing.assert_array_equal(moved.numpy(), np.pad(VALUES, ((1, 0), (2, 1), (0, 3))))
    assert (moved.labels, moved.lineage) == (mask.labels, Lineage(("a",), ("made", EXACT)))


@pytest.mark.parametrize("turned", [False, True])
def test_other_lattices_take_the_voxel_in_which_a_centre_lies(turned: bool) -> None:
    target = GRID.resampled((1.3, 1.3, 0.9))
    if turned:
        turn = np.eye(4)
        turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
        target = Grid.from_affine(target.shape, turn @ target.affine, frame="1.2")
    mask = transfer_mask(Mask(VALUES, GRID), target)
    assert mask.lineage.steps == (NEAREST,)
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), axis=-1)
    places = np.floor(GRID.world_to_index(target.index_to_world(index)) + 0.5 + 1e-6).astype(int)
    expected = np.zeros(target.shape, dtype=np.uint8)
    for where in np.ndindex(target.shape):
        place = tuple(places[where])
        if all(0 <= n < size for n, size in zip(place, GRID.shape, strict=True)):
            expected[where] = VALUES[place]
    assert expected.any()
    np.testing.assert_array_equal(mask.numpy(), expected)


def test_flat_images_are_compared_in_pixels() -> None:
    flat = Grid.flat_image((4, 6))
    values = VALUES[:1, :4, :6]
    halved, exact = sample_nearest(values, flat, flat.with_shape((1, 8, 3)))
    assert not exact
    np.testing.assert_array_equal(halved, np.repeat(values, 2, axis=1)[..., 1::2])


def test_grids_that_share_no_coordinates_are_refused() -> None:
    elsewhere = Grid(GRID.shape, GRID.matrix, "1.3")
    for source, target in (
        (GRID, elsewhere),
        (GRID, Grid.flat_image((5, 6))),
        (Grid.flat_image((5, 6)), GRID),
    ):
        with pytest.raises(ItemError) as refused:
            sample_nearest(np.zeros(source.shape, dtype=np.uint8), source, target)
        assert refused.value.reason == "mask_frame"
    unknown = Grid(GRID.shape, GRID.matrix)
    np.testing.assert_array_equal(sample_nearest(VALUES, GRID, unknown)[0], VALUES)
