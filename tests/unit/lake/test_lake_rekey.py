"""Re-keying: the new lake is what ingest of the originals under the longer key would have made."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from PIL import Image

from voxlake.core.errors import LakeError, UsageError
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake, make_lake, open_lake
from voxlake.lake.pseudonym import pseudonym
from voxlake.lake.quarantine import quarantine_list, quarantine_show
from voxlake.lake.rekey import keys_rekey
from voxlake.lake.rotate import keys_rotate
from voxlake.privacy.policy import load_policy
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.store.packs import read_member

WAIVED = """
name = "waived"
options = ["retain_longitudinal_modified_dates", "retain_device_identity", "clean_descriptors"]

[[waivers]]
what = "png"
reason = "drawn by a test, shows nobody"
"""
_NOT_COMPARED = "run_id, committed_at"


def write(folder: Path, source: Phantoms) -> list[Path]:
    paths = []
    for item in source:
        path = folder / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.read(2**30))
        paths.append(path)
    return paths


def originals(folder: Path, phantoms: Phantoms) -> Path:
    """Good DICOM, one file without a patient, one in conflict, a picture with a mapping, and bad bytes."""
    paths = write(folder / "images", phantoms)
    nameless = pydicom.dcmread(paths[0])
    nameless.PatientID = ""
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(nameless, name, f"{getattr(nameless, name)}.9")
    nameless.file_meta.MediaStorageSOPInstanceUID = nameless.SOPInstanceUID
    nameless.save_as(folder / "images" / "nameless.dcm")
    other = pydicom.dcmread(paths[1])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(folder / "images" / "zz-conflict.dcm")
    (folder / "images" / "bad.dcm").write_bytes(b"no image")
    buffer = BytesIO()
    Image.new("L", (8, 8), 7).save(buffer, "png")
    (folder / "images" / "picture.png").write_bytes(buffer.getvalue())
    return folder / "images"


@pytest.fixture
def phantoms() -> Phantoms:
    """Two small patients: what is tested does not depend on how many there are."""
    return Phantoms(patients=2, slices=8, rows=16, columns=16, second_study=0.0)


@pytest.fixture
def source(tmp_path: Path, phantoms: Phantoms) -> Path:
    return originals(tmp_path / "in", phantoms)


@pytest.fixture
def waived(tmp_path: Path) -> Path:
    file = tmp_path / "waived.toml"
    file.write_text(WAIVED)
    return file


def rows(lake: Lake, table: str, *left_out: str) -> list[tuple[Any, ...]]:
    """What must agree, whichever way a lake was made."""
    columns = ", ".join((_NOT_COMPARED, *left_out))
    return lake.sql(f"select * exclude ({columns}) from {table} order by all").rows()


def file_bytes(lake: Lake) -> dict[str, bytes]:
    found = lake.sql(
        'select source_mac, policy_digest, pack, "offset", "length", sha256 from instances'
    ).rows()
    return {
        f"{mac} {policy}": read_member(lake.objects, pack, offset, length, sha256=digest)
        for mac, policy, pack, offset, length, digest in found
    }


def opened(tmp_path: Path, name: str = "new") -> Lake:
    return open_lake(tmp_path / name, key=tmp_path / f"{name}.key", create=False)


def rekeyed(lake: Lake, tmp_path: Path, name: str = "new", engine: str = "serial") -> Lake:
    run = keys_rekey(lake, tmp_path / name, new_key=tmp_path / f"{name}.key", engine=engine)
    assert "failed" not in run.counts
    return opened(tmp_path, name)


def test_the_new_lake_is_what_ingest_under_the_longer_key_makes(
    lake: Lake, source: Path, waived: Path, tmp_path: Path
) -> None:
    for policy in (None, waived):
        ingest(lake, source, policy=policy, engine="serial")
    new = rekeyed(lake, tmp_path, engine="processes:2")
    straight = open_lake(tmp_path / "straight", key=new.key_file)
    for policy in (None, waived):
        ingest(straight, source, policy=policy, engine="serial")
    assert len(file_bytes(new)) == 2 * 17 + 1
    assert file_bytes(new) == file_bytes(straight)
    assert rows(new, "instances", "pack", '"offset"') == rows(straight, "instances", "pack", '"offset"')
    assert rows(new, "series") == rows(straight, "series")
    assert rows(new, "labels") == rows(straight, "labels")
    assert rows(new, "findings") == rows(straight, "findings")
    assert rows(new, "quarantine") == rows(straight, "quarantine")
    assert quarantine_names(new) == quarantine_names(straight) == quarantine_names(lake)
    assert len(quarantine_names(new)) >= 3


def quarantine_names(lake: Lake) -> list[str]:
    listed = [quarantine_show(lake, row["quarantine_id"]) for row in quarantine_list(lake)]
    return sorted(f"{row['reason']} {row['source_name']}" for row in listed)


def test_originals_are_already_there(lake: Lake, source: Path, waived: Path, tmp_path: Path) -> None:
    first = ingest(lake, source, policy=waived, engine="serial")
    assert first.counts == {"seen": 20, "stored": 18, "quarantined": 2}
    new = rekeyed(lake, tmp_path)
    again = ingest(new, source, policy=waived, engine="serial")
    assert again.counts == {"seen": 20, "already": 18, "quarantined": 2}
    assert len(list(new.objects.list("quarantine"))) == 2


def test_a_new_study_of_an_old_patient_fits(lake: Lake, tmp_path: Path, phantoms: Phantoms) -> None:
    paths = write(tmp_path / "in", phantoms)
    ingest(lake, tmp_path / "in", engine="serial")
    new = rekeyed(lake, tmp_path)
    later = pydicom.dcmread(paths[0])
    patient, frame, day = str(later.PatientID), str(later.FrameOfReferenceUID), str(later.StudyDate)
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(later, name, f"{getattr(later, name)}.7")
    later.file_meta.MediaStorageSOPInstanceUID = later.SOPInstanceUID
    later.StudyDate = f"{int(day[:4]) + 2}{day[4:]}"
    later.save_as(tmp_path / "later.dcm")
    assert ingest(new, tmp_path / "later.dcm", engine="serial").counts == {"seen": 1, "stored": 1}
    found = new.sql(
        "select study_instance_uid, any_value(study_date), any_value(frame_of_reference_uid) from instances "
        "where patient_id = $patient group by 1 order by 2",
        {"patient": pseudonym(new, patient)},
    ).rows()
    assert len(found) == 2
    (_, old_day, old_frame), (_, new_day, new_frame) = found
    assert old_frame == new_frame != frame
    assert (int(new_day[:4]) - int(old_day[:4])) in (1, 2, 3)
    days = "select date_diff('day', strptime($a, '%Y%m%d'), strptime($b, '%Y%m%d'))"
    assert (
        new.sql(days, {"a": old_day, "b": new_day}).rows()
        == new.sql(days, {"a": day, "b": str(later.StudyDate)}).rows()
    )


def test_nothing_links_the_lakes(lake: Lake, source: Path, tmp_path: Path) -> None:
    ingest(lake, source, engine="serial")
    select(lake, "all")
    new = rekeyed(lake, tmp_path)
    old_names = {
        str(value)
        for column in (
            "sop_instance_uid",
            "series_instance_uid",
            "study_instance_uid",
            "patient_id",
            "source_mac",
            "sha256",
            "frame_of_reference_uid",
            "pack",
        )
        for (value,) in lake.sql(f"select distinct {column} from instances where {column} is not null").rows()
    }
    old_names |= {row[0] for row in lake.sql("select quarantine_id from quarantine").rows()}
    old_names |= {row[0] for row in lake.sql("select members_digest from series").rows()}
    old_names |= {row[0] for row in lake.sql("select item from items").rows()}
    old_names |= {lake.settings.lake_id, lake.settings.key_fingerprint}
    for table in (
        "instances",
        "series",
        "quarantine",
        "labels",
        "findings",
        "cohorts",
        "cohort_members",
        "runs",
        "items",
    ):
        for row in new.sql(f"select * from {table}").rows():
            assert not old_names & {str(value) for value in row}
            text = " ".join(map(str, row))
            assert not any(name in text for name in old_names if len(name) > 14), table
    packs = b"".join(new.objects.get(path) for path in new.objects.list("packs"))
    assert not any(name.encode() in packs for name in old_names)
    assert not old_names & set((Path(new.url) / "lake.toml").read_text().split('"'))


def test_only_what_is_missing_is_done(lake: Lake, tmp_path: Path) -> None:
    few = Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0.0)
    more = Phantoms(patients=2, slices=8, rows=16, columns=16, second_study=0.0)
    ingest(lake, few, engine="serial")
    new = rekeyed(lake, tmp_path)
    ingest(lake, more, engine="serial")
    # Files of a mined model name patients and UIDs of the old lake: it is mined again.
    lake.tables.append("models", [{"model_id": "m", "kind": "table", "task": "mined"}])
    lake.objects.put("models/m/split.json", b"{}")
    run = keys_rekey(lake, new.url, new_key=new.key_file, engine="serial")
    assert list(new.objects.list("models")) == new.sql("select * from models").rows() == []
    assert {"models", "mine"} <= set(run.result["not_carried"].replace(",", "").split())
    assert run.counts["already"] == 8
    assert run.counts["seen"] == run.counts["stored"] + 8
    versions = new.tables.versions()
    run = keys_rekey(lake, new.url, new_key=new.key_file, engine="serial")
    assert run.counts["seen"] == run.counts["already"]
    changed = {name for name, version in new.tables.versions().items() if version != versions[name]}
    assert changed == {"items", "runs"}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3, 6])
def test_killed_and_run_again(
    lake: Lake, source: Path, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(lake, source, engine="serial")
    select(lake, "all")
    quiet = rekeyed(lake, tmp_path, "quiet")
    (tmp_path / "new.key").write_bytes(quiet.key_file.read_bytes())
    (tmp_path / "new.key").chmod(0o600)
    from voxlake.store.tables import Tables

    real, calls = Tables.append, 0

    def append(self: Tables, name: str, values: Any) -> int:
        nonlocal calls
        calls += 1
        if calls >= step:
            raise Killed
        return real(self, name, values)

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "append", append)
        with pytest.raises(Killed):
            keys_rekey(lake, tmp_path / "new", new_key=tmp_path / "new.key", engine="serial")
    new = rekeyed(lake, tmp_path)
    for table in ("instances", "series", "labels", "findings", "quarantine", "cohort_members"):
        assert rows(new, table) == rows(quiet, table), table
    assert quarantine_names(new) == quarantine_names(quiet)


def test_a_lake_whose_making_was_cut_short_is_made(lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    ingest(lake, phantoms, engine="serial")
    make_lake(tmp_path / "new", key=tmp_path / "new.key", new_key=lake.key.with_generation)
    (tmp_path / "new" / "lake.toml").unlink()
    assert rekeyed(lake, tmp_path).sql("select count(*) from instances").rows() == [(16,)]


def test_a_damaged_pack_costs_its_objects_only(lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    ingest(lake, phantoms, engine="serial")
    select(lake, "all")
    pack = min(lake.objects.list("packs"))
    good = lake.objects.get(pack)
    lake.objects.put(pack, good[:-1] + bytes([good[-1] ^ 1]))
    run = keys_rekey(lake, tmp_path / "new", new_key=tmp_path / "new.key", engine="serial")
    assert run.counts == {"seen": 16, "stored": 15, "failed": 1}
    assert run.reasons == {"unreadable_source": 1}
    new = opened(tmp_path)
    frozen = new.sql(
        "select count(*) from cohort_members join series using (series_instance_uid, members_digest)"
    ).rows()
    assert frozen == [(1,)]
    lake.objects.put(pack, good)
    run = keys_rekey(lake, tmp_path / "new", new_key=tmp_path / "new.key", engine="serial")
    assert run.counts == {"seen": 16, "stored": 1, "already": 15}


def test_labels_and_cohorts_follow(lake: Lake, source: Path, tmp_path: Path, phantoms: Phantoms) -> None:
    ingest(lake, source, engine="serial")
    patient = next(str(found) for path in source.rglob("*.dcm") if (found := patient_of(path)))
    (tmp_path / "labels.csv").write_text(f"patient,grade\n{patient},2\nnot yet there,3\n")
    label(lake, tmp_path / "labels.csv", level="patient", reader="A")
    chosen = pseudonym(lake, patient)
    first = select(lake, "one", f"patient_id = '{chosen}'")
    grown = select(lake, "all")
    more = write(tmp_path / "more", Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0.0))
    added = pydicom.dcmread(more[0])
    added.SOPInstanceUID += ".5"
    added.file_meta.MediaStorageSOPInstanceUID = added.SOPInstanceUID
    added.save_as(tmp_path / "added.dcm")
    ingest(lake, tmp_path / "added.dcm", engine="serial")
    latest = select(lake, "all")
    assert latest.version == 2
    new = rekeyed(lake, tmp_path)
    assert new.sql("select count(*) from labels where name = 'grade'").rows() == [(2,)]
    run = label(new, tmp_path / "labels.csv", level="patient", reader="A")
    assert run.result["labels"] == 0
    carried = get_cohort(new, "one")
    assert carried.condition == f"patient_id = '{pseudonym(new, patient)}'"
    assert (carried.series, carried.patients) == (first.series, first.patients)
    assert {member.patient_id for member in carried.members()} == {pseudonym(new, patient)}
    assert select(new, "one", carried.condition).version == select(lake, "one", first.condition).version
    assert get_cohort(new, "all@1").series == grown.series
    assert select(new, "all").version == 2
    assert unchanged(lake, "all@1") == unchanged(new, "all@1") == grown.series
    assert unchanged(lake, "all@2") == unchanged(new, "all@2") == latest.series


def patient_of(path: Path) -> str | None:
    return pydicom.dcmread(path, force=True).get("PatientID")


def unchanged(lake: Lake, name: str) -> int:
    """How many series of a cohort are, up to the moment it was frozen, what it froze."""
    cohort = get_cohort(lake, name)
    found = lake.sql(
        "with then_there as (select series_instance_uid, sha256(string_agg(sha256, '' order by sha256)) "
        "as members_digest from instances where committed_at <= $at group by 1) "
        "select count(*) from cohort_members join then_there using (series_instance_uid, members_digest) "
        "where cohort_id = $id",
        {"at": cohort.frozen_at, "id": cohort.cohort_id},
    )
    return int(found.rows()[0][0])


@pytest.mark.slow
def test_listed_pseudonyms_are_moved_on_and_found_again(
    lake: Lake, phantoms: Phantoms, tmp_path: Path
) -> None:
    paths = write(tmp_path / "in", phantoms)
    patient = str(pydicom.dcmread(paths[0]).PatientID)
    listed = tmp_path / "list.csv"
    listed.write_text(f"original,pseudonym\n{patient},Case 1\n")
    ingest(lake, tmp_path / "in", pseudonyms=listed, engine="serial")
    select(lake, "one", "patient_id = 'Case 1'")
    new = rekeyed(lake, tmp_path)
    again = ingest(new, tmp_path / "in", pseudonyms=listed, engine="serial")
    assert again.counts == {"seen": 16, "already": 16}
    moved = pseudonym(new, patient, pseudonyms=listed)
    assert moved != "Case 1"
    assert new.sql("select count(*) from instances where patient_id = $p", {"p": moved}).rows() == [(8,)]
    assert get_cohort(new, "one").condition == f"patient_id = '{moved}'"


@pytest.mark.slow
def test_a_third_generation_and_a_rotated_quarantine(lake: Lake, source: Path, tmp_path: Path) -> None:
    ingest(lake, source, engine="serial")
    keys_rotate(lake)
    second = rekeyed(lake, tmp_path, "second")
    assert "seal" not in second.key_file.read_text()
    third = rekeyed(second, tmp_path, "third")
    assert len(third.key.generations) == 3
    straight = open_lake(tmp_path / "straight", key=third.key_file)
    ingest(straight, source, engine="serial")
    assert file_bytes(third) == file_bytes(straight)
    assert quarantine_names(third) == quarantine_names(lake)


def test_uids_that_the_policy_keeps_stay(lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    kept = tmp_path / "kept.toml"
    kept.write_text('name = "kept"\noptions = ["retain_uids", "retain_longitudinal_full_dates"]\n')
    ingest(lake, phantoms, policy=kept, engine="serial")
    (uid,) = lake.sql("select min(sop_instance_uid) from instances").rows()[0]
    (tmp_path / "labels.csv").write_text(f"uid,grade\n{uid},2\n")
    label(lake, tmp_path / "labels.csv", level="instance", identifiers="lake")
    new = rekeyed(lake, tmp_path)
    query = "select sop_instance_uid, study_date from instances order by 1"
    assert new.sql(query).rows() == lake.sql(query).rows()
    assert not set(new.sql("select patient_id from instances").rows()) & set(
        lake.sql("select patient_id from instances").rows()
    )
    assert new.sql("select subject from labels where name = 'grade'").rows() == [(uid,)]


def test_what_cannot_be_re_keyed_is_refused(
    new_lake: Callable[..., Lake], lake: Lake, phantoms: Phantoms, tmp_path: Path
) -> None:
    plain = open_lake(tmp_path / "plain", key=tmp_path / "plain.key", policy="none")
    mixed = new_lake("mixed")
    ingest(mixed, phantoms, policy="none", engine="serial")
    for each in (plain, mixed):
        with pytest.raises(UsageError, match="policy 'none'"):
            keys_rekey(each, tmp_path / "new", new_key=tmp_path / "new.key")
    assert not (tmp_path / "new").exists()
    LakeKey.generate().save(tmp_path / "other.key")
    with pytest.raises(UsageError, match="does not continue"):
        keys_rekey(lake, tmp_path / "new", new_key=tmp_path / "other.key")
    assert not (tmp_path / "new").exists()
    stranger = open_lake(tmp_path / "stranger", key=tmp_path / "other.key")
    with pytest.raises(UsageError, match="does not continue"):
        keys_rekey(lake, stranger.url, new_key=stranger.key_file)
    with pytest.raises(UsageError, match="old one"):
        keys_rekey(lake, lake.url, new_key=lake.key_file)
    with pytest.raises(UsageError, match="old one"):
        keys_rekey(lake, lake.url, new_key=lake.key_file)


def test_policies_come_from_the_runs(lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    policy = tmp_path / "own.toml"
    policy.write_text('name = "own"\nmax_shift_days = 20\noptions = ["retain_longitudinal_modified_dates"]\n')
    ingest(lake, phantoms, policy=policy, engine="serial")
    new = rekeyed(lake, tmp_path)
    recorded = json.loads(new.sql("select arguments from runs").rows()[0][0])["policies"]
    assert recorded == {load_policy(policy).digest(): load_policy(policy).model_dump(mode="json")}
    query = "select min(study_date) from instances"
    assert new.sql(query).rows()[0][0] < lake.sql(query).rows()[0][0]
    forgotten = open_lake(tmp_path / "forgotten", key=tmp_path / "forgotten.key")
    forgotten.tables.append("instances", [{"source_mac": "00", "policy_digest": "unknown"}])
    with pytest.raises(LakeError, match="not recorded"):
        keys_rekey(forgotten, tmp_path / "fourth", new_key=tmp_path / "fourth.key")
