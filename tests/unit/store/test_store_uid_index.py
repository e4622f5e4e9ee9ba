"""The index of UIDs: right, rebuilt when it has to be, and of use to SQL."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from voxlake.core.errors import QueryError
from voxlake.store.compaction import compact_table
from voxlake.store.find import find_uid
from voxlake.store.narrow import asked_uids
from voxlake.store.objects import Objects
from voxlake.store.query import run_sql
from voxlake.store.rewrite import rewrite_table
from voxlake.store.sql_guard import parse
from voxlake.store.tables import Tables
from voxlake.store.uid_index import Spot, UidIndex
from voxlake.store.uid_runs import find_keys, hash_texts, texts_of


def _row(number: int, policy: str = "p") -> dict[str, Any]:
    return {
        "sop_instance_uid": f"1.2.{number}",
        "series_instance_uid": f"1.3.{number // 3}",
        "study_instance_uid": f"1.4.{number // 6}",
        "source_mac": f"mac{number}",
        "policy_digest": policy,
        "instance_number": number,
        "pack": f"packs/ab/{number % 2}.pack",
        "offset": number * 10,
        "length": 10,
        "sha256": "0" * 64,
    }


@pytest.fixture(scope="module")
def twenty_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two rows each."""
    place = tmp_path_factory.mktemp("made") / "lake"
    tables = Tables(Objects.open(place))
    for number in range(0, 40, 2):
        tables.append("instances", [_row(number), _row(number + 1)])
    return place


@pytest.fixture
def tables(twenty_files: Path, tmp_path: Path) -> Tables:
    shutil.copytree(twenty_files, tmp_path / "lake")
    return Tables(Objects.open(tmp_path / "lake"))


def test_every_uid_leads_to_its_place_and_no_other_does(tables: Tables, tmp_path: Path) -> None:
    index = UidIndex(tmp_path / "cache")
    assert index.sync(tables) == 40
    for number in range(40):
        assert index.spots(f"1.2.{number}") == [Spot(f"packs/ab/{number % 2}.pack", number * 10, 10)]
    assert index.spots("1.2.40") == index.spots("") == []
    holding, indexed = index.files("series_instance_uid", ["1.3.1", "9"])
    # Rows 3, 4 and 5 lie in the second and third file.
    assert len(holding) == 2
    assert holding < set(tables.files("instances"))
    assert indexed == set(tables.files("instances"))
    assert [index.kind(uid) for uid in ("1.2.7", "1.3.0", "1.4.0", "1.5")] == [
        "instance",
        "series",
        "study",
        None,
    ]


def test_what_is_committed_later_is_taken_in_once(tables: Tables, tmp_path: Path) -> None:
    index, other = UidIndex(tmp_path / "cache"), UidIndex(tmp_path / "cache")
    assert index.sync(tables) == 40
    assert index.sync(tables) == other.sync(tables) == 0
    tables.append("instances", [_row(100)])
    assert other.sync(tables) == 1
    assert index.sync(tables) == 0
    assert len(index.spots("1.2.100")) == 1
    assert index.rows() == 41


@pytest.mark.parametrize("damage", ["missing", "manifest", "cut", "array"])
def test_a_damaged_index_is_made_anew(tables: Tables, tmp_path: Path, damage: str) -> None:
    index = UidIndex(tmp_path / "cache")
    index.sync(tables)
    keys = next(index.folder.glob("run-*/instance-keys.npy"))
    match damage:
        case "missing":
            shutil.rmtree(tmp_path / "cache")
        case "manifest":
            (index.folder / "manifest.json").write_text("{")
        case "cut":
            keys.write_bytes(keys.read_bytes()[:-8])
        case "array":
            keys.unlink()
    fresh = UidIndex(tmp_path / "cache")
    assert fresh.sync(tables) == 40
    assert len(fresh.spots("1.2.39")) == 1


def test_an_index_that_is_deleted_while_it_is_open_is_made_anew(tables: Tables, tmp_path: Path) -> None:
    assert find_uid(tables, tmp_path / "cache", "1.2.5") is not None
    shutil.rmtree(tmp_path / "cache")
    assert find_uid(tables, tmp_path / "cache", "1.2.5") is not None


def test_the_index_of_another_table_is_not_believed(tables: Tables, tmp_path: Path) -> None:
    UidIndex(tmp_path / "cache").sync(tables)
    other = Tables(Objects.open(tmp_path / "other"))
    other.append("instances", [_row(number + 500) for number in range(20)])
    index = UidIndex(tmp_path / "cache")
    assert index.sync(other) == 20
    assert index.spots("1.2.0") == []
    assert len(index.spots("1.2.500")) == 1


def test_rows_that_are_taken_out_leave_the_index(tables: Tables, tmp_path: Path) -> None:
    """As erase and compact do it: files go, others come."""
    from deltalake import DeltaTable

    index = UidIndex(tmp_path / "cache")
    index.sync(tables)
    DeltaTable(tmp_path / "lake/tables/instances").delete("series_instance_uid = '1.3.1'")
    index.sync(tables)
    assert index.rows() == 37
    assert index.spots("1.2.3") == index.spots("1.2.5") == []
    assert index.kind("1.3.1") is None
    assert len(index.spots("1.2.6")) == 1
    DeltaTable(tmp_path / "lake/tables/instances").optimize.compact()
    index.sync(tables)
    assert index.rows() == 37
    assert [len(index.spots(f"1.2.{number}")) for number in (2, 3, 6)] == [1, 0, 1]
    assert len(list(index.folder.glob("run-*"))) == 1


def test_several_at_once_make_one_index(tables: Tables, tmp_path: Path) -> None:
    read: list[int] = []
    threads = [
        threading.Thread(target=lambda: read.append(UidIndex(tmp_path / "cache").sync(tables)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read) == [0, 0, 0, 40]


def test_found_is_what_the_views_show(tables: Tables, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    # The same key twice, and the same object under another policy.
    tables.append("instances", [_row(1) | {"offset": 999}, _row(4, "q") | {"offset": 888}])
    one = find_uid(tables, cache, "1.2.1")
    assert one is not None
    assert (one.kind, [spot.offset for spot in one.spots]) == ("instance", [10])
    two = find_uid(tables, cache, "1.2.4")
    assert two is not None
    assert sorted(spot.offset for spot in two.spots) == [40, 888]
    series = find_uid(tables, cache, "1.3.0")
    assert series is not None
    assert (series.kind, [spot.offset for spot in series.spots]) == ("series", [0, 10, 20])
    study = find_uid(tables, cache, "1.4.1")
    assert study is not None
    assert (study.kind, len(study.spots)) == ("study", 6)
    assert find_uid(tables, cache, "1.9") is None


STATEMENTS = {
    "select instance_number from instances where sop_instance_uid = '1.2.5'": {"sop_instance_uid": {"1.2.5"}},
    "select instance_number from instances i where '1.3.1' = i.series_instance_uid and rows is null": {
        "series_instance_uid": {"1.3.1"}
    },
    "select count(*) from instances where study_instance_uid in ('1.4.0', '1.4.2')": {
        "study_instance_uid": {"1.4.0", "1.4.2"}
    },
    "select count(*) from instances where sop_instance_uid in (select unnest(['1.2.1']))": {},
    "select count(*) from (select * from instances where series_instance_uid = '1.3.2')": {
        "series_instance_uid": {"1.3.2"}
    },
    "select count(*) from instances where sop_instance_uid = '1.2.5' or rows is null": {},
    "select count(*) from instances where not sop_instance_uid = '1.2.5'": {},
    "select count(*) from instances i, instances j where i.sop_instance_uid = '1.2.5'": {},
    "select count(*) from instances where sop_instance_uid = '1.2.5' "
    "union all select count(*) from instances": {},
    "select count(*) from instances left join series using (series_instance_uid) "
    "where sop_instance_uid = '1'": {},
    "select count(*) from instances as i(series_instance_uid, sop_instance_uid) "
    "where sop_instance_uid = '1.3.1'": {},
    "select count(*) from (select '1.3.0' as series_instance_uid) s where exists "
    "(select 1 from instances where s.series_instance_uid = '1.3.0')": {},
    "select 'x' as sop_instance_uid from instances where sop_instance_uid = '1.2.5'": {
        "sop_instance_uid": {"1.2.5"}
    },
    "select count(*) from instances where sop_instance_uid = '1.2.5' and sop_instance_uid = '1.2.6'": {
        "sop_instance_uid": set()
    },
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_only_files_that_cannot_matter_are_left_out(tables: Tables, tmp_path: Path, statement: str) -> None:
    with tables.sessions.parser("1GB") as connection:
        assert asked_uids(parse(connection, statement).tree, None) == STATEMENTS[statement]
    everything = run_sql(tables, statement).rows()
    assert run_sql(tables, statement, cache=tmp_path / "cache").rows() == everything


def test_parameters_narrow_too(tables: Tables, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for condition, values in {
        "series_instance_uid = ?": ["1.3.2"],
        "series_instance_uid = $uid": {"uid": "1.3.2"},
        "series_instance_uid in (select unnest($uids))": {"uids": ["1.3.2"]},
        "series_instance_uid = any($uids)": {"uids": ["1.3.2"]},
    }.items():
        statement = f"select instance_number from instances where {condition} order by 1"
        with tables.sessions.parser("1GB") as connection:
            tree = parse(connection, statement).tree
        assert asked_uids(tree, values) == {"series_instance_uid": {"1.3.2"}}
        assert run_sql(tables, statement, values, cache=cache).rows() == [(6,), (7,), (8,)]
    assert (cache / "uids-1/manifest.json").exists()
    # What came in after the index was made is seen.
    tables.append("instances", [_row(300) | {"series_instance_uid": "1.3.2"}])
    assert len(run_sql(tables, statement, {"uids": ["1.3.2"]}, cache=cache)) == 4


def test_open_sessions_follow_what_another_process_does(tables: Tables, tmp_path: Path) -> None:
    """Append, erase and compact there; files, schema, statements and sessions are remembered here."""

    def asked(number: int) -> tuple[list[tuple[Any, ...]], int]:
        statement = "select instance_number from instances where series_instance_uid = ? order by 1"
        found = run_sql(tables, statement, [f"1.3.{number}"], cache=tmp_path / "cache").rows()
        return found, run_sql(tables, "select count(*) from instances").rows()[0][0]

    without = methodcaller("filter", pc.field("series_instance_uid") != "1.3.2")
    before = asked(2), asked(3)
    assert before == (([(6,), (7,), (8,)], 40), ([(9,), (10,), (11,)], 40))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        again = [_row(6) | {"offset": 999}, _row(90) | {"series_instance_uid": "1.3.2"}]
        assert other.submit(tables.append, "instances", again).result() == 20
        # The first of them repeats a key.
        assert asked(2) == ([(6,), (7,), (8,), (90,)], 41)
        assert other.submit(rewrite_table, tables, "instances", without).result().removed == 5
        assert (asked(2), asked(3)) == (([], 37), ([(9,), (10,), (11,)], 37))
        files = tables.files("instances")
        assert other.submit(compact_table, tables, "instances").result().files_after == 1
        assert len(tables.files("instances")) == 1 < len(files)
        assert (asked(2), asked(3)) == (([], 37), ([(9,), (10,), (11,)], 37))
        other.submit(tables.append, "instances", [_row(91) | {"series_instance_uid": "1.3.3"}]).result()
        assert asked(3) == ([(9,), (10,), (11,), (91,)], 38)


def test_what_is_remembered_of_a_table_is_of_its_version(tables: Tables) -> None:
    files = tables.files("instances")
    files.clear()
    assert len(tables.files("instances")) == 20
    schema = tables.stored_schema("instances")
    assert schema is tables.stored_schema("instances")
    tables.append("instances", [_row(100)])
    assert len(tables.files("instances")) == 21
    assert tables.stored_schema("instances") == schema


def test_a_narrowed_statement_is_the_same_statement(tables: Tables, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    condition = "where series_instance_uid = '1.3.1' order by 1"
    for statement in (
        f"select instance_number from instances {condition}",
        f"  SELECT\ninstance_number from Instances {condition};",
        f"from instances select instance_number {condition}",
        f"with a as (select 1) select instance_number from instances {condition} -- of a series",
        f"(select instance_number from instances {condition})",
    ):
        assert run_sql(tables, statement, cache=cache).rows() == [(3,), (4,), (5,)]
    # A name of the statement's own hides the table.
    own = f"with instances as (select '1.3.1' as series_instance_uid) select * from instances {condition}"
    assert run_sql(tables, own, cache=cache).rows() == [("1.3.1",)]
    assert run_sql(tables, f"select * from ({own})", cache=cache).rows() == [("1.3.1",)]
    with pytest.raises(QueryError, match=r"no column 'instance_numbr'.*instance_number"):
        run_sql(tables, f"select instance_numbr from instances {condition}", cache=cache)


def test_hashes_do_not_hang_on_what_stands_beside() -> None:
    texts = [f"1.2.{number}" for number in range(2_000)] + ["", "1" * 64, "1" * 65, "1" * 200]
    together = hash_texts(pa.array(texts), 7)
    assert hash_texts(texts_of(texts), 7).tolist() == together.tolist()
    assert len(np.unique(together)) == len(texts)
    assert [int(hash_texts(pa.array([text]), 7)[0]) for text in texts] == together.tolist()
    assert not (hash_texts(pa.array(texts), 8) == together)[:-4].any()
    assert hash_texts(pa.array(texts).slice(100, 5), 7).tolist() == together[100:105].tolist()


def _spread(kind: str) -> np.ndarray:
    generator = np.random.default_rng(7)
    even = generator.integers(0, 2**64, 50_000, np.uint64)
    return np.sort(
        {
            "even": even,
            "repeated": np.repeat(even[:5000], 10),
            "one stretch": even // np.uint64(1000) + np.uint64(2**63),
            "ends": np.array([0, 0, 1, 2**64 - 1, 2**64 - 1], np.uint64),
            "one value": np.full(30_000, 2**62, np.uint64),
            "few": even[:3],
            "none": even[:0],
        }[kind]
    )


@pytest.mark.parametrize("kind", ["even", "repeated", "one stretch", "ends", "one value", "few", "none"])
def test_a_key_is_found_wherever_it_stands(kind: str) -> None:
    """Hashes are even, but nothing may hang on it: a damaged or aimed-at index still answers right."""
    keys = _spread(kind)
    others = np.random.default_rng(8).integers(0, 2**64, 200, np.uint64)
    wanted = np.concatenate([keys[:: max(1, len(keys) // 200)], keys[-3:], others])
    wanted = np.concatenate([wanted, np.array([0, 2**64 - 1, 2**62], np.uint64)])
    for some in (wanted, *(wanted[place : place + 50] for place in range(0, len(wanted), 50))):
        starts, ends = find_keys(keys, some)
        assert np.array_equal(starts, np.searchsorted(keys, some, "left"))
        assert np.array_equal(ends, np.searchsorted(keys, some, "right"))
