"""A landmark stays where it is in the world, whatever is done to the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.crop import Crop
from voxlake.processing.crop_foreground import CropForeground
from voxlake.processing.crop_or_pad import CropOrPad
from voxlake.processing.flip import Flip
from voxlake.processing.pad import Pad
from voxlake.processing.registry import load_plan
from voxlake.processing.reorient import Reorient
from voxlake.processing.resample import Resample
from voxlake.processing.resize import Resize
from voxlake.testing.strategies import flat_grids, grids, volumes

SOLID = st.one_of(
    grids(smallest=18, largest=26, spacing=(0.6, 3.0)),
    grids(smallest=18, largest=26, spacing=(0.6, 3.0), shear=True),
)
OFFSET = st.tuples(*[st.floats(-1, 1)] * 3)
AXES = st.lists(st.sampled_from(["slice", "row", "column"]), min_size=1, unique=True)
MOVES: dict[str, st.SearchStrategy[Step]] = {
    "reorient": st.sampled_from(["SPL", "RAS", "LPS", "PIR"]).map(lambda name: Reorient(orientation=name)),
    "resample": st.builds(
        lambda spacing, order: Resample(spacing=spacing, order=order),
        st.tuples(*[st.one_of(st.just("keep"), st.floats(0.6, 3.5))] * 3),
        st.sampled_from(["linear", "cubic"]),
    ),
    "resize": st.builds(
        lambda shape, method, aspect: Resize(shape=shape, filter=method, keep_aspect=aspect),
        st.tuples(*[st.integers(14, 30)] * 3),
        st.sampled_from(["linear", "area"]),
        st.booleans(),
    ),
    "crop": st.tuples(*[st.integers(16, 18)] * 3).map(lambda shape: Crop(shape=shape)),
    "pad": st.tuples(*[st.integers(26, 29)] * 3).map(lambda shape: Pad(shape=shape)),
    "crop_or_pad": st.tuples(*[st.integers(16, 29)] * 3).map(lambda shape: CropOrPad(shape=shape)),
    "crop_foreground": st.integers(0, 4).map(lambda margin: CropForeground(threshold=1e-3, margin=margin)),
    "flip": AXES.map(lambda axes: Flip(axes=axes)),
}


def blob(grid: Grid, offset: tuple[float, float, float]) -> Volume:
    """A Gaussian of 1.5 voxels near the centre; 0 where it has faded."""
    centre = (np.array(grid.shape) - 1) / 2 + offset
    apart = (np.moveaxis(np.indices(grid.shape), 0, -1) - centre) / 1.5
    values = np.exp(-0.5 * np.square(apart).sum(axis=-1))
    values[values < 1e-6] = 0
    return Volume((1000 * values).astype(np.float32), grid)


def centroid(volume: Volume) -> np.ndarray:
    """Centre of mass in LPS mm."""
    values = volume.numpy().astype(np.float64)
    places = volume.grid.index_to_world(np.moveaxis(np.indices(volume.grid.shape), 0, -1))
    return (places * values[..., np.newaxis]).sum(axis=(0, 1, 2)) / values.sum()


@pytest.mark.parametrize("name", sorted(MOVES))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_landmark_stays(name: str, data: st.DataObject) -> None:
    volume = blob(data.draw(SOLID), data.draw(OFFSET))
    done = data.draw(MOVES[name])(volume)
    assert np.abs(centroid(done) - centroid(volume)).max() < 0.1


@settings(max_examples=20, deadline=None)
@given(SOLID, OFFSET, st.permutations(["reorient", "resample", "crop", "flip"]), st.data())
def test_landmark_stays_through_a_chain(
    grid: Grid, offset: tuple[float, float, float], names: list[str], data: st.DataObject
) -> None:
    volume = blob(grid, offset)
    done = volume
    for name in names:
        if name == "resample":
            step: Step = Resample(spacing=(1.2, 1.2, 1.2))
        elif name == "crop":
            step = Crop(shape=[size - data.draw(st.integers(0, 2)) for size in done.grid.shape])
        else:
            step = data.draw(MOVES[name])
        done = step(done)
    assert [tag.split("@")[0] for tag in done.lineage.steps] == names
    assert np.abs(centroid(done) - centroid(volume)).max() < 0.15


@settings(max_examples=25, deadline=None)
@given(volumes(on=grids(largest=6), colour=True), st.sampled_from(["RAS", "LPS", "IAR"]))
def test_reorienting_back_restores_every_bit(volume: Volume, target: str) -> None:
    there = Reorient(orientation=target)(volume)
    back = Reorient(orientation=volume.grid.orientation)(there)
    assert np.array_equal(back.numpy(), volume.numpy())
    assert back.dtype == volume.dtype
    assert back.grid.matches(volume.grid, tolerance=1e-6)


@settings(max_examples=40, deadline=None)
@given(volumes(colour=True), st.tuples(*[st.integers(1, 12)] * 3))
def test_crop_or_pad_keeps_every_voxel_in_place(volume: Volume, shape: tuple[int, int, int]) -> None:
    done = CropOrPad(shape=shape, fill="minimum")(volume)
    assert done.grid.shape == shape
    index = np.moveaxis(np.indices(shape), 0, -1)
    source = np.rint(volume.grid.world_to_index(done.grid.index_to_world(index))).astype(int)
    inside = ((source >= 0) & (source < volume.grid.shape)).all(axis=-1)
    values = volume.numpy()
    assert np.array_equal(done.numpy()[inside], values[tuple(source[inside].T)])
    assert (done.numpy()[~inside] == values.min()).all()
    assert inside.sum() == np.prod(np.minimum(shape, volume.grid.shape))


@settings(max_examples=40, deadline=None)
@given(volumes(dtypes=("float32", "uint8"), colour=True), st.tuples(*[st.integers(1, 12)] * 3))
def test_resize_stays_in_range(volume: Volume, shape: tuple[int, int, int]) -> None:
    for method in ("linear", "area", "nearest"):
        done = Resize(shape=shape, filter=method)(volume)
        assert done.grid.shape == shape
        assert done.numpy().min() >= volume.numpy().min()
        assert done.numpy().max() <= volume.numpy().max()


@settings(max_examples=25, deadline=None)
@given(volumes(on=flat_grids(), colour=True))
def test_xray_plan_takes_any_picture(volume: Volume) -> None:
    done = load_plan("xray-64")(volume)
    assert (done.shape, done.dtype, done.unit) == ((1, 64, 64), np.float32, "normalised")
    assert 0 <= done.numpy().min() <= done.numpy().max() <= 1
