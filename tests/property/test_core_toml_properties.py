"""What is written as TOML is read back by the standard library."""

from __future__ import annotations

import datetime as dt
import math
import tomllib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.core.errors import SettingsError
from voxlake.core.plan import Plan
from voxlake.core.toml import to_toml
from voxlake.processing.registry import STEPS
from voxlake.testing.strategies import plans

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
CONTROL = st.text(
    st.sampled_from([chr(n) for n in (*range(32), 127, 128, 159, 0x2028, 0xFEFF)] + ['"', "\\"])
)
SCALAR = st.one_of(
    TEXT,
    CONTROL,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=True, allow_infinity=True),
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(TEXT, CONTROL), inner, max_size=3)
    ),
    max_leaves=12,
)
TABLE = st.dictionaries(
    st.one_of(TEXT, CONTROL, st.sampled_from(["a", "b-c", "_", "a.b", "", "1"])), VALUE, max_size=4
)


def same(one: Any, other: Any) -> bool:
    """Equal, NaN included, 0.0 apart from -0.0, and of the same type."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return (
            list(one) == list(other)
            if not one
            else set(one) == set(other) and all(same(one[k], other[k]) for k in one)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    return bool(one == other)


@settings(max_examples=200, deadline=None)
@given(TABLE)
def test_round_trip(values: dict[str, Any]) -> None:
    assert same(tomllib.loads(to_toml(values)), values)


@settings(max_examples=60, deadline=None)
@given(st.lists(TABLE, min_size=1, max_size=3), TABLE)
def test_lists_of_tables_round_trip(rows: list[dict[str, Any]], nested: dict[str, Any]) -> None:
    values = {"rows": rows, "last": 1, "nested": {"inner": nested, "rows": rows}}
    assert same(tomllib.loads(to_toml(values)), values)
    assert "[[rows]]" in to_toml(values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"a": []},
        {"a": {}},
        {"a": [{}]},
        {"a": [{}, {"b": {}}, {"b": [{}]}]},
        {"a": [[], [[]]]},
        {"a": [1, {"b": 2}]},
        {"a": [{"b": 1}, [2]]},
        {"a": '\x00\x1f\x7f\r\n\t"\\\U0001f9e0'},
        {"": {"": {"": 1}}},
        {"x": [math.inf, -math.inf, math.nan, 1e22, 1e-7, 5e-324, -0.0, 0.1]},
        {"big": 2**80},
    ],
)
def test_corners(values: dict[str, Any]) -> None:
    assert same(tomllib.loads(to_toml(values)), values)


def test_none_is_left_out() -> None:
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None}, "d": [{"e": None, "f": 1}]})) == {
        "b": {},
        "d": [{"f": 1}],
    }


def test_kin_of_plain_values() -> None:
    written = tomllib.loads(to_toml({"a": np.float64(0.5), "b": (1, 2), "c": ({"d": 1},)}))
    assert written == {"a": 0.5, "b": [1, 2], "c": [{"d": 1}]}


@pytest.mark.parametrize(
    "value", [b"bytes", {1, 2}, [None], object(), "\ud800", dt.date(2026, 1, 1), {1: 2}, range(3), 1j]
)
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(SettingsError):
        to_toml({"a": value})


@settings(max_examples=80, deadline=None)
@given(plans())
def test_plans_round_trip(plan: Plan) -> None:
    again = Plan.from_toml(plan.to_toml(), steps=STEPS)
    assert again == plan
    assert again.digest() == plan.digest()


@settings(max_examples=30, deadline=None)
@given(plans(), plans())
def test_digests_tell_plans_apart(one: Plan, other: Plan) -> None:
    assert (one.digest() == other.digest()) == (one == other)
