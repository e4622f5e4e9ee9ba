"""Cubic and gridded resampling against SimpleITK and SciPy; matching against scikit-image and definitions."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.exposure import match_histograms

from voxlake.core.errors import GeometryError, ItemError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.volume import Mask, Volume
from voxlake.processing.crop_around import fit_crop_around
from voxlake.processing.histogram_match import HistogramMatch, fit_histogram_match
from voxlake.processing.minmax import MinMax
from voxlake.processing.nyul import NyulStandardise, fit_nyul
from voxlake.processing.percentile import Percentile
from voxlake.processing.resample import Resample
from voxlake.processing.resize import Resize
from voxlake.processing.separable import linear_weights, mix, positions
from voxlake.processing.to_grid import ToGrid, resample_to
from voxlake.processing.zscore import ZScore

INTERPOLATORS = {"nearest": sitk.sitkNearestNeighbor, "linear": sitk.sitkLinear, "cubic": sitk.sitkBSpline3}


def noise(shape: tuple[int, ...], seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(200, 60, shape).astype(np.float32)


def to_sitk(data: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(data)
    image.SetOrigin(grid.origin.tolist())
    image.SetSpacing(grid.spacing[::-1])
    image.SetDirection(grid.direction[:, ::-1].ravel().tolist())
    return image


def by_sitk(volume: Volume, grid: Grid, order: str) -> np.ndarray:
    """Values on `grid`; NaN outside of the volume."""
    image = to_sitk(volume.numpy().astype(np.float64), volume.grid)
    reference = to_sitk(np.zeros(grid.shape), grid)
    resampled = sitk.Resample(
        image, reference, sitk.Transform(), INTERPOLATORS[order], float("nan"), sitk.sitkFloat64
    )
    return sitk.GetArrayFromImage(resampled)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.6, 1.1, 0.8), (2.7, 0.5, 1.2)])
def test_cubic_resample_is_simpleitks_up_to_the_border(spacing: tuple[float, float, float]) -> None:
    volume = Volume(noise((24, 41, 33)), Grid.from_spacing((24, 41, 33), (1.5, 0.94, 0.8)))
    done = Resample(spacing=spacing, order="cubic", antialias=False)(volume)
    theirs = by_sitk(volume, done.grid, "cubic")
    inside = np.isfinite(theirs)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(done.numpy()[inside], theirs[inside], atol=3e-4)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 70)] * 3))
def test_cubic_resize_is_scipys(sizes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    data = noise(sizes)
    done = Resize(shape=shape, filter="cubic")(Volume(data, Grid.from_spacing(sizes, (1, 1, 1)))).numpy()
    wide = data.astype(np.float64)
    places = []
    for axis, (size, count) in enumerate(zip(sizes, shape, strict=True)):
        factor = size / count
        if factor > 1:
            width = np.sqrt(factor**2 - 1) / (2 * np.sqrt(2 * np.log(2)))
            wide = ndimage.gaussian_filter1d(wide, width, axis=axis, mode="reflect")
        places.append(positions(size, count, factor))
    at = np.stack(np.meshgrid(*places, indexing="ij"))
    theirs = ndimage.map_coordinates(wide, at, order=3, mode="mirror")
    np.testing.assert_allclose(done, theirs, atol=1e-3)


def test_smoothing_is_scipys_gaussian() -> None:
    data = noise((30, 40, 50))
    widths = (0.7, 1.3, 2.9)
    done = mix(data, [linear_weights(n, n, 1.0, width) for n, width in zip(data.shape, widths, strict=True)])
    theirs = ndimage.gaussian_filter(data.astype(np.float64), widths, mode="reflect")
    np.testing.assert_allclose(done, theirs, atol=2e-4)


def test_large_volumes_go_by_slabs_and_threads_alike() -> None:
    data = np.random.default_rng(0).integers(-1000, 2000, (30, 400, 420)).astype(np.int16)
    weights = [
        linear_weights(30, 44, 30 / 44),
        linear_weights(400, 300, 4 / 3),
        linear_weights(420, 450, 0.9),
    ]
    done = mix(data, weights)
    wide = data.astype(np.float64)
    for axis, matrix in enumerate(weights):
        wide = np.moveaxis(np.tensordot(matrix.toarray().astype(np.float64), wide, (1, axis)), 0, axis)
    np.testing.assert_allclose(done, wide, atol=2e-3)


PARALLEL = Grid.from_affine((13, 9, 17), [[0, -1.3, 0, 30], [0, 0, 1.1, -4], [1.7, 0, 0, -3], [0, 0, 0, 1]])
OBLIQUE = Grid.from_vectors(
    (14, 15, 16),
    origin=(2, 3, 1),
    slice_step=(0.1, -0.2, 1.4),
    row_step=(0.1, 1.2, 0.2),
    column_step=(1.1, 0, -0.1),
)


@pytest.mark.parametrize("order", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("grid", [PARALLEL, OBLIQUE], ids=["parallel", "oblique"])
def test_to_grid_is_simpleitks(grid: Grid, order: str) -> None:
    volume = Volume(noise((16, 18, 20)), Grid.from_spacing((16, 18, 20), (1.5, 1.0, 1.2)))
    linear = np.linalg.qr(grid.affine[:3, :3])[0] @ np.diag(grid.spacing) if grid is OBLIQUE else None
    if linear is not None:
        # SimpleITK knows no sheared axes.
        affine = grid.affine
        affine[:3, :3] = linear * np.sign(np.diag(linear.T @ grid.affine[:3, :3]))
        grid = Grid.from_affine(grid.shape, affine)
    done = resample_to(volume, grid, order=order, antialias=False, fill=-1000)
    theirs = by_sitk(volume, grid, order)
    at = volume.grid.world_to_index(grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1)))
    inside = ((at > -0.499) & (at < np.array(volume.grid.shape) - 0.501)).all(axis=-1)
    assert 0.1 < inside.mean() < 1
    assert (done.numpy()[~np.isfinite(theirs) & ~inside] == -1000).all()
    if order == "nearest":
        inside &= (np.abs(at - np.floor(at) - 0.5) > 1e-6).all(axis=-1)
    np.testing.assert_allclose(done.numpy()[inside], theirs[inside], atol=2e-3)
    assert done.grid == grid


def test_to_grid_takes_colour_and_refuses_what_has_no_place() -> None:
    grid = Grid.from_spacing((6, 7, 8), (1, 1, 1))
    colour = Volume(np.random.default_rng(1).integers(0, 255, (6, 7, 8, 3)).astype(np.uint8), grid)
    for target in (PARALLEL, OBLIQUE):
        done = resample_to(colour, target)
        single = resample_to(Volume(colour.numpy()[..., 1], grid), target)
        np.testing.assert_allclose(done.numpy()[..., 1], single.numpy(), atol=1e-3)
    with pytest.raises(GeometryError, match="flat"):
        resample_to(Volume(np.eye(4)[None], Grid.flat_image((4, 4))), grid)
    here, there = (Grid(grid.shape, grid.matrix, frame) for frame in ("2.25.1", "2.25.2"))
    with pytest.raises(GeometryError, match="frames of reference"):
        resample_to(Volume(np.zeros((6, 7, 8)), here), there)
    with pytest.raises(SettingsError, match="cannot be inverted"):
        ToGrid.read({"shape": [2, 2, 2], "affine": [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]]})


def test_histogram_match_is_scikit_images() -> None:
    grid = Grid.from_spacing((10, 40, 40), (1, 1, 1))
    moving = Volume(noise(grid.shape), grid)
    reference = Volume(np.random.default_rng(8).gamma(2.0, 100, grid.shape).astype(np.float32), grid)
    step = fit_histogram_match([reference], levels=1001)
    done = step(moving).numpy()
    theirs = match_histograms(moving.numpy(), reference.numpy())
    # Between two of the thousand quantiles the map is a line; far out in the tail they are far apart.
    trusted = moving.numpy() < np.percentile(moving.numpy(), 99.5)
    np.testing.assert_allclose(done[trusted], theirs[trusted], rtol=0.01, atol=3)
    np.testing.assert_allclose(
        np.percentile(done, [1, 25, 50, 75, 99]),
        np.percentile(reference.numpy(), [1, 25, 50, 75, 99]),
        rtol=2e-3,
    )


def test_histogram_match_by_hand() -> None:
    grid = Grid.from_spacing((1, 1, 5), (1, 1, 1))
    volume = Volume(np.array([[[0, 10, 20, 30, np.nan]]], np.float32), grid)
    done = HistogramMatch(values=(100.0, 110.0, 150.0))(volume).numpy().ravel()
    # 0, 15 and 30 are the quantiles of the volume.
    np.testing.assert_allclose(done[:4], [100, 100 + 20 / 3, 110 + 40 / 3, 150], rtol=1e-6)
    assert np.isnan(done[4])
    above = HistogramMatch(values=(1.0, 3.0), over=5.0)(volume).numpy().ravel()
    np.testing.assert_allclose(above[:4], [0, 1, 2, 3], atol=1e-6)
    with pytest.raises(SettingsError, match="must not fall"):
        HistogramMatch.read({"values": [1.0, 0.5]})
    with pytest.raises(SettingsError, match="reference volume"):
        fit_histogram_match([])


def test_nyul_by_definition() -> None:
    grid = Grid.from_spacing((6, 30, 30), (1, 1, 1))
    volumes = [Volume(noise(grid.shape, seed) * (seed + 1), grid) for seed in range(3)]
    step = fit_nyul(volumes)
    percents = [1, *range(10, 100, 10), 99]
    marks = []
    for volume in volumes:
        values = volume.numpy()
        have = np.percentile(values[values > values.mean(dtype=np.float64)], percents)
        marks.append((have - have[0]) / (have[-1] - have[0]) * 100)
    np.testing.assert_allclose(step.landmarks, np.mean(marks, axis=0), rtol=1e-6, atol=1e-6)
    for volume in volumes:
        values, done = volume.numpy(), step(volume).numpy()
        have = np.percentile(values[values > values.mean(dtype=np.float64)], percents)
        inside = (values >= have[0]) & (values <= have[-1])
        np.testing.assert_allclose(done[inside], np.interp(values[inside], have, step.landmarks), atol=1e-3)
        below = values < have[0]
        slope = (step.landmarks[1] - step.landmarks[0]) / (have[1] - have[0])
        np.testing.assert_allclose(
            done[below], step.landmarks[0] + (values[below] - have[0]) * slope, rtol=1e-4, atol=1e-2
        )
    with pytest.raises(SettingsError, match="do not fit"):
        NyulStandardise.read({"landmarks": [0.0, 1.0]})
    with pytest.raises(ItemError, match="without contrast"):
        fit_nyul([Volume(np.ones(grid.shape), grid)])


def test_statistics_of_a_region() -> None:
    grid = Grid.from_spacing((6, 9, 8), (1, 1, 1))
    volume = Volume(noise(grid.shape), grid)
    part = volume.numpy()[1:4, 2:9, 0:5]
    box = {"start": [1, 2, 0], "stop": [4, 9, 5]}
    scored = ZScore.read({"over": box})(volume).numpy()
    np.testing.assert_allclose(scored, (volume.numpy() - part.mean()) / part.std(), rtol=1e-4, atol=1e-4)
    ranged = MinMax.read({"over": box})(volume).numpy()
    np.testing.assert_allclose(
        ranged, np.clip((volume.numpy() - part.min()) / np.ptp(part), 0, 1), rtol=1e-5, atol=1e-6
    )
    low, high = np.percentile(part, (5, 95))
    ranked = Percentile.read({"low": 5.0, "high": 95.0, "over": box})(volume).numpy()
    np.testing.assert_allclose(ranked, np.clip((volume.numpy() - low) / (high - low), 0, 1), atol=1e-5)
    bright = volume.numpy()[volume.numpy() > volume.numpy().mean(dtype=np.float64)]
    above = ZScore(over="above_mean")(volume).numpy()
    np.testing.assert_allclose(above, (volume.numpy() - bright.mean()) / bright.std(), rtol=1e-4, atol=1e-4)
    with pytest.raises(ItemError, match="leaves a volume"):
        ZScore.read({"over": {"start": [0, 0, 0], "stop": [7, 1, 1]}})(volume)
    with pytest.raises(SettingsError, match="start must be below stop"):
        ZScore.read({"over": {"start": [3, 0, 0], "stop": [3, 1, 1]}})


def test_crop_around_a_mask() -> None:
    grid = Grid.from_spacing((10, 20, 30), (3.0, 1.0, 0.5))
    data = np.zeros(grid.shape, np.uint8)
    data[4:6, 7:9, 10:20] = 2
    data[0, 0, 0] = 1
    step = fit_crop_around(Mask(data, grid), margin=2.0, labels=[2])
    assert (step.start, step.stop) == ((3, 5, 6), (7, 11, 24))
    assert fit_crop_around(Mask(data, grid)).start == (0, 0, 0)
    with pytest.raises(ItemError, match="empty"):
        fit_crop_around(Mask(np.zeros(grid.shape, bool), grid))
    with pytest.raises(ItemError, match="lies outside"):
        step(Volume(np.zeros((3, 9, 9)), Grid.from_spacing((3, 9, 9), (1, 1, 1))))
