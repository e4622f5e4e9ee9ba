"""Enhancement and denoising: kinds of volumes, edges, refusals."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from voxlake.core.errors import FlatGridError, ItemError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.bilateral import Bilateral
from voxlake.processing.clahe import Clahe
from voxlake.processing.gamma import Gamma
from voxlake.processing.gaussian import Gaussian
from voxlake.processing.median import Median
from voxlake.processing.n4 import N4
from voxlake.processing.nonlocal_means import NonlocalMeans
from voxlake.processing.total_variation import TotalVariation
from voxlake.processing.unsharp import Unsharp
from voxlake.processing.wavelet import Wavelet

SHAPE = (4, 14, 12)
STEPS: list[Step] = [
    Bilateral(sigma_value=20.0),
    Bilateral(sigma_value=20.0, sigma=1.0, extent="volume"),
    Clahe(tiles=2),
    Clahe(tiles=2, extent="volume"),
    Gamma(gamma=0.7),
    Gaussian(),
    Median(),
    Median(extent="volume"),
    N4(iterations=(4,), shrink=1),
    NonlocalMeans(search=5, patch=3),
    NonlocalMeans(search=3, patch=3, extent="volume"),
    TotalVariation(weight=10.0),
    TotalVariation(weight=10.0, extent="volume"),
    Unsharp(),
    Wavelet(family="haar"),
    Wavelet(family="haar", extent="volume"),
]
EVERY = pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.name}-{step.digest()[:4]}")
COLOUR = (Gamma, Gaussian, Median, TotalVariation, Unsharp, Wavelet)


def values(dtype: str = "float32", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    random = np.random.default_rng(3)
    found = 60 + 40 * (np.indices(shape)[-1] > shape[-1] // 2) + random.normal(0, 8, shape)
    return found > 80 if dtype == "bool" else found.astype(dtype)


def volume(data: np.ndarray) -> Volume:
    return Volume(data, Grid.from_spacing(data.shape[:3], (3.0, 0.5, 1.0)), "HU")


@EVERY
class TestEveryFilter:
    @pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "int32", "float16", "float64"])
    def test_types_agree(self, step: Step, dtype: str) -> None:
        """The same numbers in another type give the same result."""
        data = values(dtype)
        wanted = step(volume(data.astype(np.float32))).numpy()
        found = step(volume(data))
        np.testing.assert_allclose(found.numpy().astype(np.float64), wanted, atol=2e-3)
        integer = np.dtype(dtype).kind != "f" and step.name == "median"
        assert found.dtype == (dtype if integer else np.float32)

    def test_one_slice_is_flat(self, step: Step) -> None:
        """One slice in space is filtered like a flat image, whatever the extent."""
        data = values(shape=(1, 14, 12))
        flat = Volume(data, Grid.flat_image((14, 12)), "HU")
        assert np.array_equal(step(flat).numpy(), step(volume(data)).numpy())

    def test_constant(self, step: Step) -> None:
        """A constant stays what it is; CLAHE, which maps a range, makes zeros of it."""
        found = step(volume(np.full(SHAPE, 0.1, np.float32))).numpy()
        assert np.array_equal(found, np.full(SHAPE, 0.0 if step.name == "clahe" else 0.1, np.float32))

    def test_a_single_voxel(self, step: Step) -> None:
        found = step(volume(np.full((1, 1, 1), 7, np.float32))).numpy()
        assert found.ravel().tolist() == [0.0 if step.name == "clahe" else 7.0]

    def test_thin_images(self, step: Step) -> None:
        """Axes shorter than any window."""
        for shape in ((1, 1, 9), (2, 3, 1), (1, 2, 2)):
            data = values(shape=shape)
            found = step(volume(data)).numpy()
            assert found.shape == shape
            assert np.isfinite(found).all()

    def test_voxels_without_a_number(self, step: Step) -> None:
        """NaN and infinities stay, and change no voxel beyond the reach of the filter."""
        data = values()
        data[0, 0, 0], data[0, 0, 1] = np.nan, np.inf
        found = step(volume(data)).numpy()
        if step.name == "gamma":
            assert np.isnan(found[0, 0, 0])
            assert found[0, 0, 1] == data[np.isfinite(data)].max()
            return
        assert np.isnan(found[0, 0, 0])
        assert np.isposinf(found[0, 0, 1])
        assert np.isfinite(found).sum() == found.size - 2
        whole = step(volume(values())).numpy()
        assert np.abs(found - whole)[2:, 7:, 7:].max() <= (0.1 if step.name == "clahe" else 3.0)

    def test_nothing_finite(self, step: Step) -> None:
        with pytest.raises(ItemError, match="no voxel has a finite value") as caught:
            step(volume(np.full(SHAPE, np.nan, np.float32)))
        assert caught.value.reason == "step_failed"

    def test_colour(self, step: Step) -> None:
        """Channel by channel, or refused with the way out."""
        data = np.stack([values(), values()[::-1], values()[:, ::-1]], axis=-1)
        if isinstance(step, COLOUR):
            found = step(volume(data)).numpy()
            for channel in range(3):
                alone = step(volume(data[..., channel])).numpy()
                np.testing.assert_allclose(found[..., channel], alone, atol=1e-4)
        else:
            with pytest.raises(ItemError, match=r'RGB is refused.*use "grayscale" first'):
                step(volume(data))

    def test_does_something(self, step: Step) -> None:
        data = values()
        found = step(volume(data)).numpy()
        assert np.abs(found - data).max() > 0.01

    def test_order_of_memory_does_not_matter(self, step: Step) -> None:
        data = values("int16")
        assert np.array_equal(
            step(volume(np.asfortranarray(data))).numpy(), step(volume(data.copy())).numpy()
        )


class TestDenoising:
    @pytest.mark.parametrize(
        "step",
        [
            Gaussian(sigma=[0, 1, 1]),
            Median(),
            Bilateral(sigma_value=30.0),
            NonlocalMeans(),
            TotalVariation(weight=8.0),
            Wavelet(),
        ],
        ids=lambda step: step.name,
    )
    def test_nearer_to_the_truth(self, step: Step) -> None:
        """Noise of deviation 8 on two flat halves falls by a third or more."""
        clean = 60 + 80.0 * (np.indices((2, 64, 64))[2] > 31)
        noisy = (clean + np.random.default_rng(5).normal(0, 8, clean.shape)).astype(np.float32)
        assert np.sqrt(np.mean((step(volume(noisy)).numpy() - clean) ** 2)) < 5.4


class TestUnits:
    @EVERY
    def test_unit(self, step: Step) -> None:
        wanted = {"clahe": "normalised", "gamma": "arbitrary"}.get(step.name, "HU")
        assert step(volume(values())).unit == wanted

    def test_gamma_keeps_normalised(self) -> None:
        done = Gamma(gamma=2.0)(
            Volume(values() / 200, Grid.flat_image(SHAPE[1:]).with_shape(SHAPE), "normalised")
        )
        assert done.unit == "normalised"


class TestSettings:
    @pytest.mark.parametrize("step", [Gaussian, Unsharp])
    def test_millimetres(self, step: type[Step]) -> None:
        data = values()
        found = step.read({"sigma": [1.5, 1.0, 2.0], "sigma_in": "mm"})(volume(data)).numpy()
        wanted = step.read({"sigma": [0.5, 2.0, 2.0]})(volume(data)).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        with pytest.raises(FlatGridError):
            step.read({"sigma_in": "mm"})(Volume(data[:1], Grid.flat_image(SHAPE[1:])))

    def test_one_width_stands_for_three(self) -> None:
        assert Gaussian.read({"sigma": 2}) == Gaussian.read({"sigma": [2, 2, 2]})

    def test_width_0_leaves_an_axis(self) -> None:
        data = values()
        assert np.array_equal(Gaussian(sigma=(0, 0, 0))(volume(data)).numpy(), data)

    @pytest.mark.parametrize(
        ("step", "settings", "message"),
        [
            (Gaussian, {"sigma": -1}, "a width is a number from 0"),
            (Gaussian, {"sigma": [1, 2]}, "a width is a number from 0"),
            (Gaussian, {"sigma": True}, "a width is a number from 0"),
            (Median, {"size": 4}, "odd"),
            (NonlocalMeans, {"patch": 0}, "odd"),
            (Clahe, {"bins": 100}, "bins"),
            (Clahe, {"clip": 0.5}, "greater than or equal to 1"),
            (Bilateral, {}, "missing key 'sigma_value'"),
            (TotalVariation, {"weight": 0}, "greater than 0"),
            (Gamma, {"gamma": 0}, "greater than 0"),
            (Gamma, {"gamma": 1.0, "low": 2.0, "high": 1.0}, "low must be below high"),
            (Wavelet, {"family": "db77"}, "family"),
            (N4, {"over": "nonzero"}, 'choose "otsu", "all"'),
            (N4, {"iterations": []}, "iterations"),
        ],
    )
    def test_refused(self, step: type[Step], settings: dict[str, object], message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            step.read(settings)

    def test_gamma_range_of_a_volume_below_its_low_end(self) -> None:
        with pytest.raises(ItemError, match="give both low and high"):
            Gamma(gamma=2.0, low=1000.0)(volume(values()))


class TestClahe:
    def test_flat_histogram_is_the_identity(self) -> None:
        """Clip 1 leaves nothing but the range; so does an even histogram in one tile."""
        data = np.random.default_rng(0).permutation(4096).reshape(1, 64, 64).astype(np.int16)
        for step in (Clahe(clip=1.0), Clahe(clip=9.0, tiles=1)):
            found = step(volume(data)).numpy()
            np.testing.assert_allclose(found, (data + 0.5) / 4096, atol=3e-4)

    def test_sixteen_bits_keep_their_steps(self) -> None:
        """A slope of a thousand grey values comes out as a thousand values, not as a few bins."""
        data = np.tile(np.arange(0, 64000, 64, dtype=np.uint16), (1, 40, 1))
        assert len(np.unique(Clahe(tiles=1)(volume(data)).numpy())) == 1000

    def test_negative_integers(self) -> None:
        data = values("int16")
        np.testing.assert_array_equal(Clahe()(volume(data - 1000)).numpy(), Clahe()(volume(data)).numpy())

    def test_contrast_rises_where_it_was_low(self) -> None:
        data = values(shape=(1, 64, 64)) / 100 + 10 * (np.indices((1, 64, 64))[1] > 31)
        found = Clahe(tiles=4, clip=8.0)(volume(data)).numpy()
        normalised = (data - data.min()) / np.ptp(data)
        assert found[0, :16].std() > 2 * normalised[0, :16].std()


def test_registry_loads_no_heavy_library() -> None:
    """Reading a plan loads none of the libraries that the filters work with."""
    code = (
        "import sys, voxlake.processing.clahe, voxlake.processing.n4, voxlake.processing.median, "
        "voxlake.processing.nonlocal_means, voxlake.processing.gaussian, voxlake.processing.wavelet\n"
        "print([n for n in ('cv2', 'SimpleITK', 'pywt', 'skimage', 'scipy.ndimage') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
