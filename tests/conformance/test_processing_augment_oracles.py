"""What random steps draw, against SimpleITK or the definition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk

from voxlake.core.grid import Grid
from voxlake.core.volume import Mask, Volume
from voxlake.processing.augment.bias_field import RandomBiasField
from voxlake.processing.augment.cut_out import RandomCutOut
from voxlake.processing.augment.ghosting import Ghosting
from voxlake.processing.augment.low_resolution import LowResolution
from voxlake.processing.augment.mirror import Mirror
from voxlake.processing.augment.noise import Noise
from voxlake.processing.augment.warp import RandomAffine, RandomElastic, Warp
from voxlake.processing.lattice import control_points
from voxlake.processing.maps import square
from voxlake.processing.transform_to import TransformTo

# Oblique, with three different spacings.
TURN = np.array([[0.0, 0.6, 0.8], [0.0, 0.8, -0.6], [-1.0, 0.0, 0.0]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN * (2.5, 0.9, 1.1)
AFFINE[:3, 3] = (-20.0, 35.0, 7.0)
GRID = Grid.from_affine((19, 41, 37), AFFINE)


def volume(grid: Grid = GRID) -> Volume:
    values = np.random.default_rng(3).normal(50, 20, grid.shape).astype(np.float32)
    return Volume(values, grid, "arbitrary", "MR")


def image_of(values: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    affine = grid.affine[:3, [2, 1, 0, 3]]
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:, 3].tolist())
    return image


def transform_of(matrix: np.ndarray, control: np.ndarray | None, grid: Grid) -> sitk.Transform:
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix[:3, :3].ravel().tolist())
    affine.SetTranslation(matrix[:3, 3].tolist())
    if control is None:
        return affine
    reference = image_of(np.zeros(grid.shape, dtype=np.float32), grid)
    spline = sitk.BSplineTransform(3, 3)
    spline.SetTransformDomainOrigin(grid.index_to_world((-0.5, -0.5, -0.5)).tolist())
    spline.SetTransformDomainDirection(reference.GetDirection())
    spline.SetTransformDomainPhysicalDimensions(
        [n * step for n, step in zip(reference.GetSize(), reference.GetSpacing(), strict=True)]
    )
    spline.SetTransformDomainMeshSize([n - 3 for n in control.shape[2::-1]])
    spline.SetParameters(np.moveaxis(control, -1, 0).ravel().tolist())
    # The last transform of a composite is the first to be applied.
    return sitk.CompositeTransform([affine, spline])


def by_sitk(values: np.ndarray, have: Grid, want: Grid, transform: sitk.Transform, order: int, fill: float):
    reference = image_of(np.zeros(want.shape, dtype=np.float32), want)
    return sitk.GetArrayFromImage(sitk.Resample(image_of(values, have), reference, transform, order, fill))


def about_centre(step: Warp, grid: Grid) -> np.ndarray:
    move = np.eye(4)
    move[:3, 3] = grid.index_to_world((np.asarray(grid.shape) - 1) / 2)
    return move @ square(step.matrix) @ np.linalg.inv(move)


def drawn(kind: str) -> Warp:
    affine = RandomAffine(degrees=(-20, 20), outside=-7.0).draw(np.random.default_rng(5), GRID)
    elastic = RandomElastic(largest=4, outside=-7.0, locked=1).draw(np.random.default_rng(6), GRID)
    both = elastic.after(affine)
    assert isinstance(both, Warp)
    return {"affine": affine, "elastic": elastic, "both": both}[kind]


@pytest.mark.parametrize("kind", ["affine", "elastic", "both"])
def test_warp_is_that_of_simpleitk(kind: str) -> None:
    step, given = drawn(kind), volume()
    transform = transform_of(about_centre(step, GRID), control_points(step.displacements), GRID)
    ours = step(given).numpy()
    theirs = by_sitk(given.numpy(), GRID, GRID, transform, sitk.sitkLinear, -7.0)
    apart = np.abs(ours - theirs)
    # Places on the very face of the volume may fall in or out by rounding; noise of 20 a voxel makes
    # 1e-4 of a voxel into 1e-2.
    assert (apart > 0.02).mean() < 1e-3
    assert np.median(apart) < 1e-3
    assert 0.02 < (ours == -7.0).mean() < 0.5 or kind == "elastic"
    labels = (given.numpy() > 50).astype(np.uint8) * 3
    mask = step.apply_mask(Mask(labels, GRID)).numpy()
    nearest = by_sitk(labels, GRID, GRID, transform, sitk.sitkNearestNeighbor, 0)
    assert mask.dtype == np.uint8
    assert (mask != nearest).mean() < 1e-3


def test_transform_to_is_that_of_simpleitk() -> None:
    want = Grid.from_spacing((15, 30, 28), (3.0, 1.5, 1.5), frame="2.25.7")
    rng = np.random.default_rng(8)
    control = rng.uniform(-3, 3, (5, 4, 6, 3))
    matrix = np.eye(4)
    matrix[:3, :3] += rng.normal(0, 0.05, (3, 3))
    matrix[:3, 3] = GRID.index_to_world((9, 20, 18)) - want.index_to_world((7, 15, 14))
    step = TransformTo.read(
        {
            "shape": want.shape,
            "affine": want.affine[:3].tolist(),
            "matrix": matrix[:3].tolist(),
            "displacements": control.tolist(),
            "frame": "2.25.7",
            "outside": 0.0,
        }
    )
    transform = transform_of(matrix, control, want)
    given = volume()
    done = step(given)
    theirs = by_sitk(given.numpy(), GRID, want, transform, sitk.sitkLinear, 0.0)
    assert done.grid == want
    assert (np.abs(done.numpy() - theirs) > 0.02).mean() < 1e-3
    places = want.index_to_world(rng.uniform(0, 1, (50, 3)) * (np.asarray(want.shape) - 1))
    expected = [transform.TransformPoint(place.tolist()) for place in places]
    np.testing.assert_allclose(step.points(places), expected, atol=1e-9)


def test_jacobian_is_the_derivative_of_the_points() -> None:
    rng = np.random.default_rng(9)
    grid = Grid.from_spacing((12, 10, 14), (2.0, 1.0, 1.5))
    step = TransformTo.read(
        {
            "shape": grid.shape,
            "affine": grid.affine[:3].tolist(),
            "matrix": [[1.1, 0.1, 0.0, 1.0], [0.0, 0.9, 0.2, 2.0], [0.0, 0.0, 1.2, 0.0]],
            "displacements": rng.uniform(-1, 1, (4, 5, 6, 3)).tolist(),
        }
    )
    centre = grid.index_to_world((6, 5, 7))
    small = 1e-5
    columns = [
        (step.points(centre + small * axis) - step.points(centre - small * axis)) / (2 * small)
        for axis in np.eye(3)
    ]
    assert step.jacobian()[6, 5, 7] == pytest.approx(np.linalg.det(np.array(columns)), rel=1e-5)


def test_one_interpolation_is_what_two_would_be_without_blur() -> None:
    at = np.indices(GRID.shape).astype(np.float32)
    # Linear interpolation is exact on a linear ramp.
    given = Volume(2 * at[0] - 3 * at[1] + at[2], GRID, "arbitrary", "MR")
    affine = RandomAffine(outside="edge").draw(np.random.default_rng(1), GRID)
    elastic = RandomElastic(largest=3, outside="edge").draw(np.random.default_rng(2), GRID)
    both = elastic.after(affine)
    assert both is not None
    inner = (slice(7, -7), slice(14, -14), slice(14, -14))
    np.testing.assert_allclose(both(given).numpy()[inner], elastic(affine(given)).numpy()[inner], atol=1e-3)


def test_gaussian_noise_has_its_moments() -> None:
    given = Volume(np.full((32, 64, 64), 10.0, np.float32), Grid.from_spacing((32, 64, 64), (1, 1, 1)))
    found = Noise(deviation=2.0, seed=3)(given).numpy().astype(np.float64)
    assert found.mean() == pytest.approx(10.0, abs=5 * 2 / np.sqrt(found.size))
    assert found.std() == pytest.approx(2.0, rel=0.01)
    centred = found - found.mean()
    # Neighbours along each axis are independent: also across the blocks that are seeded apart.
    for axis in range(3):
        one, other = np.delete(centred, -1, axis), np.delete(centred, 0, axis)
        assert abs((one * other).mean()) < 5 * 4 / np.sqrt(one.size)


@pytest.mark.parametrize("signal", [0.0, 1.0, 5.0])
def test_rician_noise_has_the_moments_of_rice(signal: float) -> None:
    from scipy.stats import rice

    given = Volume(np.full((32, 64, 64), signal, np.float32), Grid.from_spacing((32, 64, 64), (1, 1, 1)))
    found = Noise(deviation=1.5, seed=4, kind="rician")(given).numpy().astype(np.float64)
    expected = rice(signal / 1.5, scale=1.5)
    assert found.mean() == pytest.approx(expected.mean(), abs=5 * expected.std() / np.sqrt(found.size))
    assert found.std() == pytest.approx(expected.std(), rel=0.01)


def test_bias_field_is_its_polynomial() -> None:
    step = RandomBiasField(degree=3).draw(np.random.default_rng(2), GRID)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID.shape), indexing="ij")
    powers = [p for p in product(range(4), repeat=3) if 1 <= sum(p) <= 3]
    total = sum(k * z**a * y**b * x**c for k, (a, b, c) in zip(step.coefficients, powers, strict=True))
    np.testing.assert_allclose(step(volume()).numpy(), volume().numpy() * np.exp(total), rtol=1e-5)


@pytest.mark.parametrize("axis", ["slice", "row", "column"])
def test_ghosting_is_that_of_the_whole_k_space(axis: str) -> None:
    step, given = Ghosting(axis=axis, ghosts=3, intensity=0.6, restore=0.2), volume()
    place = ["slice", "row", "column"].index(axis)
    size = GRID.shape[place]
    frequency = np.abs(np.round(np.fft.fftfreq(size) * size))
    weights = np.where((frequency % 3 == 0) & (frequency > 0.2 * (size // 2)), 0.4, 1.0)
    shape = [1, 1, 1]
    shape[place] = -1
    expected = np.fft.ifftn(np.fft.fftn(given.numpy()) * weights.reshape(shape))
    assert np.abs(expected.imag).max() < 1e-9
    np.testing.assert_allclose(step(given).numpy(), expected.real, atol=1e-3)


def test_ghosts_lie_at_a_share_of_the_extent() -> None:
    grid = Grid.from_spacing((1, 64, 1), (1, 1, 1))
    data = np.zeros(grid.shape, np.float32)
    data[0, 10, 0] = 1.0
    found = Ghosting(axis="row", ghosts=4, intensity=0.8, restore=0.0)(Volume(data, grid)).numpy()[0, :, 0]
    # Every fourth line of 64 weakened: the point repeats every 16 rows.
    assert sorted(np.argsort(-np.abs(found))[:4].tolist()) == [10, 26, 42, 58]


def test_low_resolution_is_mean_and_linear_interpolation() -> None:
    grid = Grid.from_spacing((12, 6, 5), (1, 1, 1))
    given = volume(grid)
    found = LowResolution(factors=(3.0, 1.0, 1.0))(given).numpy()
    coarse = given.numpy().reshape(4, 3, 6, 5).mean(axis=1)
    at = (np.arange(12) - 1) / 3
    expected = np.apply_along_axis(lambda line: np.interp(at, np.arange(4), line), 0, coarse)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_mirror_moves_the_content_and_keeps_the_grid() -> None:
    given = volume()
    done = Mirror(axes=("slice", "column"))(given)
    assert done.grid == given.grid
    assert np.array_equal(done.numpy(), given.numpy()[::-1, :, ::-1])
    labels = (given.numpy() > 50).astype(np.int16)
    mask = Mirror(axes=("column",)).apply_mask(Mask(labels, GRID))
    assert np.array_equal(mask.numpy(), labels[:, :, ::-1])
    assert mask.lineage.steps == ("mirror@1",)


def test_cut_out_blanks_its_boxes_and_nothing_else() -> None:
    given = volume()
    step = RandomCutOut(count=2, fill=-1000.0).draw(np.random.default_rng(1), GRID)
    inside = np.zeros(GRID.shape, bool)
    for box in step.boxes:
        assert all(0 <= box[k] < box[k + 3] <= GRID.shape[k] for k in range(3))
        inside[box[0] : box[3], box[1] : box[4], box[2] : box[5]] = True
    found = step(given).numpy()
    assert (found[inside] == -1000).all()
    assert np.array_equal(found[~inside], given.numpy()[~inside])
