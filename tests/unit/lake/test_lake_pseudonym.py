"""Pseudonyms of somebody else at the doors of a lake, and the verb that tells a pseudonym."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from voxlake.cli.main import run as command
from voxlake.core.errors import KeyMismatchError, NotFoundError, SettingsError, UsageError
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.pseudonym import pseudonym
from voxlake.lake.quarantine import quarantine_list
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.sources.phantoms import Phantoms


@pytest.fixture
def source(tmp_path: Path, phantoms: Phantoms) -> tuple[Path, list[str]]:
    """Files of four patients, and their original identifiers."""
    folder = tmp_path / "in"
    patients = set()
    for item in phantoms:
        path = folder / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.read(2**30))
        patients.add(str(pydicom.dcmread(path, stop_before_pixels=True).PatientID))
    return folder, sorted(patients)


def listed(folder: Path, pairs: dict[str, str]) -> Path:
    file = folder / "list.csv"
    file.write_text("original,pseudonym\n" + "".join(f"{one},{two}\n" for one, two in pairs.items()))
    return file


@pytest.mark.parametrize("engine", ["serial", "processes:2"])
def test_listed_patients_come_in_under_their_listed_pseudonym(
    lake: Lake, source: tuple[Path, list[str]], tmp_path: Path, engine: str
) -> None:
    folder, (first, second, third, fourth) = source
    file = listed(tmp_path, {first: "Case 1", second: "Case 1", third: "Case 3"})
    run = ingest(lake, folder, pseudonyms=file, engine=engine)
    assert run.counts == {"seen": 32, "stored": 32}
    keyed = Pseudonymiser(lake.key).patient(fourth)
    rows = lake.sql("select patient_id, count(*) from instances group by 1 order by 1").rows()
    assert rows == [("Case 1", 16), ("Case 3", 8), (keyed, 8)]
    digest, unlisted = json.loads(lake.sql("select arguments from runs").rows()[0][0])["pseudonyms"]
    assert (len(digest), unlisted) == (64, "keyed")


def test_originals_that_share_a_pseudonym_keep_their_intervals(
    lake: Lake, source: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, (first, second, *_) = source
    dates = {}
    for path in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if dataset.PatientID in (first, second):
            dataset.StudyDate = dates[str(dataset.StudyInstanceUID)] = (
                "20240101" if dataset.PatientID == first else "20240310"
            )
            dataset.save_as(path)
    ingest(lake, folder, pseudonyms=listed(tmp_path, {first: "Case 1", second: "Case 1"}), engine="serial")
    (days,) = lake.sql(
        "select date_diff('day', min(strptime(study_date, '%Y%m%d')), max(strptime(study_date, '%Y%m%d'))) "
        "from instances where patient_id = 'Case 1'"
    ).rows()[0]
    assert days == 69
    assert lake.sql("select count(*) from instances where study_date in ('20240101', '20240310')").rows() == [
        (0,)
    ]


def test_unlisted_patients_go_to_quarantine_until_they_are_listed(
    lake: Lake, source: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, patients = source
    file = listed(tmp_path, {one: f"Case {number}" for number, one in enumerate(patients[:2])})
    run = ingest(lake, folder, pseudonyms=file, unlisted="refuse", engine="serial")
    assert run.counts == {"seen": 32, "stored": 16, "quarantined": 16}
    assert run.reasons == {"unlisted_patient": 16}
    assert len(quarantine_list(lake, reason="unlisted_patient")) == 16
    again = ingest(lake, folder, pseudonyms=file, unlisted="refuse", engine="serial")
    assert again.counts == {"seen": 32, "already": 16, "quarantined": 16}
    listed(tmp_path, {one: f"Case {number}" for number, one in enumerate(patients)})
    run = ingest(lake, folder, pseudonyms=file, unlisted="refuse", engine="serial")
    assert run.counts == {"seen": 32, "stored": 16, "already": 16}
    assert quarantine_list(lake) == []


def test_the_list_leaves_no_trace(lake: Lake, source: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, patients = source
    token = "ZQXJANEDOE"
    ingest(lake, folder, pseudonyms=listed(tmp_path, {**dict.fromkeys(patients, "Case 1"), token: "Case 2"}))
    for path in Path(lake.url).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert token.encode() not in data
            assert b"Case 2" not in data
            assert not any(patient.encode() in data for patient in patients)
            assert str(tmp_path / "list.csv").encode() not in data


def test_labels_find_listed_patients(lake: Lake, source: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, (first, second, third, _) = source
    file = listed(tmp_path, {first: "Case 1", second: "Case 2"})
    ingest(lake, folder, pseudonyms=file, engine="serial")
    table = tmp_path / "labels.csv"
    table.write_text(f"patient,grade\n{first},1\n{second},2\n{third},3\n,4\n")
    assert label(lake, table, level="patient").result["unmatched"] == 2
    run = label(lake, table, level="patient", pseudonyms=file)
    assert (run.result["labels"], run.result["unmatched"]) == (2, 0)
    run = label(lake, table, level="patient", pseudonyms=file, unlisted="refuse")
    assert run.counts == {"seen": 4, "stored": 2, "failed": 2}
    assert run.reasons == {"unlisted_patient": 1, "no_label": 1}
    found = lake.sql("select subject, value from labels where starts_with(subject, 'Case') order by 1").rows()
    assert found == [("Case 1", "1"), ("Case 2", "2")]


def test_images_without_a_patient_are_unlisted_too(lake: Lake, tmp_path: Path, realdata: Path) -> None:
    nifti = next(iter(sorted(realdata.rglob("*.nii.gz"))), None) or next(
        iter(sorted(realdata.rglob("*.nii")))
    )
    file = listed(tmp_path, {"a": "Case 1"})
    run = ingest(lake, nifti, pseudonyms=file, unlisted="refuse", engine="serial")
    assert run.reasons == {"unlisted_patient": 1}


def test_what_makes_no_sense_is_refused(lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    file = listed(tmp_path, {"a": "Case 1"})
    with pytest.raises(UsageError, match="no effect"):
        ingest(lake, phantoms, policy="none", pseudonyms=file)
    for call in (
        lambda: ingest(lake, phantoms, unlisted="refuse"),
        lambda: label(lake, file, level="patient", unlisted="refuse"),
    ):
        with pytest.raises(UsageError, match="needs a list"):
            call()
    with pytest.raises(NotFoundError):
        ingest(lake, phantoms, pseudonyms=tmp_path / "absent.csv")
    with pytest.raises(SettingsError, match="'keyed' or 'refuse'"):
        ingest(lake, phantoms, pseudonyms=file, unlisted="drop")  # type: ignore[arg-type]


def test_a_holder_of_the_key_is_told_a_pseudonym(
    lake: Lake, source: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, patients = source
    ingest(lake, folder, engine="serial")
    versions = lake.tables.versions()
    stored = {row[0] for row in lake.sql("select distinct patient_id from instances").rows()}
    assert {pseudonym(lake, patient) for patient in patients} == stored
    assert pseudonym(lake, f" {patients[0]}\n") in stored
    assert pseudonym(lake, patients[0], pseudonyms=listed(tmp_path, {patients[0]: "Case 1"})) == "Case 1"
    assert lake.tables.versions() == versions
    with pytest.raises(UsageError, match="not in the list") as caught:
        pseudonym(lake, "ZQXJANEDOE", pseudonyms=tmp_path / "list.csv", unlisted="refuse")
    assert "ZQX" not in str(caught.value)
    with pytest.raises(UsageError, match="is empty"):
        pseudonym(lake, " ")
    with pytest.raises(KeyMismatchError, match="no key"):
        pseudonym(open_lake(lake.url, key=tmp_path / "absent"), "4711")


def test_the_command(lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    door = ["--lake", lake.url, "--key", str(lake.key_file)]
    expected = pseudonym(lake, "4711")
    assert command(["pseudonym", "4711", *door]) == 0
    assert capsys.readouterr().out == f"{expected}\n"
    assert command(["pseudonym", "4711", "--json", *door]) == 0
    assert json.loads(capsys.readouterr().out) == {"pseudonym": expected}
    file = listed(tmp_path, {"4711": "Case 1"})
    assert command(["pseudonym", "4711", "--pseudonyms", str(file), "--unlisted", "refuse", *door]) == 0
    assert capsys.readouterr().out == "Case 1\n"
    assert command(["pseudonym", "4712", "--pseudonyms", str(file), "--unlisted", "refuse", *door]) == 2
    assert "4712" not in capsys.readouterr().err
    assert command(["pseudonym", "4711", "--lake", lake.url, "--key", str(tmp_path / "absent")]) == 1
    assert "has no key" in capsys.readouterr().err
    assert command(["keys", "show", "--json", *door]) == 0
    assert json.loads(capsys.readouterr().out)["generations"] == 1
    assert command(["keys", "rotate", *door]) == 0
    assert "0 seen" in capsys.readouterr().err
    assert (
        command(["keys", "rekey", str(tmp_path / "new"), "--new-key", str(tmp_path / "new.key"), *door]) == 0
    )
    assert "not_carried" in capsys.readouterr().err
