"""Fixtures that every test may use."""

from __future__ import annotations

import functools
import gc
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import settings

from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.sources.phantoms import Phantoms
from voxlake.store.keys import LakeKey
from voxlake.testing.s3 import S3Server, s3_server

WAIVED = """
name = "waived"
options = ["clean_descriptors", "retain_longitudinal_modified_dates", "retain_patient_characteristics"]

[[waivers]]
what = "png"
reason = "noise, made by the test"

[[waivers]]
what = "jpeg"
reason = "noise, made by the test"
"""
_BESIDE = Path(__file__).parents[2] / "shared" / "data"

# A commit that passed must not fail on another day: the same examples each time. `make test-all` looks for
# new ones, by ``--hypothesis-profile=explore``.
settings.register_profile("same", derandomize=True, print_blob=True)
settings.register_profile("explore", derandomize=False, print_blob=True)
settings.load_profile("same")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no garbage among the tests, neither while they are collected nor later.

    Ten thousand of them are millions of objects that stay to the end.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_unconfigure() -> None:
    """Let go of them: libraries complain of what is left when the interpreter ends."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches and keys of tests lie among their files, not in the home of whoever runs them."""
    fonts = Path.home() / ".cache" / "matplotlib"
    with pytest.MonkeyPatch.context() as patch:
        # Its list of fonts takes seconds to make.
        patch.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR", str(fonts)))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of the real images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("VOXLAKE_TEST_DATA", _BESIDE))
    if not (folder / "README.md").is_file():
        pytest.skip("no real images: put them in ../shared/data or set VOXLAKE_TEST_DATA")
    return folder


@pytest.fixture
def new_lake(tmp_path: Path) -> Callable[..., Lake]:
    """Make a lake in a new folder, all with the same key, so that results can be compared."""
    key = tmp_path / "keys" / "key"
    LakeKey(bytes(range(32))).save(key)

    def make(name: str = "lake") -> Lake:
        return open_lake(tmp_path / name, key=key)

    return make


@pytest.fixture
def lake(new_lake: Callable[..., Lake]) -> Lake:
    """A new, empty lake."""
    return new_lake()


@pytest.fixture(scope="session")
def lake_ingested(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Make a lake of small patients, half of them with a nodule, beside its key."""

    @functools.cache
    def make(patients: int) -> Path:
        folder = tmp_path_factory.mktemp("ingested")
        LakeKey(bytes(range(32))).save(folder / "key")
        ingest(open_lake(folder / "lake", key=folder / "key"), _phantoms(patients), engine="serial")
        return folder

    return make


@pytest.fixture(scope="session")
def lake_template(
    lake_ingested: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """Make the same with a cohort of all."""

    @functools.cache
    def make(patients: int) -> Path:
        folder = tmp_path_factory.mktemp("template")
        shutil.copytree(lake_ingested(patients), folder, dirs_exist_ok=True)
        select(open_lake(folder / "lake", key=folder / "key"), "all")
        return folder

    return make


@pytest.fixture
def lake_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Lake]:
    """Copy a folder with a lake and its key, with a home and caches of its own, and open the copy."""
    # Processes that a test starts look there too.
    monkeypatch.setenv("HOME", str(tmp_path))

    def copy(template: Path) -> Lake:
        shutil.copytree(template / "lake", tmp_path / "lake")
        shutil.copy(template / "key", tmp_path / "key")
        return open_lake(tmp_path / "lake", key=tmp_path / "key")

    return copy


@pytest.fixture
def filled_lake(lake_ingested: Callable[[int], Path], lake_copy: Callable[[Path], Lake]) -> Lake:
    """A lake into which `phantoms` came."""
    return lake_copy(lake_ingested(4))


@pytest.fixture(scope="session")
def holding() -> Callable[[Lake, Iterable[str]], list[str]]:
    """Find the files of a lake in which one of the names stands, tables read through their compression."""
    return _holding


def _holding(lake: Lake, names: Iterable[str]) -> list[str]:
    root = lake.objects.local_path("")
    assert root is not None
    wanted = [name.encode() for name in names]
    found = []
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content += json.dumps(pq.read_table(file).to_pylist(), default=str).encode()
        if any(name in content for name in wanted):
            found.append(str(file.relative_to(root)))
    return found


@pytest.fixture
def waived() -> str:
    """A policy that lets pictures in."""
    return WAIVED


@pytest.fixture
def phantoms() -> Phantoms:
    """Four small patients, half of them with a nodule."""
    return _phantoms(4)


def _phantoms(patients: int) -> Phantoms:
    return Phantoms(patients=patients, slices=8, rows=16, columns=16, second_study=0.0)


@pytest.fixture(scope="session")
def s3_process() -> Iterator[S3Server]:
    """A server that speaks S3, with a bucket ``voxlake``."""
    pytest.importorskip("moto.server")
    with s3_server() as server:
        server.bucket("voxlake")
        yield server


@pytest.fixture
def s3(s3_process: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The same, with credentials in the environment and caches in a folder of the test."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id-of-the-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return s3_process
