from __future__ import annotations

import csv
import json
import stat
import struct
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from voxlake.cli.main import run as command
from voxlake.core.errors import NotFoundError, UsageError
from voxlake.exchange.deidentify import deidentify
from voxlake.store.keys import LakeKey

SECRET = "Zebrafinch"


def ct(number: int, *, patient: str = "4711", rows: int = 4, **values) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.4.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.PatientName, dataset.PatientID = f"{SECRET}^John", patient
    dataset.StudyDate, dataset.StudyDescription = "20200301", f"Thorax {SECRET}"
    dataset.Modality = "CT"
    dataset.Rows = dataset.Columns = rows
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.add_new(0x7FE00010, "OW", bytes(rows * rows * 2))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def png() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0)
    parts = [
        chunk(b"IHDR", head),
        chunk(b"tEXt", b"Author\0" + SECRET.encode()),
        chunk(b"IDAT", zlib.compress(b"\0" + bytes(6))),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "test.key"
    LakeKey.generate().save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / f"{SECRET} export"
    path.mkdir()
    for number in (1, 2):
        (path / f"{SECRET}{number}.dcm").write_bytes(ct(number))
    (path / "other.dcm").write_bytes(ct(3, patient="9999"))
    (path / "cut.dcm").write_bytes(ct(4)[:-7])
    (path / "screen.dcm").write_bytes(ct(5, Modality="US"))
    (path / "photo.png").write_bytes(png())
    (path / "notes.txt").write_text("hello")
    (path / ".DS_Store").write_bytes(b"x")
    return path


def written(output: Path) -> list[Path]:
    return sorted(path for path in output.rglob("*") if path.is_file())


def test_every_file_has_an_outcome_and_no_name_gets_out(folder, tmp_path, key):
    output = tmp_path / "clean"
    failed = tmp_path / "failed.csv"
    run = deidentify(folder, output=output, key=key, failed=failed, engine="serial")
    assert dict(run.counts) == {"seen": 8, "stored": 3, "failed": 2, "rejected": 2, "ignored": 1}
    assert dict(run.reasons) == {
        "pixels_unchecked": 2,
        "truncated": 1,
        "unknown_format": 1,
        "ignored_system_file": 1,
    }
    files = written(output)
    assert len(files) == 3
    for path in files:
        name = path.relative_to(output).as_posix()
        assert SECRET not in name
        data = path.read_bytes()
        assert SECRET.encode() not in data
        dataset = dcmread(BytesIO(data))
        parts = [dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID]
        assert name == "/".join([*parts, f"{dataset.SOPInstanceUID}.dcm"])
        assert dataset.StudyDescription == "Thorax"
    assert len({path.relative_to(output).parts[0] for path in files}) == 2
    assert stat.S_IMODE(failed.stat().st_mode) == 0o600
    rows = list(csv.DictReader(failed.read_text().splitlines()))
    assert {(row["file"], row["reason"]) for row in rows} == {
        ("cut.dcm", "truncated"),
        ("notes.txt", "unknown_format"),
        ("photo.png", "pixels_unchecked"),
        ("screen.dcm", "pixels_unchecked"),
    }
    assert SECRET not in json.dumps(run.to_dict())


def test_again_with_the_same_key_writes_nothing(folder, tmp_path, key):
    first = deidentify(folder, output=tmp_path / "clean", key=key, engine="serial")
    again = deidentify(folder, output=tmp_path / "clean", key=key, engine="serial")
    assert first.counts["stored"] == again.counts["already"] == 3


def test_another_key_gives_other_names(folder, tmp_path, key):
    LakeKey.generate().save(tmp_path / "two.key")
    deidentify(folder, output=tmp_path / "one", key=key, engine="serial")
    deidentify(folder, output=tmp_path / "two", key=tmp_path / "two.key", engine="serial")
    names = [{path.name for path in written(tmp_path / side)} for side in ("one", "two")]
    assert not names[0] & names[1]


def test_a_dry_run_writes_nothing_and_lists_changes(folder, tmp_path, key):
    before = written(tmp_path)
    run = deidentify(folder, dry_run=True, key=key, engine="serial")
    assert written(tmp_path) == before
    rows = {(row["element"], row["action"]): row for row in run.result["would_change"]}
    assert rows["(0008,1030)", "cleaned"]["files"] == 3
    assert rows["(0010,0010)", "replaced"]["why"] == "pseudonym"
    assert run.result["output"] == "nothing: a dry run"
    assert SECRET not in json.dumps(run.to_dict())


def test_a_waiver_lets_pixels_through_and_their_metadata_go(folder, tmp_path, key):
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'name = "waived"\n[[waivers]]\nwhat = "png"\nreason = "drawn by this test, no text"\n'
        '[[waivers]]\nwhat = "modality:US"\nreason = "drawn by this test, no text"\n'
    )
    run = deidentify(folder, output=tmp_path / "clean", key=key, policy=policy, engine="serial")
    assert run.counts["stored"] == 5
    assert run.result["waived"] == {"modality:US": 1, "png": 1}
    images = [path for path in written(tmp_path / "clean") if path.suffix == ".png"]
    assert len(images) == 1
    assert images[0].parent.name == "no-patient"
    assert SECRET.encode() not in images[0].read_bytes()


def test_another_object_under_the_same_uid_is_not_written_over(tmp_path, key):
    one, two = tmp_path / "one.dcm", tmp_path / "two.dcm"
    one.write_bytes(ct(1))
    two.write_bytes(ct(1, rows=8))
    run = deidentify(one, two, output=tmp_path / "clean", key=key, engine="serial")
    assert (run.counts["stored"], run.counts["failed"]) == (1, 1)
    assert dict(run.reasons) == {"uid_conflict": 1}
    assert dcmread(written(tmp_path / "clean")[0]).Rows == 4
    assert len(written(tmp_path / "clean")) == 1


def test_pseudonyms_of_a_list_make_safe_folders(tmp_path, key):
    (tmp_path / "list.csv").write_text("original,pseudonym\n4711,../evil\n9999,..\n")
    for number, patient in enumerate(("4711", "9999")):
        (tmp_path / f"{number}.dcm").write_bytes(ct(number, patient=patient))
    output = tmp_path / "deep" / "clean"
    files = [tmp_path / "0.dcm", tmp_path / "1.dcm"]
    run = deidentify(*files, output=output, key=key, pseudonyms=tmp_path / "list.csv", engine="serial")
    assert run.counts["stored"] == 2
    assert sorted(path.name for path in output.iterdir()) == ["P_..", "P_..%2Fevil"]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["clean"]


def test_a_report_names_every_file_and_no_value(folder, tmp_path, key):
    page = tmp_path / "report.html"
    deidentify(folder, output=tmp_path / "clean", key=key, report=page, engine="serial")
    text = page.read_text()
    for path in written(tmp_path / "clean"):
        assert path.stem in text
    assert "StudyDescription" in text
    assert SECRET not in text


def test_wrong_use_is_refused(folder, tmp_path, key):
    for arguments, options in [
        ((), {"output": "x"}),
        ((folder,), {}),
        ((folder,), {"output": "x", "policy": "none"}),
    ]:
        with pytest.raises(UsageError):
            deidentify(*arguments, key=key, **options)
    with pytest.raises(NotFoundError):
        deidentify(folder, dry_run=True, key=tmp_path / "absent.key")


def test_formats_that_no_lake_reads_yet_lose_their_metadata(tmp_path, key):
    values = b"\1\2\3\4"
    head = "NRRD0004\n# SECRET\ncontent: SECRET\ntype: uint8\ndimension: 2\nsizes: 2 2\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.replace("SECRET", SECRET).encode() + values)
    Image.new("L", (2, 2)).save(tmp_path / "b.tif", description=SECRET)
    policy = tmp_path / "policy.toml"
    policy.write_text('name = "w"\n[[waivers]]\nwhat = "tiff"\nreason = "drawn by this test, no text"\n')
    sources = [tmp_path / "a.nrrd", tmp_path / "b.tif"]
    run = deidentify(*sources, output=tmp_path / "clean", key=key, policy=policy, engine="serial")
    assert (run.counts["stored"], run.result["changes"]) == (2, {"metadata_stripped": 2})
    files = written(tmp_path / "clean")
    assert sorted(path.suffix for path in files) == [".nrrd", ".tif"]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert next(path for path in files if path.suffix == ".nrrd").read_bytes().endswith(values)


def test_a_dry_run_leaves_no_key(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = deidentify(folder, dry_run=True, engine="serial")
    assert run.result["key"] == "one for this run only"
    assert not (tmp_path / "home").exists()


def test_the_command(folder, tmp_path, key, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    line = ["deidentify", str(folder), "--output", str(tmp_path / "clean"), "--json", "--engine", "serial"]
    assert command(line) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["counts"]["stored"] == 3
    made = tmp_path / "home" / ".config" / "voxlake" / "keys" / "deidentify"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert command([*line, "--strict"]) == 1
    assert command(["deidentify", str(folder), "--dry-run", "--engine", "serial"]) == 0
    assert "private" not in capsys.readouterr().out


def test_workers_do_the_same(folder, tmp_path, key):
    deidentify(folder, output=tmp_path / "one", key=key, engine="serial")
    run = deidentify(folder, output=tmp_path / "two", key=key, engine="processes:1")
    assert run.counts["stored"] == 3
    sides = [
        {path.relative_to(tmp_path / side): path.read_bytes() for path in written(tmp_path / side)}
        for side in ("one", "two")
    ]
    assert sides[0] == sides[1]
