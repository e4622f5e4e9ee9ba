"""The verb segment: a mask for each volume, a reason where there is none, nothing done twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.processing.registry import load_plan
from voxlake.processing.segment.registry import load_mask_plan
from voxlake.store.arrays import read_array, value_digest
from voxlake.volumes.masks_read import iter_masks
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes
from voxlake.volumes.segment import segment

PLAN = '[[steps]]\nstep = "resample"\nspacing = [8.0, 8.0, 8.0]\n'
DENSE = """
version = 3
[segment]
method = "threshold"
low = -500
unit = "HU"
[[labels]]
value = 1
name = "Body"
code = ["38266002", "SCT"]
"""
BRIGHT = '[segment]\nmethod = "threshold"\nlow = 128\n'


def pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 255, (12, 10), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number:03}.png")


def test_masks_of_prepared_volumes(filled_lake: Lake) -> None:
    cohort = select(filled_lake, "all")
    prepare(cohort, plan=PLAN, engine="serial")
    run = segment(cohort, plan=DENSE, volumes=PLAN, engine="serial")
    assert run.counts == {"seen": 4, "stored": 4}
    again = segment(cohort, plan=DENSE, volumes=PLAN, engine="serial")
    assert again.counts == {"seen": 4, "already": 4}
    pairs = list(iter_masks(cohort, plan=load_plan(PLAN)))
    assert len(pairs) == 4
    for volume, mask in pairs:
        np.testing.assert_array_equal(mask.numpy(), volume.numpy() >= -500)
        assert mask.labels[0].code == ("38266002", "SCT")
        assert mask.grid == volume.grid
        assert mask.lineage.inputs == volume.lineage.inputs
        assert mask.lineage.steps == (*volume.lineage.steps, "threshold@1")
    rows = filled_lake.sql("select * from masks").dicts()
    assert {row["kind"] for row in rows} == {"PLAN"}
    assert {row["mask_plan_digest"] for row in rows} == {load_mask_plan(DENSE).digest()}
    assert {row["mask_plan_version"] for row in rows} == {3}
    assert all(len(row["inputs"]) == 8 for row in rows)
    assert all(row["voxels"] == [int((mask.numpy() > 0).sum())] for row, (_, mask) in zip(
        sorted(rows, key=lambda row: row["series_instance_uid"]), pairs, strict=True))  # fmt: skip


def test_masks_of_series_as_assembled_on_two_workers(filled_lake: Lake) -> None:
    cohort = select(filled_lake, "all")
    run = segment(cohort, plan=DENSE, engine="processes:2")
    assert run.counts == {"seen": 4, "stored": 4}
    prepare(cohort, plan="\n", engine="serial")
    volumes = {volume.lineage.inputs: volume for volume in iter_volumes(cohort)}
    for row in filled_lake.sql("select * from masks").dicts():
        volume = volumes[tuple(row["inputs"])]
        values = read_array(filled_lake.objects, row["array"], shards=row["shards"])
        np.testing.assert_array_equal(values, volume.numpy() >= -500)
        assert json.loads(row["grid"]) == json.loads(json.dumps(volume.grid.to_dict()))
        assert (row["volume_id"], row["plan_digest"]) == (None, None)
        assert value_digest(values) == row["sha256"]


def test_another_version_is_another_mask(filled_lake: Lake) -> None:
    cohort = select(filled_lake, "all")
    segment(cohort, plan=DENSE, engine="serial")
    run = segment(cohort, plan=DENSE.replace("version = 3", "version = 4"), engine="serial")
    assert run.counts == {"seen": 4, "stored": 4}
    assert filled_lake.sql("select count(*), count(distinct mask_id) from masks").rows() == [(8, 8)]


def test_a_volume_that_is_refused_is_a_row_with_a_reason(lake: Lake, tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2)
    ingest(lake, tmp_path / "in", engine="serial", policy="none")
    cohort = select(lake, "all")
    run = segment(cohort, plan=DENSE, engine="serial")
    assert run.counts == {"seen": 2, "failed": 2}
    reasons = lake.sql("select reason, detail from items where run_id = $run", {"run": run.run_id}).rows()
    assert [reason for reason, _ in reasons] == ["step_failed"] * 2
    assert "needs 'HU'" in reasons[0][1]
    assert lake.sql("select count(*) from masks").rows() == [(0,)]


def test_masks_of_flat_images_share_an_array(lake: Lake, tmp_path: Path) -> None:
    pictures(tmp_path / "in", 5)
    ingest(lake, tmp_path / "in", engine="serial", policy="none")
    cohort = select(lake, "all")
    prepare(cohort, plan="\n", engine="serial")
    assert segment(cohort, plan=BRIGHT, volumes="\n", engine="serial").counts == {"seen": 5, "stored": 5}
    assert lake.sql('select count(distinct "array"), count(distinct position) from masks').rows() == [(1, 5)]
    pairs = list(iter_masks(cohort))
    assert len(pairs) == 5
    for volume, mask in pairs:
        np.testing.assert_array_equal(mask.numpy(), volume.numpy() >= 128)


def test_what_was_not_prepared_is_accounted_for(filled_lake: Lake, tmp_path: Path) -> None:
    prepare(select(filled_lake, "some", "true"), plan=PLAN, engine="serial")
    pictures(tmp_path / "in", 1)
    ingest(filled_lake, tmp_path / "in", engine="serial", policy="none")
    run = segment(select(filled_lake, "all"), plan=DENSE, volumes=PLAN, engine="serial")
    assert run.counts == {"seen": 5, "stored": 4, "failed": 1}
    failed = filled_lake.sql(
        "select reason from items where run_id = $run and outcome = 'failed'", {"run": run.run_id}
    ).rows()
    assert failed == [("no_volume",)]


def test_bad_plans_are_named(filled_lake: Lake) -> None:
    cohort = select(filled_lake, "all")
    with pytest.raises(SettingsError, match="did you mean 'threshold'"):
        segment(cohort, plan='[segment]\nmethod = "treshold"\n', engine="serial")
    with pytest.raises(NotFoundError, match="did you mean 'lungs-ct'"):
        segment(cohort, plan="lung-ct", engine="serial")
    with pytest.raises(NotFoundError, match="has no volume under this plan"):
        segment(cohort, plan=DENSE, volumes=PLAN, engine="serial")
