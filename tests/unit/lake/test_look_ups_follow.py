"""Whatever moves rows and bytes, look-ups by UID give what the tables say: in a folder and in a bucket."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from voxlake.core.errors import NotFoundError
from voxlake.lake.compact import compact
from voxlake.lake.erase import erase
from voxlake.lake.find import find
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.sources.phantoms import Phantoms
from voxlake.store import narrow
from voxlake.store.keys import LakeKey
from voxlake.store.packs import read_member, write_pack
from voxlake.volumes.frames import read_frame

pytestmark = pytest.mark.xdist_group("s3")


def repeat(lake: Lake, seconds: int) -> None:
    """Commit rows once more, with a pack and a time of their own, as a second driver would."""
    rows = lake.sql("select * from instances order by sop_instance_uid limit 2").dicts()
    blobs = [read_member(lake.objects, row["pack"], row["offset"], row["length"]) for row in rows]
    for row, entry in zip(rows, write_pack(lake.objects, blobs), strict=True):
        row |= {"pack": entry.pack, "offset": entry.offset}
        row["committed_at"] += timedelta(seconds=seconds)
    lake.tables.append("instances", rows)


def looked_up(lake: Lake) -> int:
    """Compare look-ups of some instances, and of all series, with what stands in the table."""
    rows = lake.sql(
        'select sop_instance_uid, series_instance_uid, pack, "offset", "length", sha256, source_mac, '
        "policy_digest from instances order by 1"
    ).rows()
    for uid, series, pack, offset, length, sha256, *_ in rows[::5]:
        spots = lake.find(uid)
        assert spots is not None
        assert [(one.pack, one.offset, one.length) for one in spots.spots] == [(pack, offset, length)]
        assert find(lake, uid).dicts()[0]["sha256"] == sha256
        asked = lake.sql("select pack from instances where sop_instance_uid = ?", [uid]).rows()
        assert asked == [(pack,)]
        frame = read_frame(lake, uid)
        assert frame.tobytes() in read_member(lake.objects, pack, offset, length, sha256=sha256)
        group = lake.find(series)
        assert group is not None
        assert {(one.pack, one.offset) for one in group.spots} == {
            (row[2], row[3]) for row in rows if row[1] == series
        }
    lake.lookup.sync(lake.tables)
    pairs = [(row[6], row[7]) for row in rows]
    assert lake.lookup.known(pairs) == set(pairs)
    return len(rows)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def empty(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake whose queries by UID are narrowed however few files it has."""
    monkeypatch.setattr(narrow, "_LEAST_FILES", 1)
    monkeypatch.setattr(Path, "home", staticmethod(lambda: tmp_path / "home"))
    LakeKey(bytes(range(32))).save(tmp_path / "key")
    url = str(tmp_path / "lake")
    if request.param == "bucket":
        url = request.getfixturevalue("s3").url("voxlake", f"follow/{uuid4().hex}")
    return open_lake(url, key=tmp_path / "key")


def test_look_ups_follow(empty: Lake) -> None:
    lake = empty
    source = Phantoms(patients=2, slices=8, rows=16, columns=16, second_study=0.0)
    ingest(lake, source, engine="serial", progress=False)
    assert looked_up(lake) == 16
    repeat(lake, -5)
    assert looked_up(lake) == 16
    # Of the first compaction, by which rows moved, the look-ups hear only after the second, which moves none.
    first = compact(lake, grace="0", engine="serial", progress=False)
    repeat(lake, 5)
    second = compact(lake, grace="0", packs=False, engine="serial", progress=False)
    assert (first.result["moved"], second.result["moved"]) == (16, 0)
    assert looked_up(lake) == 16
    ((who, uid, series),) = lake.sql(
        "select patient_id, sop_instance_uid, series_instance_uid from instances order by 2 limit 1"
    ).rows()
    erase(lake, who, yes=True, engine="serial")
    assert looked_up(lake) == 8
    for gone in (uid, series):
        assert lake.find(gone) is None
    with pytest.raises(NotFoundError):
        read_frame(lake, uid)
