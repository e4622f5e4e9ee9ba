"""The contract of tables as a test suite: subclass `TablesContract` and say how to open an empty lake.

Needs pytest.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from voxlake.core.errors import LakeError, NotFoundError
from voxlake.store.objects import Objects
from voxlake.store.query import run_sql
from voxlake.store.rewrite import forget_history, raw_rows, rewrite_table
from voxlake.store.tables import Tables

__all__ = ["TablesContract"]

_APPENDS = 4


class TablesContract(ABC):
    """What tables must do on every kind of store."""

    @abstractmethod
    def open_objects(self, folder: Path) -> Objects:
        """Open an empty store; `folder` is an empty folder of the test."""

    @pytest.fixture
    def tables(self, tmp_path: Path) -> Tables:
        """Tables of an empty store, with a cache in a folder of the test."""
        return Tables(self.open_objects(tmp_path), tmp_path / "cache")

    def test_rows_come_back(self, tables: Tables) -> None:
        """Versions count up, every version adds its files, another process sees the same."""
        assert tables.version("runs") is None
        assert tables.files("runs") == []
        assert run_sql(tables, "select count(*) from runs").rows() == [(0,)]
        assert tables.append("runs", [{"run_id": "a"}]) == 0
        assert tables.append("runs", [{"run_id": "b"}, {"run_id": "c"}]) == 1
        again = pickle.loads(pickle.dumps(tables))  # noqa: S301 - our own bytes
        assert again.versions() == {"runs": 1}
        assert run_sql(again, "select run_id from runs order by 1").rows() == [("a",), ("b",), ("c",)]
        added, version = again.added_files("runs", 0)
        assert (len(added), version) == (1, 1)
        assert set(added) < set(again.files("runs"))
        assert all(Path(file).is_file() for file in added)
        assert again.identity("runs") == tables.identity("runs") is not None

    def test_what_does_not_fit_is_refused(self, tables: Tables) -> None:
        """An unknown table or column changes nothing."""
        with pytest.raises(NotFoundError):
            tables.append("rums", [{}])
        with pytest.raises(LakeError, match="no column"):
            tables.append("runs", [{"run_ids": "a"}])
        assert tables.versions() == {}

    def test_several_writers_lose_nothing(self, tables: Tables) -> None:
        """All appends of writers that know nothing of each other are there, the first one's included."""

        def write(writer: int) -> None:
            mine = Tables(tables.objects, tables.cache)
            for number in range(_APPENDS):
                mine.append("runs", [{"run_id": f"{writer}-{number}"}])

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write, range(2)))
        found = run_sql(tables, "select run_id from runs order by 1").rows()
        assert found == [(f"{writer}-{number}",) for writer in range(2) for number in range(_APPENDS)]
        assert tables.version("runs") == 2 * _APPENDS - 1

    def test_rows_are_taken_out_with_their_history(self, tables: Tables) -> None:
        """What is erased is in no version and no file, copies included."""
        for name in ("a", "b", "c"):
            tables.append("runs", [{"run_id": name}])
        before = set(tables.files("runs"))
        done = rewrite_table(
            tables, "runs", lambda rows: rows if "b" not in rows["run_id"].to_pylist() else rows.slice(0, 0)
        )
        assert (done.removed, done.files) == (1, 1)
        assert forget_history(tables, "runs") > 0
        left = [row["run_id"] for part in raw_rows(tables, "runs", ["run_id"]) for row in part.to_pylist()]
        assert sorted(left) == ["a", "c"]
        assert run_sql(tables, "select run_id from runs order by 1").rows() == [("a",), ("c",)]
        gone = before - set(tables.files("runs"))
        assert len(gone) == 1
        assert not any(Path(file).exists() for file in gone)
        assert Tables(tables.objects, tables.cache).append("runs", [{"run_id": "d"}]) == 4

    def test_checkpoints_are_written(self, tables: Tables) -> None:
        """A log that grows is summed up now and then."""
        tables.append("runs", [{"run_id": "a"}])
        tables.checkpoint("runs")
        tables.append("runs", [{"run_id": "b"}])
        log = list(tables.objects.list("tables/runs/_delta_log"))
        assert "tables/runs/_delta_log/_last_checkpoint" in log
        assert Tables(tables.objects, tables.cache).version("runs") == 1
