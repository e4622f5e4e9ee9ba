"""Grids do to coordinates what NumPy does to arrays."""

from __future__ import annotations

import json
import warnings

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from voxlake.core.grid import Grid
from voxlake.testing.strategies import flat_grids, grids

ANY = st.one_of(grids(), grids(shear=True), grids(oblique=False), flat_grids())
QUICK = settings(max_examples=50, deadline=None)


def places(grid: Grid) -> np.ndarray:
    """World position of every voxel, (slices, rows, columns, 3)."""
    return grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1))


def close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max() < 1e-8)


@QUICK
@given(ANY, st.lists(st.tuples(*[st.floats(-50, 50)] * 3), max_size=4))
def test_index_and_world_round_trip(grid: Grid, points: list[tuple[float, float, float]]) -> None:
    index = np.array(points).reshape(-1, 3)
    assert np.allclose(grid.world_to_index(grid.index_to_world(index)), index, atol=1e-6)
    full = np.hstack([index, np.ones((len(index), 1))]) @ grid.affine.T
    assert np.allclose(grid.index_to_world(index), full[:, :3])


@QUICK
@given(ANY, st.data())
def test_crop_is_slicing(grid: Grid, data: st.DataObject) -> None:
    start = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
    stop = [data.draw(st.integers(low + 1, n)) for low, n in zip(start, grid.shape, strict=True)]
    box = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
    assert close(places(grid.crop(start, stop)), places(grid)[box])


@QUICK
@given(ANY, st.tuples(*[st.integers(0, 3)] * 3), st.tuples(*[st.integers(0, 3)] * 3))
def test_crop_undoes_pad(grid: Grid, before: tuple[int, int, int], after: tuple[int, int, int]) -> None:
    larger = grid.pad(before, after)
    assert larger.shape == tuple(np.add(np.add(grid.shape, before), after))
    assert close(places(larger.crop(before, np.add(before, grid.shape))), places(grid))


@QUICK
@given(ANY, st.integers(-3, 2))
def test_flip_is_numpys(grid: Grid, axis: int) -> None:
    assert close(places(grid.flip(axis)), np.flip(places(grid), range(3)[axis]))


@QUICK
@given(ANY, st.permutations(range(3)))
def test_transpose_is_numpys(grid: Grid, order: list[int]) -> None:
    assert close(places(grid.transpose(order)), np.transpose(places(grid), (*order, 3)))


@QUICK
@given(st.one_of(grids(), grids(shear=True)), st.sampled_from(["SPL", "RAS", "LPS", "IAR", "PIL", "ASR"]))
def test_reorientation_is_transpose_and_flip(grid: Grid, target: str) -> None:
    order, flips = grid.reorientation(target)
    turned = grid.reoriented(target)
    assert turned.orientation == target
    assert close(places(turned), np.flip(np.transpose(places(grid), (*order, 3)), flips))
    assert grid.reorientation(target.lower()) == (order, flips)


@QUICK
@given(grids(), st.tuples(*[st.floats(0.2, 9.0)] * 3))
def test_resampled_keeps_the_field_of_view(grid: Grid, spacing: tuple[float, float, float]) -> None:
    new = grid.resampled(spacing)
    assert np.allclose(new.spacing, spacing)
    assert np.allclose(new.direction, grid.direction)
    middle, new_middle = ((np.array(each.shape) - 1) / 2 for each in (grid, new))
    assert np.allclose(new.index_to_world(new_middle), grid.index_to_world(middle))
    extent, new_extent = (np.multiply(each.shape, each.spacing) for each in (grid, new))
    rounded = np.array(new.shape) > 1
    assert (np.abs(extent - new_extent) <= np.array(spacing) / 2 + 1e-9)[rounded].all()


@QUICK
@given(ANY, st.tuples(*[st.integers(1, 12)] * 3))
def test_with_shape_keeps_the_outer_faces(grid: Grid, shape: tuple[int, int, int]) -> None:
    new = grid.with_shape(shape)
    assert new.shape == shape
    for corner in (np.zeros(3), np.ones(3), np.array([1, 0, 1])):
        faces = [each.index_to_world(corner * each.shape - 0.5) for each in (grid, new)]
        assert np.allclose(*faces)
    assert grid.with_shape(grid.shape).matches(grid)


@QUICK
@given(ANY)
def test_dict_round_trip_is_exact(grid: Grid) -> None:
    again = Grid.from_dict(json.loads(json.dumps(grid.to_dict())))
    assert again == grid
    assert hash(again) == hash(grid)


@QUICK
@given(st.one_of(grids(), grids(oblique=False)))
def test_orientation_is_nibabels(grid: Grid) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nibabel

    # Askew by more than 40 degrees, two letters are equally good and the tie is a matter of taste.
    assume((np.abs(grid.direction).max(axis=0) > 0.77).all())
    # NIfTI's world is RAS: x and y point the other way.
    letters = nibabel.aff2axcodes(np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine)
    assert grid.orientation == "".join(letters)


@QUICK
@given(grids(shear=True))
def test_volume_of_a_voxel(grid: Grid) -> None:
    step = [grid.index_to_world(np.eye(3)[axis]) - grid.origin for axis in range(3)]
    triple = abs(float(np.dot(step[0], np.cross(step[1], step[2]))))
    assert np.isclose(grid.voxel_volume, triple, rtol=1e-9)
    assert np.allclose(grid.spacing, [np.linalg.norm(vector) for vector in step])
