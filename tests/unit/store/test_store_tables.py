"""Tables: append only, typed, safe under several writers."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from voxlake.core.errors import LakeError, NotFoundError
from voxlake.store.objects import Objects
from voxlake.store.query import run_sql
from voxlake.store.schema import TABLES, arrow_schema
from voxlake.store.tables import Tables


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(Objects.open(tmp_path))


def test_versions_count_commits(tables: Tables) -> None:
    assert tables.version("runs") is None
    assert tables.versions() == {}
    assert tables.files("runs") == []
    assert [tables.append("runs", [{"run_id": str(n)}]) for n in range(3)] == [0, 1, 2]
    tables.append("items", [{"run_id": "0", "item": "a"}])
    assert tables.versions() == {"runs": 2, "items": 0}
    assert len(tables.files("runs")) == 3
    assert all(Path(file).is_file() for file in tables.files("runs"))


def test_every_column_of_every_table_is_stored_as_declared(tables: Tables) -> None:
    examples: dict[Any, Any] = {
        pa.string(): "text ü",
        pa.float64(): 1.5,
        pa.int64(): -(2**62),
        pa.bool_(): True,
        pa.timestamp("us", tz="UTC"): datetime(2020, 5, 17, 12, 30, 1, 234567, tzinfo=UTC),
        pa.list_(pa.float64()): [1.0, 2.5],
        pa.list_(pa.float32()): [0.5, -3.0],
        pa.list_(pa.int64()): (3, 4),
        pa.list_(pa.string()): ["a", ""],
    }
    for name, table in TABLES.items():
        row = {column.name: examples[column.type] for column in table.columns}
        tables.append(name, [row, {}])
        stored = tables.stored_schema(name)
        assert stored is not None
        assert stored.names == arrow_schema(name).names
        for field in arrow_schema(name):
            assert stored.field(field.name).metadata == field.metadata
        full, empty = run_sql(tables, f'select * from "{name}" order by {table.key[0]} nulls last').dicts()
        assert full == {key: list(value) if isinstance(value, tuple) else value for key, value in row.items()}
        assert empty.pop("committed_at") is not None
        assert set(empty.values()) == {None}


def test_committed_at_is_now_unless_given(tables: Tables) -> None:
    before = datetime.now(UTC)
    given = datetime(2001, 2, 3, tzinfo=UTC)
    tables.append(
        "runs",
        [{"run_id": "a"}, {"run_id": "b", "committed_at": given}, {"run_id": "c", "committed_at": None}],
    )
    a, b, c = (row[0] for row in run_sql(tables, "select committed_at from runs order by run_id").rows())
    assert before <= a <= datetime.now(UTC)
    assert b == given
    assert c == a


def test_unknown_columns_and_tables_name_the_near_miss(tables: Tables) -> None:
    with pytest.raises(LakeError, match="no column 'runid'; did you mean 'run_id'"):
        tables.append("runs", [{"run_id": "a"}, {"runid": "b"}])
    with pytest.raises(NotFoundError, match="no table 'instance'; did you mean 'instances'"):
        tables.append("instance", [{}])
    with pytest.raises(NotFoundError):
        tables.files("../quarantine")
    assert tables.versions() == {}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("rows", "Doe^Jane"),
        ("rows", 2**70),
        ("rows", 1.5),
        ("rows", float("nan")),
        ("rows", [1]),
        ("patient_id", 12345),
        ("patient_id", "Doe\ud800Jane"),
        ("pixel_spacing", "Doe^Jane"),
        ("pixel_spacing", [1.0, "Doe^Jane"]),
        ("committed_at", "Doe^Jane"),
    ],
)
def test_a_value_that_does_not_fit_is_not_quoted(tables: Tables, column: str, value: Any) -> None:
    with pytest.raises(LakeError, match=f"column '{column}' of table 'instances' takes") as caught:
        tables.append("instances", [{column: None}, {column: value}])
    assert "Doe" not in str(caught.value)
    assert "12345" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert tables.version("instances") is None


def test_numbers_that_fit_are_taken(tables: Tables) -> None:
    rows = [{"rows": 3.0, "kvp": 120}, {"rows": np.int16(4), "kvp": np.float32(1.5)}, {"rows": np.float64(5)}]
    tables.append("instances", [{"source_mac": str(n), **row} for n, row in enumerate(rows)])
    stored = run_sql(tables, "select rows, kvp from instances order by source_mac").rows()
    assert stored == [(3, 120.0), (4, 1.5), (5, None)]


def test_an_empty_append_makes_an_empty_table(tables: Tables) -> None:
    assert tables.append("runs", []) == 0
    assert tables.append("runs", []) == 0
    assert tables.append("runs", [{"run_id": "a"}]) == 1
    assert run_sql(tables, "select run_id from runs").rows() == [("a",)]


def test_added_files(tables: Tables) -> None:
    assert tables.added_files("runs", None) == ([], -1)
    tables.append("runs", [{"run_id": "a"}])
    first = tables.files("runs")
    assert tables.added_files("runs", None) == (first, 0)
    assert tables.added_files("runs", 0) == ([], 0)
    tables.append("runs", [{"run_id": "b"}])
    tables.append("runs", [{"run_id": "c"}])
    files, version = tables.added_files("runs", 0)
    assert version == 2
    assert sorted([*files, *first]) == sorted(tables.files("runs"))
    found = sorted(pq.read_table(file).column("run_id")[0].as_py() for file in files)
    assert found == ["b", "c"]


def test_a_rewritten_table_is_told_from_a_grown_one(tables: Tables, tmp_path: Path) -> None:
    for name in "abc":
        tables.append("runs", [{"run_id": name}])
    assert tables.changes("runs", 1).rewritten is False
    DeltaTable(str(tmp_path / "tables" / "runs")).delete("run_id = 'b'")
    changes = tables.changes("runs", 2)
    assert (changes.rewritten, changes.version) == (True, 3)
    assert sorted(changes.added) == sorted(tables.files("runs"))
    # Another table under the same name, with fewer versions.
    assert tables.changes("runs", 99).rewritten is True


def test_checkpoints_keep_the_history(tables: Tables, tmp_path: Path) -> None:
    for number in range(102):
        tables.append("cohorts", [{"name": "a", "version": number}])
    log = {path.name for path in (tmp_path / "tables" / "cohorts" / "_delta_log").iterdir()}
    assert any("checkpoint.parquet" in name for name in log)
    assert {f"{number:020}.json" for number in range(102)} <= log
    again = Tables(Objects.open(tmp_path))
    assert again.version("cohorts") == 101
    assert len(again.added_files("cohorts", 99)[0]) == 2


def test_columns_that_come_later(tables: Tables, tmp_path: Path) -> None:
    folder = str(tmp_path / "tables" / "runs")
    known = arrow_schema("runs")
    old = pa.schema([field for field in known if field.name not in ("error", "seconds")])
    write_deltalake(folder, pa.Table.from_pylist([{"run_id": "old"}], schema=old))
    assert run_sql(tables, "select run_id, error from runs").rows() == [("old", None)]
    assert not tables.evolved("runs")
    tables.append("runs", [{"run_id": "new", "error": "E", "seconds": 1.5}])
    tables.append("runs", [{"run_id": "newer", "error": "F", "seconds": 2.5}])
    assert tables.evolved("runs")
    expected = [("new", "E", 1.5), ("newer", "F", 2.5), ("old", None, None)]
    assert run_sql(tables, "select run_id, error, seconds from runs order by 1").rows() == expected
    # A column that only a newer voxlake knows is kept, shown, and filled with null by this one.
    newer = known.append(pa.field("mood", pa.string()))
    write_deltalake(folder, pa.Table.from_pylist([{"run_id": "next", "mood": "good"}], schema=newer),
                    mode="append", schema_mode="merge")  # fmt: skip
    tables.append("runs", [{"run_id": "last"}])
    assert tables.stored_schema("runs").field("mood").type == pa.string()


def test_a_column_of_another_type_is_refused(tables: Tables, tmp_path: Path) -> None:
    known = arrow_schema("runs")
    other = known.set(known.get_field_index("seconds"), pa.field("seconds", pa.string()))
    write_deltalake(str(tmp_path / "tables" / "runs"), pa.Table.from_pylist([{"run_id": "a"}], schema=other))
    with pytest.raises(LakeError, match="'seconds' of table 'runs' is stored as string"):
        tables.append("runs", [{"run_id": "b"}])


def test_a_damaged_log_is_a_lake_error(tables: Tables, tmp_path: Path) -> None:
    tables.append("runs", [{"run_id": "a"}])
    (tmp_path / "tables" / "runs" / "_delta_log" / f"{0:020}.json").write_text("not json")
    with pytest.raises(LakeError, match="cannot read table 'runs'"):
        Tables(Objects.open(tmp_path)).version("runs")


def test_tables_travel_to_other_processes(tables: Tables) -> None:
    tables.append("runs", [{"run_id": "a"}])
    assert pickle.loads(pickle.dumps(tables)).version("runs") == 0


_WRITER = """
import sys, time
from voxlake.store.objects import Objects
from voxlake.store.tables import Tables

tables = Tables(Objects.open(sys.argv[1]))
time.sleep(max(0.0, float(sys.argv[3]) - time.time()))
for number in range(20):
    tables.append("quarantine", [{"quarantine_id": f"{sys.argv[2]}{number}"}])
"""


def test_two_processes_append_at_the_same_time(tables: Tables, tmp_path: Path) -> None:
    # They start together, on a table that neither has made yet.
    start = str(time.time() + 3)
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, name, start], stderr=subprocess.PIPE) for name in "ab"]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors.decode()
    assert tables.version("quarantine") == 39
    rows = run_sql(tables, "select quarantine_id from quarantine").rows()
    assert sorted(rows) == sorted((f"{name}{n}",) for name in "ab" for n in range(20))


def test_two_writers_widen_a_table_at_the_same_time(tmp_path: Path) -> None:
    objects = Objects.open(tmp_path)
    known = arrow_schema("runs")
    old = pa.schema([field for field in known if field.name != "error"])
    write_deltalake(str(tmp_path / "tables" / "runs"), pa.Table.from_pylist([{"run_id": "0"}], schema=old))
    first, second = Tables(objects), Tables(objects)
    # Both have seen the narrow table.
    assert first.version("runs") == second.version("runs") == 0
    first.append("runs", [{"run_id": "1", "error": "E"}])
    second.append("runs", [{"run_id": "2", "error": "E"}])
    expected = [("0", None), ("1", "E"), ("2", "E")]
    assert run_sql(first, "select run_id, error from runs order by 1").rows() == expected
