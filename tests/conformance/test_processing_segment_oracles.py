"""Methods and edits of masks against scikit-image, SciPy, SimpleITK and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, morphology, segmentation
from sklearn.cluster import KMeans as OtherKMeans
from sklearn.mixture import GaussianMixture as OtherMixture

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.mask_step import MaskEdit
from voxlake.core.volume import Mask, Volume
from voxlake.processing.components import label_components, largest_components, remove_small
from voxlake.processing.distance import distance_map
from voxlake.processing.segment.chan_vese import ChanVese
from voxlake.processing.segment.closing import Close
from voxlake.processing.segment.dilate import Dilate
from voxlake.processing.segment.erode import Erode
from voxlake.processing.segment.fill_holes import FillHoles
from voxlake.processing.segment.geodesic_contour import GeodesicContour
from voxlake.processing.segment.histogram import histogram
from voxlake.processing.segment.kmeans import KMeans
from voxlake.processing.segment.li import Li, li_threshold
from voxlake.processing.segment.mixture import GaussianMixture
from voxlake.processing.segment.opening import Open
from voxlake.processing.segment.otsu import Otsu, otsu_thresholds
from voxlake.processing.segment.random_walker import RandomWalker
from voxlake.processing.segment.region_grow import RegionGrow
from voxlake.processing.segment.remove_small import RemoveSmall
from voxlake.processing.segment.threshold import Threshold
from voxlake.processing.segment.watershed import Watershed

SPACING = (2.5, 0.7, 0.9)
SHAPE = (12, 30, 28)


def tissue(*, classes: int = 3, seed: int = 3, noise: float = 6.0) -> Volume:
    """Blobs of several mean values with noise."""
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=SHAPE), (1.2, 3, 3))
    ranks = np.searchsorted(np.quantile(smooth, np.arange(1, classes) / classes), smooth)
    values = 40.0 + 60 * ranks + random.normal(0, noise, SHAPE)
    return Volume(values.astype(np.float32), Grid.from_spacing(SHAPE, SPACING), "arbitrary", "MR")


def blobs(seed: int = 5) -> NDArray[np.bool_]:
    random = np.random.default_rng(seed)
    return ndimage.gaussian_filter(random.normal(size=SHAPE), (0.6, 1.2, 1.2)) > 0.15


def itk(values: NDArray[np.generic]) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING[::-1])
    return image


def dice(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    return float(2 * ((one > 0) & (other > 0)).sum() / ((one > 0).sum() + (other > 0).sum()))


@pytest.mark.parametrize(("name", "rank"), [("faces", 1), ("edges", 2), ("corners", 3)])
def test_components_are_those_of_scipy(name, rank):
    for mask in (blobs(), np.random.default_rng(1).random(SHAPE) > 0.7, np.zeros(SHAPE, bool)):
        expected, count = ndimage.label(mask, ndimage.generate_binary_structure(3, rank))
        labels, found = label_components(mask, connectivity=name)
        assert found == count
        np.testing.assert_array_equal(labels, expected)


def test_largest_and_small_components_are_those_of_scikit_image():
    mask = blobs()
    labels, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, labels, np.arange(1, count + 1))
    order = 1 + np.argsort(-sizes, kind="stable")[:2]
    np.testing.assert_array_equal(largest_components(mask, count=2), np.isin(labels, order))
    expected = np.isin(labels, 1 + np.flatnonzero(sizes >= 9))
    np.testing.assert_array_equal(remove_small(mask, 9), expected)
    assert 0 < expected.sum() < mask.sum()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING])
def test_distances_are_those_of_scipy(spacing):
    mask = blobs()
    expected = ndimage.distance_transform_edt(mask, sampling=spacing)
    np.testing.assert_allclose(distance_map(mask, spacing=spacing), expected, rtol=1e-5, atol=1e-5)


def test_threshold_is_that_of_simpleitk():
    volume = tissue()
    expected = sitk.BinaryThreshold(itk(volume.numpy()), 80.0, 120.0)
    found = Threshold(low=80.0, high=120.0)(volume).numpy()
    np.testing.assert_array_equal(found, sitk.GetArrayFromImage(expected))


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_otsu_is_that_of_scikit_image(classes):
    volume = tissue(classes=classes, noise=9)
    values = volume.numpy()
    found = otsu_thresholds(histogram(volume, "all", 64, "otsu"), classes)
    expected = filters.threshold_multiotsu(values, classes, nbins=64)
    # scikit-image names the middle of the last bin of a class, this its upper edge.
    width = np.ptp(values) / 64
    np.testing.assert_allclose(found, expected + width / 2, atol=width * 0.01)
    mask = Otsu(classes=classes, bins=64)(volume).numpy()
    np.testing.assert_array_equal(np.unique(mask), np.arange(classes))


def test_otsu_is_that_of_simpleitk():
    volume = tissue(classes=2)
    expected = sitk.GetArrayFromImage(sitk.OtsuThreshold(itk(volume.numpy()), 0, 1, 256))
    assert dice(Otsu()(volume).numpy(), expected) > 0.999


def test_li_is_that_of_scikit_image():
    volume = tissue(classes=2, noise=20)
    values = volume.numpy()
    expected = filters.threshold_li(values, tolerance=1e-4)
    assert li_threshold(histogram(volume, "all", 65536, "li")) == pytest.approx(expected, abs=0.1)
    assert dice(Li()(volume).numpy(), values > expected) > 0.998


def test_region_growing_is_that_of_simpleitk():
    volume = tissue()
    seed = (6, 15, 14)
    level = float(volume.numpy()[seed])
    method = RegionGrow(seeds=[seed], places="voxel", low=level - 30, high=level + 30)
    expected = sitk.ConnectedThreshold(itk(volume.numpy()), [seed[::-1]], level - 30, level + 30)
    found = method(volume).numpy()
    np.testing.assert_array_equal(found, sitk.GetArrayFromImage(expected))
    place = tuple(volume.grid.index_to_world(seed).tolist())
    in_millimetres = RegionGrow(seeds=[place], low=level - 30, high=level + 30)
    np.testing.assert_array_equal(in_millimetres(volume).numpy(), found)


def test_watershed_is_that_of_simpleitk():
    volume = tissue(classes=2)
    values = volume.numpy()
    found = Watershed(below=45.0, above=95.0, sigma=1.0)(volume).numpy()
    relief = sitk.GradientMagnitudeRecursiveGaussian(itk(values), 1.0)
    markers = itk((1 * (values <= 45) + 2 * (values >= 95)).astype(np.uint8))
    flooded = sitk.MorphologicalWatershedFromMarkers(relief, markers, markWatershedLine=False)
    assert dice(found, sitk.GetArrayFromImage(flooded) == 2) > 0.97


def test_random_walker_solves_its_equations():
    """Against a dense solution of the Dirichlet problem on a small picture (Grady 2006, equation 10)."""
    values = tissue(classes=2).numpy()[:3, :7, :7]
    volume = Volume(values, Grid.from_spacing(values.shape, (1, 1, 1)))
    below, above, beta = 50.0, 90.0, 50.0
    index = np.arange(values.size).reshape(values.shape)
    laplacian = np.zeros((values.size, values.size))
    scale = beta / (10 * values.astype(float).std())
    for axis in range(3):
        ends = [
            np.take(index, range(n0, values.shape[axis] + n1), axis).ravel() for n0, n1 in ((0, -1), (1, 0))
        ]
        for one, other in zip(*ends, strict=True):
            step = float(values.ravel()[one]) - float(values.ravel()[other])
            weight = np.exp(-scale * step**2 / values.astype(float).std()) + 1e-10
            laplacian[one, other] = laplacian[other, one] = -weight
    laplacian -= np.diag(laplacian.sum(axis=1))
    known = (values <= below) | (values >= above)
    inside = (values >= above).ravel()[known.ravel()].astype(float)
    free = ~known.ravel()
    chance = np.linalg.solve(laplacian[np.ix_(free, free)], -laplacian[np.ix_(free, ~free)] @ inside)
    expected = (values >= above).ravel()
    expected[free] = chance > 0.5
    found = RandomWalker(below=below, above=above, beta=beta)(volume).numpy()
    sure = np.ones(values.size, bool)
    sure[free] = np.abs(chance - 0.5) > 0.02
    np.testing.assert_array_equal(found.ravel()[sure], expected[sure])
    assert 5 < free.sum() < values.size


def noise(seed: int) -> Volume:
    values = np.random.default_rng(seed).normal(0, 1, (6, 9, 9)).astype(np.float32)
    return Volume(values, Grid.from_spacing(values.shape, (1, 1, 1)))


def test_random_walker_hides_a_warning_that_changes_nothing():
    """scikit-image warns of probabilities a rounding beyond 0 and 1."""
    for seed in range(4):
        volume = noise(seed)
        found = RandomWalker(below=-1.0, above=1.0)(volume).numpy()
        assert (found[volume.numpy() >= 1.0] == 1).all()
        assert (found[volume.numpy() <= -1.0] == 0).all()


def test_random_walker_refuses_what_it_cannot_solve():
    """scikit-image warns only."""
    step, volume = RandomWalker(below=-1.0, above=1.0, beta=1e4), noise(4)
    with pytest.raises(ItemError, match="'beta' less than 10000"):
        step(volume)


def test_chan_vese_parts_two_even_regions():
    truth = np.zeros(SHAPE, bool)
    truth[3:9, 8:22, 6:20] = True
    noisy = (np.where(truth, 100, 40) + np.random.default_rng(2).normal(0, 15, SHAPE)).astype(np.float32)
    volume = Volume(noisy, Grid.from_spacing(SHAPE, SPACING))
    found = ChanVese(low=95, high=1000, rounds=15)(volume).numpy()
    assert dice(found, truth) > 0.92
    start = (noisy >= 95) & (noisy <= 1000)
    assert dice(start, truth) < 0.8
    # scikit-image takes its two smoothing operators in turns over the life of the process.
    others = [segmentation.morphological_chan_vese(noisy, 15, init_level_set=start) for _ in range(2)]
    assert any(np.array_equal(found, other) for other in others)
    np.testing.assert_array_equal(found, ChanVese(low=95, high=1000, rounds=15)(volume).numpy())


def test_geodesic_contour_grows_to_the_edge():
    rows, columns = np.mgrid[0:40, 0:40]
    apart = (rows - 20) ** 2 + (columns - 20) ** 2
    disc = apart < 12**2
    picture = np.where(disc, 100.0 + 10 * (1 - apart / 144), 20.0).astype(np.float32)
    volume = Volume(picture[None], Grid.flat_image((40, 40)))
    method = GeodesicContour(low=108, high=1000, rounds=40, sigma=1.0, alpha=10, edge=0.3)
    found = method(volume).numpy()[0]
    assert dice(found, disc) > 0.85
    assert dice(picture >= 108, disc) < 0.5
    gradient = ndimage.gaussian_gradient_magnitude(
        picture / np.float32(picture.std(dtype=np.float64)), 1.0, mode="nearest"
    )
    speed = 1 / np.sqrt(1 + 10 * gradient)
    others = [
        segmentation.morphological_geodesic_active_contour(
            speed, 40, init_level_set=picture >= 108, smoothing=1, balloon=1, threshold=0.3
        )
        for _ in range(2)
    ]
    # An even number of rounds leaves the turns of scikit-image as they were; one more call changes them.
    segmentation.morphological_geodesic_active_contour(speed, 1, init_level_set=picture >= 108)
    others.append(
        segmentation.morphological_geodesic_active_contour(
            speed, 40, init_level_set=picture >= 108, smoothing=1, balloon=1, threshold=0.3
        )
    )
    assert any(np.array_equal(found, other) for other in others)


def test_kmeans_is_that_of_scikit_learn():
    volume = tissue()
    values = volume.numpy().reshape(-1, 1).astype(np.float64)
    other = OtherKMeans(3, n_init=5, random_state=0, tol=0).fit(values)
    order = np.argsort(np.argsort(other.cluster_centers_[:, 0]))
    found = KMeans(classes=3, over="all")(volume).numpy()
    assert (found.reshape(-1) == order[other.labels_] + 1).mean() > 0.999


def test_mixture_is_that_of_scikit_learn():
    volume = tissue(noise=12)
    values = volume.numpy().reshape(-1, 1).astype(np.float64)
    other = OtherMixture(3, tol=1e-7, max_iter=500, n_init=1, random_state=0).fit(values)
    order = np.argsort(np.argsort(other.means_[:, 0]))
    found = GaussianMixture(classes=3, over="all")(volume).numpy()
    assert (found.reshape(-1) == order[other.predict(values)] + 1).mean() > 0.995


@pytest.mark.parametrize(
    ("edit", "filter_"),
    [
        (Dilate(radius=2.0), ndimage.binary_dilation),
        (Erode(radius=2.0), lambda mask, ball: ndimage.binary_erosion(mask, ball, border_value=1)),
        (
            Open(radius=2.0),
            lambda mask, ball: ndimage.binary_dilation(
                ndimage.binary_erosion(mask, ball, border_value=1), ball
            ),
        ),
        (
            Close(radius=2.0),
            lambda mask, ball: ndimage.binary_erosion(
                ndimage.binary_dilation(mask, ball), ball, border_value=1
            ),
        ),
    ],
    ids=lambda value: value.name if isinstance(value, MaskEdit) else "",
)
@pytest.mark.parametrize("lengths", ["mm", "voxel"])
def test_balls_are_those_of_scipy(edit, filter_, lengths):
    edit = edit.model_copy(update={"lengths": lengths})
    spacing = SPACING if lengths == "mm" else (1.0, 1.0, 1.0)
    reach = [int(2.0 // step) for step in spacing]
    axes = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    ball = sum((axis * step) ** 2 for axis, step in zip(axes, spacing, strict=True)) <= 4.0 + 1e-9
    grid = Grid.from_spacing(SHAPE, SPACING)
    mask = Mask(blobs().astype(np.uint8), grid)
    found = edit(mask, Volume(np.zeros(SHAPE, np.float32), grid)).numpy()
    np.testing.assert_array_equal(found > 0, filter_(blobs(), ball))


def test_holes_are_those_of_scipy():
    mask = ndimage.gaussian_filter(np.random.default_rng(8).normal(size=SHAPE), 1) > -0.12
    grid = Grid.from_spacing(SHAPE, SPACING)
    volume = Volume(np.zeros(SHAPE, np.float32), grid)
    whole = FillHoles()(Mask(mask, grid), volume).numpy()
    np.testing.assert_array_equal(whole > 0, ndimage.binary_fill_holes(mask))
    planes = FillHoles(within="slices")(Mask(mask, grid), volume).numpy()
    expected = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
    np.testing.assert_array_equal(planes > 0, expected)
    assert mask.sum() < expected.sum()


def test_small_regions_are_those_of_scikit_image():
    mask = blobs()
    grid = Grid.from_spacing(SHAPE, SPACING)
    voxel = float(np.prod(SPACING))
    edit = RemoveSmall(size=12 * voxel)
    found = edit(Mask(mask.astype(np.uint8), grid), Volume(np.zeros(SHAPE, np.float32), grid)).numpy()
    np.testing.assert_array_equal(found > 0, morphology.remove_small_objects(mask, max_size=11))
