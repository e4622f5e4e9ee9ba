"""Hints, digests, runs and their balance."""

from __future__ import annotations

import hashlib
import json

import pytest

from voxlake.core.digest import canonical_json, digest_bytes, digest_json, digest_many, short
from voxlake.core.errors import BalanceError
from voxlake.core.hints import hint
from voxlake.core.run import OUTCOMES, Run, check_balance


def test_hint_names_the_near_miss() -> None:
    assert hint("resmaple", ["resample", "resize"]) == "; did you mean 'resample'?"


def test_hint_ignores_case_and_keeps_the_real_name() -> None:
    assert hint("PATIENTID", ["PatientID", "StudyID"]) == "; did you mean 'PatientID'?"


def test_hint_lists_what_there_is_when_nothing_is_near() -> None:
    assert hint("qqqq", ["b", "a"]) == "; known: a, b"
    assert hint("qqqq", []) == ""


def test_hint_lists_at_most_twelve() -> None:
    assert hint("?", [f"k{n:02d}" for n in range(13)]).endswith("k11, ...")
    assert hint("?", [f"k{n:02d}" for n in range(12)]).endswith("k11")


def test_canonical_json_sorts_and_packs() -> None:
    assert canonical_json({"b": [1, 2.0], "a": "ä"}) == '{"a":"ä","b":[1,2.0]}'


def test_digests_are_sha256() -> None:
    assert digest_bytes(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert digest_json({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})


def test_digest_many_knows_where_a_part_ends() -> None:
    assert digest_many(["ab", "c"]) != digest_many(["a", "bc"])
    assert digest_many([]) != digest_many([""])
    assert digest_many(["ä"]) == hashlib.sha256((2).to_bytes(8, "big") + "ä".encode()).hexdigest()


def test_short() -> None:
    assert short("0123456789abcdef") == "0123456789ab"
    assert short("0123456789abcdef", 4) == "0123"


def run_with(**counts: int) -> Run:
    return Run(
        run_id="r1",
        verb="ingest",
        arguments={"policy": "research"},
        outcome="done",
        counts=counts,
        seconds=1.5,
        started_at="2026-01-01T00:00:00Z",
        code_version="0.1.0",
    )


def test_balance_line() -> None:
    run = run_with(seen=1068, stored=1061, already=0, quarantined=5, rejected=2)
    assert run.balance() == "1,068 seen = 1,061 stored + 5 quarantined + 2 rejected by policy"
    assert run.failures == 7


def test_balance_line_of_nothing() -> None:
    assert run_with().balance() == "0 seen = 0 stored"
    assert run_with(seen=2, already=2).balance() == "2 seen = 2 already there"


def test_run_becomes_json() -> None:
    run = run_with(seen=1, stored=1)
    values = json.loads(json.dumps(run.to_dict()))
    assert values["counts"] == {"seen": 1, "stored": 1}
    assert values["arguments"] == {"policy": "research"}
    assert Run(**values) == run


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_balance_counts_every_outcome(outcome: str) -> None:
    check_balance({"seen": 3, outcome: 3})
    with pytest.raises(BalanceError, match="saw 4 items but accounts for 3"):
        check_balance({"seen": 4, outcome: 3})


def test_balance_of_nothing() -> None:
    check_balance({})
    with pytest.raises(BalanceError):
        check_balance({"stored": 1})
