"""Compacting changes what lies where and nothing else, whoever reads and writes meanwhile."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from voxlake.core.errors import UsageError
from voxlake.lake.changes import changes
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.compact import compact
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.verify import verify
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.store.packs import read_member, write_pack
from voxlake.store.places import Places
from voxlake.store.schema import TABLES

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("compact")


def phantoms(patients: int) -> Phantoms:
    return Phantoms(patients=patients, slices=8, rows=16, columns=16, second_study=0.0)


def grow(lake: Lake, steps: int = 3) -> None:
    for patients in range(1, steps + 1):
        ingest(lake, phantoms(patients), engine="serial")


@pytest.fixture(scope="module")
def grown_template(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    @functools.cache
    def make(steps: int) -> Path:
        folder = tmp_path_factory.mktemp("grown")
        LakeKey(bytes(range(32))).save(folder / "key")
        grow(open_lake(folder / "lake", key=folder / "key"), steps)
        return folder

    return make


@pytest.fixture
def grown(grown_template: Callable[[int], Path], lake_copy: Callable[[Path], Lake]) -> Callable[[int], Lake]:
    """Open a lake that came to be in so many steps."""
    return lambda steps: lake_copy(grown_template(steps))


def shown(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    """What every view shows, but the places of instances and what compactions wrote themselves."""
    found = {}
    for name in TABLES:
        left_out = 'exclude (pack, "offset")' if name == "instances" else ""
        others = (
            "where run_id not in (select run_id from runs where verb in ('compact', 'verify'))"
            if name in ("runs", "items", "cohorts")
            else ""
        )
        found[name] = lake.sql(f"select * {left_out} from {name} {others} order by all").rows()
    return found


def stored(lake: Lake) -> dict[str, bytes]:
    rows = lake.sql('select sha256, pack, "offset", "length" from instances').rows()
    return {row[0]: read_member(lake.objects, *row[1:], sha256=row[0]) for row in rows}


def repeat(lake: Lake, *, earlier: bool, count: int = 3) -> list[dict[str, Any]]:
    """Commit rows of some instances once more, as a second driver with packs of its own would."""
    rows = lake.sql("select * from instances order by sop_instance_uid limit $n", {"n": count}).dicts()
    shift = timedelta(seconds=-5 if earlier else 5)
    blobs = [read_member(lake.objects, row["pack"], row["offset"], row["length"]) for row in rows]
    for row, entry in zip(rows, write_pack(lake.objects, blobs), strict=True):
        row |= {"pack": entry.pack, "offset": entry.offset, "committed_at": row["committed_at"] + shift}
        row["run_id"] = "second-driver"
    lake.tables.append("instances", rows)
    return rows


def test_nothing_changes_but_places(grown: Callable[[int], Lake]) -> None:
    lake = grown(3)
    select(lake, "all")
    members = get_cohort(lake, "all").members()
    before, blobs = shown(lake), stored(lake)
    run = compact(lake, grace="0", engine="serial")
    assert shown(lake) == before
    assert stored(lake) == blobs
    assert get_cohort(lake, "all").members() == members
    assert run.result["packs"] >= 3
    assert run.result["into_packs"] == 1
    assert run.result["duplicates"] == 0
    assert lake.sql("select count(distinct pack) from instances").rows() == [(1,)]
    assert len(list(lake.objects.list("packs"))) == 1
    assert len(lake.tables.files("instances")) == 1
    again = compact(lake, grace="0", engine="serial")
    assert again.result["packs"] == again.result["duplicates"] == 0
    assert again.counts["already"] >= 6


def test_versions_of_cohorts_stay(grown: Callable[[int], Lake]) -> None:
    lake = grown(2)
    select(lake, "all")
    version = lake.tables.version("instances")
    held = DeltaTable(f"{lake.objects.url}/tables/instances", version=version).to_pyarrow_table()
    ingest(lake, phantoms(3), engine="serial")
    compact(lake, grace="0", engine="serial")
    compact(lake, grace="0", engine="serial")
    then = DeltaTable(f"{lake.objects.url}/tables/instances", version=version).to_pyarrow_table()
    assert then.sort_by("sop_instance_uid") == held.sort_by("sop_instance_uid")
    # No cohort names the version after it.
    with pytest.raises(Exception, match=r"not found|No such file"):
        DeltaTable(f"{lake.objects.url}/tables/series", version=0 + version + 1).to_pyarrow_table()


@pytest.mark.parametrize("earlier", [True, False])
def test_duplicates_go_as_views_say(grown: Callable[[int], Lake], earlier: bool) -> None:
    lake = grown(2)
    twice = repeat(lake, earlier=earlier)
    before = lake.sql("select * from instances order by sop_instance_uid").dicts()
    assert sum(row["run_id"] == "second-driver" for row in before) == (len(twice) if earlier else 0)
    run = compact(lake, grace="0", packs=False, engine="serial")
    assert run.result["duplicates"] == len(twice)
    assert lake.sql("select * from instances order by sop_instance_uid").dicts() == before
    table = DeltaTable(f"{lake.objects.url}/tables/instances").to_pyarrow_table()
    assert len(table) == len(before)
    assert verify(lake, engine="serial").failures == 0
    packs = set(lake.objects.list("packs"))
    assert packs == {row["pack"] for row in before}


def test_look_ups_find_the_new_places(grown: Callable[[int], Lake], tmp_path: Path) -> None:
    lake = grown(3)
    repeat(lake, earlier=False)
    places = Places(tmp_path / "places")
    places.sync(lake.tables)
    assert lake.lookup.sync(lake.tables) > 0
    compact(lake, grace="0", engine="serial")
    assert lake.lookup.sync(lake.tables) == 0
    places.sync(lake.tables)
    for uid, pack, offset in lake.sql('select sop_instance_uid, pack, "offset" from instances').rows():
        found = places.find(uid)
        assert found is not None
        assert (found.pack, found.offset) == (pack, offset)
    # What came in before a compaction is met by a look-up that did not see it then.
    late = Places(tmp_path / "late")
    late.sync(lake.tables)
    ingest(lake, phantoms(4), engine="serial")
    compact(lake, grace="0", engine="serial")
    assert lake.lookup.sync(lake.tables) >= 8
    late.sync(lake.tables)
    for uid, pack in lake.sql("select sop_instance_uid, pack from instances").rows():
        found = late.find(uid)
        assert found is not None
        assert found.pack == pack


def test_statistics_are_kept(grown: Callable[[int], Lake]) -> None:
    lake = grown(3)
    url = f"{lake.objects.url}/tables/instances"
    compact(lake, grace="0", engine="serial")
    (file,) = pa.table(DeltaTable(url).get_add_actions(flatten=True)).to_pylist()
    rows = lake.sql(
        'select min(sha256), max(sha256), min("offset"), max(length), count(*) from instances'
    ).rows()
    assert (file["min.sha256"], file["max.sha256"], file["min.offset"], file["max.length"]) == rows[0][:4]
    assert file["num_records"] == rows[0][4]
    assert file["null_count.sha256"] == 0


def test_grace_keeps_what_was_replaced(grown: Callable[[int], Lake]) -> None:
    lake = grown(3)
    packs, files = set(lake.objects.list("packs")), lake.tables.files("instances")
    run = compact(lake, grace="1 hour", engine="serial")
    assert run.result["removed"] == {}
    assert packs < set(lake.objects.list("packs"))
    assert all(Path(file).is_file() for file in files)
    # Old as they are, they were needed a moment ago.
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    for path in [*map(Path, files), *(lake.objects.local_path(pack) for pack in packs)]:
        assert path is not None
        os.utime(path, (long_ago, long_ago))
    compact(lake, grace="1 hour", engine="serial")
    assert packs < set(lake.objects.list("packs"))
    assert all(Path(file).is_file() for file in files)
    compact(lake, grace="0", engine="serial")
    assert not packs & set(lake.objects.list("packs"))


def test_orphans_go_once_they_are_old(grown: Callable[[int], Lake]) -> None:
    lake = grown(1)
    write_pack(lake.objects, [b"young"])
    (old,) = write_pack(lake.objects, [b"old"])
    lake.objects.put("arrays/0f.zarr/zarr.json", b"{}")
    lake.objects.put("quarantine/0f", b"sealed")
    root = lake.objects.local_path("")
    assert root is not None
    leftover = root / "packs" / "x.pack#7"
    leftover.write_bytes(b"half")
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    for path in (root / old.pack, root / "arrays/0f.zarr/zarr.json", root / "quarantine/0f", leftover):
        os.utime(path, (long_ago, long_ago))
    assert verify(lake, engine="serial").result["orphans"]["objects"] == 4
    run = compact(lake, engine="serial")
    assert run.result["removed"] == {"packs": 1, "arrays": 1, "quarantine": 1, "bytes": 11, "leftovers": 1}
    assert verify(lake, engine="serial").result["orphans"]["objects"] == 1


def test_who_takes_up_an_old_pack_makes_it_young(lake: Lake) -> None:
    (entry,) = write_pack(lake.objects, [b"old"])
    path = lake.objects.local_path(entry.pack)
    assert path is not None
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(path, (long_ago, long_ago))
    write_pack(lake.objects, [b"old"])
    assert path.stat().st_mtime > long_ago + 86_400


def test_damaged_members_are_left_alone(grown: Callable[[int], Lake]) -> None:
    lake = grown(3)
    pack = lake.sql("select min(pack) from instances").rows()[0][0]
    data = bytearray(lake.objects.get(pack))
    data[10] ^= 1
    lake.objects.put(pack, bytes(data))
    run = compact(lake, grace="0", engine="serial")
    assert run.reasons == {"object_damaged": 1}
    assert lake.objects.get(pack) == bytes(data)


def test_beside_a_writer_and_a_reader(grown: Callable[[int], Lake]) -> None:
    lake = grown(1)
    other = lake.reference.open()
    done: list[int] = []

    def write() -> None:
        for number in range(12):
            other.tables.append("labels", [_label(number)])
            done.append(number)

    reader = lake.reference.open()
    opened = DeltaTable(f"{lake.objects.url}/tables/instances").file_uris()
    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        compact(lake, grace="1 hour", engine="serial")
        assert reader.sql("select count(*) from instances").rows() == [(8,)]
    thread.join()
    assert done == list(range(12))
    compact(lake, grace="1 hour", engine="serial")
    written = lake.sql("select subject from labels where name = 'beside' order by subject").rows()
    assert written == sorted((f"subject-{number}",) for number in range(12))
    assert all(Path(uri.removeprefix("file://")).is_file() for uri in opened)


def _label(number: int) -> dict[str, Any]:
    return {"level": "series", "subject": f"subject-{number}", "name": "beside", "value": "1", "reader": "r"}


SCRIPT = """
import sys
from voxlake.lake.lake import open_lake
from voxlake.lake.compact import compact
lake = open_lake(sys.argv[1], key=sys.argv[2])
print("ready", flush=True)
compact(lake, grace="0", engine="serial")
"""


def killed(lake: Lake, after: float) -> bool:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, lake.url, str(lake.key_file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after)
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def check_killed(lake: Lake, moments: list[float]) -> None:
    grow(lake, 2)
    repeat(lake, earlier=False)
    before, blobs = shown(lake), stored(lake)
    hits = [killed(lake, moment) for moment in moments]
    assert any(hits)
    assert shown(lake) == before
    assert stored(lake) == blobs
    compact(lake, grace="0", engine="serial")
    compact(lake, grace="0", engine="serial")
    assert shown(lake) == before
    assert stored(lake) == blobs
    run = verify(lake, engine="serial")
    assert run.failures == 0
    assert run.result["orphans"]["objects"] == 0
    assert len(changes(lake, tables=["instances"])) == len(before["instances"])


def test_killed_in_the_middle(lake: Lake) -> None:
    check_killed(lake, [0.05, 0.2])


@pytest.mark.slow
def test_killed_at_many_moments(new_lake: Callable[..., Lake]) -> None:
    for number in range(12):
        check_killed(new_lake(f"lake-{number}"), [number / 20, 0.01])


@pytest.mark.parametrize("text", ["soon", "1 fortnight", "5", ""])
def test_no_time_of_grace(lake: Lake, text: str) -> None:
    with pytest.raises(UsageError, match="no time"):
        compact(lake, grace=text)
