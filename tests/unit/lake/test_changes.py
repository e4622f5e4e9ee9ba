"""Who follows the lake by cursors gets every row once, in order."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from voxlake.cli.main import run
from voxlake.core.errors import NotFoundError, UsageError
from voxlake.lake.changes import changes
from voxlake.lake.compact import compact
from voxlake.lake.erase import erase
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.lake.withdrawals import withdraw
from voxlake.sources.phantoms import Phantoms


def phantoms(patients: int) -> Phantoms:
    return Phantoms(patients=patients, slices=8, rows=16, columns=16, second_study=0.0)


def label(subject: str, value: str = "1") -> dict[str, Any]:
    row = {"level": "series", "subject": subject, "name": "n", "value": value}
    return {**row, "reader": "r", "source": "s", "run_id": "me"}


def subjects(rows: Any) -> list[str]:
    return [json.loads(row["key"])["subject"] for row in rows]


def test_each_row_once_in_order(lake: Lake) -> None:
    ingest(lake, phantoms(1), engine="serial")
    first = changes(lake)
    counts = Counter(row["table"] for row in first.rows)
    assert first.complete
    for table in ("instances", "series", "runs", "items", "labels"):
        assert counts[table] == lake.sql(f"select count(*) from {table}").rows()[0][0]
    assert changes(lake).rows == first.rows
    assert changes(lake, first.cursor).rows == ()
    ingest(lake, phantoms(2), engine="serial")
    second = changes(lake, first.cursor)
    assert Counter(row["table"] for row in second.rows)["instances"] == 8
    keys = {(row["source_mac"], row["policy_digest"]) for row in lake.sql("select * from instances").dicts()}
    found = [
        tuple(json.loads(row["key"]).values())
        for row in (*first.rows, *second.rows)
        if row["table"] == "instances"
    ]
    assert sorted(found) == sorted(keys)
    assert {row["kind"] for row in second.rows if row["table"] == "series"} == {"updated"}


def test_small_parts_add_up(lake: Lake) -> None:
    for number in range(6):
        lake.tables.append("labels", [label(f"{number}-{part}") for part in range(3)])
    cursor, found, calls = None, [], 0
    while True:
        feed = changes(lake, cursor, limit=4)
        found += subjects(feed.rows)
        cursor, calls = feed.cursor, calls + 1
        if feed.complete:
            break
    assert found == [f"{number}-{part}" for number in range(6) for part in range(3)]
    assert calls >= 3


@pytest.mark.parametrize("earlier", [True, False])
def test_a_key_that_two_drivers_committed_comes_once(lake: Lake, earlier: bool) -> None:
    lake.tables.append("labels", [label("a"), label("b")])
    before = changes(lake)
    shown = lake.sql("select committed_at from labels where subject = 'b'").rows()[0][0]
    shift = timedelta(seconds=-5 if earlier else 5)
    again = {**label("b"), "committed_at": shown + shift, "run_id": "other"}
    lake.tables.append("labels", [again, label("c")])
    assert subjects(changes(lake).rows) == ["a", "b", "c"]
    assert subjects(changes(lake, before.cursor).rows) == ["c"]
    shown_rows = lake.sql("select * from labels order by all").rows()
    for _ in range(2):
        compact(lake, grace="0", engine="serial")
        assert lake.sql("select * from labels order by all").rows() == shown_rows
        assert subjects(changes(lake, before.cursor, tables=["labels"]).rows) == ["c"]
        assert subjects(changes(lake, tables=["labels"]).rows) == ["a", "b", "c"]


def test_two_writers_and_compactions_beside_a_follower(lake: Lake) -> None:
    lake.tables.append("labels", [label("start")])
    others = [lake.reference.open() for _ in range(2)]

    def write(number: int) -> None:
        for step in range(15):
            # Both also write what the other writes.
            others[number].tables.append("labels", [label(f"{number}-{step}"), label(f"both-{step}")])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    found: list[str] = []
    cursor = None
    rounds = 0
    while True:
        alive = any(thread.is_alive() for thread in threads)
        feed = changes(lake, cursor, tables=["labels"], limit=7)
        cursor = feed.cursor
        found += subjects(feed.rows)
        rounds += 1
        if rounds % 3 == 0:
            compact(lake, grace="1 hour", packs=False, engine="serial")
        if feed.complete and not alive:
            break
    expected = {
        "start",
        *(f"{n}-{s}" for n in range(2) for s in range(15)),
        *(f"both-{s}" for s in range(15)),
    }
    assert sorted(found) == sorted(expected)


def test_across_a_compaction_nothing_is_missed(lake: Lake) -> None:
    cursors = []
    for number in range(8):
        lake.tables.append("labels", [label(f"{number}")])
        cursors.append(changes(lake, tables=["labels"]).cursor)
        if number in (3, 5):
            compact(lake, grace="0", engine="serial")
    compact(lake, grace="0", engine="serial")
    for number, cursor in enumerate(cursors):
        feed = changes(lake, cursor, tables=["labels"])
        assert subjects(feed.rows) == [str(later) for later in range(number + 1, 8)]


def test_withdrawn_and_erased(lake: Lake) -> None:
    ingest(lake, phantoms(2), engine="serial")
    behind = changes(lake, limit=1)
    cursor = changes(lake).cursor
    who = lake.sql("select min(patient_id) from series").rows()[0][0]
    withdraw(lake, who)
    feed = changes(lake, cursor, tables=["withdrawals"])
    assert [row["kind"] for row in feed.rows] == ["withdrawn"]
    cursor = changes(lake, cursor).cursor
    erase(lake, who, yes=True, engine="serial")
    feed = changes(lake, cursor)
    kinds = Counter((row["table"], row["kind"]) for row in feed.rows)
    assert kinds["withdrawals", "erased"] == 1
    # Rows of the other patient did not come again.
    assert not any(table == "instances" for table, _ in kinds)
    late = changes(lake, behind.cursor, tables=["instances"])
    assert len(late) == lake.sql("select count(*) from instances").rows()[0][0] == 8


def test_from_a_run_and_from_a_time(lake: Lake) -> None:
    first = ingest(lake, phantoms(1), engine="serial")
    middle = lake.sql("select max(committed_at) from runs").rows()[0][0]
    ingest(lake, phantoms(2), engine="serial")
    for since in (first.run_id, (middle + timedelta(milliseconds=5)).isoformat()):
        rows = changes(lake, since, tables=["instances"]).rows
        assert len(rows) == 8
        assert {row["run_id"] for row in rows} != {first.run_id}
    assert len(changes(lake, "2001-01-01", tables=["instances"])) == 16
    assert len(changes(lake, "2999-01-01")) == 0


def test_what_is_no_cursor(lake: Lake, new_lake: Callable[..., Lake]) -> None:
    lake.tables.append("labels", [label("a")])
    other = new_lake("other")
    with pytest.raises(UsageError, match="another lake"):
        changes(other, changes(lake).cursor)
    with pytest.raises(UsageError, match="damaged"):
        changes(lake, "voxlake-!!")
    with pytest.raises(UsageError, match="no time"):
        changes(lake, "yesterday")
    with pytest.raises(NotFoundError, match="labels"):
        changes(lake, tables=["label"])


def test_command(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    lake.tables.append("labels", [label("a")])
    assert run(["changes", "--lake", lake.url, "--format", "csv"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "table,version,committed_at,kind,key,run_id"
    cursor = said.err.split("--since ")[1].strip()
    lake.tables.append("labels", [label("b")])
    assert run(["changes", "--lake", lake.url, "--since", cursor, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [json.loads(row["key"])["subject"] for row in answer["changes"]] == ["b"]
    assert answer["complete"] is True
    assert run(["changes", "--lake", lake.url, "--since", answer["cursor"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == []
