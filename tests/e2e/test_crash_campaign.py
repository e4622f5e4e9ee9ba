"""Drivers and workers are killed at random moments, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from voxlake.engine.serial import SerialEngine
from voxlake.lake.lake import Lake, open_lake
from voxlake.store.tables import Tables
from voxlake.testing.crash_driver import Drivers
from voxlake.testing.crash_lakes import VERBS, Job, content, faults_of, make_job, run_verb
from voxlake.testing.crash_sites import DaskSite, ProcessesSite, Site
from voxlake.testing.crashes import Cell, run_cell
from voxlake.testing.dask_cluster import run_cluster
from voxlake.testing.s3 import S3Server

SEED = 20_261
pytestmark = pytest.mark.xdist_group("crashes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of the campaign, where caches lie as well; the S3 server takes any credentials."""
    place = tmp_path_factory.mktemp("crashes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(place / "home"))
        patch.setenv("AWS_ACCESS_KEY_ID", "id-of-the-test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
        yield place


@pytest.fixture(scope="module")
def job(folder: Path) -> Job:
    return make_job(folder, patients=3)


@pytest.fixture(scope="module")
def new_url(folder: Path) -> Callable[[], str]:
    numbers = count()
    return lambda: str(folder / f"lake-{next(numbers)}")


@pytest.fixture(scope="module")
def processes() -> Iterator[Site]:
    site = ProcessesSite()
    with site.engine:
        yield site


@pytest.fixture(scope="module")
def dask(folder: Path) -> Iterator[Site]:
    pytest.importorskip("distributed", reason="needs voxlake[dask]")
    with run_cluster(folder, workers=0) as cluster:
        site = DaskSite(cluster)
        with site.engine:
            yield site


def kill(cell: Cell, folder: Path, job: Job, kills: int) -> None:
    with Drivers(folder, cluster=cell.engine == "dask", environment={}) as drivers:
        found = run_cell(cell, job, drivers, kills=kills, seed=SEED).summary()
    assert found["faults"] == [], f"seed {SEED}"
    assert found["well"] == kills


def test_ingest_is_killed_and_run_again(
    folder: Path, job: Job, processes: Site, new_url: Callable[[], str]
) -> None:
    kill(Cell("ingest", "processes", "local", processes, new_url), folder, job, kills=2)


@pytest.fixture(scope="module")
def whole(job: Job, new_url: Callable[[], str]) -> Lake:
    lake = open_lake(new_url(), key=job.key)
    with SerialEngine() as engine:
        counts = run_verb("ingest", job, lake, engine)["counts"]
    assert counts == {"seen": 29, "stored": 25, "already": 1, "quarantined": 3}
    return lake


@pytest.fixture(scope="module")
def undisturbed(whole: Lake) -> dict[str, list[str]]:
    return content(whole)


@pytest.mark.parametrize("table", ["labels", "findings", "quarantine"])
def test_dead_before_a_commit(
    table: str,
    job: Job,
    new_url: Callable[[], str],
    undisturbed: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is said of an instance is not lost between two commits of one batch."""
    append = Tables.append

    def die(tables: Tables, name: str, rows: Sequence[Mapping[str, Any]]) -> int:
        if name in (table, "runs"):
            raise KeyboardInterrupt
        return append(tables, name, rows)

    lake = open_lake(new_url(), key=job.key)
    with SerialEngine() as engine:
        monkeypatch.setattr(Tables, "append", die)
        with pytest.raises(KeyboardInterrupt):
            run_verb("ingest", job, lake, engine)
        monkeypatch.undo()
        run_verb("ingest", job, lake, engine)
    assert content(lake) == undisturbed


def test_what_is_lost_is_found(whole: Lake, undisturbed: dict[str, list[str]]) -> None:
    assert len(undisturbed["instances"]) == 25
    assert len(undisturbed["quarantine"]) == 3
    assert any("missing_patient_id" in row for row in undisturbed["findings"])
    pack = whole.sql("select min(pack) from instances").rows()[0][0]
    whole.objects.delete(pack)
    faults = faults_of(whole, {**undisturbed, "labels": undisturbed["labels"][1:]})
    assert any(fault.startswith(f"{pack}: missing") for fault in faults)
    assert any("table labels has" in fault and "1 extra" in fault for fault in faults)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("engine", ["processes", "dask"])
@pytest.mark.parametrize("store", ["local", "s3"])
def test_every_verb_on_every_engine_and_store(
    verb: str,
    engine: str,
    store: str,
    folder: Path,
    job: Job,
    new_url: Callable[[], str],
    s3_process: S3Server,
    request: pytest.FixtureRequest,
) -> None:
    site: Site = request.getfixturevalue(engine)
    numbers = count()

    def in_bucket() -> str:
        return s3_process.url("voxlake", f"crashes/{engine}-{verb}-{next(numbers)}")

    place = new_url if store == "local" else in_bucket
    kill(Cell(verb, engine, store, site, place), folder, job, kills=len(site.targets))
