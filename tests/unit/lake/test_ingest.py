"""Ingest: every file is accounted for, nothing comes in twice, conflicts are kept apart."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image

from voxlake.core.errors import ItemError, KeyMismatchError, LakeError, NotFoundError, UsageError
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.quarantine import quarantine_list, quarantine_show
from voxlake.sources.open import open_source
from voxlake.sources.phantoms import Phantoms
from voxlake.store.packs import read_member

TOKEN = "ZQXJANEDOE"


def write_phantoms(folder: Path, phantoms: Phantoms) -> list[Path]:
    """Write the files of a phantom source into a folder."""
    paths = []
    for item in phantoms:
        path = folder / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.read(2**30))
        paths.append(path)
    return paths


def picture(path: Path, seed: int, kind: str = "png") -> bytes:
    """Write a small picture with metadata that names somebody."""
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (12, 10), dtype=np.uint8))
    buffer = BytesIO()
    exif = Image.Exif()
    exif[0x013B] = TOKEN
    image.save(buffer, kind, exif=exif)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def mixed(folder: Path, phantoms: Phantoms) -> None:
    """One folder with good and bad files of every kind."""
    files = write_phantoms(folder, phantoms)
    (folder / "copy.dcm").write_bytes(files[0].read_bytes())
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "cut.dcm").write_bytes(files[1].read_bytes()[:-100])
    (folder / "notes.txt").write_text("not an image")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "DICOMDIR").write_bytes(b"x")
    picture(folder / "photo.png", 1)
    picture(folder / "photo.jpg", 2, "jpeg")
    other = pydicom.dcmread(files[2])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(folder / "zz-same-uid-other-pixels.dcm")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("inside/again.dcm", files[3].read_bytes())
        archive.writestr("inside/broken.dcm", b"DICM" * 10)


@pytest.mark.parametrize("engine", ["serial", "processes:2"])
def test_every_file_is_accounted_for(
    lake: Lake, phantoms: Phantoms, tmp_path: Path, waived: str, engine: str
) -> None:
    source = tmp_path / "in"
    mixed(source, phantoms)
    run = ingest(lake, source, policy=waived, engine=engine)
    assert run.counts == {"seen": 43, "stored": 34, "already": 2, "quarantined": 5, "ignored": 2}
    assert run.reasons == {
        "unknown_format": 2,
        "ignored_system_file": 2,
        "empty_file": 1,
        "truncated": 1,
        "uid_conflict": 1,
    }
    assert run.balance() == "43 seen = 34 stored + 2 already there + 5 quarantined + 2 ignored"
    outcomes = lake.sql("select outcome, count(*) from items group by 1").rows()
    assert dict(outcomes) == {"stored": 34, "already": 2, "quarantined": 5, "ignored": 2}


def test_a_second_run_stores_nothing(lake: Lake, phantoms: Phantoms, tmp_path: Path, waived: str) -> None:
    source = tmp_path / "in"
    mixed(source, phantoms)
    ingest(lake, source, policy=waived, engine="serial")
    objects = sorted(path for path in lake.objects.list("") if path.startswith(("packs", "quarantine")))
    versions = lake.tables.versions()
    run = ingest(lake, source, policy=waived, engine="serial")
    assert run.counts == {"seen": 43, "already": 36, "quarantined": 5, "ignored": 2}
    after = sorted(path for path in lake.objects.list("") if path.startswith(("packs", "quarantine")))
    assert after == objects
    changed = {name for name, version in lake.tables.versions().items() if version != versions[name]}
    assert changed == {"items", "runs"}


def test_an_index_is_ignored_under_any_name(lake: Lake, tmp_path: Path) -> None:
    source = Path(pydicom.data.get_testdata_file("DICOMDIR"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0001.dcm").write_bytes(source.read_bytes())
    run = ingest(lake, tmp_path / "in", engine="serial")
    assert run.counts == {"seen": 1, "ignored": 1}
    assert run.reasons == {"ignored_system_file": 1}
    assert list(lake.objects.list("quarantine")) == []


def test_stored_bytes_are_what_the_catalogue_says(lake: Lake, phantoms: Phantoms) -> None:
    ingest(lake, phantoms, engine="serial")
    for row in lake.sql("select * from instances").dicts():
        data = read_member(lake.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])
        dataset = pydicom.dcmread(BytesIO(data))
        assert dataset.SOPInstanceUID == row["sop_instance_uid"]
        assert dataset.PatientID == row["patient_id"]
        assert data[row["pixel_offset"] : row["pixel_offset"] + row["pixel_length"]] == dataset.PixelData


def test_a_pack_holds_one_series(lake: Lake, phantoms: Phantoms) -> None:
    ingest(lake, phantoms, engine="serial")
    rows = lake.sql(
        "select pack, count(*), count(distinct series_instance_uid) from instances group by 1"
    ).rows()
    assert sorted((count, series) for _, count, series in rows) == [(8, 1)] * 4


def test_no_identity_leaves_the_sealed_quarantine(
    lake: Lake, tmp_path: Path, phantoms: Phantoms, waived: str
) -> None:
    source = tmp_path / "in" / TOKEN
    for number, path in enumerate(write_phantoms(source, phantoms)):
        dataset = pydicom.dcmread(path)
        dataset.PatientName = f"{TOKEN}^Jane"
        dataset.PatientID = f"{TOKEN}-{number // 8}"
        dataset.StudyDescription = f"chest of {TOKEN}"
        dataset.ReferringPhysicianName = TOKEN
        dataset.save_as(path)
    (source / f"{TOKEN}.dcm").write_bytes(path.read_bytes()[:-50])
    (source / f"{TOKEN}.txt").write_text(TOKEN)
    picture(source / f"{TOKEN}.png", 3)
    picture(source / f"{TOKEN}.jpg", 4, "jpeg")
    run = ingest(lake, source.parent, policy=waived, engine="processes:2")
    assert run.counts == {"seen": 36, "stored": 34, "quarantined": 2}
    root = lake.objects.local_path("lake.toml").parent  # type: ignore[union-attr]
    searched = 0
    for path in [*root.rglob("*"), *lake.cache.rglob("*")]:
        assert TOKEN.lower() not in path.name.lower()
        if path.is_file():
            searched += 1
            assert TOKEN.lower().encode() not in path.read_bytes().lower(), path
    assert searched > 20
    for table in lake.tables.versions():
        assert TOKEN.lower() not in lake.sql(f"select * from {table}").df().to_csv().lower(), table
    shown = quarantine_show(lake, quarantine_list(lake, reason="truncated")[0]["quarantine_id"])
    assert shown["source_name"] == f"{TOKEN}/{TOKEN}.dcm"


def test_quarantined_bytes_can_be_had_back(lake: Lake, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.bin").write_bytes(b"not an image")
    ingest(lake, source, engine="serial")
    (row,) = quarantine_list(lake)
    sealed = lake.objects.get(f"quarantine/{row['quarantine_id']}")
    assert b"not an image" not in sealed
    assert lake.key.unseal(sealed, context=row["quarantine_id"]).endswith(b"not an image")
    assert (row["reason"], row["bytes"]) == ("unknown_format", 12)
    with pytest.raises(NotFoundError, match="no quarantined item begins with 'ffff-'"):
        quarantine_show(lake, "ffff-")


def test_another_policy_makes_another_version(lake: Lake, phantoms: Phantoms) -> None:
    ingest(lake, phantoms, engine="serial")
    run = ingest(lake, phantoms, engine="serial", policy="basic")
    assert run.counts == {"seen": 32, "stored": 32}
    rows = lake.sql(
        "select count(*), count(distinct sop_instance_uid), count(distinct policy_digest) from instances"
    ).rows()
    assert rows == [(64, 32, 2)]
    assert lake.sql("select count(*), sum(instances) from series").rows() == [(4, 32)]


def test_policy_none_keeps_bytes_and_names(lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    (path, *_) = write_phantoms(tmp_path / "in", phantoms)
    ingest(lake, path, engine="serial", policy="none")
    (row,) = lake.sql("select * from instances").dicts()
    data = read_member(lake.objects, row["pack"], row["offset"], row["length"])
    assert data == path.read_bytes()
    assert row["patient_id"] == pydicom.dcmread(path).PatientID


def test_the_lake_keeps_its_policy(new_lake: Callable[..., Lake], tmp_path: Path, phantoms: Phantoms) -> None:
    key = new_lake().key_file
    lake = open_lake(tmp_path / "other", key=key, policy="none")
    run = ingest(lake, phantoms, engine="serial")
    assert run.result["policy"] == "none"
    again = open_lake(tmp_path / "other", key=key, policy="basic")
    assert again.policy.name == "none"


def test_labels_of_a_mapping(lake: Lake, tmp_path: Path, waived: str) -> None:
    source = tmp_path / "in"
    first = picture(source / "normal" / "p1_a.png", 1)
    picture(source / "ill" / "p2_a.png", 2)
    picture(source / "ill" / "p2_b.png", 3)
    (source / "ill" / "p1_again.png").write_bytes(first)
    mapping = tmp_path / "map.toml"
    mapping.write_text(
        'label_name = "finding"\n[[rules]]\n'
        "pattern = '(?P<label>normal|ill)/(?P<patient>p[0-9]+)_'\nmodality = \"DX\"\n"
    )
    run = ingest(lake, source, mapping=mapping, policy=waived, engine="serial")
    assert run.counts == {"seen": 4, "stored": 3, "already": 1}
    rows = lake.sql(
        "select patient_id, value, count(*) from instances join labels on subject = sop_instance_uid "
        "where name = 'finding' and level = 'instance' group by all"
    ).rows()
    # The same bytes lie under two classes: both labels are kept, and seen as a conflict later.
    assert sorted((value, count) for _, value, count in rows) == [("ill", 1), ("ill", 2), ("normal", 1)]
    assert lake.sql("select count(distinct patient_id) from instances").rows() == [(2,)]
    before = lake.tables.version("labels")
    ingest(lake, source, mapping=mapping, policy=waived, engine="serial")
    assert lake.tables.version("labels") == before
    assert "p1" not in lake.sql("select patient_id from instances").df().to_csv().split("\n")[1]


def test_same_bytes_of_two_patients_is_a_finding(lake: Lake, tmp_path: Path, waived: str) -> None:
    source = tmp_path / "in"
    data = picture(source / "p1_a.png", 1)
    (source / "p2_a.png").write_bytes(data)
    mapping = tmp_path / "map.csv"
    mapping.write_text("path,patient\np1_a.png,p1\np2_a.png,p2\n")
    ingest(lake, source, mapping=mapping, policy=waived, engine="serial")
    ingest(lake, source, mapping=mapping, policy=waived, engine="serial")
    rows = lake.sql("select rule, severity, subject_level from findings").rows()
    assert rows == [("same_bytes_other_patient", "error", "instance")]


def test_a_missing_patient_is_a_finding(lake: Lake, tmp_path: Path, phantoms: Phantoms) -> None:
    (path, *_) = write_phantoms(tmp_path / "in", phantoms)
    dataset = pydicom.dcmread(path)
    dataset.PatientID = ""
    dataset.save_as(path)
    ingest(lake, path, engine="serial")
    assert lake.sql("select patient_id from instances").rows() == [(None,)]
    assert lake.sql("select rule, subject_level from findings").rows() == [("missing_patient_id", "study")]


def test_without_the_key_nothing_comes_in(lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    ingest(lake, phantoms, engine="serial")
    stranger = open_lake(lake.url, key=tmp_path / "nowhere")
    assert stranger.sql("select count(*) from instances").rows() == [(32,)]
    with pytest.raises(KeyMismatchError, match="this machine has no key"):
        ingest(stranger, phantoms, engine="serial")
    other = tmp_path / "other-key"
    open_lake(tmp_path / "other-lake", key=other)
    with pytest.raises(KeyMismatchError, match="has fingerprint"):
        ingest(open_lake(lake.url, key=other), phantoms, engine="serial")


def test_a_lake_is_not_made_among_other_things(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "thesis.txt").write_text("x")
    with pytest.raises(LakeError, match="is not empty"):
        open_lake(folder, key=tmp_path / "key")
    with pytest.raises(NotFoundError, match="no lake at"):
        open_lake(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_ingest_needs_a_source(lake: Lake) -> None:
    with pytest.raises(UsageError, match="at least one source"):
        ingest(lake)
    with pytest.raises(NotFoundError, match="source is not there"):
        ingest(lake, "/no/such/folder")
    assert lake.sql("select count(*) from runs").rows() == [(0,)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_quarantined(lake: Lake, tmp_path: Path) -> None:
    source = tmp_path / "in"
    picture(source / "a.png", 1)
    (source / "a.png").chmod(0)
    run = ingest(lake, source, engine="serial")
    assert run.reasons == {"unreadable_source": 1}


def test_a_hanging_and_a_dying_file_cost_only_themselves(lake: Lake, phantoms: Phantoms) -> None:
    from voxlake.testing.items import Misbehaving

    items = list(phantoms)[:10]
    source = [
        items[0],
        Misbehaving("hang.dcm", "hang"),
        *items[1:5],
        Misbehaving("die.dcm", "die"),
        *items[5:],
    ]
    run = ingest(lake, _Source(source), engine="processes:2", timeout=4.0)
    assert run.counts == {"seen": 12, "stored": 10, "quarantined": 2}
    assert run.reasons == {"timeout": 1, "worker_died": 1}
    attempts = lake.sql("select reason, attempts from items where reason is not null order by 1").rows()
    assert attempts == [("timeout", 2), ("worker_died", 2)]


def test_a_conflict_whose_file_went_away_does_not_end_the_run(
    lake: Lake, phantoms: Phantoms, tmp_path: Path
) -> None:
    first, second = write_phantoms(tmp_path / "in", phantoms)[:2]
    other = pydicom.dcmread(first)
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(second)
    items: list[object] = list(open_source(first))
    (conflict,) = open_source(second)
    run = ingest(lake, _Source([*items, _Vanishing(conflict), *list(phantoms)[8:10]]), engine="serial")
    assert run.counts == {"seen": 4, "stored": 3, "quarantined": 1}
    (row,) = quarantine_list(lake)
    assert row["detail"].endswith("could not be read again (unreadable_source)")


class _Vanishing:
    """Can be read once."""

    size, ignored = None, None

    def __init__(self, item) -> None:
        self.item, self.name, self.hints, self.reads = item, item.name, item.hints, 0

    def read(self, limit: int) -> bytes:
        self.reads += 1
        if self.reads > 1:
            raise ItemError("unreadable_source", "gone")
        return self.item.read(limit)


class _Source(list):
    labels_digest = None
