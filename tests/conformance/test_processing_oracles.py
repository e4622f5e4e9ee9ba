"""Interpolation and orientation against SimpleITK, nibabel and Pillow."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.processing.reorient import Reorient
from voxlake.processing.resample import Resample
from voxlake.processing.resize import Resize
from voxlake.testing.strategies import grids

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import nibabel

SOLID = grids(smallest=4, largest=9, spacing=(0.8, 3.0))


def noise(shape: tuple[int, ...], seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(200, 60, shape).astype(np.float32)


def to_sitk(data: np.ndarray, grid: Grid) -> sitk.Image:
    """SimpleITK counts (column, row, slice) in the same LPS world."""
    image = sitk.GetImageFromArray(data)
    image.SetOrigin(grid.origin.tolist())
    image.SetSpacing(grid.spacing[::-1])
    image.SetDirection(grid.direction[:, ::-1].ravel().tolist())
    return image


def dominant(grid: Grid) -> bool:
    """Whether each axis has one clearly nearest world axis: else orientation is a matter of taste."""
    return bool((np.abs(grid.direction).max(axis=0) > 0.77).all())


def sound(grid: Grid) -> bool:
    """Whether SimpleITK's own SVD inverts this direction; it fails for a few symmetric ones."""
    image = to_sitk(np.zeros(grid.shape, np.uint8), grid)
    corner = [size - 1 for size in image.GetSize()]
    back = image.TransformPhysicalPointToContinuousIndex(image.TransformIndexToPhysicalPoint(corner))
    return bool(np.allclose(back, corner, atol=1e-6))


def by_sitk(volume: Volume, grid: Grid, interpolator: int) -> tuple[np.ndarray, np.ndarray]:
    """Values on `grid`, and where they lie between the outermost voxel centres of the input."""
    reference = to_sitk(np.zeros(grid.shape, np.float32), grid)
    image = to_sitk(volume.numpy(), volume.grid)
    resampled = sitk.Resample(image, reference, sitk.Transform(), interpolator, 0.0, sitk.sitkFloat32)
    at = volume.grid.world_to_index(grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1)))
    inside = ((at > 1e-6) & (at < np.array(volume.grid.shape) - 1 - 1e-6)).all(axis=-1)
    return sitk.GetArrayFromImage(resampled), inside


@settings(max_examples=40, deadline=None)
@given(SOLID, st.tuples(*[st.floats(0.7, 4.0)] * 3))
def test_linear_resample_is_simpleitks(grid: Grid, spacing: tuple[float, float, float]) -> None:
    assume(sound(grid))
    volume = Volume(noise(grid.shape), grid)
    done = Resample(spacing=spacing, order="linear", antialias=False)(volume)
    theirs, inside = by_sitk(volume, done.grid, sitk.sitkLinear)
    assume(inside.any())
    np.testing.assert_allclose(done.numpy()[inside], theirs[inside], rtol=1e-3, atol=1e-3 * 60)


@settings(max_examples=15, deadline=None)
@given(SOLID, st.tuples(*[st.floats(0.7, 4.0)] * 3))
def test_nearest_resample_is_simpleitks(grid: Grid, spacing: tuple[float, float, float]) -> None:
    assume(sound(grid))
    volume = Volume(noise(grid.shape), grid)
    done = Resample(spacing=spacing, order="nearest")(volume)
    theirs, inside = by_sitk(volume, done.grid, sitk.sitkNearestNeighbor)
    at = grid.world_to_index(done.grid.index_to_world(np.moveaxis(np.indices(done.grid.shape), 0, -1)))
    # Half-way between two voxels either is nearest.
    untied = (np.abs(at - np.floor(at) - 0.5) > 1e-6).all(axis=-1)
    assert np.array_equal(done.numpy()[inside & untied], theirs[inside & untied])


def test_cubic_resample_is_simpleitks_away_from_the_border() -> None:
    grid = Grid.from_spacing((24, 26, 28), (1.5, 1.0, 1.2))
    volume = Volume(noise(grid.shape), grid)
    done = Resample(spacing=(1.1, 0.9, 0.7), order="cubic", antialias=False)(volume)
    theirs, _ = by_sitk(volume, done.grid, sitk.sitkBSpline3)
    centre = (slice(10, -10),) * 3
    # A B-spline's memory of the border fades by 0.27 a voxel.
    np.testing.assert_allclose(done.numpy()[centre], theirs[centre], rtol=1e-3, atol=0.2)


@settings(max_examples=30, deadline=None)
@given(SOLID, st.sampled_from(["SPL", "RAS", "LPS", "IAR", "PIL", "ASR"]))
def test_reorient_is_simpleitks(grid: Grid, target: str) -> None:
    assume(dominant(grid) and sound(grid))
    volume = Volume(noise(grid.shape), grid)
    done = Reorient(orientation=target)(volume)
    # SimpleITK names its axes from the fastest: column, row, slice.
    theirs = sitk.DICOMOrient(to_sitk(volume.numpy(), grid), target[::-1])
    assert np.array_equal(done.numpy(), sitk.GetArrayFromImage(theirs))
    assert np.allclose(done.grid.origin, theirs.GetOrigin())
    assert np.allclose(done.grid.spacing, theirs.GetSpacing()[::-1])
    assert np.allclose(done.grid.direction, np.reshape(theirs.GetDirection(), (3, 3))[:, ::-1])


@settings(max_examples=30, deadline=None)
@given(SOLID)
def test_reorient_is_nibabels(grid: Grid) -> None:
    assume(dominant(grid))
    volume = Volume(noise(grid.shape), grid)
    done = Reorient(orientation="RAS")(volume)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    theirs = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.numpy(), to_ras @ grid.affine))
    assert np.array_equal(done.numpy(), np.asarray(theirs.dataobj))
    assert np.allclose(to_ras @ done.grid.affine, theirs.affine, atol=1e-4)


@pytest.mark.parametrize("size", [(224, 224), (65, 40), (300, 31)])
@pytest.mark.parametrize("shape", [(64, 64), (65, 99), (30, 64), (500, 8)])
def test_linear_resize_is_pillows(size: tuple[int, int], shape: tuple[int, int]) -> None:
    data = noise(size)
    done = Resize(shape=shape)(Volume(data[np.newaxis], Grid.flat_image(size)))
    theirs = Image.fromarray(data).resize(shape[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(done.numpy()[0], np.asarray(theirs), rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize(("size", "count"), [(224, 64), (10, 3), (7, 7), (5, 8), (100, 1)])
def test_area_resize_is_the_integral(size: int, count: int) -> None:
    data = noise((1, size, 2))
    done = Resize(shape=("keep", count, "keep"), filter="area")(Volume(data, Grid.flat_image((size, 2))))
    # The mean between two edges is the difference of the running integral there.
    integral = np.concatenate([np.zeros((1, 2)), np.cumsum(data[0], axis=0, dtype=np.float64)])
    edges = np.linspace(0, size, count + 1)
    at_edges = np.stack(
        [np.interp(edges, np.arange(size + 1), integral[:, column]) for column in range(2)], axis=1
    )
    np.testing.assert_allclose(done.numpy()[0], np.diff(at_edges, axis=0) * count / size, rtol=1e-5)
