"""The verb export: masks of series as assembled, and shares of fractional segmentations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from voxlake.core.errors import UsageError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label
from voxlake.dicom.geometry import judge
from voxlake.dicom.mask_objects import masks_of, read_mask_object
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.seg_masks import segment_fractions
from voxlake.dicom.write_common import read_sources
from voxlake.dicom.write_seg import write_seg
from voxlake.exchange.export import export
from voxlake.exchange.record import mask_record
from voxlake.exchange.selection import assembled_mask_tasks
from voxlake.lake.cohorts import Cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.processing.segment.registry import load_mask_plan
from voxlake.sources.phantoms import Phantoms
from voxlake.store.arrays import read_array
from voxlake.store.keys import LakeKey
from voxlake.volumes.prepare import prepare
from voxlake.volumes.segment import segment

pytestmark = pytest.mark.xdist_group("export")

SMALL = {"patients": 2, "slices": 8, "rows": 16, "columns": 16, "second_study": 0.0}
BONE = '[segment]\nmethod = "threshold"\nlow = -300\n[[labels]]\nvalue = 1\nname = "Dense"\n'
AS_IT_IS = '[[steps]]\nstep = "reorient"\norientation = "SPL"\n'


def made_lake(folder: Path) -> Lake:
    LakeKey(bytes(range(32))).save(folder / "key")
    return open_lake(folder / "lake", key=folder / "key")


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Two series that nobody prepared, with a mask on each."""
    lake = made_lake(tmp_path_factory.mktemp("assembled"))
    ingest(lake, Phantoms(**SMALL), engine="serial")
    cohort = select(lake, "all", "modality = 'CT'")
    assert segment(cohort, plan=load_mask_plan(BONE), engine="serial").counts["stored"] == 2
    return cohort


def mask_rows(cohort: Cohort) -> dict[str, dict]:
    rows = cohort.lake.sql("select * from masks where volume_id is null").dicts()
    return {row["series_instance_uid"]: row for row in rows}


def dicom_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


@pytest.mark.parametrize("to", ["dicom-seg", "dicom-rtstruct"])
def test_masks_of_series_as_assembled_come_back(assembled: Cohort, tmp_path: Path, to) -> None:
    run = export(assembled, tmp_path / "out", to=to, engine="serial")
    assert run.counts == {"seen": 2, "stored": 2}
    rows = mask_rows(assembled)
    for path in dicom_files(tmp_path / "out"):
        row = rows.pop(path.parent.name)
        grid = Grid.from_dict(json.loads(row["grid"]))
        expected = read_array(assembled.lake.objects, row["array"], shards=row["shards"]) == 1
        assert 0 < expected.sum() < expected.size
        found = read_mask_object(path.read_bytes())
        (mask,) = masks_of(found, grid).masks
        assert np.array_equal(mask.numpy() > 0, expected)
        assert mask.labels[0].name == "Dense"
        assert found.series_uids == (path.parent.name,)
    assert rows == {}
    again = export(assembled, tmp_path / "out", to=to, plan="as-assembled", engine="serial")
    assert again.counts == {"seen": 2, "already": 2}


def test_a_report_measures_the_series_as_assembled(assembled: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(assembled, out, to="dicom-sr", engine="serial").counts == {"seen": 2, "stored": 2}
    reports = [one for one in map(dcmread, dicom_files(out)) if one.Modality == "SR"]
    assert len(reports) == 2
    for task in assembled_mask_tasks(assembled):
        stored = assembled.lake.objects
        inside = read_array(stored, task.masks[0]["array"], shards=task.masks[0]["shards"]) == 1
        uid = task.rows[0]["series_instance_uid"]
        pixels = {
            one.SOPInstanceUID: one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)
            for one in map(dcmread, originals(assembled, tmp_path / "originals"))
            if uid == one.SeriesInstanceUID
        }
        values = np.stack([pixels[row["sop_instance_uid"]] for row in task.rows])
        mean = float(f"{values[inside].mean():.10g}")
        (report,) = [one for one in reports if uid in one.to_json()]
        assert f"{mean}" in report.to_json()


def originals(cohort: Cohort, folder: Path) -> list[Path]:
    export(cohort, folder, to="dicom", engine="serial")
    return dicom_files(folder)


def test_the_record_names_the_mask_plan(assembled: Cohort, tmp_path: Path) -> None:
    export(assembled, tmp_path / "out", to="dicom-seg", engine="serial")
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "voxlake-export.jsonl").read_text().splitlines()
    ]
    digest = load_mask_plan(BONE).digest()
    assert [mask["mask_plan_digest"] for line in lines for mask in line["masks"]] == [digest, digest]
    assert all(len(line["sources"]) == 8 and line["outlined_by"] == [] for line in lines)
    assert all("plan_digest" not in line for line in lines)
    row = next(iter(mask_rows(assembled).values()))
    assert mask_record({**row, "mask_plan_digest": None})["mask_plan_digest"] is None


def test_only_masks_leave_as_assembled(assembled: Cohort, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only masks are kept of series as assembled"):
        export(assembled, tmp_path / "out", to="nifti", plan="as-assembled", engine="serial")


def test_both_kinds_of_masks_need_a_name(tmp_path: Path) -> None:
    lake = made_lake(tmp_path)
    ingest(lake, Phantoms(**{**SMALL, "patients": 1}), engine="serial")
    cohort = select(lake, "all", "modality = 'CT'")
    (tmp_path / "plan.toml").write_text(AS_IT_IS)
    prepare(cohort, plan=tmp_path / "plan.toml", engine="serial")
    segment(cohort, plan=load_mask_plan(BONE), engine="serial")
    # The volume has no mask: there is nothing to choose between.
    assert export(cohort, tmp_path / "one", to="dicom-seg", engine="serial").counts["stored"] == 1
    segment(cohort, plan=load_mask_plan(BONE), volumes=tmp_path / "plan.toml", engine="serial")
    with pytest.raises(UsageError, match="as-assembled"):
        export(cohort, tmp_path / "two", to="dicom-seg", engine="serial")
    for plan in ("as-assembled", tmp_path / "plan.toml"):
        run = export(cohort, tmp_path / "two", to="dicom-seg", plan=plan, engine="serial")
        assert run.counts == {"seen": 1, "stored": 1}
    assert len(dicom_files(tmp_path / "two")) == 2


def test_masks_of_another_content_stay(tmp_path: Path) -> None:
    """A series that has grown since its mask was made has none until it is segmented again."""
    lake = made_lake(tmp_path)
    items = [item.read(10**7) for item in Phantoms(**{**SMALL, "patients": 1})]
    for number, data in enumerate(items):
        folder = tmp_path / ("first" if number < 5 else "second")
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.dcm").write_bytes(data)
    ingest(lake, tmp_path / "first", engine="serial")
    before = select(lake, "before", "modality = 'CT'")
    segment(before, plan=load_mask_plan(BONE), engine="serial")
    assert len(list(assembled_mask_tasks(before))) == 1
    ingest(lake, tmp_path / "second", engine="serial")
    after = select(lake, "after", "modality = 'CT'")
    assert list(assembled_mask_tasks(after)) == []
    # What was frozen is still what it was.
    assert len(list(assembled_mask_tasks(before))) == 1
    segment(after, plan=load_mask_plan(BONE), engine="serial")
    (task,) = assembled_mask_tasks(after)
    assert len(task.rows) == len(items)


@pytest.mark.parametrize("means", ["PROBABILITY", "OCCUPANCY"])
def test_shares_leave_as_they_came_in(tmp_path: Path, means) -> None:
    lake = made_lake(tmp_path)
    items = [item.read(10**7) for item in Phantoms(**{**SMALL, "patients": 1})]
    rows = [scan(read_dataset(data), tags=False) for data in items]
    verdict = judge(rows)
    order = [index for index, _ in verdict.order]
    shares = np.random.default_rng(4).random(verdict.grid.shape).astype(np.float32)
    data, _ = write_seg(
        [(Label(1, "Liver", ("10200004", "SCT")), shares)],
        verdict.grid,
        read_sources(items[order[0]], [rows[index] for index in order]),
        kind="fractional",
        fractional_type=means,
        uids=("1.2.826.8.1", "1.2.826.8.2"),
    )
    folder = tmp_path / "in"
    folder.mkdir()
    for number, one in enumerate([*items, data]):
        (folder / f"{number}.dcm").write_bytes(one)
    ingest(lake, folder, engine="serial")
    cohort = select(lake, "all", "modality = 'CT'")
    (tmp_path / "plan.toml").write_text(AS_IT_IS)
    prepare(cohort, plan=tmp_path / "plan.toml", masks=True, engine="serial")
    out = tmp_path / "out"
    run = export(cohort, out, to="dicom-seg", segments="fractional", engine="serial")
    assert run.counts == {"seen": 1, "stored": 1}
    (path,) = dicom_files(out)
    # De-identification renames the frame of reference.
    grid = Grid.from_affine(verdict.grid.shape, verdict.grid.affine)
    ((segment_found, volume),) = segment_fractions(read_mask_object(path.read_bytes()), grid)
    assert np.abs(volume.numpy() - shares).max() <= 0.5 / 255 + 1e-6
    assert len(np.unique(volume.numpy())) > 100
    assert segment_found.label == "Liver"
    assert dcmread(path).SegmentationFractionalType == means


def test_a_mask_of_yes_and_no_is_not_called_fractional(assembled: Cohort, tmp_path: Path) -> None:
    run = export(assembled, tmp_path / "out", to="dicom-seg", segments="fractional", engine="serial")
    assert run.counts == {"seen": 2, "failed": 2}
    assert run.reasons == {"unsupported_mask": 2}
    assert dicom_files(tmp_path / "out") == []
