"""Boxes of stored arrays: the same values as NumPy, whatever reads them; damage is seen."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.core.errors import IntegrityError
from voxlake.core.grid import Grid
from voxlake.store.arrays import StoredArray, open_array, write_stack, write_volume
from voxlake.store.box_reader import BoxReader
from voxlake.store.objects import Objects

SHAPE = (70, 300, 90)


def volume(dtype: str = "int16", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    values = np.random.default_rng(5).integers(0, 200, shape).astype(dtype)
    # Chunks and a whole shard of zeros are not stored.
    values[:, :70] = 0
    values[:, 256:] = 0
    return values


def stored(folder: Path, values: np.ndarray, name: str = "v") -> StoredArray:
    objects = Objects.open(folder)
    grid = Grid(values.shape[:3], np.eye(4))
    return open_array(objects, write_volume(objects, name, values, grid=grid).array, shards=None)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, StoredArray]:
    values = volume()
    return values, stored(tmp_path_factory.mktemp("lake"), values)


def reader(array: StoredArray) -> BoxReader:
    objects, name, _ = array.place
    folder = objects.local_path(name)
    assert folder is not None
    found = BoxReader.open(folder / "0")
    assert found is not None
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_boxes_are_those_of_numpy(pair: tuple[np.ndarray, StoredArray], data: st.DataObject) -> None:
    values, array = pair
    key: list[Any] = []
    for size in SHAPE:
        low, high = sorted(data.draw(st.tuples(st.integers(-size, size), st.integers(-size, size + 9))))
        key.append(data.draw(st.sampled_from([slice(low, high), slice(None), min(low, size - 1)])))
    box = tuple(key[: data.draw(st.integers(1, 3))])
    found = array[box]
    np.testing.assert_array_equal(found, values[box])
    assert found.flags.owndata or found.base.flags.owndata
    read = reader(array).read(box)
    assert (read is None) == (values[box].size == 0)


@pytest.mark.parametrize("key", [(slice(None, None, 2),), (slice(5, 2),), ..., ([1, 2],), (0, ..., 1)])
def test_other_keys_are_for_the_general_library(pair: tuple[np.ndarray, StoredArray], key: Any) -> None:
    values, array = pair
    assert reader(array).read(key) is None
    if isinstance(key, tuple) and not isinstance(key[0], list):
        np.testing.assert_array_equal(array[key], values[key])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", "int64"])
def test_types_and_colour(tmp_path: Path, dtype: str) -> None:
    values = volume(dtype, (66, 80, 3, 3))
    box = (slice(60, 66), slice(62, 75), slice(1, 3))
    found = reader(stored(tmp_path, values)).read(box)
    assert found is not None
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, values[box])


def test_images_of_a_stack(tmp_path: Path) -> None:
    objects = Objects.open(tmp_path)
    images = np.random.default_rng(1).integers(0, 255, (300, 12, 10), dtype=np.uint8)
    images[4] = 0
    array = open_array(objects, write_stack(objects, "s", images).array, shards=None)
    for position in (0, 4, 255, 256, 299, -1):
        found = reader(array).read(position)
        assert found is not None
        np.testing.assert_array_equal(found, images[position])


def shards(array: StoredArray) -> list[Path]:
    objects, name, _ = array.place
    folder = objects.local_path(name)
    assert folder is not None
    return sorted(path for path in (folder / "0" / "c").rglob("*") if path.is_file())


@pytest.mark.parametrize("place", [40, -10])
def test_a_changed_byte_is_seen(tmp_path: Path, place: int) -> None:
    values = np.random.default_rng(3).integers(0, 9999, (40, 40, 40)).astype("int16")
    array = stored(tmp_path, values)
    (path,) = shards(array)
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(IntegrityError, match="damaged"):
        array[:10, :10, :10]
    path.write_bytes(damaged[:100])
    with pytest.raises(IntegrityError, match="damaged"):
        array[:10, :10, :10]


def test_an_array_made_anew_is_read_anew(tmp_path: Path) -> None:
    values = volume()
    array = stored(tmp_path, values)
    box = (slice(0, 10), slice(60, 140), slice(0, 90))
    np.testing.assert_array_equal(array[box], values[box])
    other = np.random.default_rng(9).permuted(values)
    stored(tmp_path, other)
    np.testing.assert_array_equal(array[box], other[box])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[box], other[box])


def test_other_layouts_are_for_the_general_library(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "plain.zarr", data=volume())
    assert BoxReader.open(tmp_path / "plain.zarr") is None
    assert BoxReader.open(tmp_path / "nothing") is None
    (tmp_path / "zarr.json").write_text("{}")
    assert BoxReader.open(tmp_path) is None
