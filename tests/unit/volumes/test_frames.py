"""One frame by its UID: the look-up, its freshness, what is refused."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.read import read_dataset
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.sources.phantoms import Phantoms
from voxlake.store.packs import read_member
from voxlake.store.places import Places
from voxlake.volumes.frames import read_frame
from voxlake.volumes.frames_afar import read_frame_afar


@pytest.fixture
def filled(filled_lake: Lake) -> Lake:
    return filled_lake


def stored(lake: Lake) -> dict[str, np.ndarray]:
    rows = lake.sql('select sop_instance_uid, pack, "offset", length from instances').rows()
    return {
        uid: decode_pixels(read_dataset(read_member(lake.objects, pack, offset, length)))[0]
        for uid, pack, offset, length in rows
    }


def test_a_frame_is_read_by_its_uid(filled: Lake) -> None:
    expected = stored(filled)
    assert len(expected) == 32
    for uid, values in expected.items():
        for lake in (filled, filled.url, Path(filled.url)):
            np.testing.assert_array_equal(read_frame(lake, uid), values)


def test_what_came_in_later_is_found(filled: Lake) -> None:
    read_frame(filled, next(iter(stored(filled))))
    log = Path(filled.url) / "tables/instances/_delta_log"
    places = Places(filled.cache)
    assert places.fresh(log)
    ingest(
        filled,
        Phantoms(patients=5, slices=8, rows=16, columns=16, second_study=0.0, seed=7),
        engine="serial",
        progress=False,
    )
    assert not places.fresh(log)
    for uid, values in stored(filled).items():
        np.testing.assert_array_equal(read_frame(filled, uid), values)
    assert places.fresh(log)


def test_the_look_up_may_be_deleted_or_damaged(filled: Lake) -> None:
    uid, values = next(iter(stored(filled).items()))
    read_frame(filled, uid)
    snapshot = filled.cache / "places-1.snapshot"
    assert snapshot.exists()
    snapshot.write_bytes(b"no snapshot at all" * 100)
    np.testing.assert_array_equal(read_frame(filled, uid), values)
    snapshot.unlink()
    np.testing.assert_array_equal(read_frame(filled, uid), values)
    path = Places(filled.cache).path
    path.unlink()
    np.testing.assert_array_equal(read_frame(filled, uid), values)
    snapshot.unlink()
    path.write_bytes(b"no database at all" * 100)
    np.testing.assert_array_equal(read_frame(filled, uid), values)


def test_a_lake_that_is_no_folder_is_read_by_its_objects(filled: Lake) -> None:
    for lake in (filled, filled.url):
        for uid, values in list(stored(filled).items())[:3]:
            np.testing.assert_array_equal(read_frame_afar(lake, uid), values)
    with pytest.raises(NotFoundError, match="SOPInstanceUID"):
        read_frame_afar(filled, "1.2.3")
    pack = filled.sql("select pack from instances where sop_instance_uid = $uid", {"uid": uid}).rows()[0][0]
    filled.objects.delete(pack)
    with pytest.raises(IntegrityError, match="restore"):
        read_frame_afar(filled, uid)


def test_a_fresh_look_up_loads_no_heavy_library(filled: Lake) -> None:
    uid = next(iter(stored(filled)))
    read_frame(filled, uid)
    code = (
        "import json, sys; import voxlake; from pathlib import Path; "
        f"voxlake.read_frame({filled.url!r}, {uid!r}); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {
        "pyarrow",
        "duckdb",
        "deltalake",
        "zarr",
        "pydicom",
        "pydantic",
        "obstore",
        "imagecodecs",
        "sqlite3",
    }


def test_what_is_not_there_is_refused(filled: Lake, tmp_path: Path) -> None:
    uid = next(iter(stored(filled)))
    with pytest.raises(NotFoundError, match="SOPInstanceUID"):
        read_frame(filled, "1.2.3")
    with pytest.raises(UsageError, match="there is no frame 1"):
        read_frame(filled, uid, 1)
    with pytest.raises(UsageError, match="there is no frame -1"):
        read_frame(filled, uid, -1)
    with pytest.raises(NotFoundError, match="no lake"):
        read_frame(tmp_path / "nowhere", uid)


def test_a_pack_that_is_gone_is_told(filled: Lake) -> None:
    uid, pack = filled.sql("select sop_instance_uid, pack from instances limit 1").rows()[0]
    read_frame(filled, uid)
    filled.objects.delete(pack)
    with pytest.raises(IntegrityError, match="restore"):
        read_frame(filled, uid)


def test_of_two_policies_the_later_is_read(new_lake: Callable[..., Lake], phantoms: Phantoms) -> None:
    lake = new_lake()
    for policy in ("basic", "research"):
        ingest(lake, phantoms, policy=policy, engine="serial", progress=False)
    rows = lake.sql(
        'select sop_instance_uid, pack, "offset" from instances order by committed_at desc limit 1'
    ).rows()
    uid, pack, offset = rows[0]
    read_frame(lake, uid)
    place = Places(lake.cache).find(uid)
    assert place is not None
    assert (place.pack, place.offset) == (pack, offset)
    with sqlite3.connect(Places(lake.cache).path) as connection:
        assert connection.execute("select count(*) from places").fetchone() == (32,)
    connection.close()
