"""The contract of object stores and tables against a server that speaks S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from voxlake.store.objects import Objects
from voxlake.testing.objects import ObjectsContract
from voxlake.testing.s3 import S3Server, proxied
from voxlake.testing.tables import TablesContract

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
def anywhere(s3: S3Server) -> str:
    """URL of an empty lake on a server that works."""
    return s3.url("voxlake", f"contract/{uuid4().hex}")


@pytest.fixture(scope="module")
def bad_s3(s3_process: S3Server) -> Iterator[S3Server]:
    """The server behind a proxy that loses a sixth of the requests."""
    with proxied(s3_process, faults=0.16, seed=11) as server:
        yield server


@pytest.fixture
def anywhere_bad(s3: S3Server, bad_s3: S3Server) -> str:
    """URL of an empty lake behind the bad network."""
    assert s3.direct == bad_s3.direct
    return bad_s3.url("voxlake", f"contract/{uuid4().hex}")


class TestObjectsOnS3(ObjectsContract):
    @pytest.fixture(autouse=True)
    def _place(self, anywhere: str) -> None:
        self.url = anywhere

    def open_objects(self, folder: Path) -> Objects:
        return Objects.open(self.url)


class TestTablesOnS3(TablesContract):
    @pytest.fixture(autouse=True)
    def _place(self, anywhere: str) -> None:
        self.url = anywhere

    def open_objects(self, folder: Path) -> Objects:
        return Objects.open(self.url)


class TestTablesInAFolder(TablesContract):
    def open_objects(self, folder: Path) -> Objects:
        return Objects.open(folder / "lake")


@pytest.mark.slow
class TestObjectsBehindABadNetwork(ObjectsContract):
    @pytest.fixture(autouse=True)
    def _place(self, anywhere_bad: str) -> None:
        self.url = anywhere_bad

    def open_objects(self, folder: Path) -> Objects:
        return Objects.open(self.url)


@pytest.mark.slow
class TestTablesBehindABadNetwork(TablesContract):
    @pytest.fixture(autouse=True)
    def _place(self, anywhere_bad: str) -> None:
        self.url = anywhere_bad

    def open_objects(self, folder: Path) -> Objects:
        return Objects.open(self.url)
