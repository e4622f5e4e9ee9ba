"""Verbs on a Dask cluster give what they give here."""

from __future__ import annotations

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


def _segmentations(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What is in each file but for when it was written."""
    found = {}
    for path in sorted(folder.rglob("*.dcm")):
        one = dcmread(path)
        assert one.pixel_array.any()
        found[str(path.relative_to(folder))] = (one.SOPInstanceUID, one.PatientID, one.PixelData)
    return found
