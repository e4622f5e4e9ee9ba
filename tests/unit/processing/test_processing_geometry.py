"""Steps that change the grid, by definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from voxlake.core.errors import FlatGridError, GeometryError, ItemError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.processing.crop import Crop
from voxlake.processing.crop_foreground import CropForeground
from voxlake.processing.crop_or_pad import CropOrPad
from voxlake.processing.flip import Flip
from voxlake.processing.pad import Pad
from voxlake.processing.reorient import Reorient
from voxlake.processing.resample import Resample
from voxlake.processing.resize import Resize

GRID = Grid.from_spacing((6, 8, 10), (3.0, 1.0, 0.5), frame="2.25.9")


def volume_of(data: np.ndarray, grid: Grid = GRID, unit: str = "HU") -> Volume:
    return Volume(data, grid, unit)


def counting(dtype: type = np.int16) -> Volume:
    return volume_of(np.arange(480, dtype=dtype).reshape(6, 8, 10))


def flat(data: np.ndarray) -> Volume:
    return Volume(data[np.newaxis], Grid.flat_image(data.shape[:2]))


class TestReorient:
    def test_by_hand(self) -> None:
        done = Reorient(orientation="LPI")(counting())
        assert np.array_equal(done.numpy(), counting().numpy().transpose(2, 1, 0)[:, :, ::-1])
        assert done.grid.orientation == "LPI"
        assert done.numpy().flags.c_contiguous

    def test_flat_passes(self) -> None:
        picture = flat(np.eye(4))
        done = Reorient(orientation="RAS")(picture)
        assert done.grid == picture.grid
        assert np.array_equal(done.numpy(), picture.numpy())

    def test_setting(self) -> None:
        assert Reorient(orientation="spl").orientation == "SPL"
        with pytest.raises(SettingsError, match="one letter each"):
            Reorient.read({"orientation": "XYZ"})


class TestResample:
    def test_linear_is_scipys(self) -> None:
        data = np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)
        done = Resample(spacing=(2.0, 0.7, 0.9), antialias=False)(volume_of(data))
        factors = np.array([2 / 3, 0.7, 1.8])
        offset = (np.array(data.shape) - 1) / 2 - factors * (np.array(done.shape) - 1) / 2
        theirs = ndimage.affine_transform(data, factors, offset, done.shape, order=1, mode="nearest")
        np.testing.assert_allclose(done.numpy(), theirs, atol=1e-6)

    def test_ramp_stays_a_ramp(self) -> None:
        ramp = np.broadcast_to(np.arange(10, dtype=np.float32), (6, 8, 10))
        for order in ("linear", "cubic"):
            done = Resample(spacing=("keep", None, 0.25), order=order)(volume_of(ramp))
            assert done.shape == (6, 8, 20)
            wanted = np.arange(20) / 2 - 0.25
            # Where the cubic spline's mirrored edge, a kink of the ramp, has faded.
            np.testing.assert_allclose(done.numpy()[3, 4, 6:14], wanted[6:14], atol=1e-2)
        assert done.grid.spacing == (3.0, 1.0, 0.25)

    def test_keeps_the_mean_when_coarse(self) -> None:
        data = np.random.default_rng(0).normal(100, 20, (6, 64, 64)).astype(np.float32)
        done = Resample(spacing=("keep", 4.0, 4.0))(volume_of(data, Grid.from_spacing(data.shape, (3, 1, 1))))
        assert done.shape == (6, 16, 16)
        assert done.numpy().mean() == pytest.approx(data.mean(), abs=0.5)

    def test_antialias_removes_what_the_new_grid_cannot_hold(self) -> None:
        stripes = np.broadcast_to((np.arange(60) % 2).astype(np.float32), (1, 4, 60)) * 100
        grid = Grid.from_spacing((1, 4, 60), (1, 1, 1))
        smooth, rough = (
            Resample(spacing=("keep", "keep", 3.0), antialias=on)(volume_of(stripes, grid)).numpy()[..., 3:-3]
            for on in (True, False)
        )
        assert np.ptp(rough) == 100
        assert np.ptp(smooth) < 5
        assert np.abs(smooth - 50).max() < 3

    def test_nearest_keeps_type_and_values(self) -> None:
        done = Resample(spacing=(1.0, 1.0, 1.0), order="nearest")(counting())
        assert done.dtype == np.int16
        assert np.array_equal(done.numpy()[1::3], counting().numpy()[:, :, 1::2])

    def test_constant_stays_constant(self) -> None:
        for order in ("linear", "nearest", "cubic"):
            done = Resample(spacing=(2.1, 2.3, 1.7), order=order)(
                volume_of(np.full((6, 8, 10), 0.1, np.float32))
            )
            np.testing.assert_allclose(done.numpy(), np.float32(0.1), rtol=0 if order != "cubic" else 1e-6)

    def test_same_spacing_changes_nothing(self) -> None:
        done = Resample(spacing=(3.0, 1.0, 0.5))(counting())
        assert done.grid.matches(GRID)
        assert np.array_equal(done.numpy(), counting().numpy())

    def test_colour_is_three_volumes(self) -> None:
        data = np.random.default_rng(0).uniform(0, 255, (6, 8, 10, 3)).astype(np.uint8)
        for order in ("nearest", "linear", "cubic"):
            step = Resample(spacing=(2.0, 2.0, 2.0), order=order)
            done = step(volume_of(data)).numpy()
            for channel in range(3):
                assert np.array_equal(done[..., channel], step(volume_of(data[..., channel])).numpy())

    def test_huge_spacing_is_one_voxel(self) -> None:
        done = Resample(spacing=(1e4, 1e4, 1e9))(counting())
        assert done.shape == (1, 1, 1)
        assert done.numpy()[0, 0, 0] == pytest.approx(counting().numpy().mean(), rel=0.05)

    def test_nan_stays_near(self) -> None:
        data = np.zeros((6, 8, 10), np.float32)
        data[0, 0, 0] = np.nan
        done = Resample(spacing=("keep", 0.5, 0.5))(volume_of(data))
        assert 0 < np.isnan(done.numpy()).sum() <= 6
        with pytest.raises(ItemError, match="finite"):
            Resample(spacing=("keep", 0.5, 0.5), order="cubic")(volume_of(data))

    def test_refusals(self) -> None:
        with pytest.raises(FlatGridError):
            Resample(spacing=(1, 1, 1))(flat(np.eye(4)))
        for spacing in ((1, 1), (1, 1, 0), (1, 1, "kep"), (1, 1, float("nan")), 1.0, (True, 1, 1)):
            with pytest.raises(SettingsError, match="spacing is"):
                Resample.read({"spacing": spacing})


class TestResize:
    def test_constant_is_exact(self) -> None:
        for value in (0.1, 1 / 3, 255.0, -1e-3):
            for method in ("linear", "area", "nearest"):
                data = np.full((51, 37, 3), value, np.float32) * np.array([1, 0.7, 0.3], np.float32)
                done = Resize(shape=(16, 80), filter=method)(flat(data)).numpy()
                assert (done == data[0, 0]).all()

    def test_area_keeps_the_mean(self) -> None:
        data = np.random.default_rng(0).uniform(0, 255, (224, 200)).astype(np.float32)
        done = Resize(shape=(64, 63), filter="area")(flat(data))
        assert done.numpy().mean() == pytest.approx(data.mean(), rel=1e-5)

    def test_linear_keeps_the_mean_of_smooth_images(self) -> None:
        rows, columns = np.mgrid[0:224, 0:224] / 224
        data = (100 + 50 * np.sin(6 * rows) * np.cos(5 * columns)).astype(np.float32)
        for shape in ((64, 64), (300, 100)):
            assert Resize(shape=shape)(flat(data)).numpy().mean() == pytest.approx(data.mean(), rel=1e-3)

    def test_blocks_by_hand(self) -> None:
        data = np.arange(16, dtype=np.uint8).reshape(4, 4)
        done = Resize(shape=(2, 2), filter="area")(flat(data))
        assert np.array_equal(done.numpy()[0], [[2.5, 4.5], [10.5, 12.5]])
        assert done.dtype == np.float32

    def test_keep_aspect(self) -> None:
        data = np.full((100, 50), 7, np.float32)
        done = Resize(shape=(64, 64), keep_aspect=True, fill=-1)(flat(data))
        assert done.shape == (1, 64, 64)
        assert (done.numpy()[0, :, 16:48] == 7).all()
        assert (done.numpy()[0, :, :16] == -1).all()
        assert (done.numpy()[0, :, 48:] == -1).all()
        # The centre of the picture stays the centre.
        assert np.allclose(done.grid.index_to_world((0, 31.5, 31.5)), (24.5, 49.5, 0))

    def test_keep_aspect_leaves_kept_axes(self) -> None:
        done = Resize(shape=("keep", 4, 4), keep_aspect=True)(counting())
        assert done.shape == (6, 4, 4)
        done = Resize(shape=("keep", "keep", "keep"), keep_aspect=True)(counting())
        assert np.array_equal(done.numpy(), counting().numpy())

    def test_volume_keeps_its_field_of_view(self) -> None:
        done = Resize(shape=(3, 4, 5))(counting())
        assert done.grid.spacing == pytest.approx((6.0, 2.0, 1.0))
        assert done.grid == GRID.with_shape((3, 4, 5))

    def test_nan_touches_what_it_is_averaged_into(self) -> None:
        data = np.zeros((64, 64), np.float32)
        data[0, 0] = np.nan
        for method in ("linear", "area"):
            done = Resize(shape=(16, 16), filter=method)(flat(data)).numpy()
            assert np.isnan(done[0, 0, 0])
            assert np.isnan(done).sum() <= 4

    def test_settings(self) -> None:
        assert Resize(shape=[64, 32]).shape == ("keep", 64, 32)
        assert Resize(shape=(None, 64, 32)) == Resize(shape=(64, 32))
        for shape in ((64,), (0, 64), (64, 64, 64, 64), (64.5, 64), 64, "6464", (True, 64)):
            with pytest.raises(SettingsError, match="shape is"):
                Resize.read({"shape": shape})
        with pytest.raises(SettingsError, match="fill is"):
            Resize.read({"shape": (1, 1), "fill": "maximum"})


class TestCropAndPad:
    def test_crop_centre(self) -> None:
        done = Crop(shape=(4, 5, "keep"))(counting())
        assert np.array_equal(done.numpy(), counting().numpy()[1:5, 1:6])
        assert done.grid == GRID.crop((1, 1, 0), (5, 6, 10))
        assert done.numpy().base is None

    def test_crop_refuses_to_grow(self) -> None:
        with pytest.raises(GeometryError, match="crop_or_pad"):
            Crop(shape=(7, 8, 10))(counting())

    def test_pad(self) -> None:
        done = Pad(shape=(9, 8, 12), fill=-5)(counting())
        assert done.dtype == np.int16
        assert np.array_equal(done.numpy()[1:7, :, 1:11], counting().numpy())
        assert (done.numpy() == -5).sum() == 9 * 8 * 12 - 480
        assert done.grid == GRID.pad((1, 0, 1), (2, 0, 1))

    def test_pad_with_the_minimum(self) -> None:
        data = counting(np.float32).numpy() + 3
        data[0, 0, 0] = np.nan
        done = Pad(shape=(6, 8, 11), fill="minimum")(volume_of(data))
        assert (done.numpy()[:, :, 10] == 4).all()

    def test_pad_refusals(self) -> None:
        with pytest.raises(GeometryError, match="crop_or_pad"):
            Pad(shape=(5, 8, 10))(counting())
        for fill, dtype in ((0.5, np.int16), (-1, np.uint8), (256, np.uint8), (1e5, np.float16), (2, bool)):
            with pytest.raises(ItemError, match="does not fit"):
                Pad(shape=(7, 8, 10), fill=fill)(volume_of(np.zeros((6, 8, 10), dtype)))
        with pytest.raises(ItemError, match="no voxel has a finite value"):
            Pad(shape=(7, 8, 10), fill="minimum")(volume_of(np.full((6, 8, 10), np.nan)))

    @pytest.mark.parametrize("size", [1, 4, 5, 8, 9, 13])
    def test_there_and_back_is_the_same_place(self, size: int) -> None:
        shape = (size, size, size)
        there = CropOrPad(shape=shape)(counting())
        back = CropOrPad(shape=(6, 8, 10))(there)
        assert back.grid.matches(GRID, tolerance=1e-9)

    def test_same_shape_copies_nothing(self) -> None:
        volume = counting()
        assert CropOrPad(shape=(6, 8, 10))(volume).numpy() is volume.numpy()

    def test_foreground(self) -> None:
        data = np.full((6, 8, 10), -1000, np.int16)
        data[2:4, 3, 5:9] = 50
        done = CropForeground(threshold=-500)(volume_of(data))
        assert done.grid == GRID.crop((2, 3, 5), (4, 4, 9))
        assert (done.numpy() == 50).all()
        wider = CropForeground(threshold=-500, margin=2)(volume_of(data))
        assert wider.grid == GRID.crop((0, 1, 3), (6, 6, 10))

    def test_foreground_of_colour_and_nan(self) -> None:
        picture = np.zeros((6, 6, 3), np.float32)
        picture[2, 3, 1] = 9
        picture[5, 5] = np.nan
        done = CropForeground()(flat(picture))
        assert done.shape == (1, 1, 1, 3)
        assert np.array_equal(done.numpy().ravel(), [0, 9, 0])

    def test_foreground_is_above_the_threshold(self) -> None:
        with pytest.raises(ItemError, match="no voxel lies above 479"):
            CropForeground(threshold=479)(counting())
        with pytest.raises(SettingsError, match="margin"):
            CropForeground.read({"margin": -1})


class TestFlip:
    def test_flip(self) -> None:
        done = Flip(axes=["column", "slice"])(counting())
        assert np.array_equal(done.numpy(), counting().numpy()[::-1, :, ::-1])
        assert done.grid == GRID.flip(0).flip(2)
        assert done.grid.orientation == "IPR"

    def test_settings(self) -> None:
        assert Flip(axes=["column", "slice"]) == Flip(axes=["slice", "column"])
        for axes in ([], ["row", "row"], ["depth"]):
            with pytest.raises(SettingsError, match="axes"):
                Flip.read({"axes": axes})
