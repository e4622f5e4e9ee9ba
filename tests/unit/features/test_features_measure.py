"""The verb measure: numbers for images and labels, a reason where there are none, nothing done twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from voxlake.core.errors import NotFoundError, SettingsError, UsageError
from voxlake.features.measure import measure
from voxlake.features.measure_work import Measurement, MeasureTask, Wanted
from voxlake.features.registry import FAMILIES, load_feature_plan
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.withdrawals import withdraw
from voxlake.volumes.masks_read import iter_masks
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes
from voxlake.volumes.segment import segment

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("measure")

PLAN = '[[steps]]\nstep = "resample"\nspacing = [8.0, 8.0, 8.0]\n'
BODY = '[segment]\nmethod = "threshold"\nlow = -500\n[[labels]]\nvalue = 1\nname = "Body"\n'
DENSE = '[segment]\nmethod = "threshold"\nlow = 3000\n[[labels]]\nvalue = 1\nname = "Nothing"\n'
VALUES = 'regions = ["image"]\n[[families]]\nfamily = "intensity"\n'
BOTH = 'regions = ["image"]\n[[families]]\nfamily = "intensity"\n[[families]]\nfamily = "histogram"\n'
BRIGHT = '[segment]\nmethod = "threshold"\nlow = 128\n'


@pytest.fixture(scope="module")
def template(lake_template: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with four prepared volumes and a mask of each, beside its key; made once and copied."""
    folder = tmp_path_factory.mktemp("measured")
    shutil.copytree(lake_template(4), folder, dirs_exist_ok=True)
    cohort = get_cohort(open_lake(folder / "lake", key=folder / "key"), "all")
    prepare(cohort, plan=PLAN, engine="serial")
    segment(cohort, plan=BODY, volumes=PLAN, engine="serial")
    return folder


@pytest.fixture
def filled(template: Path, lake_copy: Callable[[Path], Lake]) -> Lake:
    """A copy of the template, with a home and caches of its own."""
    return lake_copy(template)


def pictures(folder: Path, count: int, *, colour: bool = False) -> None:
    folder.mkdir()
    for number in range(count):
        size = (12, 10, 3) if colour else (12, 10)
        values = np.random.default_rng(number).integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number:03}.png")


def numbers(lake: Lake, feature: str, condition: str = "true") -> Mapping[str, Any]:
    found = lake.sql(
        f"select volume_id, value from features where family || '.' || feature = $name and {condition}",
        {"name": feature},
    )
    return dict(found.rows())


def test_images_and_labels(filled: Lake) -> None:
    cohort = get_cohort(filled, "all")
    run = measure(cohort, plan="basic", engine="serial")
    assert run.counts == {"seen": 8, "stored": 8}
    assert run.result["numbers"] == {"histogram": 8 * 23, "intensity": 8 * 18, "shape": 4 * 21}
    again = measure(cohort, plan="basic", engine="serial")
    assert again.counts == {"seen": 8, "already": 8}
    ids = [row[0] for row in filled.sql("select volume_id from volumes order by series_instance_uid").rows()]
    whole, inside = (
        numbers(filled, "intensity.mean", "mask_id is null"),
        numbers(filled, "intensity.mean", "label = 1"),
    )
    size = numbers(filled, "shape.voxel_volume")
    for name, volume, (_, mask) in zip(ids, iter_volumes(cohort), iter_masks(cohort), strict=True):
        values, body = volume.numpy().astype(np.float64), mask.numpy() == 1
        assert whole[name] == pytest.approx(values.mean(), rel=1e-12)
        assert inside[name] == pytest.approx(values[body].mean(), rel=1e-12)
        assert size[name] == pytest.approx(body.sum() * 512.0)
    rows = filled.sql("select * from features where family = 'shape' and feature = 'sphericity'").dicts()
    assert {(row["label"], row["label_name"], row["code"], row["unit"]) for row in rows} == {
        (1, "Body", "QCFX", "")
    }
    assert all(0 < row["value"] <= 1 and row["run_id"] == run.run_id for row in rows)
    named = (
        "select volumes.sha256, masks.sha256 from volumes join masks using (volume_id) where mask_id = $mask"
    )
    for row in rows:
        assert row["inputs"] == list(filled.sql(named, {"mask": row["mask_id"]}).rows()[0])
    assert filled.sql(
        "select distinct unit from features where feature = 'variance' and unit <> ''"
    ).rows() == [("(HU)^2",)]


@pytest.mark.slow
def test_workers_measure_the_same(filled: Lake) -> None:
    cohort = get_cohort(filled, "all")
    assert measure(cohort, plan="basic", engine="processes:2").counts == {"seen": 8, "stored": 8}
    columns = "volume_id, mask_id, label, family, feature, value"
    there = filled.sql(f"select {columns} from features order by all").rows()
    work = Measurement(filled.reference, load_feature_plan("basic").families)
    volume = filled.sql("select * from volumes order by volume_id limit 1").dicts()[0]
    (alone,) = work([MeasureTask(volume, None, (Wanted(None, None, (0, 1)),))])
    own = {
        (volume["volume_id"], None, None, row["family"], row["feature"], row["value"]) for row in alone.rows
    }
    assert len(own) == 18 + 23
    assert own <= set(there)


def test_only_what_is_missing(filled: Lake) -> None:
    cohort = get_cohort(filled, "all")
    measure(cohort, plan=VALUES, engine="serial")
    more = measure(cohort, plan=BOTH, engine="serial")
    assert (more.counts, more.result["numbers"]) == ({"seen": 4, "stored": 4}, {"histogram": 4 * 23})
    other = measure(cohort, plan=BOTH + "width = 50.0\n", engine="serial")
    assert other.result["numbers"] == {"histogram": 4 * 23}
    assert filled.sql(
        "select count(distinct settings_digest) from features where family = 'histogram'"
    ).rows() == [(2,)]
    key = ("volume_id", "mask_id", "label", "settings_digest", "family", "feature")
    counted = filled.sql(f"select count(*), count(distinct ({', '.join(key)})) from features").rows()
    assert counted == [(4 * (18 + 23 + 23),) * 2]
    # Masks that come later are measured; the images are not measured again.
    cohort = get_cohort(filled, "all")
    masked = measure(cohort, plan=BOTH.replace('"image"', '"image", "masks"'), engine="serial")
    assert masked.counts == {"seen": 8, "already": 4, "stored": 4}


def test_a_label_that_no_voxel_has(filled: Lake) -> None:
    cohort = get_cohort(filled, "all")
    segment(cohort, plan=DENSE, volumes=PLAN, engine="serial")
    labelled = load_feature_plan("mask-statistics").to_toml().replace("labels = []", 'labels = ["Nothing"]')
    assert measure(cohort, plan=labelled, engine="serial").counts == {"seen": 4, "stored": 4}
    found = filled.sql(
        "select feature, value from features where label_name = 'Nothing' and value is not null"
    ).rows()
    assert {(name, value) for name, value in found} == {
        ("mesh_volume", 0.0), ("voxel_volume", 0.0), ("surface_area", 0.0)
    }  # fmt: skip
    assert filled.sql("select count(*) from features").rows() == [(4 * (18 + 23 + 21),)]
    with pytest.raises(NotFoundError, match=r"'Bodi'.*Body"):
        measure(cohort, plan=labelled.replace("Nothing", "Bodi"), engine="serial")


def test_flat_images_and_their_masks(lake: Lake, tmp_path: Path) -> None:
    pictures(tmp_path / "in", 5)
    ingest(lake, tmp_path / "in", engine="serial", policy="none")
    cohort = select(lake, "all")
    prepare(cohort, plan="\n", engine="serial")
    segment(cohort, plan=BRIGHT, volumes="\n", engine="serial")
    run = measure(cohort, plan="basic", engine="serial")
    assert run.counts == {"seen": 10, "stored": 10}
    area = lake.sql("select sop_instance_uid, value, unit, code from features where feature = 'area'").rows()
    ids = dict(lake.sql("select sop_instance_uid, volume_id from volumes").rows())
    mean = numbers(lake, "intensity.mean", "mask_id is null")
    volumes = dict(
        zip(sorted(ids), sorted(iter_volumes(cohort), key=lambda v: v.lineage.inputs), strict=True)
    )
    assert len(area) == 5
    assert {(unit, code) for _, _, unit, code in area} == {("px^2", None)}
    assert sorted(value for _, value, _, _ in area) == sorted(
        float((volume.numpy() >= 128).sum()) for volume in volumes.values()
    )
    assert sorted(mean.values()) == pytest.approx(
        sorted(volume.numpy().mean() for volume in volumes.values())
    )


def test_what_cannot_be_measured_is_an_item_with_a_reason(lake: Lake, tmp_path: Path) -> None:
    pictures(tmp_path / "in", 2, colour=True)
    ingest(lake, tmp_path / "in", engine="serial", policy="none")
    cohort = select(lake, "all")
    prepare(cohort, plan="\n", engine="serial")
    run = measure(cohort, plan=VALUES, engine="serial")
    assert run.counts == {"seen": 2, "failed": 2}
    found = lake.sql("select reason, detail from items where run_id = $run", {"run": run.run_id}).rows()
    assert all(reason == "step_failed" and "grayscale" in detail for reason, detail in found)
    assert lake.sql("select count(*) from features").rows() == [(0,)]


def test_an_array_that_is_gone_costs_its_own(filled: Lake) -> None:
    cohort = get_cohort(filled, "all")
    array = filled.sql('select "array" from volumes order by volume_id limit 1').rows()[0][0]
    for path in list(filled.objects.list(array)):
        filled.objects.delete(path)
    run = measure(cohort, plan=VALUES, engine="serial")
    assert run.counts == {"seen": 4, "stored": 3, "failed": 1}
    assert run.reasons == {"missing_array": 1}


def test_who_has_withdrawn_is_not_measured(filled: Lake) -> None:
    cohort = get_cohort(filled, "all")
    who = filled.sql("select min(patient_id) from series").rows()[0][0]
    withdraw(filled, who)
    measure(cohort, plan="basic", engine="serial")
    measured = {row[0] for row in filled.sql("select distinct patient_id from features").rows()}
    assert who not in measured
    assert len(measured) == 3


def test_what_is_missing_is_said(filled_lake: Lake) -> None:
    cohort = select(filled_lake, "all")
    with pytest.raises(NotFoundError, match="voxlake prepare all"):
        measure(cohort, plan=VALUES)
    prepare(cohort, plan=PLAN, engine="serial")
    with pytest.raises(NotFoundError, match="voxlake segment all"):
        measure(cohort, plan="mask-statistics")
    with pytest.raises(NotFoundError, match="did you mean 'basic'"):
        measure(cohort, plan="basik")
    with pytest.raises(SettingsError, match="intensity"):
        measure(cohort, plan=VALUES.replace("intensity", "intensiti"))
    with pytest.raises(SettingsError, match="bins"):
        measure(cohort, plan=BOTH + "bin = 3\n")
    prepare(cohort, plan=PLAN.replace("8.0", "9.0"), engine="serial")
    with pytest.raises(UsageError, match="2 plans"):
        measure(cohort, plan=VALUES)
    assert measure(cohort, plan=VALUES, volumes=PLAN, engine="serial").counts == {"seen": 4, "stored": 4}


def test_plans_read_what_they_write() -> None:
    for name in ("basic", "image-statistics", "mask-statistics"):
        plan = load_feature_plan(name)
        assert load_feature_plan(plan.to_toml()) == plan
        assert load_feature_plan(plan.to_toml()).digest() == plan.digest()
    assert set(FAMILIES) == {"intensity", "histogram", "shape"}
    assert load_feature_plan(BOTH + "bins = 32\n").digest() == load_feature_plan(BOTH).digest()
    assert load_feature_plan(BOTH + "bins = 33\n").digest() != load_feature_plan(BOTH).digest()
    with pytest.raises(SettingsError, match="2 times"):
        load_feature_plan(VALUES + '[[families]]\nfamily = "intensity"\n')
    with pytest.raises(SettingsError, match="at least one"):
        load_feature_plan("version = 1\n")
    with pytest.raises(SettingsError, match="not both"):
        load_feature_plan(BOTH + "bins = 3\nwidth = 2.0\n")
    with pytest.raises(SettingsError, match="needs 'width'"):
        load_feature_plan(BOTH + "start = 3.0\n")
