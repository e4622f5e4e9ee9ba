"""Planted identities are looked for in everything that the main job leaves behind: none is anywhere.

Packs, arrays, tables with their statistics and logs, names of files, reports, the look-up cache, temporary
files while the job runs and after it, and what the command line prints. Only the sealed quarantine holds
some, and only the key opens it. The same search finds them under policy none.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from voxlake.cli.main import run
from voxlake.lake.cohorts import get_cohort
from voxlake.lake.lake import open_lake
from voxlake.lake.quarantine import quarantine_list, quarantine_show
from voxlake.processing.registry import load_plan
from voxlake.volumes.read import read_values, volume_rows

TOKENS = {
    # Random in the middle, so that no word of the language is part of one.
    place: f"Zq{base64.b32encode(hashlib.sha256(place.encode()).digest())[:10].decode()}Kw"
    for place in (
        "patient", "given", "id", "accession", "institution", "physician", "address", "description",
        "private", "file", "folder", "member", "zip", "mapped", "comment", "labels", "reader_note",
        "png_text", "damaged", "conflict", "station", "operator", "ae", "request", "not_there",
    )
}  # fmt: skip
UIDS = {"study_uid": "1.2.826.77.1", "series_uid": "1.2.826.77.1.2", "sop_uid": "1.2.826.77.1.2.3"}
POLICY = """
name = "planted"
options = [
  "clean_descriptors", "retain_longitudinal_modified_dates",
  "retain_patient_characteristics", "retain_safe_private",
]
[[waivers]]
what = "png"
reason = "made by the test, nobody is on it"
"""
PLAN = """
[[steps]]
step = "crop_or_pad"
shape = [8, 16, 16]
fill = "minimum"
"""


def forms(text: str) -> Iterator[bytes]:
    """A token as it may be written; the search does not look at the case."""
    plain = text.encode()
    yield plain
    yield text.encode("utf-16-le")
    yield text.encode("utf-16-be")
    yield plain.hex().encode()


def base64_forms(text: str) -> Iterator[bytes]:
    """What is sure to occur in the base64 of anything that holds a token, whatever stands before it."""
    for spelled in {text, text.lower(), text.upper(), text.swapcase()}:
        for before in range(3):
            packed = base64.b64encode(b"\0" * before + spelled.encode())
            # The first and the last group also depend on the neighbours.
            yield packed[4 if before else 0 : len(packed) // 4 * 4 - 4]


class Search:
    """Looks for all tokens at once."""

    def __init__(self) -> None:
        texts = {**TOKENS, **UIDS}
        self._folded = {form.lower(): name for name, text in texts.items() for form in forms(text)}
        # The digits of UIDs have few forms in base64 that are long enough to mean something.
        self._exact = {form: name for name, text in TOKENS.items() for form in base64_forms(text)}

    def __call__(self, data: bytes) -> set[str]:
        low = data.lower()
        found = {name for form, name in self._folded.items() if form in low}
        return found | {name for form, name in self._exact.items() if form in data}


SEARCH = Search()


@pytest.mark.parametrize(
    "write",
    [
        str.encode,
        lambda text: text.upper().encode(),
        lambda text: text.swapcase().encode(),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.encode().hex().encode(),
        lambda text: text.encode().hex().upper().encode(),
        lambda text: base64.b64encode(text.encode()),
        lambda text: base64.b64encode(b"x" + text.encode() + b"yz"),
        lambda text: base64.b64encode(b"xy" + text.upper().encode() + b"z"),
    ],
)
def test_the_search_finds_every_form(write: Callable[[str], bytes]) -> None:
    for name, token in TOKENS.items():
        assert SEARCH(b"before" + write(token) + b"after") == {name}
    assert SEARCH(b"nothing here but Zq and Kw") == set()


def slice_of(number: int, *, study: str = UIDS["study_uid"], sop: str | None = None) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.SourceApplicationEntityTitle = TOKENS["ae"]
    dataset.preamble = TOKENS["private"].encode().ljust(128, b"\0")
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = sop or f"{UIDS['sop_uid']}.{study[-1]}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{UIDS['series_uid']}.{study[-1]}"
    dataset.FrameOfReferenceUID = f"{UIDS['series_uid']}.9"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "CT", 1, number
    dataset.StudyDate, dataset.StudyTime, dataset.ImageType = (
        "20200301",
        "101112",
        ["ORIGINAL", "PRIMARY", "AXIAL"],
    )
    dataset.PatientName = f"{TOKENS['patient']}^{TOKENS['given']}"
    dataset.PatientID, dataset.AccessionNumber = TOKENS["id"], TOKENS["accession"]
    dataset.InstitutionName, dataset.StationName = TOKENS["institution"], TOKENS["station"]
    dataset.ReferringPhysicianName, dataset.OperatorsName = TOKENS["physician"], TOKENS["operator"]
    dataset.PatientAddress, dataset.PatientSex, dataset.PatientAge = TOKENS["address"], "F", "061Y"
    dataset.StudyDescription = f"Thorax {TOKENS['patient']} {TOKENS['accession']}"
    dataset.SeriesDescription = f"{TOKENS['given'].upper()} axial"
    dataset.ImageComments = f"seen by {TOKENS['physician']} in {TOKENS['institution']}"
    request = Dataset()
    request.RequestedProcedureID, request.RequestingPhysician = TOKENS["request"], TOKENS["physician"]
    request.ScheduledProcedureStepDescription = f"Chest of {TOKENS['patient']} {TOKENS['id']}"
    dataset.RequestAttributesSequence = Sequence([request])
    private = dataset.private_block(0x0029, TOKENS["private"], create=True)
    private.add_new(0x01, "LO", TOKENS["description"])
    private.add_new(0x02, "OB", TOKENS["private"].encode() + b" ")
    _add_pixels(dataset, number)
    return dataset


def _add_pixels(dataset: Dataset, number: int) -> None:
    dataset.Rows = dataset.Columns = 16
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 2
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2 * number]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"
    values = np.random.default_rng(number).integers(-900, 900, (16, 16), dtype=np.int16)
    dataset.add_new(0x7FE00010, "OW", values.tobytes())


def file_of(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def picture() -> bytes:
    text = PngInfo()
    text.add_text("Comment", TOKENS["png_text"])
    stream = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(stream, "png", pnginfo=text)
    return stream.getvalue()


def plant(home: Path) -> dict[str, Path]:
    """Write the sources: a folder, a zip archive, a mapping and a table of labels."""
    folder = home / TOKENS["folder"]
    (folder / TOKENS["mapped"]).mkdir(parents=True)
    for number in range(8):
        (folder / f"{TOKENS['file']}{number}.dcm").write_bytes(file_of(slice_of(number)))
    (folder / TOKENS["mapped"] / f"{TOKENS['file']}.png").write_bytes(picture())
    damaged = slice_of(90)
    damaged.PatientName = TOKENS["damaged"]
    (folder / f"{TOKENS['damaged']}.dcm").write_bytes(file_of(damaged)[:-100])
    conflict = slice_of(1)
    conflict.OtherPatientNames = TOKENS["conflict"]
    conflict.SliceThickness = 3
    (folder / f"{TOKENS['file']}9-{TOKENS['conflict']}.dcm").write_bytes(file_of(conflict))
    paths = {"folder": folder, "zip": home / f"{TOKENS['zip']}.zip", "mapping": home / "mapping.toml"}
    with zipfile.ZipFile(paths["zip"], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = TOKENS["comment"].encode()
        for number in range(8):
            later = file_of(slice_of(number, study="1.2.826.77.2"))
            archive.writestr(f"{TOKENS['member']}/{TOKENS['file']}{number}", later)
        archive.writestr(f"{TOKENS['member']}/broken.dcm", b"\0" * 128 + b"DICM" + TOKENS["damaged"].encode())
    paths["mapping"].write_text(
        f"# {TOKENS['comment']}\nlabel_name = 'finding'\n[[rules]]\n"
        f"pattern = '(?P<patient>{TOKENS['mapped']})/'\nmodality = 'DX'\nlabel = 'normal'\n"
    )
    paths["labels"] = home / "labels.csv"
    paths["labels"].write_text(
        f"id,verdict\n{TOKENS['id']},present\n{TOKENS['labels']},absent\n,{TOKENS['reader_note']}\n"
    )
    paths["policy"], paths["plan"] = home / "policy.toml", home / "plan.toml"
    paths["policy"].write_text(POLICY)
    paths["plan"].write_text(PLAN)
    return paths


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary folder whose name leaves room for that of a socket (108 characters in all)."""
    with tempfile.TemporaryDirectory(prefix="vx") as folder:
        yield Path(folder)


class Job:
    """The main job at the command line, and everything that it leaves behind."""

    def __init__(self, home: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.sources = plant(home / "sources")
        self.temporary = temporary
        (home / "temporary").symlink_to(temporary)
        (home / "away").mkdir()
        # Its list of fonts takes long to make and is not of the job.
        monkeypatch.setenv("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))
        monkeypatch.setenv("TMPDIR", str(temporary))
        for name, folder in (("HOME", "home"), ("VOXLAKE_LAKE", "lake")):
            monkeypatch.setenv(name, str(home / folder))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.chdir(home / "away")
        self.printed = b""
        self.seen_in_between: set[str] = set()
        self.looked = 0

    def ingest(self, policy: str) -> None:
        """In a process of its own, with its temporary files looked at while it runs."""
        arguments = [
            "ingest", str(self.sources["folder"]), str(self.sources["zip"]), "--mapping",
            str(self.sources["mapping"]), "--policy", policy, "--engine", "processes:1",
        ]  # fmt: skip
        code = "import sys\nfrom voxlake.cli.main import run\nsys.exit(run(sys.argv[1:]))"
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            while process.poll() is None:
                self.seen_in_between |= found_in(self.temporary)
                self.looked += 1
                time.sleep(0.1)
            assert process.stdout is not None
            self.printed += process.stdout.read()
        assert process.returncode == 0, self.printed.decode()

    def say(self, capfd: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
        assert run(arguments) == status, arguments
        said = capfd.readouterr()
        self.printed += (said.out + said.err).encode()
        return said.out + said.err


def found_in(folder: Path) -> set[str]:
    """Tokens in the names and bytes of all files under a folder, which may come and go."""
    found: set[str] = set()
    for parent, folders, files in os.walk(folder):
        found |= SEARCH("\n".join([*folders, *files]).encode())
        for name in files:
            with contextlib.suppress(OSError):
                found |= SEARCH(Path(parent, name).read_bytes())
    return found


def found_in_tables(lake: Path) -> set[str]:
    """Tokens in the values of all tables, in the statistics of their columns and in their logs."""
    found: set[str] = set()
    files = list(lake.rglob("*.parquet"))
    assert files
    for path in files:
        opened = pq.ParquetFile(path)
        found |= SEARCH(json.dumps(opened.read().to_pylist(), default=str, ensure_ascii=False).encode())
        found |= SEARCH(str(opened.schema_arrow.metadata).encode())
        for group in range(opened.metadata.num_row_groups):
            columns = opened.metadata.row_group(group)
            for column in range(columns.num_columns):
                statistics = columns.column(column).statistics
                if statistics is not None and statistics.has_min_max:
                    found |= SEARCH(f"{statistics.min} {statistics.max}".encode())
    for path in lake.rglob("_delta_log/*.json"):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            found |= SEARCH(json.dumps(entry, ensure_ascii=False).encode())
            # Statistics are JSON in JSON.
            found |= SEARCH(entry.get("add", {}).get("stats", "").encode().replace(b"\\", b""))
    return found


def test_no_identity_anywhere(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    job = Job(tmp_path, short, monkeypatch)
    assert found_in(tmp_path / "sources") >= set(TOKENS) - {"not_there"} - {"member", "file"}
    job.ingest(str(job.sources["policy"]))
    lake = open_lake(tmp_path / "lake", create=False)
    # 16 slices and a picture; the truncated slice, the other file of one UID and a member without content.
    assert lake.sql("select count(*) from instances").rows() == [(17,)]
    reasons = {row["reason"] for row in quarantine_list(lake)}
    assert {"truncated", "uid_conflict"} <= reasons
    assert len(quarantine_list(lake)) == 3

    job.say(capfd, "label", str(job.sources["labels"]), "--level", "patient")
    assert lake.sql("select count(*) from labels where name = 'verdict' and value = 'present'").rows() == [
        (1,)
    ]
    assert "modality" in job.say(capfd, "sql", "select * from instances", "--format", "csv")
    job.say(capfd, "sql", "select * from studies")
    job.say(capfd, "sql", "select * from runs", "--json")
    job.say(capfd, "select", "chests", "modality = 'CT'")
    job.say(capfd, "cohort", "show", "chests", "--json")
    job.say(capfd, "prepare", "chests", "--plan", str(job.sources["plan"]), "--engine", "serial")
    ran = lake.sql("select run_id from runs where verb = 'ingest' order by 1 limit 1").rows()[0][0]
    study = lake.sql("select study_instance_uid from series where modality = 'CT' limit 1").rows()[0][0]
    job.say(capfd, "report", ran)
    job.say(capfd, "report", study)
    assert "uid_conflict" in job.say(capfd, "quarantine", "list", "--format", "csv")
    job.say(capfd, "quarantine", "show", "ffffffff", status=2)
    job.say(capfd, "sql", "select nothing from instances", status=1)

    check(job)
    sealed = quarantine_list(lake, reason="uid_conflict")[0]["quarantine_id"]
    assert TOKENS["conflict"] in quarantine_show(lake, sealed)["source_name"]
    rows = volume_rows(get_cohort(lake, "chests"), load_plan(job.sources["plan"]).digest())
    assert len(rows) == 2
    for values in read_values(lake, rows):
        assert SEARCH(values.tobytes()) == set()
        assert SEARCH(values.astype(np.uint8).tobytes()) == set()


def check(job: Job) -> None:
    for name in ("lake", "home", "temporary", "away"):
        assert found_in(job.home / name) == set(), name
    for kind in ("packs", "quarantine", "reports"):
        assert any((job.home / "lake" / kind).rglob("*")), kind
    assert found_in_tables(job.home / "lake") == set()
    assert job.looked > 5
    assert job.seen_in_between == set()
    assert len(job.printed) > 2000
    assert SEARCH(job.printed) == set()
    assert not [path for path in job.temporary.rglob("*") if path.is_file()]
    caches = [path for path in (job.home / "home").rglob("*.sqlite*") if path.is_file()]
    assert caches


def test_policy_none_is_found_out(tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(tmp_path, short, monkeypatch)
    job.ingest("none")
    lake = tmp_path / "lake"
    kept = {
        "patient",
        "given",
        "id",
        "accession",
        "institution",
        "physician",
        "private",
        "png_text",
        "study_uid",
    }
    assert kept <= found_in(lake / "packs")
    assert {"id", "study_uid", "series_uid", "sop_uid"} <= found_in_tables(lake)
    # Even then names of files are in no table, and what was not let in is sealed.
    assert found_in(lake / "quarantine") == set()
    assert not {"file", "folder", "member", "zip"} & (found_in_tables(lake) | SEARCH(job.printed))
    assert os.environ["TMPDIR"] == str(job.temporary)
    assert job.seen_in_between == set()
