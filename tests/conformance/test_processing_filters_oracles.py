"""Enhancement and denoising against independent implementations."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import generic_filter, uniform_filter
from skimage.exposure import adjust_gamma, equalize_adapthist
from skimage.filters import unsharp_mask
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet, estimate_sigma

from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.bilateral import Bilateral
from voxlake.processing.clahe import Clahe
from voxlake.processing.gamma import Gamma
from voxlake.processing.gaussian import Gaussian
from voxlake.processing.median import Median
from voxlake.processing.nonlocal_means import NonlocalMeans
from voxlake.processing.total_variation import TotalVariation
from voxlake.processing.unsharp import Unsharp
from voxlake.processing.wavelet import Wavelet, noise_deviation


def scene(shape: tuple[int, ...], *, noise: float = 8.0, seed: int = 0) -> np.ndarray:
    """Steps, a slope and noise; float32 around 0 to 250."""
    random = np.random.default_rng(seed)
    at = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    clean = 60 * at[-1] + 90 * (at[-2] > 0.5) + 80 * (np.hypot(at[-1] - 0.4, at[-2] - 0.6) < 0.2)
    return (clean + random.normal(0, noise, shape)).astype(np.float32)


def volume(values: np.ndarray) -> Volume:
    data = values if values.ndim == 3 else values[np.newaxis]
    return Volume(data, Grid.from_spacing(data.shape, (2.0, 0.8, 0.5)))


def after(step: Step, values: np.ndarray) -> np.ndarray:
    done = step(volume(values)).numpy()
    return done if values.ndim == 3 else done[0]


class TestClahe:
    @pytest.mark.parametrize(("bins", "clip"), [(256, 2.56), (128, 4.0)])
    def test_scikit_image(self, bins: int, clip: float) -> None:
        """Within 5 % of the range, 1.5 % on average: its maps are stairs, ours are linear within a bin."""
        values = np.clip(scene((512, 640), noise=12) * 200, 0, 65535).astype(np.uint16)
        ours = after(Clahe(clip=clip, bins=bins), values)
        theirs = equalize_adapthist(values, kernel_size=(64, 80), clip_limit=clip / bins, nbins=bins)
        # It stretches its result to 0..1.
        apart = np.abs((ours - ours.min()) / np.ptp(ours) - theirs)
        assert apart.max() < 0.05
        assert apart.mean() < 0.015

    @pytest.mark.parametrize("shape", [(24, 36), (23, 31), (6, 20, 15)])
    def test_by_definition(self, shape: tuple[int, ...]) -> None:
        """Voxel by voxel, also where the last tiles are not full and between slices."""
        values = scene(shape, noise=20)
        step = Clahe(tiles=3, bins=32, clip=3.0, extent="volume")
        np.testing.assert_allclose(after(step, values), defined_clahe(values, 3, 32, 3.0), atol=2e-5)


def defined_clahe(values: np.ndarray, tiles: int, bins: int, clip: float) -> np.ndarray:
    values = values.astype(np.float64)
    levels = np.minimum((values - values.min()) / np.ptp(values) * 4096, 4095).astype(int)
    sides = [-(-n // tiles) for n in levels.shape]
    counts = [-(-n // side) for n, side in zip(levels.shape, sides, strict=True)]
    padded = np.pad(
        levels,
        [(0, n * s - have) for n, s, have in zip(counts, sides, levels.shape, strict=True)],
        mode="reflect",
    )
    maps = {}
    for tile in np.ndindex(*counts):
        box = padded[tuple(slice(a * s, a * s + s) for a, s in zip(tile, sides, strict=True))]
        heights = np.bincount(box.ravel() * bins // 4096, minlength=bins) / box.size
        limit = clip / bins
        # Water level by bisection.
        low, high = 0.0, limit
        for _ in range(60):
            raised = (low + high) / 2
            if np.minimum(np.minimum(heights, limit) + raised, limit).sum() < 1:
                low = raised
            else:
                high = raised
        heights = np.minimum(np.minimum(heights, limit) + high, limit)
        maps[tile] = np.interp(
            (np.arange(4096) + 0.5) / 4096, np.linspace(0, 1, bins + 1), [0, *np.cumsum(heights)]
        )
    out = np.zeros(levels.shape)
    for place in np.ndindex(*levels.shape):
        at = [(p + 0.5) / s - 0.5 for p, s in zip(place, sides, strict=True)]
        for corner in itertools.product((0, 1), repeat=len(at)):
            share = np.prod([1 - abs(a - (np.floor(a) + c)) for a, c in zip(at, corner, strict=True)])
            tile = tuple(
                int(np.clip(np.floor(a) + c, 0, n - 1)) for a, c, n in zip(at, corner, counts, strict=True)
            )
            out[place] += share * maps[tile][levels[place]]
    return out


class TestGaussian:
    def test_opencv(self) -> None:
        values = scene((60, 70))
        theirs = cv2.GaussianBlur(values, (13, 17), sigmaX=1.5, sigmaY=2.0, borderType=cv2.BORDER_REFLECT)
        np.testing.assert_allclose(after(Gaussian(sigma=[0, 2.0, 1.5]), values), theirs, atol=1e-3)

    def test_simpleitk_in_millimetres(self) -> None:
        """Inside: SimpleITK's recursive filter approximates the kernel, and repeats edges."""
        values = scene((20, 40, 40), noise=3)
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((0.5, 0.8, 2.0))
        theirs = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, [2.0, 2.0, 2.0]))
        ours = after(Gaussian(sigma=2.0, sigma_in="mm"), values)
        inside = (slice(6, -6), slice(12, -12), slice(16, -16))
        np.testing.assert_allclose(ours[inside], theirs[inside], atol=1.0)
        assert np.abs(ours - values)[inside].max() > 5


class TestUnsharpAndGamma:
    def test_unsharp_of_scikit_image(self) -> None:
        values = scene((50, 40)) / 300
        theirs = unsharp_mask(values, radius=2.0, amount=1.5, preserve_range=True)
        ours = after(Unsharp(sigma=[0, 2.0, 2.0], amount=1.5), values)
        inside = (slice(9, -9), slice(9, -9))
        np.testing.assert_allclose(ours[inside], theirs[inside], atol=1e-5)

    def test_gamma_of_scikit_image(self) -> None:
        values = np.random.default_rng(1).random((30, 20)).astype(np.float32)
        np.testing.assert_allclose(
            after(Gamma(gamma=0.4, low=0.0, high=1.0), values), adjust_gamma(values, 0.4), atol=1e-6
        )


class TestMedian:
    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
    @pytest.mark.parametrize("size", [3, 5, 7])
    def test_definition(self, dtype: str, size: int) -> None:
        values = (scene((2, 14, 11)) - (0 if dtype.startswith("u") else 100)).clip(-300, 255).astype(dtype)
        ours = after(Median(size=size), values)
        theirs = generic_filter(values, np.median, (1, size, size), mode="nearest")
        assert np.array_equal(ours, theirs.astype(ours.dtype))
        assert ours.dtype == (np.float32 if dtype.startswith("f") else dtype)

    def test_simpleitk_cube(self) -> None:
        values = scene((8, 12, 11))
        theirs = sitk.GetArrayFromImage(sitk.Median(sitk.GetImageFromArray(values), [1, 1, 1]))
        assert np.array_equal(after(Median(size=3, extent="volume"), values), theirs)


class TestBilateral:
    def test_opencv(self) -> None:
        values = scene((40, 50))
        theirs = cv2.bilateralFilter(
            values, d=7, sigmaColor=30.0, sigmaSpace=1.5, borderType=cv2.BORDER_REFLECT_101
        )
        ours = after(Bilateral(sigma=1.5, sigma_value=30.0), values)
        np.testing.assert_allclose(ours, theirs, atol=0.05)
        assert np.abs(ours - values).mean() > 2

    def test_definition_in_a_volume(self) -> None:
        values = scene((5, 7, 6)).astype(np.float64)
        padded = np.pad(values, 2, mode="reflect")
        total, weights = np.zeros(values.shape), np.zeros(values.shape)
        for shift in itertools.product(range(-2, 3), repeat=3):
            apart = sum(n * n for n in shift)
            if apart > 4:
                continue
            there = padded[tuple(slice(2 + n, 2 + n + m) for n, m in zip(shift, values.shape, strict=True))]
            weight = np.exp(-apart / 2 - (there - values) ** 2 / (2 * 25.0**2))
            total, weights = total + weight * there, weights + weight
        ours = after(Bilateral(sigma=1.0, sigma_value=25.0, extent="volume"), values.astype(np.float32))
        np.testing.assert_allclose(ours, total / weights, atol=1e-3)


class TestNonlocalMeans:
    @pytest.mark.parametrize("shape", [(30, 26), (8, 10, 12)])
    def test_definition(self, shape: tuple[int, ...]) -> None:
        values = scene(shape)
        noise = noise_deviation(values)
        floor, width = 2 * noise**2, (0.8 * noise) ** 2
        padded = np.pad(values.astype(np.float64), 3, mode="reflect")
        total, weights = np.zeros(shape), np.zeros(shape)
        inside = tuple(slice(3, 3 + n) for n in shape)
        for shift in itertools.product(range(-2, 3), repeat=len(shape)):
            there = np.roll(padded, [-n for n in shift], tuple(range(len(shape))))
            apart = uniform_filter((padded - there) ** 2, 3)[inside]
            weight = np.exp(-np.maximum(apart - floor, 0) / width)
            total, weights = total + weight * there[inside], weights + weight
        ours = after(NonlocalMeans(strength=0.8, patch=3, search=5, extent="volume"), values)
        np.testing.assert_allclose(ours, total / weights, atol=2e-3)

    def test_scikit_image(self) -> None:
        """As near to the truth, and nearer to each other than to the input: it sums over smaller patches."""
        values, clean = scene((64, 64)), scene((64, 64), noise=0)
        noise = noise_deviation(values)
        theirs = denoise_nl_means(
            values, patch_size=5, patch_distance=5, h=0.8 * noise, sigma=noise, preserve_range=True
        )
        ours = after(NonlocalMeans(strength=0.8, patch=5, search=11), values)
        assert np.abs(ours - theirs).mean() < 0.3 * np.abs(ours - values).mean()
        assert np.std(ours - clean) < 1.3 * np.std(theirs - clean) < 0.5 * 8


class TestTotalVariation:
    @pytest.mark.parametrize("shape", [(40, 30), (8, 14, 12)])
    def test_scikit_image(self, shape: tuple[int, ...]) -> None:
        """Both run until nothing changes any more."""
        values = scene(shape)
        theirs = denoise_tv_chambolle(values.astype(np.float64), weight=10.0, eps=1e-12, max_num_iter=4000)
        step = TotalVariation(weight=10.0, iterations=4000, tolerance=0, extent="volume")
        np.testing.assert_allclose(after(step, values), theirs, atol=0.2)

    def test_two_levels_by_hand(self) -> None:
        """A step between halves of 5 columns comes closer by weight / 5 from each side."""
        values = np.repeat(np.array([0.0, 100.0], np.float32), 5)[np.newaxis].repeat(6, axis=0)
        ours = after(TotalVariation(weight=20.0, iterations=5000, tolerance=0), values)
        np.testing.assert_allclose(ours, np.where(values > 50, 96, 4), atol=0.05)


class TestWavelet:
    @pytest.mark.parametrize("family", ["haar", "db2", "sym4"])
    @pytest.mark.parametrize("shape", [(64, 80), (28, 32, 36)])
    def test_scikit_image(self, family: str, shape: tuple[int, ...]) -> None:
        values = scene(shape)
        # Its bound on bands without signal is the largest coefficient; both remove them.
        theirs = denoise_wavelet(
            values.astype(np.float64), sigma=noise_deviation(values), wavelet=family, rescale_sigma=False,
            wavelet_levels=2,
        )  # fmt: skip
        ours = after(Wavelet(family=family, levels=2, extent="volume"), values)
        np.testing.assert_allclose(ours, theirs, atol=0.02)

    def test_noise_of_scikit_image(self) -> None:
        values = scene((64, 80))
        assert noise_deviation(values) == pytest.approx(estimate_sigma(values), rel=1e-4)
        assert noise_deviation(values) == pytest.approx(8.0, rel=0.1)
