"""Splits keep patients together, spread classes and refuse leakage."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.core.errors import LeakageError, UsageError
from voxlake.lake.splits import assign_folds, check_leakage, join_groups


def test_shared_content_joins_groups() -> None:
    groups = ["a", "b", "c", "d"]
    contents = [["1"], ["1", "2"], ["2"], ["3"]]
    assert join_groups(groups, contents) == ["a", "a", "a", "d"]


def test_join_is_by_content_not_by_order() -> None:
    assert join_groups(["b", "a", "b"], [["1"], ["2"], ["2"]]) == ["a", "a", "a"]


@given(
    members=st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=60, max_size=200),
    folds=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_no_group_is_divided(members: list[tuple[int, bool]], folds: int, seed: int) -> None:
    groups = [f"{'p' if positive else 'n'}{number % 12}" for number, positive in members]
    groups += [f"{kind}{number}" for kind in "pn" for number in range(12)]
    strata = [group[0] for group in groups]
    assigned = assign_folds(groups, strata, folds, seed=seed)
    places: defaultdict[str, set[int]] = defaultdict(set)
    for group, fold in zip(groups, assigned, strict=True):
        places[group].add(fold)
    assert all(len(found) == 1 for found in places.values())
    assert set(assigned) == set(range(folds))
    for fold in range(folds):
        assert {stratum for stratum, where in zip(strata, assigned, strict=True) if where == fold} == {
            "p",
            "n",
        }


def test_folds_are_even() -> None:
    groups = [f"g{number}" for number in range(100)]
    strata = ["x"] * 70 + ["y"] * 30
    assigned = assign_folds(groups, strata, 5, seed=3)
    for stratum, size in (("x", 14), ("y", 6)):
        counted = Counter(fold for fold, kind in zip(assigned, strata, strict=True) if kind == stratum)
        assert set(counted.values()) == {size}


def test_shares_are_met() -> None:
    groups = [f"g{number}" for number in range(200)]
    assigned = assign_folds(groups, ["x"] * 200, 2, seed=0, shares=(0.85, 0.15))
    assert Counter(assigned) == {0: 170, 1: 30}


def test_the_seed_decides() -> None:
    groups = [f"g{number}" for number in range(50)]
    first, again, other = (assign_folds(groups, ["x"] * 50, 5, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_order_of_samples_does_not_matter() -> None:
    groups = [f"g{number}" for number in range(50)]
    forward = dict(zip(groups, assign_folds(groups, ["x"] * 50, 5, seed=1), strict=True))
    backward = dict(zip(groups[::-1], assign_folds(groups[::-1], ["x"] * 50, 5, seed=1), strict=True))
    assert forward == backward


def test_too_few_patients_of_a_class_is_said() -> None:
    with pytest.raises(UsageError, match="class 'y' has 1 patients, but 2 parts"):
        assign_folds(["a", "b", "c"], ["x", "x", "y"], 2, seed=0)


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.5, -0.5), (1.0,)])
def test_bad_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="shares"):
        assign_folds(["a", "b"], ["x", "x"], 2, seed=0, shares=shares)


def test_a_patient_in_two_parts_stops_the_run() -> None:
    with pytest.raises(LeakageError, match="1 patients stand both in 'test' and in 'train'"):
        check_leakage({"train": [("p1", ["1"])], "test": [("p1", ["2"])]})


def test_an_image_in_two_parts_stops_the_run() -> None:
    with pytest.raises(LeakageError, match="1 images"):
        check_leakage({"train": [("p1", ["1"])], "test": [("p2", ["1"])], "validation": []})


def test_a_clean_split_passes() -> None:
    check_leakage({"train": [("p1", ["1"])], "test": [("p2", ["2"])]})
