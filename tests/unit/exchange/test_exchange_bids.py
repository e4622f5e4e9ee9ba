"""The Brain Imaging Data Structure: names, tables, lineage; MR in its place, all else beside it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from voxlake.core.volume import Label
from voxlake.dicom.geometry import judge
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.write_common import read_sources
from voxlake.dicom.write_rtstruct import RegionToWrite, write_rtstruct
from voxlake.exchange.bids import participant_of, suffix_of
from voxlake.exchange.export import export
from voxlake.lake.cohorts import Cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.sources.phantoms import Phantoms
from voxlake.volumes.prepare import prepare

NAME = re.compile(r"sub-[A-Za-z0-9]+_ses-[A-Za-z0-9]+_acq-[A-Za-z0-9]+_(T1w|ct)\.(nii\.gz|json)")


def row(**columns: object) -> dict[str, object]:
    names = (
        "modality",
        "series_description",
        "protocol_name",
        "echo_time",
        "repetition_time",
        "inversion_time",
    )
    return {**dict.fromkeys(names), **columns}


def drawn(paths: list[Path]) -> bytes:
    """A region on a series."""
    items = [path.read_bytes() for path in paths]
    rows = [scan(read_dataset(data), tags=False) for data in items]
    verdict = judge(rows)
    assert verdict.grid is not None
    order = [index for index, _ in verdict.order]
    values = np.zeros(verdict.grid.shape, dtype=bool)
    values[2:5, 3:9, 4:8] = True
    region = RegionToWrite(Label(1, "Liver"), values)
    sources = read_sources(items[order[0]], [rows[index] for index in order])
    return write_rtstruct([region], verdict.grid, sources, uids=("1.2.826.8.1", "1.2.826.8.2"))


@pytest.fixture
def cohort(lake: Lake, tmp_path: Path) -> Cohort:
    """Two patients, CT; of the first the same as MR."""
    folder = tmp_path / "in"
    folder.mkdir()
    patients = set()
    for number, item in enumerate(Phantoms(patients=2, slices=8, rows=16, columns=16, second_study=0.0)):
        data = item.read(10**7)
        (folder / f"{number}.dcm").write_bytes(data)
        image = dcmread(BytesIO(data))
        patients.add(image.PatientID)
        if len(patients) == 1:
            image.SOPInstanceUID += ".7"
            image.SeriesInstanceUID += ".7"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.Modality, image.EchoTime, image.RepetitionTime = "MR", 4, 500
            image.save_as(folder / f"mr{number}.dcm")
    (folder / "regions.dcm").write_bytes(drawn(sorted(folder.glob("mr*.dcm"))))
    ingest(lake, folder, engine="serial")
    made = select(lake, "all", "modality in ('CT', 'MR')")
    plan = tmp_path / "plan.toml"
    plan.write_text('[[steps]]\nstep = "reorient"\norientation = "SPL"\n')
    prepare(made, plan=plan, masks=True, engine="serial")
    return made


def test_a_data_set(cohort: Cohort, tmp_path: Path):
    out = tmp_path / "out"
    assert export(cohort, out, to="bids", engine="serial").counts == {"seen": 3, "stored": 3}
    description = json.loads((out / "dataset_description.json").read_text())
    assert (description["BIDSVersion"], description["DatasetType"]) == ("1.10.0", "raw")
    table = [line.split("\t") for line in (out / "participants.tsv").read_text().splitlines()]
    assert table[0] == ["participant_id", "age", "sex"]
    subjects = sorted(path.name for path in out.glob("sub-*"))
    assert [one[0] for one in table[1:]] == subjects
    assert len(subjects) == 2
    images = sorted(path for path in out.glob("sub-*/ses-*/*/*") if path.is_file())
    assert len(images) == 6
    assert all(NAME.fullmatch(path.name) for path in images)
    assert {(path.parent.name, path.name.rsplit("_", 1)[1]) for path in images} == {
        ("anat", "T1w.nii.gz"), ("anat", "T1w.json"), ("other", "ct.nii.gz"), ("other", "ct.json"),
    }  # fmt: skip
    (sidecar,) = out.glob("sub-*/ses-*/anat/*.json")
    assert json.loads(sidecar.read_text())["EchoTime"] == 0.004
    assert nibabel.load(str(sidecar).replace(".json", ".nii.gz")).shape == (16, 16, 8)
    lineage = [json.loads(path.read_text()) for path in out.glob("sourcedata/voxlake/sub-*/ses-*/*.json")]
    assert [len(one["sources"]) for one in lineage] == [8, 8, 8]
    (mask,) = out.glob("derivatives/voxlake/sub-*/ses-*/anat/*_dseg.nii.gz")
    assert np.asarray(nibabel.load(mask).dataobj).sum() == 3 * 6 * 4
    assert Path(str(mask).replace(".nii.gz", ".tsv")).read_text() == "index\tname\n1\tLiver\n"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert export(cohort, out, to="bids", engine="serial").counts == {"seen": 3, "already": 3}
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    validator = shutil.which("bids-validator-deno")
    if validator is not None:
        for folder in (out, out / "derivatives" / "voxlake"):
            done = subprocess.run(
                [validator, "--json", folder], capture_output=True, timeout=120, check=False
            )
            issues = json.loads(done.stdout)["issues"]["issues"]
            assert [one for one in issues if one["severity"] == "error"] == []


def test_names_of_images():
    assert suffix_of(row(modality="MR", series_description="sag T2 FLAIR")) == "FLAIR"
    assert suffix_of(row(modality="MR", series_description="ax t2 tse")) == "T2w"
    assert suffix_of(row(modality="MR", protocol_name="MPRAGE")) == "T1w"
    assert suffix_of(row(modality="MR", series_description="T2 DWI b1000")) == "image"
    assert suffix_of(row(modality="MR", echo_time=10.0, repetition_time=500.0)) == "T1w"
    assert suffix_of(row(modality="MR", echo_time=90.0, repetition_time=4000.0)) == "T2w"
    assert (
        suffix_of(row(modality="MR", echo_time=90.0, repetition_time=9000.0, inversion_time=2500.0))
        == "FLAIR"
    )
    assert suffix_of(row(modality="MR")) == "image"
    assert suffix_of(row(modality="CT", series_description="T1 vertebra")) == "ct"


def test_names_of_people():
    assert participant_of("P-7KQ2M5XH4TRAB", "1.2") == "P7KQ2M5XH4TRAB"
    others = {participant_of("A-1", "1.2"), participant_of("A1", "1.2"), participant_of(None, "1.2")}
    assert len(others) == 3
    assert all(re.fullmatch("[A-Za-z0-9]+", one) for one in others)
