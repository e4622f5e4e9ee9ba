"""Verbs on a Dask cluster give what they give here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxlake.core.plan import Plan
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.sources.phantoms import Phantoms
from voxlake.testing.dask_cluster import run_cluster
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes

pytest.importorskip("distributed", reason="needs voxlake[dask]")
pytestmark = pytest.mark.xdist_group("dask")


def _facts(lake: Lake) -> list[list[tuple[Any, ...]]]:
    statements = (
        "select sop_instance_uid, source_mac, sha256, length from instances order by all",
        "select series_instance_uid, members_digest from series order by all",
        "select volume_id, sha256, shape from volumes order by all",
    )
    return [lake.sql(statement).rows() for statement in statements]


def test_ingest_and_prepare_give_the_same_as_serial(
    new_lake: Callable[[str], Lake], phantoms: Phantoms, tmp_path: Path
) -> None:
    here, there = new_lake("here"), new_lake("there")
    with run_cluster(tmp_path) as cluster:
        for lake, engine in ((here, "serial"), (there, f"dask://127.0.0.1:{cluster.port}")):
            assert ingest(lake, phantoms, engine=engine, progress=False).balance() == "32 seen = 32 stored"
            run = prepare(select(lake, "all"), plan=Plan(), engine=engine, progress=False)
            assert run.balance() == "4 seen = 4 stored"
    ours, theirs = _facts(here), _facts(there)
    assert [len(rows) for rows in ours] == [32, 4, 4]
    assert theirs == ours
    volumes = [[one.numpy() for one in iter_volumes(select(lake, "all"))] for lake in (here, there)]
    for left, right in zip(*volumes, strict=True):
        np.testing.assert_array_equal(left, right)
