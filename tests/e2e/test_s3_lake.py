"""Lakes in a bucket: the same job with the same results, several writers, a bad network, lost caches."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from voxlake.core.errors import IntegrityError, LakeError, NotFoundError, SettingsError, UsageError
from voxlake.core.plan import Plan
from voxlake.lake.cohorts import select
from voxlake.lake.compact import compact
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.verify import verify
from voxlake.sources.phantoms import Phantoms
from voxlake.store import narrow
from voxlake.store.arrays import open_array, read_array, write_stack
from voxlake.store.keys import LakeKey
from voxlake.store.lookup import Lookup
from voxlake.store.objects import Objects
from voxlake.store.places import Places
from voxlake.store.query import run_sql
from voxlake.store.tables import Tables
from voxlake.store.uid_index import UidIndex
from voxlake.testing.s3 import S3Server, proxied
from voxlake.volumes.cache import HotCache
from voxlake.volumes.frames import read_frame
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes
from voxlake.volumes.series import read_series

pytestmark = pytest.mark.xdist_group("s3")

_FEW = Phantoms(patients=2, slices=8, rows=16, columns=16, second_study=0.0)
_ONE = Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0.0)
_CALL = """
import sys
from voxlake.lake.compact import compact
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import open_lake
url, key, folder = sys.argv[1:]
print(ingest(open_lake(url, key=key), folder, engine="serial", progress=False).balance())
"""


@pytest.fixture
def open_at(tmp_path: Path) -> Callable[[str], Lake]:
    """Open or make a lake, all with the same key."""
    key = tmp_path / "key"
    LakeKey(bytes(range(32))).save(key)
    return lambda url: open_lake(url, key=key)


def fresh(server: S3Server) -> str:
    return server.url("voxlake", f"e2e/{uuid4().hex}")


def facts(lake: Lake) -> list[tuple[Any, ...]]:
    """What must be the same in every lake of the same key."""
    rows = lake.sql("select sop_instance_uid, source_mac, sha256, length from instances order by all").rows()
    return rows + lake.sql("select series_instance_uid, geometry, slices from series order by all").rows()


def test_the_whole_job_gives_the_same(s3: S3Server, open_at: Callable[[str], Lake], tmp_path: Path) -> None:
    here, there = open_at(str(tmp_path / "lake")), open_at(fresh(s3))
    found = []
    for lake in (here, there):
        assert ingest(lake, _ONE, engine="serial", progress=False).balance() == "8 seen = 8 stored"
        cohort = select(lake, "all")
        prepare(cohort, plan=Plan(), engine="serial", progress=False)
        volumes = [volume.numpy() for volume in iter_volumes(cohort)]
        rows = lake.sql("select volume_id, sha256, shards, shape from volumes order by 1").rows()
        found.append((facts(lake), cohort.cohort_id, rows, volumes))
    assert found[0][:3] == found[1][:3]
    assert len(found[1][3]) == 1
    for ours, theirs in zip(found[0][3], found[1][3], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    uid = found[0][0][0][0]
    np.testing.assert_array_equal(read_frame(there, uid), read_frame(here, uid))
    series = here.sql("select series_instance_uid from series").rows()[0][0]
    np.testing.assert_array_equal(read_series(there, series).numpy(), read_series(here, series).numpy())
    # Nothing that travels holds a credential.
    sent = pickle.dumps((there.reference, there.objects, there.tables))
    assert b"secret-of-the-test" not in sent
    assert pickle.loads(sent)[0].open().settings == there.settings
    # The caches are gone, and nobody minds.
    shutil.rmtree(tmp_path / "home")
    again = open_at(there.url)
    assert facts(again) == found[0][0]
    assert ingest(again, _ONE, engine="serial", progress=False).counts == {"seen": 8, "already": 8}


def test_caches_may_go_while_they_are_read(s3: S3Server, tmp_path: Path) -> None:
    tables = Tables(Objects.open(fresh(s3)), tmp_path / "cache")
    for number in range(3):
        tables.append("runs", [{"run_id": f"{number}"}])
    stop = threading.Event()

    def empty() -> None:
        # Ever more seldom: on a machine that is busy, a query takes its time.
        pause = 0.1
        while not stop.wait(pause):
            shutil.rmtree(tmp_path / "cache", ignore_errors=True)
            pause *= 1.5

    thread = threading.Thread(target=empty)
    thread.start()
    try:
        for _ in range(8):
            assert run_sql(tables, "select count(*) from runs").rows() == [(3,)]
    finally:
        stop.set()
        thread.join()
    assert run_sql(tables, "select count(*) from runs").rows() == [(3,)]


def test_only_files_that_matter_are_fetched(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrow, "_LEAST_FILES", 2)
    objects, cache = Objects.open(fresh(s3)), tmp_path / "cache"
    writer, reader = Tables(objects, tmp_path / "elsewhere"), Tables(objects, cache)

    def add(number: int) -> None:
        row = {"sop_instance_uid": f"1.2.{number}", "source_mac": f"{number}", "policy_digest": "p"}
        writer.append("instances", [row])

    def mac(uid: str) -> list[tuple[Any, ...]]:
        statement = "select source_mac from instances where sop_instance_uid = ?"
        return run_sql(reader, statement, [uid], cache=cache).rows()

    def copies() -> int:
        return len(list((cache / "tables").rglob("*.parquet")))

    for number in (1, 2, 3, 3):
        add(number)
    assert mac("1.2.1") == [("1",)]
    shutil.rmtree(cache / "tables")
    # Where the UIDs stand is known by now.
    assert mac("1.2.2") == [("2",)]
    assert copies() == 1
    add(4)
    assert mac("1.2.4") == [("4",)]
    assert copies() == 2
    # Its second row is hidden here too, although the statement reads only these files.
    assert mac("1.2.3") == [("3",)]
    assert copies() == 4
    assert mac("1.2.9") == []
    assert run_sql(reader, "select count(*) from instances", cache=cache).rows() == [(4,)]
    assert copies() == 5


def test_look_ups_fetch_again_what_was_deleted(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Tables(Objects.open(fresh(s3)), tmp_path / "cache")
    tables.append("quarantine", [{"quarantine_id": "a"}])
    row = dict.fromkeys(("sop_instance_uid", "source_mac", "policy_digest", "pack", "sha256"), "1")
    tables.append("instances", [{**row, "sha256": "00" * 32, "offset": 0, "length": 1}])
    real, deleted = tables.places.local, []

    def deletes(name: str, uris: list[str]) -> list[str]:
        paths = real(name, uris)
        if len(deleted) < 4:
            deleted.append(name)
            shutil.rmtree(tmp_path / "cache" / "tables")
        return paths

    monkeypatch.setattr(tables.places, "local", deletes)
    lookup = Lookup(tmp_path / "other", "lake")
    assert lookup.sync(tables) == 2
    assert lookup.known([("1", "1")]) == {("1", "1")}
    deleted.clear()
    assert Places(tmp_path / "other").sync(tables) == 1
    deleted.clear()
    assert UidIndex(tmp_path / "other").sync(tables) == 1
    assert deleted == ["instances"] * 4


def test_a_missing_shard_is_an_error(s3: S3Server, tmp_path: Path) -> None:
    objects = Objects.open(fresh(s3))
    images = np.random.default_rng(3).integers(1, 999, (3, 24, 16), dtype=np.int16)
    info = write_stack(objects, "stack", images)
    assert write_stack(objects, "stack", images) == info
    stored = open_array(objects, info.array, shards=info.shards)
    np.testing.assert_array_equal(stored[1], images[1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored))[2], images[2])
    np.testing.assert_array_equal(read_array(objects, info.array, shards=info.shards), images)
    cache = HotCache(tmp_path / "hot")
    np.testing.assert_array_equal(cache.open(stored), images)
    shutil.rmtree(tmp_path / "hot")
    np.testing.assert_array_equal(cache.open(stored), images)
    (shard,) = [path for path in objects.list(info.array) if "/c/" in path]
    objects.delete(shard)
    with pytest.raises(IntegrityError, match="shard"):
        stored[0]
    with pytest.raises(IntegrityError, match="0 shards, expected 1"):
        open_array(objects, info.array, shards=info.shards)


@pytest.mark.slow
def test_large_objects(s3: S3Server) -> None:
    objects = Objects.open(fresh(s3))
    data = np.random.default_rng(5).bytes((16 << 20) + 5)
    objects.put("large", data)
    assert objects.get("large") == data
    assert objects.get_ranges("large", [(16 << 20, 5), (0, len(data)), (7, 3)]) == [
        data[16 << 20 :],
        data,
        data[7:10],
    ]


def test_places_that_are_not_there(s3: S3Server) -> None:
    nobody = Objects.open(s3.url("no-such-bucket", "lake"))
    assert not nobody.exists("a")
    for write in (nobody.put, nobody.put_new):
        with pytest.raises(LakeError, match="there is no bucket 'no-such-bucket'"):
            write("a", b"1")
    with pytest.raises(NotFoundError, match="no lake at"):
        open_lake(fresh(s3), create=False)
    for url, error in (
        ("s3://voxlake/a b", SettingsError),
        ("s3://voxlake/a?endpont=x", SettingsError),
        ("s3://me:secret@voxlake/a", UsageError),
        ("s4://voxlake/a", SettingsError),
    ):
        with pytest.raises(error):
            Objects.open(url)


@pytest.mark.slow
def test_https_with_an_authority_of_our_own(s3: S3Server, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost",
         "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    with proxied(s3, certificate=(certificate, key)) as server:
        program = (
            "import sys; from voxlake.store.objects import Objects; from voxlake.store.tables import Tables\n"
            "tables = Tables(Objects.open(sys.argv[1]))\n"
            "tables.objects.put('a', b'1')\n"
            "print(tables.append('runs', [{'run_id': 'a'}]), len(tables.files('runs')))"
        )
        command = [sys.executable, "-c", program, fresh(server)]
        trusting = {**os.environ, "SSL_CERT_FILE": str(certificate)}
        done = subprocess.run(command, env=trusting, capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["0", "1"], done.stderr


def started(url: str, key: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CALL, url, str(key), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_fill_one_lake(s3: S3Server, open_at: Callable[[str], Lake], tmp_path: Path) -> None:
    items = list(Phantoms(patients=3, slices=8, rows=16, columns=16, second_study=0.0))
    folders = (tmp_path / "first", tmp_path / "second")
    for folder, part in zip(folders, (items[:16], items[8:]), strict=True):
        folder.mkdir()
        for number, item in enumerate(part):
            (folder / f"{number}.dcm").write_bytes(item.read(1 << 20))
    url = fresh(s3)
    open_at(url)
    running = [started(url, tmp_path / "key", folder) for folder in folders]
    ended = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    alone = open_at(str(tmp_path / "alone"))
    ingest(alone, *folders, engine="serial", progress=False)
    lake = open_at(url)
    assert facts(lake) == facts(alone)
    assert lake.sql("select count(*), count(distinct source_mac) from instances").rows() == [(24, 24)]
    assert lake.sql("select count(*) from runs where outcome = 'done'").rows() == [(2,)]


@pytest.mark.slow
def test_a_bad_network_changes_nothing(s3: S3Server, open_at: Callable[[str], Lake], tmp_path: Path) -> None:
    alone = open_at(str(tmp_path / "alone"))
    ingest(alone, _FEW, engine="serial", progress=False)
    with proxied(s3, faults=0.15, seed=2026) as server:
        lake = open_at(fresh(server))
        assert ingest(lake, _FEW, engine="processes:2", progress=False).balance() == "16 seen = 16 stored"
        cohort = select(lake, "all")
        assert prepare(cohort, plan=Plan(), engine="serial", progress=False).counts["stored"] == 2
        assert len(list(iter_volumes(cohort))) == 2
        assert facts(lake) == facts(alone)


@pytest.mark.slow
def test_giving_up_says_so(s3: S3Server) -> None:
    with proxied(s3, faults=1.0, seed=1) as server, pytest.raises(LakeError, match=r"after [0-9]+ attempts"):
        Objects.open(fresh(server)).get("a")


@pytest.mark.slow
def test_compact_beside_a_reader_and_a_writer(
    s3: S3Server, open_at: Callable[[str], Lake], tmp_path: Path
) -> None:
    alone, lake = open_at(str(tmp_path / "alone")), open_at(fresh(s3))
    small = Phantoms(patients=1, slices=8, rows=16, columns=16, seed=4, second_study=0.0)
    for one in (alone, lake):
        ingest(one, small, engine="serial", progress=False)
    (uid,) = alone.sql("select min(sop_instance_uid) from instances").rows()[0]
    frame = read_frame(alone, uid)
    ingest(alone, _FEW, engine="serial", progress=False)
    seen: list[int] = []

    def read() -> None:
        # On another machine: with caches of its own.
        reader = lake.reference.open()
        reader.tables = Tables(lake.objects, tmp_path / "reader")
        while not seen or seen[-1] < 24:
            seen.append(reader.sql("select count(*) from instances").rows()[0][0])
            np.testing.assert_array_equal(read_frame(lake.reference.open(), uid), frame)

    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read)
        writing = pool.submit(ingest, lake.reference.open(), _FEW, engine="serial", progress=False)
        moved = 0
        while not (writing.done() and reading.done()):
            moved += compact(lake, grace="1 hour", engine="serial", progress=False).result["moved"]
        assert writing.result().counts == {"seen": 16, "stored": 16}
        reading.result()
    moved += compact(lake, grace="1 hour", engine="serial", progress=False).result["moved"]
    assert seen == sorted(seen)
    assert moved > 0
    assert facts(lake) == facts(alone)
    assert verify(lake, engine="serial", progress=False).failures == 0
    compact(lake, grace="0", engine="serial", progress=False)
    assert facts(lake.reference.open()) == facts(alone)
    np.testing.assert_array_equal(read_frame(lake, uid), frame)
