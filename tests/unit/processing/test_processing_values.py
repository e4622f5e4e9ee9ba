"""Steps that change the values, by definition."""

from __future__ import annotations

import numpy as np
import pytest

from voxlake.core.errors import ItemError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.cast import Cast
from voxlake.processing.clip import Clip
from voxlake.processing.grayscale import Grayscale
from voxlake.processing.invert import Invert
from voxlake.processing.minmax import MinMax
from voxlake.processing.percentile import Percentile
from voxlake.processing.rescale import Rescale
from voxlake.processing.window import Window
from voxlake.processing.zscore import ZScore

NAN, INF = np.nan, np.inf


def line(*values: float, dtype: type = np.float32, unit: str = "arbitrary") -> Volume:
    return Volume(np.array([[values]], dtype), Grid.flat_image((1, len(values))), unit)


def after(step: Step, volume: Volume) -> np.ndarray:
    done = step(volume)
    assert done.grid == volume.grid
    return done.numpy()[0, 0]


def noise(size: int = 4000, seed: int = 0) -> Volume:
    values = np.random.default_rng(seed).normal(40, 12, size)
    return line(*np.where(np.arange(size) % 4 == 0, 0, values))


class TestWindow:
    def test_by_hand(self) -> None:
        found = after(Window(low=-1000, high=1000), line(-2000, -1000, 0, 500, 1000, 3000, dtype=np.int16))
        assert np.array_equal(found, [0, 0, 0.5, 0.75, 1, 1])
        assert found.dtype == np.float32

    def test_definition(self) -> None:
        values = noise().numpy()
        wanted = (np.clip(values.astype(np.float64), 20, 45.5) - 20) / 25.5
        np.testing.assert_allclose(Window(low=20, high=45.5)(noise()).numpy(), wanted, atol=1e-6)

    def test_not_finite(self) -> None:
        assert np.array_equal(after(Window(low=0, high=1), line(NAN, INF, -INF)), [NAN, 1, 0], equal_nan=True)

    def test_stays_in_range_whatever_the_rounding(self) -> None:
        for low, high in ((0.1, 0.7), (-1 / 3, 1e-7), (1e6, 1e6 + 0.3), (-3.4e38, 0.1)):
            found = after(Window(low=low, high=high), line(low, high, 3e38, -3e38))
            assert found.min() == found[0] == 0
            assert found.max() == found[2] == 1

    def test_unit(self) -> None:
        step = Window(low=-1000, high=400, unit="HU")
        assert step(line(0, unit="HU")).unit == "normalised"
        with pytest.raises(ItemError, match="limits are in HU, but the volume is in SUVbw") as caught:
            step(line(0, unit="SUVbw"))
        assert caught.value.reason == "step_failed"

    @pytest.mark.parametrize("limits", [(1, 1), (2, 1), (1e6, 1e6 + 0.01), (NAN, 1), (0, INF), (0, 1e39)])
    def test_bad_limits(self, limits: tuple[float, float]) -> None:
        with pytest.raises(SettingsError):
            Window.read({"low": limits[0], "high": limits[1]})


class TestClip:
    def test_keeps_type_and_unit(self) -> None:
        done = Clip(low=-1.5, high=2.5)(line(-5, -1, 0, 2, 9, dtype=np.int16, unit="HU"))
        assert (done.dtype, done.unit) == (np.int16, "HU")
        # Inwards: -2 would lie outside the limits.
        assert np.array_equal(done.numpy()[0, 0], [-1, -1, 0, 2, 2])

    def test_floats(self) -> None:
        assert np.array_equal(
            after(Clip(low=0.5), line(0, INF, NAN)), np.float32([0.5, INF, NAN]), equal_nan=True
        )
        assert np.array_equal(after(Clip(high=0.5), line(0, INF, -INF)), np.float32([0, 0.5, -INF]))
        assert Clip(high=1e30)(line(1, dtype=np.float16)).dtype == np.float32

    def test_limits_beyond_the_type(self) -> None:
        assert np.array_equal(after(Clip(low=-1e6, high=1e6), line(0, 255, dtype=np.uint8)), [0, 255])
        for limits in ({"low": 300}, {"high": -1}, {"low": 0.2, "high": 0.8}):
            with pytest.raises(ItemError, match="uint8 has no value"):
                Clip(**limits)(line(0, 255, dtype=np.uint8))

    @pytest.mark.parametrize("limits", [{}, {"low": 2, "high": 1}, {"low": NAN}])
    def test_bad_limits(self, limits: dict[str, float]) -> None:
        with pytest.raises(SettingsError):
            Clip.read(limits)


class TestZScore:
    def test_definition(self) -> None:
        values = noise().numpy().astype(np.float64)
        for over, used in (("all", values), ("nonzero", values[values != 0]), (30.0, values[values > 30])):
            wanted = (values - used.mean()) / used.std()
            done = ZScore(over=over)(noise())
            np.testing.assert_allclose(done.numpy(), wanted, atol=1e-5)
            assert (done.unit, done.dtype) == ("normalised", np.float32)

    def test_mean_and_deviation(self) -> None:
        grid = Grid.from_spacing((5, 20, 20), (1, 1, 1))
        data = np.random.default_rng(0).integers(-1000, 2000, grid.shape).astype(np.int16)
        found = ZScore()(Volume(data, grid, "HU")).numpy().astype(np.float64)
        assert abs(found.mean()) < 1e-6
        assert found.std() == pytest.approx(1, abs=1e-6)

    @pytest.mark.parametrize("value", [0.0, 0.1, 1e6, -1000.0, 3e38])
    def test_constant_gives_zeros(self, value: float) -> None:
        for over in ("all", "nonzero"):
            assert not after(ZScore(over=over), line(*[value] * 999)).any()

    def test_not_finite_does_not_count(self) -> None:
        found = after(ZScore(), line(1, 3, NAN, INF, -INF))
        assert np.array_equal(found, [-1, 1, NAN, INF, -INF], equal_nan=True)
        assert np.array_equal(after(ZScore(), line(5, 5, NAN)), [0, 0, NAN], equal_nan=True)

    def test_refusals(self) -> None:
        with pytest.raises(ItemError, match="no voxel has a finite value"):
            ZScore()(line(NAN, INF))
        with pytest.raises(ItemError, match=r"no voxel lies above 9\.0"):
            ZScore(over=9)(line(1, 2))
        for over in ("some", NAN, True, 1e39):
            with pytest.raises(SettingsError, match="nonzero"):
                ZScore.read({"over": over})


class TestMinMax:
    def test_by_hand(self) -> None:
        assert np.array_equal(after(MinMax(), line(2, 3, 4, dtype=np.uint8)), [0, 0.5, 1])
        assert np.array_equal(after(MinMax(), line(2, 4, NAN, INF, -INF)), [0, 1, NAN, 1, 0], equal_nan=True)
        assert not after(MinMax(), line(0.1, 0.1)).any()
        with pytest.raises(ItemError, match="finite"):
            MinMax()(line(NAN))

    def test_range_beyond_float32(self) -> None:
        with pytest.raises(ItemError, match="range of float32"):
            MinMax()(line(-3e38, 3e38))
        with pytest.raises(ItemError, match="range of float32"):
            MinMax()(line(0, 1e300, dtype=np.float64))


class TestPercentile:
    def test_definition(self) -> None:
        values = noise().numpy().astype(np.float64)
        for over, used in (("all", values), ("nonzero", values[values != 0]), (30, values[values > 30])):
            low, high = np.percentile(used, (5, 90))
            wanted = (np.clip(values, low, high) - low) / (high - low)
            done = Percentile(low=5, high=90, over=over)(noise())
            np.testing.assert_allclose(done.numpy(), wanted, atol=1e-5)
            assert done.unit == "normalised"

    def test_corners(self) -> None:
        assert np.array_equal(after(Percentile(low=0, high=100), line(0, 1, 4)), [0, 0.25, 1])
        assert not after(Percentile(), line(7, 7, 7)).any()
        assert not after(Percentile(over="nonzero"), line(0, 0)).any()
        found = after(Percentile(low=0, high=100), line(0, 2, NAN, INF, -INF))
        assert np.array_equal(found, [0, 1, NAN, 1, 0], equal_nan=True)

    def test_refusals(self) -> None:
        with pytest.raises(ItemError, match="finite"):
            Percentile()(line(NAN, INF))
        with pytest.raises(ItemError, match="no voxel lies above 3"):
            Percentile(over=3)(line(1, 2))
        for settings in ({"low": 50, "high": 50}, {"low": -1}, {"high": 101}):
            with pytest.raises(SettingsError):
                Percentile.read(settings)


class TestOthers:
    def test_rescale(self) -> None:
        done = Rescale(scale=2, offset=-1, unit="HU")(line(0, 1, NAN, INF, dtype=np.float64))
        assert np.array_equal(done.numpy()[0, 0], [-1, 1, NAN, INF], equal_nan=True)
        assert (done.dtype, done.unit) == (np.float32, "HU")
        assert Rescale(scale=2)(line(1, unit="HU")).unit == "arbitrary"
        with pytest.raises(ItemError, match="range of float32"):
            Rescale(scale=1e30)(line(1e30))

    def test_grayscale(self) -> None:
        picture = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [77, 77, 77]]]], np.uint8)
        done = Grayscale()(Volume(picture, Grid.flat_image((1, 4))))
        np.testing.assert_allclose(done.numpy()[0, 0], [76.245, 149.685, 29.07, 77], rtol=1e-6)
        assert done.numpy()[0, 0, 3] == 77
        assert done.channels == 1
        scalar = line(1, 2, dtype=np.int16)
        assert Grayscale()(scalar).numpy() is scalar.numpy()

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
    def test_invert(self, dtype: type) -> None:
        volume = line(10, 20, 127, dtype=dtype, unit="HU")
        done = Invert()(volume)
        assert np.array_equal(done.numpy()[0, 0], [127, 117, 10])
        assert (done.dtype, done.unit) == (dtype, "arbitrary")
        assert np.array_equal(Invert()(done).numpy(), volume.numpy())

    def test_invert_full_range(self) -> None:
        found = after(Invert(), line(-32768, 0, 32767, dtype=np.int16))
        assert np.array_equal(found, [32767, -1, -32768])
        assert np.array_equal(after(Invert(), line(200, 255, dtype=np.uint8)), [255, 200])
        assert np.array_equal(after(Invert(), line(0, 1, dtype=bool)), [True, False])
        assert np.array_equal(after(Invert(), line(0, 2, NAN, INF)), [2, 0, NAN, -INF], equal_nan=True)
        assert Invert()(line(0, 1, unit="normalised")).unit == "normalised"

    def test_cast_to_whole_numbers(self) -> None:
        volume = line(-1e9, -0.5, 0.5, 1.5, 254.6, 1e9, INF, -INF)
        assert np.array_equal(after(Cast(dtype="uint8"), volume), [0, 0, 0, 2, 255, 255, 255, 0])
        assert after(Cast(dtype="int16"), volume).tolist() == [-32768, 0, 0, 2, 255, 32767, 32767, -32768]
        with pytest.raises(ItemError, match="NaN has no value in int16"):
            Cast(dtype="int16")(line(NAN))

    @pytest.mark.parametrize(
        "dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint64, np.int64, np.float16]
    )
    def test_cast_saturates_from_every_type(self, dtype: type) -> None:
        limits = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
        low, high = float(limits.min), float(limits.max)
        data = np.array([[[limits.min, 1, limits.max]]], dtype)
        volume = Volume(data, Grid.flat_image((1, 3)))
        for target in ("uint8", "int16"):
            bounds = np.iinfo(target)
            wanted = [max(low, bounds.min), 1, min(high, bounds.max)]
            assert Cast(dtype=target)(volume).numpy()[0, 0].tolist() == wanted

    def test_cast_to_floats(self) -> None:
        found = after(Cast(dtype="float16"), line(0.1, 1e6, -1e6, INF, -INF, NAN))
        assert np.array_equal(found, np.float16([0.1, 65504, -65504, INF, -INF, NAN]), equal_nan=True)
        assert after(Cast(dtype="float16"), line(70000, dtype=np.int32)) == 65504
        largest = float(np.finfo(np.float32).max)
        assert after(Cast(dtype="float32"), line(1e300, -1e300, INF, dtype=np.float64)).tolist() == [
            largest,
            -largest,
            INF,
        ]
        same = line(1, 2)
        assert Cast(dtype="float32")(same).numpy() is same.numpy()
