"""The verb export: what is written, what is held back, what is done again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from voxlake.core.errors import NotFoundError, SettingsError, UsageError
from voxlake.core.volume import Label
from voxlake.dicom.geometry import judge
from voxlake.dicom.mask_objects import masks_of, read_mask_object
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.write_common import read_sources
from voxlake.dicom.write_rtstruct import RegionToWrite, write_rtstruct
from voxlake.exchange.export import export
from voxlake.lake.cohorts import Cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.withdrawals import withdraw
from voxlake.sources.images import read_image
from voxlake.sources.phantoms import Phantoms
from voxlake.store.arrays import read_array
from voxlake.store.keys import LakeKey
from voxlake.store.objects import Objects
from voxlake.volumes.masks_read import iter_masks
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("export")

AS_IT_IS = '[[steps]]\nstep = "reorient"\norientation = "SPL"\n'
LABELS = (Label(1, "Liver", ("10200004", "SCT")), Label(2, "Ring"))


def drawn(items: list[bytes]) -> bytes:
    """A structure set with a block and a ring (a region with a hole), written by ourselves."""
    rows = [scan(read_dataset(data), tags=False) for data in items]
    verdict = judge(rows)
    assert verdict.grid is not None
    rows = [rows[index] for index, _ in verdict.order]
    sources = read_sources(items[verdict.order[0][0]], rows)
    values = np.zeros(verdict.grid.shape, dtype=np.uint8)
    values[1:4, 2:6, 3:9] = 1
    values[2:6, 8:13, 8:13] = 2
    values[2:6, 10, 9:12] = 0
    regions = [RegionToWrite(label, values == label.value) for label in LABELS]
    return write_rtstruct(regions, verdict.grid, sources, uids=("1.2.826.7.1", "1.2.826.7.2"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Two patients; regions drawn on the first."""
    tmp_path = tmp_path_factory.mktemp("export")
    LakeKey(bytes(range(32))).save(tmp_path / "key")
    lake = open_lake(tmp_path / "lake", key=tmp_path / "key")
    phantoms = Phantoms(patients=2, slices=8, rows=16, columns=16, second_study=0.0)
    folder = tmp_path / "in"
    folder.mkdir()
    data = [item.read(10**7) for item in phantoms]
    by_patient: dict[str, list[bytes]] = {}
    for number, one in enumerate(data):
        (folder / f"{number}.dcm").write_bytes(one)
        by_patient.setdefault(read_dataset(one).PatientID, []).append(one)
    first = min(by_patient)
    (folder / "structures.dcm").write_bytes(drawn(by_patient[first]))
    ingest(lake, folder, engine="serial")
    made = select(lake, "scans", "modality = 'CT'")
    plan = tmp_path / "plan.toml"
    plan.write_text(AS_IT_IS)
    prepare(made, plan=plan, masks=True, engine="serial")
    return made


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def test_nifti_holds_the_volumes_and_masks(cohort: Cohort, tmp_path: Path):
    out = tmp_path / "out"
    run = export(cohort, out, to="nifti", engine="serial")
    assert run.counts == {"seen": 2, "stored": 2}
    by_id = {
        json.loads(path.read_text())["values_sha256"]: path
        for path in files(out, "*.json")
        if "_mask-" not in path.name
    }
    for volume in iter_volumes(cohort):
        paths = [path for path in by_id.values() if path.with_suffix(".nii.gz").is_file()]
        found = [read_image(path.with_suffix(".nii.gz").read_bytes(), "nifti") for path in paths]
        assert any(
            np.array_equal(one.numpy(), volume.numpy()) and one.grid.matches(_frameless(volume.grid))
            for one in found
        )
    masks = [mask.numpy() for _, mask in iter_masks(cohort)]
    assert len(masks) == 2
    labels = files(out, "*_mask-*.nii.gz")
    assert len(labels) == 2
    for path in labels:
        image = nibabel.load(path)
        assert image.get_data_dtype() == np.uint8
        values = np.asarray(image.dataobj).transpose(2, 1, 0)
        assert any(np.array_equal(values, mask) for mask in masks)
        said = json.loads(Path(str(path).replace(".nii.gz", ".json")).read_text())
        assert said["labels"][0]["value"] == 1
        assert said["outlined_by"]


def _frameless(grid):
    return type(grid).from_affine(grid.shape, grid.affine)


def test_every_file_is_in_the_list_and_in_the_items_of_the_run(cohort: Cohort, tmp_path: Path):
    out = tmp_path / "out"
    run = export(cohort, out, to="nifti", engine="serial")
    written = {str(p.relative_to(out)) for p in files(out, "*")} - {"voxlake-export.jsonl", "SHA256SUMS"}
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=out, capture_output=True, check=True)
    assert done.stdout.count(b": OK") == len(written) == run.result["files"]
    details = cohort.lake.sql("select detail from items where run_id = $run", {"run": run.run_id}).rows()
    named = {part.split(" ")[0] for (detail,) in details for part in detail.split("; ")}
    assert named == written
    lines = [json.loads(line) for line in (out / "voxlake-export.jsonl").read_text().splitlines()]
    assert {len(line["sources"]) for line in lines} == {8}
    assert {line["run_id"] for line in lines} == {run.run_id}


def test_again_does_only_what_is_missing(cohort: Cohort, tmp_path: Path):
    out = tmp_path / "out"
    export(cohort, out, to="nrrd", engine="serial")
    again = export(cohort, out, to="nrrd", engine="serial")
    assert again.counts == {"seen": 2, "already": 2}
    lost = files(out, "*.nrrd")[0]
    before = lost.read_bytes()
    lost.unlink()
    with (out / "voxlake-export.jsonl").open("a") as stream:
        stream.write('{"key": "half a li')
    third = export(cohort, out, to="nrrd", engine="serial")
    assert third.counts == {"seen": 2, "already": 1, "stored": 1}
    assert lost.stat().st_size > 0
    assert len(before) > 0
    assert export(cohort, out, to="nrrd", engine="serial").counts == {"seen": 2, "already": 2}


def test_two_processes_write_the_same(cohort: Cohort, tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    export(cohort, one, to="zarr", engine="serial")
    assert export(cohort, two, to="zarr", engine="processes:2").counts["stored"] == 2
    names = {str(path.relative_to(one)) for path in files(one, "*")}
    assert names == {str(path.relative_to(two)) for path in files(two, "*")}
    arrays = [path.parent for path in files(two, "zarr.json") if path.parent.name.endswith(".zarr")]
    images = [path for path in arrays if "_mask-" not in path.name]
    assert len(images) == 2
    values = [read_array(Objects.open(path.parent), path.name, shards=None) for path in images]
    for volume in iter_volumes(cohort):
        assert any(np.array_equal(volume.numpy(), found) for found in values)
    attributes = json.loads((images[0] / "zarr.json").read_text())["attributes"]
    assert attributes["ome"]["version"] == "0.5"
    assert len(attributes["voxlake"]["record"]["sources"]) == 8


def test_png_of_16_bits_comes_back_exactly(cohort: Cohort, tmp_path: Path):
    out = tmp_path / "out"
    export(cohort, out, to="png", bits=16, masks=False, engine="serial")
    volumes = [volume.numpy() for volume in iter_volumes(cohort)]
    for path in files(out, "*.json"):
        said = json.loads(path.read_text())
        assert said["pixels"]["exact"] is True
        pictures = [np.array(Image.open(p), dtype=np.int64) for p in files(path.with_suffix(""), "*.png")]
        values = np.stack(pictures) + said["pixels"]["intercept"]
        assert any(np.array_equal(values, volume) for volume in volumes)


def test_a_window_cuts_off(cohort: Cohort, tmp_path: Path):
    out = tmp_path / "out"
    export(cohort, out, to="png", window="-500/1000", masks=False, engine="serial")
    said = json.loads(files(out, "*.json")[0].read_text())
    assert (said["pixels"]["lowest"], said["pixels"]["highest"]) == (-1000.0, 0.0)
    assert np.array(Image.open(files(out, "*.png")[0])).dtype == np.uint8
    with pytest.raises(UsageError, match="centre/width"):
        export(cohort, out, to="png", window="wide", engine="serial")


@pytest.mark.parametrize("to", ["dicom-seg", "dicom-rtstruct"])
def test_masks_come_back_voxel_for_voxel(cohort: Cohort, tmp_path: Path, to):
    out = tmp_path / "out"
    run = export(cohort, out, to=to, engine="serial")
    assert run.counts == {"seen": 1, "stored": 1}
    (path,) = files(out, "*.dcm")
    volume, _ = next(iter_masks(cohort))
    expected = [mask.numpy() > 0 for _, mask in iter_masks(cohort)]
    found = read_mask_object(path.read_bytes())
    made = masks_of(found, volume.grid)
    if to == "dicom-seg":
        (mask,) = made.masks
        parts = [mask.numpy() == 1, mask.numpy() == 2]
        assert len(found.image_uids) == 8
    else:
        parts = [mask.numpy() > 0 for mask in made.masks]
    assert all(np.array_equal(a, b) for a, b in zip(parts, expected, strict=True))
    assert found.series_uids == (path.parent.name,)


def test_a_report_comes_with_its_segmentation(cohort: Cohort, tmp_path: Path):
    out = tmp_path / "out"
    assert export(cohort, out, to="dicom-sr", engine="serial").counts == {"seen": 1, "stored": 1}
    report, segmentation = (dcmread(path) for path in sorted(files(out, "*.dcm"), reverse=True))
    assert (report.Modality, segmentation.Modality) == ("SR", "SEG")
    volume, mask = next(iter_masks(cohort))
    under = volume.numpy()[mask.numpy() > 0].astype(np.float64)
    text = report.to_json()
    for number in (under.mean(), under.std(), under.min(), under.max()):
        assert f"{float(f'{number:.10g}')}".rstrip("0").rstrip(".") in text
    ml = under.size * volume.grid.voxel_volume / 1000
    assert f"{float(f'{ml:.10g}')}".rstrip("0").rstrip(".") in text
    assert segmentation.SOPInstanceUID in text


def test_originals_leave_as_they_are_stored(lake: Lake, tmp_path: Path):
    ingest(
        lake,
        Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0.0),
        engine="serial",
        compress="htj2k",
    )
    cohort = select(lake, "all")
    out = tmp_path / "out"
    run = export(cohort, out, to="dicom", engine="serial")
    rows = dict(lake.sql("select sop_instance_uid, coalesce(original_sha256, sha256) from instances").rows())
    assert run.counts["stored"] == len(rows)
    for path in files(out, "*.dcm"):
        assert dcmread(path).file_meta.TransferSyntaxUID.is_compressed is False
    lines = [json.loads(line) for line in (out / "voxlake-export.jsonl").read_text().splitlines()]
    assert {line["item"]: line["files"][0]["sha256"] for line in lines} == rows


def test_nothing_leaves_of_patients_who_have_withdrawn(lake: Lake, tmp_path: Path):
    ingest(lake, Phantoms(patients=2, slices=8, rows=16, columns=16, second_study=0.0), engine="serial")
    cohort = select(lake, "all")
    withdraw(lake, min(member.patient_id or "" for member in cohort.members()))
    run = export(cohort, tmp_path / "out", to="dicom", engine="serial")
    assert run.counts == {"seen": 9, "stored": 8, "rejected": 1}
    assert run.reasons == {"patient_withdrawn": 1}


def test_what_nobody_deidentified_needs_a_reason(lake: Lake, tmp_path: Path):
    ingest(
        lake,
        Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0.0),
        policy="none",
        engine="serial",
    )
    cohort = select(lake, "all")
    out = tmp_path / "out"
    run = export(cohort, out, to="dicom", engine="serial")
    assert set(run.counts) == {"seen", "rejected"}
    assert run.reasons == {"not_deidentified": run.counts["seen"]}
    assert files(out, "*.dcm") == []
    with pytest.raises(SettingsError):
        export(cohort, out, to="dicom", release_identified="because", engine="serial")
    reason = "phantoms, nobody is in them"
    run = export(cohort, out, to="dicom", release_identified=reason, engine="serial")
    assert run.counts["stored"] == run.counts["seen"] == len(files(out, "*.dcm"))
    (said,) = cohort.lake.sql("select arguments from runs where run_id = $run", {"run": run.run_id}).rows()[0]
    assert json.loads(said)["release"]["identified"] == reason


def test_flat_images_share_an_array_and_leave_one_by_one(lake: Lake, waived: str, tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, (9, 7), dtype=np.uint8) for _ in range(3)]
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.png")
    policy = tmp_path / "waived.toml"
    policy.write_text(waived)
    ingest(lake, folder, policy=str(policy), engine="serial")
    cohort = select(lake, "all")
    plan = tmp_path / "plan.toml"
    plan.write_text('[[steps]]\nstep = "clip"\nlow = 0\nhigh = 255\n')
    prepare(cohort, plan=plan, engine="serial")
    for to in ("nifti", "nrrd", "png", "zarr", "bids", "dicom-sc"):
        out = tmp_path / to
        assert export(cohort, out, to=to, engine="serial").counts == {"seen": 3, "stored": 3}, to
    found = [np.array(Image.open(path)) for path in files(tmp_path / "png", "*.png")]
    assert sorted(one.tobytes() for one in found) == sorted(one.tobytes() for one in pictures)
    captures = [dcmread(path).pixel_array for path in files(tmp_path / "dicom-sc", "*.dcm")]
    assert sorted(one.tobytes() for one in captures) == sorted(one.tobytes() for one in pictures)
    with pytest.raises(NotFoundError, match="no masks"):
        export(cohort, tmp_path / "seg", to="dicom-seg", engine="serial")
    run = export(cohort, tmp_path / "dicom", to="dicom", engine="serial")
    assert run.reasons == {"not_dicom": 3}


def test_what_is_not_prepared_is_said(cohort: Cohort, tmp_path: Path):
    everything = select(cohort.lake, "everything")
    run = export(everything, tmp_path / "out", to="nifti", engine="serial")
    assert run.counts == {"seen": 3, "stored": 2, "failed": 1}
    assert run.reasons == {"no_volume": 1}


def test_the_folder_is_no_file_and_not_in_the_lake(cohort: Cohort, tmp_path: Path):
    inside = Path(cohort.lake.objects.local_path("") or "") / "out"
    with pytest.raises(UsageError, match="lies in the lake"):
        export(cohort, inside, to="nifti", engine="serial")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        export(cohort, tmp_path / "file", to="nifti", engine="serial")


def test_a_link_does_not_lead_out_of_the_folder(cohort: Cohort, tmp_path: Path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    for member in cohort.members():
        (out / member.study_instance_uid).symlink_to(elsewhere)
    run = export(cohort, out, to="dicom", engine="serial")
    assert set(run.counts) == {"seen", "failed"}
    assert files(elsewhere, "*") == []
