"""Patches of volumes, from chunks and from the hot cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import IntegrityError, LakeError, UsageError
from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.store.arrays import StoredArray, open_array, write_volume
from voxlake.store.objects import Objects
from voxlake.volumes.cache import HotCache
from voxlake.volumes.patches import random_patches, read_patch

SHAPE = (70, 300, 280)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return Objects.open(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def values(objects: Objects) -> np.ndarray:
    values = np.arange(np.prod(SHAPE), dtype=np.uint32).astype(np.int16).reshape(SHAPE) | 1
    grid = Grid.from_vectors(
        SHAPE, origin=(0, 0, 0), slice_step=(0, 0, 1), row_step=(0, 1, 0), column_step=(1, 0, 0)
    )
    write_volume(objects, "a", values, grid=grid)
    return values


@pytest.fixture
def stored(objects: Objects, values: np.ndarray) -> StoredArray:
    return open_array(objects, "arrays/a.zarr", shards=None)


@pytest.mark.parametrize("cached", [False, True])
def test_patches_hold_the_values_of_their_place(
    stored: StoredArray, values: np.ndarray, tmp_path: Path, cached: bool
) -> None:
    cache = tmp_path / "hot" if cached else None
    size = (33, 64, 100)
    found = list(random_patches(stored, size, count=20, seed=3, cache=cache))
    assert len({patch.start for patch in found}) > 15
    for (z, y, x), patch in found:
        np.testing.assert_array_equal(patch, values[z : z + 33, y : y + 64, x : x + 100])
        np.testing.assert_array_equal(read_patch(stored, (z, y, x), size, cache=cache), patch)
        assert patch.flags.c_contiguous
        assert patch.flags.writeable
        assert patch.flags.owndata
        assert type(patch) is np.ndarray


def test_places_depend_on_the_seed_alone(stored: StoredArray, values: np.ndarray, tmp_path: Path) -> None:
    grid = Grid.from_vectors(
        SHAPE, origin=(0, 0, 0), slice_step=(0, 0, 1), row_step=(0, 1, 0), column_step=(1, 0, 0)
    )
    sources = [(stored, None), (stored, tmp_path), (values, None), (Volume(stored, grid), HotCache(tmp_path))]
    starts = [
        [patch.start for patch in random_patches(source, (8, 8, 8), count=9, seed=5, cache=cache)]
        for source, cache in sources
    ]
    assert starts.count(starts[0]) == 4
    assert [patch.start for patch in random_patches(values, (8, 8, 8), count=9, seed=6)] != starts[0]


def test_every_place_is_drawn(values: np.ndarray) -> None:
    small = values[:4, :3, :5]
    found = {patch.start for patch in random_patches(small, (3, 3, 3), count=200, seed=0)}
    assert found == {(z, 0, x) for z in range(2) for x in range(3)}


def test_a_patch_is_a_copy(values: np.ndarray) -> None:
    patch = read_patch(values, (0, 0, 0), SHAPE)
    patch[...] = 0
    assert values.min() != 0 or values.max() != 0


def test_what_does_not_fit_is_refused(stored: StoredArray) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        random_patches(stored, (71, 8, 8), count=1, seed=0)
    for start, size in [((0, 0, 181), (8, 8, 100)), ((-1, 0, 0), (8, 8, 8)), ((0, 0, 0), (8, 0, 8))]:
        with pytest.raises(UsageError, match="does not lie in"):
            read_patch(stored, start, size)
    with pytest.raises(UsageError, match="three numbers"):
        read_patch(stored, (0, 0), (8, 8, 8))


def test_the_cache_is_made_once_and_may_be_deleted(
    stored: StoredArray, values: np.ndarray, tmp_path: Path
) -> None:
    cache = HotCache(tmp_path / "hot")
    first = cache.open(stored)
    path = cache.path(stored)
    assert isinstance(first, np.memmap)
    made = path.stat().st_mtime_ns
    assert np.array_equal(cache.open(stored), values)
    assert path.stat().st_mtime_ns == made
    assert [entry.name for entry in cache.folder.iterdir()] == [path.name]
    path.unlink()
    assert np.array_equal(first, values)
    assert np.array_equal(cache.open(stored), values)
    assert path.exists()


def test_a_file_cut_short_is_made_anew(stored: StoredArray, values: np.ndarray, tmp_path: Path) -> None:
    cache = HotCache(tmp_path)
    cache.open(stored)
    path = cache.path(stored)
    for content in (b"", path.read_bytes()[:1000], b"something else"):
        path.write_bytes(content)
        assert np.array_equal(cache.open(stored), values)


def test_a_folder_that_cannot_be_written_is_told(stored: StoredArray, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(LakeError, match="hot cache"):
        HotCache(blocked).open(stored)


def test_a_missing_shard_is_no_patch_of_zeros(tmp_path: Path) -> None:
    objects = Objects.open(tmp_path / "lake")
    values = np.ones((80, 300, 80), dtype=np.int16)
    grid = Grid.from_vectors(
        values.shape, origin=(0, 0, 0), slice_step=(0, 0, 1), row_step=(0, 1, 0), column_step=(1, 0, 0)
    )
    info = write_volume(objects, "b", values, grid=grid)
    opened = open_array(objects, info.array, shards=info.shards)
    assert info.shards == 2
    shard = next(path for path in (tmp_path / "lake/arrays/b.zarr/0/c").rglob("*") if path.is_file())
    shard.unlink()
    with pytest.raises(IntegrityError, match="1 shards, expected 2"):
        open_array(objects, info.array, shards=info.shards)
    with pytest.raises(IntegrityError, match="shards"):
        read_patch(opened, (0, 0, 0), (80, 300, 80), cache=tmp_path / "hot")
    assert not (tmp_path / "hot").exists()
