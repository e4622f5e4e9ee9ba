"""Laws of enhancement and denoising."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.bilateral import Bilateral
from voxlake.processing.clahe import Clahe, limited
from voxlake.processing.gamma import Gamma
from voxlake.processing.gaussian import Gaussian
from voxlake.processing.median import Median
from voxlake.processing.nonlocal_means import NonlocalMeans
from voxlake.processing.total_variation import TotalVariation
from voxlake.processing.unsharp import Unsharp

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
IMAGES = SHAPES.flatmap(lambda shape: arrays(np.int16, shape, elements=st.integers(-1000, 1000)))
SOME = settings(max_examples=40, deadline=None)


def after(step: Step, values: np.ndarray) -> np.ndarray:
    return step(Volume(values, Grid.from_spacing(values.shape, (2.0, 1.0, 1.0)))).numpy()


@SOME
@given(IMAGES, st.floats(0.1, 5))
def test_gamma_keeps_order_and_ends(values: np.ndarray, power: float) -> None:
    found = after(Gamma(gamma=power), values)
    order = np.argsort(values, axis=None, kind="stable")
    assert (np.diff(found.ravel()[order]) >= 0).all()
    assert found.min() == values.min()
    assert found.max() == values.max()


@SOME
@given(IMAGES, st.floats(0.2, 5))
def test_gamma_has_an_inverse(values: np.ndarray, power: float) -> None:
    there = Gamma(gamma=power, low=-1000.0, high=1000.0)
    back = Gamma(gamma=1 / power, low=-1000.0, high=1000.0)
    # A power near 0 takes away digits: they are compared where it was not.
    again, shown = after(back, after(there, values)), (values + 1000) / 2000 > 0.1
    np.testing.assert_allclose(again[shown], values[shown], atol=2.0)


@SOME
@given(IMAGES, st.sampled_from([3, 5, 7]), st.sampled_from(["slice", "volume"]))
def test_median_commutes_with_rising_maps(values: np.ndarray, size: int, extent: str) -> None:
    step = Median.read({"size": size, "extent": extent})
    rising = values.astype(np.int64) ** 3 // 7 + values
    found = after(step, values).astype(np.int64)
    assert np.array_equal(after(step, rising), found**3 // 7 + found)


@SOME
@given(IMAGES, st.lists(st.floats(0, 6), min_size=3, max_size=3))
def test_gaussian_keeps_mean_and_range(values: np.ndarray, sigma: list[float]) -> None:
    found = after(Gaussian.read({"sigma": sigma}), values)
    np.testing.assert_allclose(found.mean(dtype=np.float64), values.mean(), atol=1e-2)
    assert values.min() <= found.min()
    assert found.max() <= values.max()


@SOME
@given(IMAGES, st.floats(0.3, 3), st.floats(0, 3))
def test_unsharp_keeps_the_mean(values: np.ndarray, sigma: float, amount: float) -> None:
    found = after(Unsharp.read({"sigma": sigma, "amount": amount}), values)
    np.testing.assert_allclose(found.mean(dtype=np.float64), values.mean(), atol=5e-2)


@SOME
@given(IMAGES, st.integers(1, 4), st.floats(1, 20), st.sampled_from(["slice", "volume"]))
def test_clahe_does_not_depend_on_offset_and_scale(
    values: np.ndarray, tiles: int, clip: float, extent: str
) -> None:
    step = Clahe.read({"tiles": tiles, "clip": clip, "extent": extent})
    found = after(step, values)
    assert found.min() >= 0
    assert found.max() <= 1
    # Powers of two are exact.
    assert np.array_equal(after(step, values.astype(np.float64) * 0.25 + 8), found)


@SOME
@given(IMAGES, st.floats(1, 20))
def test_clahe_in_one_tile_keeps_the_order(values: np.ndarray, clip: float) -> None:
    found = after(Clahe(tiles=1, clip=clip, extent="volume"), values)
    assert (np.diff(found.ravel()[np.argsort(values, axis=None, kind="stable")]) >= 0).all()


@SOME
@given(arrays(np.float64, (3, 16), elements=st.integers(0, 50)), st.floats(1, 8))
def test_limited_histograms_keep_their_sum(counts: np.ndarray, clip: float) -> None:
    counts[:, 0] += 1
    limit = clip * counts.sum(axis=1).max() / 16
    found = limited(counts, limit)
    np.testing.assert_allclose(found.sum(axis=1), counts.sum(axis=1), rtol=1e-9)
    assert found.max() <= limit
    below = (counts < limit) & (found < limit)
    for raised, chosen in zip(found - counts, below, strict=True):
        assert np.ptp(raised[chosen]) < 1e-9 if chosen.any() else True


@SOME
@given(IMAGES, st.floats(1, 200))
def test_total_variation_falls_and_the_mean_stays(values: np.ndarray, weight: float) -> None:
    found = after(TotalVariation(weight=weight), values)
    np.testing.assert_allclose(found.mean(dtype=np.float64), values.mean(), atol=0.05)
    before, now = (
        sum(np.abs(np.diff(x, axis=axis)).sum() for axis in (1, 2)) for x in (values.astype(float), found)
    )
    assert now <= before + 1e-2


@SOME
@given(IMAGES, st.integers(-500, 500))
def test_filters_commute_with_an_offset_and_mirroring(values: np.ndarray, offset: int) -> None:
    for step in (
        Bilateral(sigma_value=300.0),
        NonlocalMeans(search=3, patch=3),
        TotalVariation(weight=50.0, iterations=20, tolerance=0),
    ):
        found = after(step, values)
        np.testing.assert_allclose(after(step, values + np.int16(offset)), found + offset, atol=0.3)
        if step.name != "total_variation":
            mirrored = after(step, values[:, ::-1])[:, ::-1]
            if step.name == "bilateral":
                np.testing.assert_allclose(mirrored, found, atol=1e-2)
