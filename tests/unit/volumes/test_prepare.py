"""Prepare: volumes for what has a geometry, a reason for what has not, nothing done twice."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from voxlake.core.errors import NotFoundError, SettingsError, UsageError
from voxlake.core.plan import Plan
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.processing.registry import load_plan
from voxlake.sources.phantoms import Phantoms
from voxlake.store.arrays import value_digest
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes, read_values, volume_rows

PLAN = """
[[steps]]
step = "resample"
spacing = [4.0, 4.0, 4.0]
[[steps]]
step = "window"
low = -1000
high = 400
"""


def pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 255, (12, 10), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number:03}.png")


@pytest.mark.parametrize("engine", ["serial", "processes:2"])
def test_series_become_volumes(filled_lake: Lake, engine: str) -> None:
    cohort = select(filled_lake, "all")
    run = prepare(cohort, plan=PLAN, engine=engine)
    assert run.counts == {"seen": 4, "stored": 4}
    again = prepare(cohort, plan=PLAN, engine=engine)
    assert again.counts == {"seen": 4, "already": 4}
    volumes = list(iter_volumes(cohort))
    assert len(volumes) == 4
    for volume, row in zip(volumes, volume_rows(cohort, load_plan(PLAN).digest()), strict=True):
        np.testing.assert_allclose(volume.grid.spacing, 4.0)
        values = volume.numpy()
        assert values.shape == volume.grid.shape == tuple(row["shape"])
        assert 0 <= values.min() < values.max() <= 1
        assert (value_digest(values), row["unit"], row["modality"]) == (row["sha256"], "normalised", "CT")
        assert len(row["inputs"]) == 8
        assert row["steps"][-1] == "window@1"


def test_raw_volumes_are_in_hounsfield_units(lake: Lake, phantoms: Phantoms) -> None:
    ingest(lake, phantoms, engine="serial", policy="none")
    cohort = select(lake, "all")
    prepare(cohort, plan=Plan(), engine="serial")
    by_series = {}
    for item in phantoms:
        dataset = pydicom.dcmread(BytesIO(item.read(2**30)))
        by_series.setdefault(dataset.SeriesInstanceUID, []).append(dataset)
    rows = volume_rows(cohort, Plan().digest())
    assert len(rows) == len(by_series) == 4
    for row, values in zip(rows, read_values(lake, rows), strict=True):
        slices = by_series[row["series_instance_uid"]]
        first = slices[0]
        normal = np.cross(first.ImageOrientationPatient[:3], first.ImageOrientationPatient[3:])
        slices.sort(key=lambda one: float(np.dot(one.ImagePositionPatient, normal)))
        expected = np.stack(
            [one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in slices]
        )
        np.testing.assert_allclose(values, expected)
        assert row["unit"] == "HU"


def test_pictures_are_stacked(lake: Lake, tmp_path: Path, waived: str) -> None:
    pictures(tmp_path / "in", 300)
    ingest(lake, tmp_path / "in", policy=waived, engine="serial")
    cohort = select(lake, "all")
    run = prepare(cohort, plan="xray-64", engine="serial")
    assert run.counts == {"seen": 300, "stored": 300}
    rows = volume_rows(cohort, load_plan("xray-64").digest())
    assert len({row["array"] for row in rows}) == 2
    assert len({(row["array"], row["position"]) for row in rows}) == 300
    for row, values in zip(rows, read_values(lake, rows), strict=True):
        assert values.shape == (1, 64, 64)
        assert value_digest(values) == row["sha256"]


def test_what_has_no_geometry_is_a_failed_item(lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number, item in enumerate(phantoms):
        dataset = pydicom.dcmread(BytesIO(item.read(2**30)))
        if number == 3:
            continue
        if number == 12:
            dataset.Rows, dataset.Columns = dataset.Columns // 2, dataset.Rows * 2
        dataset.save_as(source / f"{number}.dcm")
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), dtype=np.int16), np.eye(4))
    nibabel.save(image, source / "two.nii")
    ingest(lake, source, engine="serial")
    verdicts = dict(lake.sql("select geometry, count(*) from series group by 1").rows())
    assert verdicts == {"regular": 2, "gap": 1, "mixed": 1, "duplicates": 1}
    run = prepare(select(lake, "all"), plan=Plan(), engine="serial")
    # The image of another size is a stack of its own, and a gap in the other.
    assert run.counts == {"seen": 6, "stored": 3, "failed": 3}
    assert run.reasons == {"geometry_gap": 2, "geometry_duplicates": 1}
    assert run.failures == 3


def test_a_step_that_refuses_is_a_failed_item(lake: Lake, tmp_path: Path, waived: str) -> None:
    pictures(tmp_path / "in", 2)
    ingest(lake, tmp_path / "in", policy=waived, engine="serial")
    run = prepare(select(lake, "all"), plan=PLAN, engine="serial")
    assert run.reasons == {"step_failed": 2}
    assert "millimetres" in lake.sql("select detail from items where reason = 'step_failed'").rows()[0][0]


def test_a_frozen_cohort_stays_as_it_was(filled_lake: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    cohort = select(filled_lake, "all")
    longer = tmp_path / "in"
    longer.mkdir()
    for item in list(phantoms)[6:8]:
        dataset = pydicom.dcmread(BytesIO(item.read(2**30)))
        dataset.SOPInstanceUID = dataset.SOPInstanceUID + ".9"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        step = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [step[0], step[1], float(step[2]) + 1000]
        dataset.save_as(longer / f"{item.number}.dcm")
    ingest(filled_lake, longer, engine="serial")
    assert filled_lake.sql("select max(instances) from series").rows() == [(10,)]
    run = prepare(cohort, plan=Plan(), engine="serial")
    assert run.counts == {"seen": 4, "stored": 4}
    assert {len(row["inputs"]) for row in volume_rows(cohort, Plan().digest())} == {8}


def test_mistakes_are_explained(filled_lake: Lake) -> None:
    cohort = select(filled_lake, "all")
    with pytest.raises(NotFoundError, match="is not prepared"):
        next(iter_volumes(cohort))
    with pytest.raises(SettingsError, match="did you mean 'resample'"):
        prepare(cohort, plan='[[steps]]\nstep = "resampel"\n')
    with pytest.raises(NotFoundError, match="xray-64"):
        prepare(cohort, plan="xray64")
    prepare(cohort, plan=PLAN, engine="serial")
    prepare(cohort, plan=Plan(), engine="serial")
    with pytest.raises(UsageError, match="prepared under 2 plans"):
        next(iter_volumes(cohort))
    with pytest.raises(NotFoundError, match="no volume of cohort 'all' under this plan"):
        next(iter_volumes(cohort, plan="ct-phantom"))
