"""The look-up cache."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from voxlake.core.errors import LakeError, UsageError
from voxlake.store.lookup import Lookup
from voxlake.store.objects import Objects
from voxlake.store.tables import Tables


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(Objects.open(tmp_path / "lake"))


@pytest.fixture
def lookup(tmp_path: Path) -> Lookup:
    return Lookup(tmp_path / "cache", "lake-1")


def _row(mac: str, policy: str | None = "p", uid: str | None = None) -> dict[str, Any]:
    return {"source_mac": mac, "policy_digest": policy, "sop_instance_uid": uid}


def test_known_pairs_and_conflicts(tables: Tables, lookup: Lookup) -> None:
    assert lookup.sync(tables) == 0
    assert lookup.known([("a", "p")]) == set()
    tables.append("instances", [_row("a", "p", "2.25.1"), _row("a", "q", "2.25.1"), _row("b", "p", "2.25.2")])
    assert lookup.sync(tables) == 3
    assert lookup.known([("a", "p"), ("a", "q"), ("b", "q"), ("b", "p"), ("c", "p")]) == {
        ("a", "p"),
        ("a", "q"),
        ("b", "p"),
    }
    assert lookup.conflicts(["2.25.1", "2.25.2", "2.25.3"]) == {"2.25.1": {"a"}, "2.25.2": {"b"}}
    tables.append("instances", [_row("c", "p", "2.25.1"), _row("d", "p", None)])
    assert lookup.sync(tables) == 2
    assert lookup.conflicts(["2.25.1"]) == {"2.25.1": {"a", "c"}}
    assert lookup.known([("d", "p")]) == {("d", "p")}
    assert lookup.sync(tables) == 0


def test_quarantined(tables: Tables, lookup: Lookup) -> None:
    tables.append("quarantine", [{"quarantine_id": name} for name in "abc"])
    assert lookup.sync(tables) == 3
    assert lookup.quarantined(["a", "c", "x"]) == {"a", "c"}


def test_many_at_once(tables: Tables, lookup: Lookup) -> None:
    tables.append("instances", [_row(f"m{n}", "p", f"2.25.{n}") for n in range(2_500)])
    lookup.sync(tables)
    pairs = {(f"m{n}", "p") for n in range(5_000)}
    assert lookup.known(pairs) == {(f"m{n}", "p") for n in range(2_500)}
    assert len(lookup.conflicts(f"2.25.{n}" for n in range(1_000, 3_000))) == 1_500
    assert lookup.known([]) == set()


def test_another_lookup_and_another_lake(tables: Tables, lookup: Lookup, tmp_path: Path) -> None:
    tables.append("instances", [_row("a")])
    lookup.sync(tables)
    second = Lookup(tmp_path / "cache", "lake-1")
    assert second.sync(tables) == 0
    assert second.known([("a", "p")]) == {("a", "p")}
    other = Lookup(tmp_path / "cache", "lake-2")
    other.sync(Tables(Objects.open(tmp_path / "other")))
    assert other.known([("a", "p")]) == set()


def test_deleted_at_any_time(tables: Tables, lookup: Lookup) -> None:
    tables.append("instances", [_row("a", uid="u")])
    lookup.sync(tables)
    lookup.path.unlink()
    assert lookup.known([("a", "p")]) == {("a", "p")}
    for path in lookup.path.parent.iterdir():
        path.unlink()
    lookup.path.parent.rmdir()
    assert lookup.conflicts(["u"]) == {"u": {"a"}}


def test_a_damaged_cache_is_made_anew(tables: Tables, lookup: Lookup) -> None:
    tables.append("instances", [_row("a")])
    lookup.path.parent.mkdir(parents=True)
    lookup.path.write_bytes(b"this is no database" * 1000)
    assert lookup.sync(tables) == 1
    assert lookup.known([("a", "p")]) == {("a", "p")}


def test_rows_that_were_taken_out_are_forgotten(tables: Tables, lookup: Lookup, tmp_path: Path) -> None:
    tables.append("instances", [_row("a", uid="u"), _row("b", uid="v")])
    lookup.sync(tables)
    DeltaTable(str(tmp_path / "lake" / "tables" / "instances")).delete("source_mac = 'a'")
    assert lookup.sync(tables) == 1
    assert lookup.known([("a", "p"), ("b", "p")]) == {("b", "p")}
    assert lookup.conflicts(["u", "v"]) == {"v": {"b"}}


def test_a_lake_that_was_made_again(tables: Tables, lookup: Lookup, tmp_path: Path) -> None:
    for name in "abc":
        tables.append("instances", [_row(name)])
    lookup.sync(tables)
    fresh = Tables(Objects.open(tmp_path / "again"))
    for name in "xyz":
        fresh.append("instances", [_row(name)])
    assert lookup.sync(fresh) == 3
    assert lookup.known([(name, "p") for name in "abcxyz"]) == {(name, "p") for name in "xyz"}
    empty = Tables(Objects.open(tmp_path / "empty"))
    lookup.sync(empty)
    assert lookup.known([("x", "p")]) == set()


def test_threads_share_one_cache(tables: Tables, tmp_path: Path) -> None:
    errors: list[Exception] = []
    tables.append("instances", [_row(f"start{n}") for n in range(500)])

    def work(name: str) -> None:
        try:
            own = Lookup(tmp_path / "cache", "lake")
            for number in range(5):
                tables.append("instances", [_row(f"{name}{number}")])
                own.sync(tables)
                assert own.known([(f"{name}{number}", "p")])
        except (LakeError, AssertionError, sqlite3.Error) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    last = Lookup(tmp_path / "cache", "lake")
    assert last.sync(tables) == 0
    assert len(last.known([(f"{name}{n}", "p") for name in "abcd" for n in range(5)])) == 20


def test_wrong_use(tmp_path: Path, tables: Tables, lookup: Lookup) -> None:
    with pytest.raises(UsageError, match="call sync first"):
        lookup.known([("a", "p")])
    for bad in ("", "../x", "a/b"):
        with pytest.raises(UsageError):
            Lookup(tmp_path, bad)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LakeError, match="cannot be used"):
        Lookup(tmp_path / "file", "lake").sync(tables)
