"""SQL: what it must not do. Every statement here was once a way out of some database."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxlake.core.errors import QueryError
from voxlake.store.objects import Objects
from voxlake.store.query import run_sql
from voxlake.store.tables import Tables


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake with a secret in every place that SQL must not reach."""
    root = tmp_path / "lake"
    (root / "quarantine").mkdir(parents=True)
    for place in (
        "policy.toml",
        "quarantine/q1",
        "../key",
        "tables/secret.parquet",
        "tables/runs/secret.csv",
    ):
        (root / place).parent.mkdir(exist_ok=True, parents=True)
        (root / place).write_text("SECRET")
    return root


@pytest.fixture
def tables(lake: Path) -> Tables:
    tables = Tables(Objects.open(lake))
    tables.append("runs", [{"run_id": "a"}])
    return tables


READERS = (
    "read_csv", "read_csv_auto", "read_text", "read_blob", "read_json", "read_json_auto", "read_parquet",
    "read_ndjson_objects", "parquet_scan", "parquet_metadata", "parquet_schema", "parquet_kv_metadata",
    "sniff_csv", "glob", "read_duckdb",
)  # fmt: skip
FORMS = (
    "select * from {reader}('{place}')",
    "select * from (select * from {reader}('{place}'))",
    "with x as (select * from main.{reader}('{place}')) select * from x, runs",
    "select * from runs where exists (select 1 from {reader}('{place}'))",
)


@pytest.mark.parametrize("reader", READERS)
def test_no_function_reads_a_file(tables: Tables, lake: Path, reader: str) -> None:
    for place, form in ((f"{lake}/policy.toml", FORMS[0]), (tables.files("runs")[0], FORMS[1])):
        for name in (reader, reader.upper()):
            with pytest.raises(QueryError, match="not allowed"):
                run_sql(tables, form.format(reader=name, place=place))


@pytest.mark.parametrize("form", FORMS)
def test_no_place_is_readable(tables: Tables, lake: Path, form: str) -> None:
    runs = tables.files("runs")[0]
    for place in (
        "/etc/passwd", f"{lake}/quarantine/q1", f"{lake.parent}/key", f"{lake}/**", f"file://{lake}/policy.toml",
        f"{lake}/tables/runs/../../policy.toml", f"{runs}/../secret.csv", "http://localhost/x.parquet",
    ):  # fmt: skip
        with pytest.raises(QueryError) as caught:
            run_sql(tables, form.format(reader="read_text", place=place))
        assert "SECRET" not in str(caught.value)


def test_no_file_is_a_table(tables: Tables, lake: Path) -> None:
    for place in (
        "/etc/passwd",
        f"{lake}/policy.toml",
        f"{lake}/tables/runs/secret.csv",
        f"{lake}/tables/*.parquet",
    ):
        for sql in (
            f"select * from '{place}'",
            f'select * from "{place}"',
            f"describe '{place}'",
            f"from '{place}'",
        ):
            with pytest.raises(QueryError):
                run_sql(tables, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "copy runs to '{out}'",
        "copy (select 1) to '{out}' (format csv)",
        "with x as (copy (select 1) to '{out}' (use_tmp_file false)) select 1",
        "with x as (copy (select 1) to '{file}' (format parquet, use_tmp_file false)) select 1",
        "select * from query('with x as (copy (select 1) to ''{file}'' (use_tmp_file false)) select 1')",
        "explain analyze copy (select 1) to '{file}' (use_tmp_file false)",
        "with x as (insert into runs (run_id) values ('x') returning *) select * from x",
        "with x as (delete from runs returning *) select * from x",
        "with x as (update runs set run_id = 'x' returning *) select * from x",
        "select * from (select * from (with x as (copy (select 1) to '{out}') select 1))",
        "select (with x as (copy (select 1) to '{out}' (use_tmp_file false)) select 1)",
        "select 1 union all (with x as (copy (select 1) to '{out}' (use_tmp_file false)) select 1)",
        "export database '{out}'",
        "attach '{out}'",
        "attach '{file}' as a",
        "create table x as select 1",
        "create or replace view runs as select 1",
        "create macro f() as 1",
        "create secret s (type s3)",
        "drop view runs",
        "insert into runs (run_id) values ('x')",
        "delete from runs",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "reset allowed_paths",
        "set variable x = 1",
        "pragma database_list",
        "pragma enable_profiling",
        "call pragma_version()",
        "install httpfs",
        "load httpfs",
        "force install httpfs from community",
        "begin",
        "checkpoint",
        "vacuum",
        "use memory",
        "prepare p as select 1",
        "execute p",
        "explain select 1",
        "select 1; select 2",
        "select 1; copy runs to '{out}'",
        "",
        "   ;  ",
        "-- only a comment",
    ],
)
def test_only_one_select(tables: Tables, tmp_path: Path, sql: str) -> None:
    file, out = Path(tables.files("runs")[0]), tmp_path / "out"
    before = file.read_bytes()
    with pytest.raises(QueryError):
        run_sql(tables, sql.format(out=out, file=file))
    assert not out.exists()
    assert file.read_bytes() == before
    assert run_sql(tables, "select run_id from runs").rows() == [("a",)]


@pytest.mark.parametrize(
    "sql",
    [
        "select getenv('HOME')",
        "select GETENV('HOME')",
        "select main.getenv('HOME')",
        "select system.main.getenv('HOME')",
        "select list_transform(['HOME'], lambda x: getenv(x))",
        "select current_setting('allowed_paths')",
        "select * from duckdb_settings()",
        "select * from duckdb_secrets()",
        "select * from duckdb_logs()",
        "select * from duckdb_temporary_files()",
        "select * from duckdb_databases()",
        "select * from duckdb_extensions()",
        "select * from which_secret('s3://x', 's3')",
        "select * from query('select 1')",
        "select * from query_table('runs')",
        "select * from json_execute_serialized_sql(json_serialize_sql('select 1'))",
        "select * from enable_logging()",
        "select * from checkpoint()",
        "select write_log('x')",
        "select * from pandas_scan(1)",
        "select * from arrow_scan(1, 2, 3)",
        "select * from secret_of_the_caller",
    ],
)
def test_nothing_of_the_machine_is_told(tables: Tables, sql: str) -> None:
    secret_of_the_caller = run_sql(tables, "select 1 as a").df()
    assert len(secret_of_the_caller) == 1
    with pytest.raises(QueryError):
        run_sql(tables, sql)


def test_the_database_itself_refuses_too(tables: Tables, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the judgement of the statement stands the configuration of the database."""
    from voxlake.store import query
    from voxlake.store.sql_guard import Statement

    nothing_judged = Statement(frozenset({"runs"}), catalogue=False)
    monkeypatch.setattr(query, "parse", lambda _connection, _sql: nothing_judged)
    assert run_sql(tables, "select run_id from runs").rows() == [("a",)]
    for sql in (
        f"select * from read_text('{lake}/policy.toml')",
        f"select * from read_csv('{lake.parent}/key')",
        f"select * from read_text('{lake}/tables/runs/../../policy.toml')",
        f"select * from glob('{lake}/**')",
        "select * from '/etc/passwd'",
        "select getenv('HOME')",
        f"copy runs to '{lake}/out'",
        f"attach '{lake}/out'",
        "set lock_configuration = false",
        "set enable_external_access = true",
        "install httpfs",
        "load httpfs",
    ):
        with pytest.raises(QueryError):
            run_sql(tables, sql)
    assert not (lake / "out").exists()


def test_what_is_allowed_stays_allowed(tables: Tables) -> None:
    for sql, expected in {
        "select * from range(3)": [(0,), (1,), (2,)],
        "select unnest([1, 2])": [(1,), (2,)],
        "from runs select run_id": [("a",)],
        "values (1), (2)": [(1,), (2,)],
        "with recursive r as (select 1 i union all select i + 1 from r where i < 3) select max(i) from r": [
            (3,)
        ],
        "select run_id from runs intersect select 'a'": [("a",)],
        "select key from json_each('{\"a\": 1}')": [("a",)],
        'select \'{"00080060": {"Value": ["MR"]}}\'::json ->> \'$.00080060.Value[0]\'': [("MR",)],
        "select count(*) over () from runs": [(1,)],
        "select run_id from main.runs where run_id like 'a%' -- a comment": [("a",)],
        "select list_transform([1, 2], lambda x: x + 1)": [([2, 3],)],
        "select date_trunc('day', timestamptz '2024-01-02 03:00+00')::date::varchar": [("2024-01-02",)],
        "select * from (pivot runs on run_id in ('a') using count(*))": None,
        "summarize runs": None,
        "describe select 1": None,
        "show tables": None,
    }.items():
        rows = run_sql(tables, sql).rows()
        assert rows
        assert expected is None or rows == expected


def test_a_very_deep_statement_does_not_break_the_judge(tables: Tables) -> None:
    depth = 400
    sql = "select " + "(" * depth + "1" + ")" * depth
    assert run_sql(tables, sql).rows() == [(1,)]
    for sql in ("select " + "abs(" * 5_000 + "1" + ")" * 5_000, "select " + "1 + " * 5_000 + "1"):
        with pytest.raises(QueryError):
            run_sql(tables, sql)
