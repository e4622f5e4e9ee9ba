"""N4 against SimpleITK at full resolution and against a bias that was put in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.processing.n4 import N4, bias_field
from voxlake.sources.images import read_image

TISSUES = (1.0, 60.0, 100.0, 140.0)


def head(shape: tuple[int, ...], *, noise: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """A ball of three tissues with noise, and a bias of +-35 % that it has not been multiplied with."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    waves = np.sin(11 * x) + np.sin(12 * y + 1) + np.sin(7 * z)
    kind = np.where(x**2 + y**2 + 0.5 * z**2 < 0.75, np.digitize(waves, [-0.5, 0.7]) + 1, 0)
    clean = np.take(TISSUES, kind) + np.random.default_rng(2).normal(0, noise, shape)
    bias = np.exp(0.25 * x - 0.2 * y * y + 0.1 * z)
    return np.abs(clean).astype(np.float32), bias.astype(np.float32)


def simpleitk(values: np.ndarray, iterations: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Corrected at full resolution, with its own Otsu mask; the open factor keeps the mean there."""
    image = sitk.GetImageFromArray(values)
    mask = sitk.OtsuThreshold(image, 0, 1, 200)
    correct = sitk.N4BiasFieldCorrectionImageFilter()
    correct.SetMaximumNumberOfIterations(list(iterations))
    corrected, inside = sitk.GetArrayFromImage(correct.Execute(image, mask)), sitk.GetArrayFromImage(mask) > 0
    return corrected * (values[inside].mean() / corrected[inside].mean()), inside


def volume(values: np.ndarray) -> Volume:
    return Volume(values, Grid.from_spacing(values.shape, (3.0, 1.0, 1.0)), modality="MR")


def apart(one: np.ndarray, other: np.ndarray, inside: np.ndarray) -> float:
    """Mean difference as a share of the mean value, over the tissue."""
    return float(np.abs(one - other)[inside].mean() / other[inside].mean())


class TestAgainstSimpleITK:
    def test_full_resolution_is_the_same(self) -> None:
        values, bias = head((14, 40, 36))
        theirs, _ = simpleitk(values * bias, (10, 10))
        ours = N4(shrink=1, iterations=(10, 10))(volume(values * bias)).numpy()
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=0.05)

    @pytest.mark.parametrize("shape", [(18, 48, 48), (1, 96, 96)])
    def test_small_volumes_are_not_shrunk(self, shape: tuple[int, int, int]) -> None:
        """Too few voxels to leave any out: full resolution, and most of the bias is gone."""
        values, bias = head(shape)
        rounds = (10, 10, 10)
        if shape[0] == 1:
            theirs, inside = simpleitk((values * bias)[0], rounds)
            theirs, inside = theirs[np.newaxis], inside[np.newaxis]
        else:
            theirs, inside = simpleitk(values * bias, rounds)
        ours = N4(iterations=rounds)(volume(values * bias)).numpy()
        assert apart(ours, theirs, inside) < 0.01
        assert spread(ours / values, inside) < 0.35 * spread(bias, inside)

    @pytest.mark.slow
    def test_default_is_equivalent_on_a_synthetic_bias(self) -> None:
        values, bias = head((24, 112, 112))
        theirs, inside = simpleitk(values * bias, (50, 50, 50, 50))
        ours = N4()(volume(values * bias)).numpy()
        assert apart(ours, theirs, inside) < 0.01
        assert spread(ours / values, inside) < 0.25 * spread(bias, inside)

    @pytest.mark.slow
    @pytest.mark.realdata
    @pytest.mark.parametrize("name", ["t1", "flair"])
    def test_default_is_equivalent_on_real_brains(self, realdata: Path, name: str) -> None:
        values = brain(realdata, name)
        theirs, inside = simpleitk(values, (50, 50, 50, 50))
        ours = N4()(volume(values)).numpy()
        assert apart(ours, theirs, inside) < 0.01


def spread(field: np.ndarray, inside: np.ndarray) -> float:
    """Deviation of the logarithm, which does not see a constant factor."""
    return float(np.std(np.log(field[inside])))


def brain(folder: Path, name: str) -> np.ndarray:
    """A real head with every second voxel, which full resolution takes a minute or two for."""
    pattern = {"t1": "brainchop_models/t1_crop.nii.gz", "flair": "ms_lesions/**/*FLAIR*.nii.gz"}[name]
    path = min(folder.glob(pattern))
    whole = read_image(path.read_bytes(), "nifti").numpy().astype(np.float32)
    return np.ascontiguousarray(whole[::2, ::2, ::2])


class TestField:
    def test_positions_are_exact(self) -> None:
        """The field on every voxel is the one on every fourth, where that was sampled: not stretched."""
        values, bias = head((22, 41, 47))
        full = bias_field(values * bias, N4(shrink=1, iterations=(8,)))
        shrunk = bias_field(values * bias, N4(shrink=4, iterations=(8,)))
        assert full is not None
        assert shrunk is not None
        shrunk, full = shrunk / shrunk.mean(), full / full.mean()
        assert np.abs(shrunk / full - 1)[values > 30].mean() < 0.012
        assert np.corrcoef(shrunk[values > 30], full[values > 30])[0, 1] > 0.99

    def test_it_is_smooth(self) -> None:
        """What is divided away is smooth, the same for background, and never 0."""
        values, bias = head((10, 40, 40))
        found = bias_field(values * bias, N4(iterations=(10,)))
        assert found is not None
        assert found.min() > 0.3
        assert found.max() < 3
        assert np.abs(np.diff(np.log(found), axis=2)).max() < 0.1

    def test_holes_do_not_count(self) -> None:
        values, bias = head((10, 40, 40))
        biased = values * bias
        biased[3:5, 10:14, 10:14] = np.nan
        found = N4(iterations=(5,))(volume(biased)).numpy()
        assert np.array_equal(np.isnan(found), np.isnan(biased))
        whole = N4(iterations=(5,))(volume(values * bias)).numpy()
        both = np.isfinite(found) & (values > 30)
        assert np.abs(found / whole - 1)[both].mean() < 0.01

    @pytest.mark.parametrize("over", ["otsu", "all", 30.0])
    def test_over(self, over: str | float) -> None:
        values, bias = head((8, 40, 40))
        found = N4.read({"over": over, "iterations": [10, 10]})(volume(values * bias)).numpy()
        assert np.isfinite(found).all()
        assert spread(found / values, values > 30) < 0.8 * spread(bias, values > 30)

    def test_nothing_above_zero(self) -> None:
        with pytest.raises(ItemError, match="no voxel above 0 is selected"):
            N4()(volume(np.full((4, 8, 8), -3.0, np.float32)))
        with pytest.raises(ItemError, match=r"over = 900\.0"):
            N4(over=900.0)(volume(head((4, 8, 8))[0]))
