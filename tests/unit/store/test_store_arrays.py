"""Prepared arrays."""

from __future__ import annotations

import hashlib
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarrs

from voxlake.core.errors import IntegrityError, UsageError
from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.store.arrays import (
    open_array,
    read_array,
    read_attributes,
    read_stack_item,
    read_stack_items,
    value_digest,
    write_stack,
    write_volume,
)
from voxlake.store.objects import Objects

SHAPE = (70, 300, 90)
GRID = Grid.from_spacing(SHAPE, (2.5, 0.7, 0.8), frame="1.2.3")


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.open(tmp_path)


@pytest.fixture
def data() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, size=SHAPE).astype(np.int16)


def _shards(objects: Objects, array: str) -> list[Path]:
    folder = objects.local_path(array)
    assert folder is not None
    return sorted(path for path in (folder / "0" / "c").rglob("*") if path.is_file())


def test_a_volume_comes_back(objects: Objects, data: np.ndarray) -> None:
    info = write_volume(objects, "v-1", data, grid=GRID, attributes={"unit": "HU", "inputs": ["a"]})
    assert (info.array, info.shards, info.shape, info.dtype) == ("arrays/v-1.zarr", 2, SHAPE, "int16")
    assert info.sha256 == hashlib.sha256(data.astype("<i2").tobytes()).hexdigest()
    assert len(_shards(objects, info.array)) == 2
    read = read_array(objects, info.array, shards=info.shards, sha256=info.sha256)
    assert read.dtype == np.int16
    np.testing.assert_array_equal(read, data)
    attributes = read_attributes(objects, info.array)
    assert attributes["unit"] == "HU"
    assert Grid.from_dict(attributes["grid"]) == GRID
    assert (attributes["sha256"], attributes["shards"], attributes["kind"]) == (info.sha256, 2, "volume")


def test_the_fast_pipeline_is_really_in_use(objects: Objects, data: np.ndarray) -> None:
    before = zarr.config.get("codec_pipeline.path")
    info = write_volume(objects, "v", data, grid=GRID)
    lazy = open_array(objects, info.array, shards=info.shards)
    pipeline = lazy._values.async_array.codec_pipeline
    assert isinstance(pipeline, zarrs.ZarrsCodecPipeline)
    assert pipeline.impl is not None
    assert zarr.config.get("codec_pipeline.path") == before
    assert "zarrs" not in before


def test_threads_leave_the_setting_alone(objects: Objects, data: np.ndarray) -> None:
    before = zarr.config.get("codec_pipeline.path")
    info = write_volume(objects, "v", data, grid=GRID)

    def work(_: int) -> bool:
        lazy = open_array(objects, info.array, shards=info.shards)
        return isinstance(lazy._values.async_array.codec_pipeline, zarrs.ZarrsCodecPipeline)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(64)))
    assert zarr.config.get("codec_pipeline.path") == before


def test_a_lazy_array_is_what_a_volume_holds(objects: Objects, data: np.ndarray) -> None:
    info = write_volume(objects, "v", data, grid=GRID)
    lazy = open_array(objects, info.array, shards=info.shards)
    volume = Volume(lazy, GRID)
    np.testing.assert_array_equal(volume.numpy(), data)
    np.testing.assert_array_equal(lazy[5:20, 250:, 3], data[5:20, 250:, 3])
    np.testing.assert_array_equal(lazy[7], data[7])
    np.testing.assert_array_equal(lazy[-1, ..., ::2], data[-1, ..., ::2])
    np.testing.assert_array_equal(np.asarray(lazy, dtype=np.float32), data.astype(np.float32))
    again = pickle.loads(pickle.dumps(lazy))
    np.testing.assert_array_equal(again[3:5], data[3:5])
    assert (len(lazy), lazy.ndim, lazy.shape, lazy.dtype) == (70, 3, SHAPE, np.int16)


@pytest.mark.parametrize(
    "dtype", ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">i2", ">f4"]
)
def test_every_type(objects: Objects, dtype: str) -> None:
    values = (np.random.default_rng(1).random((3, 5, 7)) * 100).astype(dtype)
    info = write_volume(objects, "v", values, grid=Grid.from_spacing(values.shape, (1, 1, 1)))
    read = read_array(objects, info.array, shards=info.shards, sha256=info.sha256)
    np.testing.assert_array_equal(read, values)
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    assert info.dtype == np.dtype(dtype).name


def test_values_that_are_easily_lost(objects: Objects) -> None:
    values = np.zeros((65, 65, 65), dtype=np.float32)
    values[:, :, :30] = -0.0
    values[0, 0, 40] = np.nan
    values[1, 0, 40] = -np.inf
    info = write_volume(objects, "v", values, grid=Grid.from_spacing(values.shape, (1, 1, 1)))
    read = read_array(objects, info.array, shards=info.shards)
    np.testing.assert_array_equal(read.view(np.uint32), values.view(np.uint32))
    negative = np.full((1, 4, 4), -0.0)
    info = write_volume(objects, "n", negative, grid=Grid.flat_image((4, 4)))
    assert np.signbit(read_array(objects, info.array, shards=info.shards)).all()


def test_colour_and_flat_images(objects: Objects) -> None:
    colour = np.random.default_rng(2).integers(0, 255, (1, 1100, 300, 3)).astype(np.uint8)
    info = write_volume(objects, "c", colour, grid=Grid.flat_image((1100, 300)))
    assert info.shards == 2
    np.testing.assert_array_equal(read_array(objects, info.array, shards=2), colour)
    axes = _ome(objects, "c")["axes"]
    assert [axis["name"] for axis in axes] == ["z", "y", "x", "c"]
    assert axes[3]["type"] == "channel"
    assert all("unit" not in axis for axis in axes)


def test_metadata_that_other_viewers_read(objects: Objects, data: np.ndarray) -> None:
    tilt = np.deg2rad(30)
    grid = Grid.from_vectors(
        SHAPE,
        origin=(-100, 50, 20),
        slice_step=(0, -2.5 * np.sin(tilt), 2.5 * np.cos(tilt)),
        row_step=(0, 0.7 * np.cos(tilt), 0.7 * np.sin(tilt)),
        column_step=(0.8, 0, 0),
    )
    write_volume(objects, "v", data, grid=grid)
    ome = _ome(objects, "v")
    assert ome["axes"] == [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    (level,) = ome["datasets"]
    assert level["path"] == "0"
    scale, translation = level["coordinateTransformations"]
    assert (scale["type"], translation["type"]) == ("scale", "translation")
    assert scale["scale"] == pytest.approx([2.5, 0.7, 0.8])
    # Along its own axes, the first voxel lies where its projection says.
    assert translation["translation"] == pytest.approx(grid.direction.T @ grid.origin)
    write_volume(objects, "a", data, grid=Grid.from_vectors(
        SHAPE, origin=(1, 2, 3), slice_step=(0, 0, 2), row_step=(0, 1, 0), column_step=(1, 0, 0)
    ))  # fmt: skip
    assert _ome(objects, "a")["datasets"][0]["coordinateTransformations"][1]["translation"] == [3, 2, 1]
    folder = objects.local_path("arrays/v.zarr")
    assert folder is not None
    stored = json.loads((folder / "0" / "zarr.json").read_text())
    assert stored["dimension_names"] == ["z", "y", "x"]
    assert json.loads((folder / "zarr.json").read_text())["attributes"]["ome"]["version"] == "0.5"


def _ome(objects: Objects, array_id: str) -> dict[str, Any]:
    folder = objects.local_path(f"arrays/{array_id}.zarr")
    assert folder is not None
    (multiscale,) = json.loads((folder / "zarr.json").read_text())["attributes"]["ome"]["multiscales"]
    return dict(multiscale)


def test_a_missing_shard_is_an_error_not_zeros(objects: Objects, data: np.ndarray) -> None:
    info = write_volume(objects, "v", data, grid=GRID)
    _shards(objects, info.array)[1].unlink()
    for shards in (info.shards, None):
        for read in (open_array, read_array):
            with pytest.raises(IntegrityError, match="1 shards, expected 2"):
                read(objects, info.array, shards=shards)
    # zarr itself says nothing: this is why they are counted.
    folder = objects.local_path(info.array)
    assert not zarr.open_array(str(folder), path="0", mode="r")[:, 256:].any()


def test_damage_is_found(objects: Objects, data: np.ndarray) -> None:
    info = write_volume(objects, "v", data, grid=GRID)
    shard = _shards(objects, info.array)[0]
    whole = shard.read_bytes()
    for place in (0, 1000, len(whole) // 2, len(whole) - 10):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        shard.write_bytes(damaged)
        with pytest.raises(IntegrityError):
            read_array(objects, info.array, shards=info.shards)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(IntegrityError):
            read_array(objects, info.array, shards=info.shards)
        with pytest.raises(IntegrityError):
            open_array(objects, info.array, shards=info.shards)[:, :256]
    shard.write_bytes(whole)
    with pytest.raises(IntegrityError, match="does not hold the values"):
        read_array(objects, info.array, shards=info.shards, sha256="0" * 64)
    with pytest.raises(IntegrityError, match="not in the lake"):
        open_array(objects, "arrays/absent.zarr", shards=1)


def test_zeros_alone_take_no_shard(objects: Objects) -> None:
    mask = np.zeros((10, 600, 600), dtype=np.uint8)
    mask[:, 10:20, 10:20] = 1
    info = write_volume(objects, "m", mask, grid=Grid.from_spacing(mask.shape, (1, 1, 1)))
    assert info.shards == 1
    np.testing.assert_array_equal(read_array(objects, info.array, shards=1), mask)
    empty = write_volume(objects, "e", mask * 0, grid=Grid.from_spacing(mask.shape, (1, 1, 1)))
    assert empty.shards == 0
    assert not read_array(objects, empty.array, shards=0).any()


def test_writing_again(objects: Objects, data: np.ndarray) -> None:
    first = write_volume(objects, "v", data, grid=GRID)
    shard = _shards(objects, first.array)[0]
    stamp = shard.stat().st_mtime_ns
    # The same values: nothing is touched.
    assert write_volume(objects, "v", data, grid=GRID) == first
    assert shard.stat().st_mtime_ns == stamp
    # A damaged or half-written one is made anew.
    shard.unlink()
    assert write_volume(objects, "v", data, grid=GRID) == first
    folder = objects.local_path(first.array)
    assert folder is not None
    text = (folder / "zarr.json").read_text()
    (folder / "zarr.json").write_text(text.replace('"sha256"', '"sha255"'))
    with pytest.raises(IntegrityError, match="half written"):
        open_array(objects, first.array, shards=None)
    assert write_volume(objects, "v", data, grid=GRID) == first
    # Other values replace it, also of another shape.
    small = data[:5, :5, :5].copy()
    second = write_volume(objects, "v", small, grid=Grid.from_spacing((5, 5, 5), (1, 1, 1)))
    assert second.shards == 1
    np.testing.assert_array_equal(read_array(objects, "arrays/v.zarr", shards=1), small)


def test_stacks(objects: Objects) -> None:
    images = np.random.default_rng(3).integers(0, 255, (600, 20, 30)).astype(np.uint8)
    info = write_stack(objects, "s", images, {"plan": "p"})
    assert (info.shards, info.shape) == (3, (600, 20, 30))
    folder = objects.local_path(info.array)
    assert folder is not None
    stored = json.loads((folder / "0" / "zarr.json").read_text())
    assert stored["codecs"][0]["configuration"]["chunk_shape"] == [1, 20, 30]
    assert read_attributes(objects, info.array)["plan"] == "p"
    np.testing.assert_array_equal(read_stack_item(objects, info.array, 599, shards=3), images[599])
    read = read_stack_items(objects, info.array, [5, 0, 256, 5], shards=3)
    np.testing.assert_array_equal(np.stack(read), images[[5, 0, 256, 5]])
    digest = value_digest(images[7])
    np.testing.assert_array_equal(read_stack_item(objects, info.array, 7, shards=3, sha256=digest), images[7])
    with pytest.raises(IntegrityError, match="at 8"):
        read_stack_item(objects, info.array, 8, shards=3, sha256=digest)
    for position in (-1, 600):
        with pytest.raises(UsageError, match="holds 600 images"):
            read_stack_item(objects, info.array, position, shards=3)
    colour = images[:2, :, :, None].repeat(3, axis=3)
    info = write_stack(objects, "rgb", colour)
    np.testing.assert_array_equal(read_stack_item(objects, info.array, 1, shards=1), colour[1])


def test_what_cannot_be_stored(objects: Objects, data: np.ndarray) -> None:
    with pytest.raises(UsageError, match="does not lie on a grid"):
        write_volume(objects, "v", data[1:], grid=GRID)
    for bad in ("", "../v", "a/b", "a.b"):
        with pytest.raises(UsageError, match="no name of an array"):
            write_volume(objects, bad, data, grid=GRID)
    for dtype in (np.complex64, np.longdouble, "U3", object):
        with pytest.raises(UsageError, match="cannot be stored"):
            write_volume(objects, "v", np.zeros(SHAPE, dtype=dtype), grid=GRID)
    for shape in ((4,), (2, 3), (2, 3, 4, 4), (2, 3, 4, 3, 1)):
        with pytest.raises(UsageError, match="a stack has the shape"):
            write_stack(objects, "s", np.zeros(shape))
    with pytest.raises(UsageError, match="cannot be stored"):
        write_stack(objects, "s", np.zeros((0, 3, 4)))
    assert list(objects.list()) == []


def test_value_digest_is_of_values_alone() -> None:
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    expected = hashlib.sha256(values.astype("<i2").tobytes()).hexdigest()
    for same in (values, values.astype(">i2"), np.asfortranarray(values), values[::-1][::-1]):
        assert value_digest(same) == expected
    assert value_digest(values[::-1]) != expected
    assert value_digest(np.array(True)) == hashlib.sha256(b"\x01").hexdigest()
