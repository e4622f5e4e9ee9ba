"""SQL: what it shows."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from voxlake.core.errors import QueryError, UsageError
from voxlake.store.objects import Objects
from voxlake.store.query import run_sql
from voxlake.store.schema import TABLES, arrow_schema
from voxlake.store.tables import Tables

START = datetime(2024, 1, 1, tzinfo=UTC)


def _instance(mac: str, policy: str | None, modality: str, second: int = 0) -> dict[str, Any]:
    return {
        "source_mac": mac,
        "policy_digest": policy,
        "modality": modality,
        "rows": 512,
        "pixel_spacing": [0.5, 0.25],
        "committed_at": START + timedelta(seconds=second),
    }


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    tables = Tables(Objects.open(tmp_path / "lake"))
    tables.append("instances", [_instance("a", "p", "CT"), _instance("b", "p", "MR")])
    return tables


def test_tables_without_a_file_are_empty_and_typed(tmp_path: Path) -> None:
    tables = Tables(Objects.open(tmp_path))
    words = {
        "string": "VARCHAR", "double": "DOUBLE", "int64": "BIGINT", "bool": "BOOLEAN",
        "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE", "list<item: double>": "DOUBLE[]",
        "list<item: string>": "VARCHAR[]", "list<item: int64>": "BIGINT[]", "list<item: float>": "FLOAT[]",
    }  # fmt: skip
    for name in TABLES:
        described = run_sql(tables, f"describe {name}").rows()
        expected = [(field.name, words[str(field.type)]) for field in arrow_schema(name)]
        assert [row[:2] for row in described] == expected
        assert len(run_sql(tables, f"select * from {name}")) == 0


def test_the_list_of_tables_is_the_contract(tables: Tables) -> None:
    assert [row[0] for row in run_sql(tables, "show tables").rows()] == sorted(TABLES)
    found = run_sql(tables, "select count(*) from information_schema.columns where table_name = 'instances'")
    assert found.rows() == [(len(TABLES["instances"].columns),)]


def test_the_first_committed_row_of_a_key_counts(tables: Tables) -> None:
    tables.append("instances", [_instance("a", "p", "late", 5), _instance("c", "p", "US", 5)])
    tables.append("instances", [_instance("c", "p", "early", 1), _instance("a", "q", "other policy", 9)])
    rows = run_sql(tables, "select source_mac, policy_digest, modality from instances order by 1, 2").rows()
    assert rows == [("a", "p", "CT"), ("a", "q", "other policy"), ("b", "p", "MR"), ("c", "p", "early")]
    assert run_sql(tables, "select count(*) from instances where modality = 'late'").rows() == [(0,)]


def test_null_is_a_value_of_a_key(tables: Tables) -> None:
    for second, modality in enumerate(("first", "second")):
        tables.append("instances", [_instance("n", None, modality, second)])
    assert run_sql(tables, "select modality from instances where policy_digest is null").rows() == [
        ("first",)
    ]


def test_rows_of_one_commit_with_one_key(tables: Tables) -> None:
    tables.append("instances", [_instance("x", "p", name, 3) for name in ("one", "two", "three")])
    assert run_sql(tables, "select modality from instances where source_mac = 'x'").rows() == [("one",)]
    assert [row[0] for row in run_sql(tables, "show tables").rows()] == sorted(TABLES)


def test_what_repeats_is_remembered_between_processes(tables: Tables, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    tables.append("instances", [_instance("a", "p", "late", 5)])
    query = "select count(*) from instances"
    assert run_sql(tables, query, cache=cache).rows() == [(2,)]
    (folder,) = cache.iterdir()
    assert folder.name.startswith("keys-instances-")
    about = json.loads((folder / "about.json").read_text())
    assert len(about["rows"]["filename"]) == 1
    assert len(np.load(folder / about["hashes"])) == 3
    # A fresh process believes what is remembered, and compares only the files that came in since.
    none = {"filename": [], "file_row_number": []}
    (folder / "about.json").write_text(json.dumps({**about, "rows": none}))
    fresh = Tables(tables.objects)
    assert run_sql(fresh, query, cache=cache).rows() == [(3,)]
    assert run_sql(Tables(tables.objects), query).rows() == [(2,)]
    fresh.append("instances", [_instance("d", "p", "CT", 7), _instance("b", "p", "late", 8)])
    assert run_sql(fresh, query, cache=cache).rows() == [(4,)]
    assert len(list(folder.glob("hashes-*"))) == 1
    (folder / "about.json").write_text("damaged")
    assert run_sql(Tables(tables.objects), query, cache=cache).rows() == [(3,)]


def test_parameters(tables: Tables) -> None:
    by_name = "select source_mac from instances where modality = $modality"
    assert run_sql(tables, by_name, {"modality": "MR"}).rows() == [("b",)]
    by_place = "select source_mac from instances where modality = ? and rows > ?"
    assert run_sql(tables, by_place, ["CT", 100]).rows() == [("a",)]
    assert run_sql(tables, "select $list as l", {"list": ["x' or 1=1 --"]}).rows() == [(["x' or 1=1 --"],)]
    assert run_sql(tables, "select 1", []).rows() == [(1,)]
    for wrong in (None, {"other": 1}, [1, 2]):
        with pytest.raises(QueryError):
            run_sql(tables, by_name, wrong)


def test_views_may_read_each_other(tables: Tables) -> None:
    views = {
        "images": "select * from instances",
        "cohort_Brains": "select * from images where modality = 'MR'",
    }
    query = 'select count(*) n, sum("rows") r from "COHORT_brains"'
    assert run_sql(tables, query, views=views).rows() == [(1, 512)]
    assert ("cohort_Brains",) in run_sql(tables, "show tables", views=views).rows()


def test_near_misses(tables: Tables) -> None:
    views = {"patients": "select * from instances"}
    for sql, message in {
        "select * from seris": "no table 'seris'; did you mean 'series'",
        "select * from patient": "no table 'patient'; did you mean 'patients'",
        "select modalty from instances": "no column 'modalty'; did you mean 'modality'",
        "select i.patiend_id from instances i": "no column 'patiend_id'; did you mean 'patient_id'",
        "select * from patients where sourc_mac = 'a'": "no column 'sourc_mac'; did you mean 'source_mac'",
        "selct 1": "syntax error",
        "select * from instances where": "syntax error",
        "select nosuchfunction(1)": "nosuchfunction",
        "select cast('x' as int)": "Could not convert",
    }.items():
        with pytest.raises(QueryError, match=message) as caught:
            run_sql(tables, sql, views=views)
        assert "\n" not in str(caught.value)
        assert "LINE 1" not in str(caught.value)


def test_results(tables: Tables, tmp_path: Path) -> None:
    sql = "select source_mac, rows, pixel_spacing, committed_at, null as nothing from instances order by 1"
    result = run_sql(tables, sql)
    assert result.columns == ["source_mac", "rows", "pixel_spacing", "committed_at", "nothing"]
    assert len(result) == 2
    assert result.rows()[0] == ("a", 512, [0.5, 0.25], START, None)
    assert list(result) == result.rows()
    assert result.dicts()[1]["source_mac"] == "b"
    assert result.arrow().num_rows == 2
    assert result.df()["rows"].tolist() == [512, 512]
    assert repr(result).startswith("Result(2 rows: source_mac, rows")
    result.write(tmp_path / "r.json", "json")
    assert json.loads((tmp_path / "r.json").read_text())[0] == {
        "source_mac": "a", "rows": 512, "pixel_spacing": [0.5, 0.25],
        "committed_at": "2024-01-01T00:00:00+00:00", "nothing": None,
    }  # fmt: skip
    result.write(tmp_path / "r.parquet", "parquet")
    assert pq.read_table(tmp_path / "r.parquet").column("source_mac").to_pylist() == ["a", "b"]
    result.write(tmp_path / "r.csv", "csv")
    read = arrow_csv.read_csv(tmp_path / "r.csv")
    assert read.column_names == result.columns
    assert read.column("pixel_spacing").to_pylist() == ["[0.5, 0.25]", "[0.5, 0.25]"]
    with pytest.raises(UsageError, match="csv, json or parquet"):
        result.write(tmp_path / "r.x", "xml")
    with pytest.raises(UsageError, match="same name"):
        run_sql(tables, "select 1 as a, 2 as a").write(tmp_path / "r.json", "json")


def test_sums_are_plain_numbers(tables: Tables) -> None:
    large = 170141183460469231731687303715884105727
    sql = f'select sum("rows"), avg("rows"), sum(2.5), {large}, count(*) from instances'
    row = run_sql(tables, sql).rows()[0]
    assert row[:3] == (1024, 512.0, 5.0)
    assert row[3] == pytest.approx(1.7014118346046923e38)
    assert [type(value) for value in row] == [int, float, float, float, int]


def test_time_and_memory_limits(tables: Tables) -> None:
    begin = time.monotonic()
    with pytest.raises(QueryError, match=r"longer than 0\.3 s"):
        run_sql(tables, "select count(*) from range(10000000000) a, range(10000) b", time_limit=0.3)
    assert time.monotonic() - begin < 10
    with pytest.raises(QueryError, match="memory_limit"):
        run_sql(tables, "select list(range) from range(50000000)", memory_limit="50MB", time_limit=60)
    with pytest.raises(QueryError, match="cannot start"):
        run_sql(tables, "select 1", memory_limit="much")


def test_times_are_utc(tables: Tables) -> None:
    assert run_sql(tables, "select hour(committed_at) from instances limit 1").rows() == [(0,)]


def test_a_missing_file_is_said(tables: Tables) -> None:
    Path(tables.files("instances")[0]).unlink()
    with pytest.raises(QueryError):
        run_sql(tables, "select * from instances")


def test_a_lake_in_an_odd_folder(tmp_path: Path) -> None:
    tables = Tables(Objects.open(tmp_path / "a lake, 'ü' #1"))
    tables.append("runs", [{"run_id": "a"}])
    tables.append("runs", [{"run_id": "a"}])
    assert run_sql(tables, "select run_id from runs").rows() == [("a",)]
    assert tables.added_files("runs", 0)[0][0] in tables.files("runs")
