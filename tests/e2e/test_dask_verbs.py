"""Verbs on a Dask cluster give what they give here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from voxlake.core.mask_plan import MaskPlan
from voxlake.core.plan import Plan
from voxlake.exchange.export import export
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.learning.predict import predict
from voxlake.learning.task import load_task
from voxlake.learning.train import train
from voxlake.processing.segment.threshold import Threshold
from voxlake.sources.phantoms import Phantoms
from voxlake.testing.dask_cluster import run_cluster
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes
from voxlake.volumes.segment import segment

pytest.importorskip("distributed", reason="needs voxlake[dask]")
pytestmark = pytest.mark.xdist_group("dask")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a cluster with two workers."""
    with run_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield f"dask://127.0.0.1:{cluster.port}"


def _facts(lake: Lake) -> list[list[tuple[Any, ...]]]:
    statements = (
        "select sop_instance_uid, source_mac, sha256, length from instances order by all",
        "select series_instance_uid, members_digest from series order by all",
        "select volume_id, sha256, shape from volumes order by all",
    )
    return [lake.sql(statement).rows() for statement in statements]


def test_ingest_and_prepare_give_the_same_as_serial(
    new_lake: Callable[[str], Lake], phantoms: Phantoms, url: str
) -> None:
    here, there = new_lake("here"), new_lake("there")
    for lake, engine in ((here, "serial"), (there, url)):
        assert ingest(lake, phantoms, engine=engine, progress=False).balance() == "32 seen = 32 stored"
        run = prepare(select(lake, "all"), plan=Plan(), engine=engine, progress=False)
        assert run.balance() == "4 seen = 4 stored"
    ours, theirs = _facts(here), _facts(there)
    assert [len(rows) for rows in ours] == [32, 4, 4]
    assert theirs == ours
    volumes = [[one.numpy() for one in iter_volumes(select(lake, "all"))] for lake in (here, there)]
    for left, right in zip(*volumes, strict=True):
        np.testing.assert_array_equal(left, right)


def test_segment_and_export_give_the_same_as_serial(
    new_lake: Callable[[str], Lake], phantoms: Phantoms, tmp_path: Path, url: str
) -> None:
    lake = new_lake("lake")
    ingest(lake, phantoms, engine="serial", progress=False)
    cohort = select(lake, "all")
    plan = MaskPlan(Threshold(low=-300.0))
    assert segment(cohort, plan=plan, engine=url, progress=False).balance() == "4 seen = 4 stored"
    for engine, name in (("serial", "here"), (url, "there")):
        run = export(
            cohort, tmp_path / name, to="dicom-seg", plan="as-assembled", engine=engine, progress=False
        )
        assert run.balance() == "4 seen = 4 stored"
    ours, theirs = (_segmentations(tmp_path / name) for name in ("here", "there"))
    assert len(ours) == 4
    assert theirs == ours


TASK = """
name = "nodule"
cohort = "all"
target = "nodule"
plan = {steps = [{step = "resize", shape = [4, 8, 8]}]}
[split]
kind = "kfold"
folds = 2
validation = 0.3
[network]
name = "cnn"
dimensions = 3
blocks = [2]
[training]
epochs = 1
threads = 1
"""
BODY = """
name = "body"
kind = "segmentation"
cohort = "all"
target = "Foreground"
plan = {steps = [{step = "resize", shape = [4, 8, 8]}]}
[split]
folds = 2
validation = 0.5
[network]
name = "unet"
dimensions = 3
channels = [4, 4]
[training]
epochs = 1
threads = 1
[segmentation]
multiple = 2
"""


@pytest.mark.slow
def test_networks_say_and_draw_the_same_as_here(
    new_lake: Callable[[str], Lake], tmp_path: Path, url: str
) -> None:
    lake = new_lake("here")
    source = Phantoms(patients=8, slices=8, rows=16, columns=16, second_study=0.0)
    ingest(lake, source, engine="serial", progress=False)
    cohort, task, body = select(lake, "all"), load_task(TASK), load_task(BODY)
    prepare(cohort, plan=task.load_plan(), engine="serial", progress=False)
    segment(
        cohort,
        plan=MaskPlan(Threshold(low=-300.0)),
        volumes=task.load_plan(),
        engine="serial",
        progress=False,
    )
    for one in (task, body):
        train(lake, one, progress=False)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = new_lake("there")
    for each, engine in ((lake, None), (there, url)):
        run = predict(each, "nodule", "all", embeddings=True, engine=engine, progress=False)
        assert run.balance() == "8 seen = 8 stored"
        assert predict(each, "body", "all", engine=engine, progress=False).balance() == "8 seen = 8 stored"
    ours, theirs = _said(lake), _said(there)
    assert (len(ours[0]), len({row[0] for row in ours[1]}), len(ours[2])) == (24, 8, 16)
    assert theirs[2] == ours[2]
    for left, right in zip(ours[:2], theirs[:2], strict=True):
        assert [row[:-1] for row in right] == [row[:-1] for row in left]
        # Libraries may add in another order with another number of threads.
        np.testing.assert_allclose(
            [row[-1] for row in right], [row[-1] for row in left], rtol=1e-5, atol=1e-6
        )


def _said(lake: Lake) -> list[list[tuple[Any, ...]]]:
    predictions = lake.sql(
        'select subject, model_id, "class", part, coalesce(probability, value) from predictions '
        "where fold = -1 order by 1, 2, 3"
    ).rows()
    vectors = lake.sql(
        "select subject, generate_subscripts(vector, 1), unnest(vector) from embeddings order by 1, 2"
    ).rows()
    masks = lake.sql("select mask_id, sha256 from masks where kind = 'MODEL' order by all").rows()
    return [predictions, vectors, masks]


def _segmentations(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What is in each file but for when it was written."""
    found = {}
    for path in sorted(folder.rglob("*.dcm")):
        one = dcmread(path)
        assert one.pixel_array.any()
        found[str(path.relative_to(folder))] = (one.SOPInstanceUID, one.PatientID, one.PixelData)
    return found
