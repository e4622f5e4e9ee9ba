"""Splits that a label decides: given ones, and one value left out at a time."""

from __future__ import annotations

import pytest

from voxlake.core.errors import LeakageError, SettingsError, UsageError
from voxlake.learning.settings import SplitSettings
from voxlake.learning.split import make_split

COUNT = 40
GROUPS = [f"p{number:02d}" for number in range(COUNT)]
STRATA = ["ill" if number % 4 == 0 else "well" for number in range(COUNT)]
CONTENTS = [[f"d{number}"] for number in range(COUNT)]
SITES = [("north", "south", "west")[number % 3] for number in range(COUNT)]


def given(**more: object) -> SplitSettings:
    return SplitSettings.read({"kind": "given", "label": "part", **more})


def parts(*, validation: bool = True) -> list[str]:
    names = ["test"] * 8 + ["validation"] * 8 * validation
    return names + ["train"] * (COUNT - len(names))


def test_a_given_split_is_taken_as_it_is() -> None:
    (fold,) = make_split(GROUPS, STRATA, CONTENTS, given(), parts()).folds
    assert fold.test == tuple(range(8))
    assert fold.validation == tuple(range(8, 16))
    assert fold.train == tuple(range(16, COUNT))


def test_validation_is_drawn_where_it_is_not_given() -> None:
    settings = given(validation=0.25)
    (fold,) = make_split(GROUPS, STRATA, CONTENTS, settings, parts(validation=False)).folds
    assert fold.test == tuple(range(8))
    assert sorted((*fold.train, *fold.validation)) == list(range(8, COUNT))
    assert len(fold.validation) == 8
    assert {STRATA[position] for position in fold.validation} == {"ill", "well"}


def test_a_given_split_needs_no_test_part() -> None:
    names = ["validation"] * 8 + ["train"] * (COUNT - 8)
    (fold,) = make_split(GROUPS, STRATA, CONTENTS, given(), names).folds
    assert fold.test == ()
    assert fold.validation == tuple(range(8))


def test_a_patient_in_two_given_parts_stops_or_is_not_learned_from() -> None:
    groups, contents = list(GROUPS), [list(one) for one in CONTENTS]
    groups[20] = groups[0]
    contents[21] = ["d9"]
    groups[10] = groups[1]
    with pytest.raises(LeakageError, match="stand both in"):
        make_split(groups, STRATA, contents, given(), parts())
    (fold,) = make_split(groups, STRATA, contents, given(shared="leave_out"), parts()).folds
    assert fold.test == tuple(range(8))
    assert set(range(8, 16)) - set(fold.validation) == {10}
    assert set(range(16, COUNT)) - set(fold.train) == {20, 21}


def test_every_value_is_tested_once_by_a_network_that_saw_the_others() -> None:
    settings = SplitSettings.read({"kind": "leave_one_out", "label": "site"})
    split = make_split(GROUPS, STRATA, CONTENTS, settings, SITES)
    assert len(split.folds) == 3
    for fold, site in zip(split.folds, sorted(set(SITES)), strict=True):
        assert {SITES[position] for position in fold.test} == {site}
        assert sorted((*fold.train, *fold.validation, *fold.test)) == list(range(COUNT))
        assert site not in {SITES[position] for position in (*fold.train, *fold.validation)}
        assert fold.validation


def test_who_was_in_two_places_is_tested_and_not_learned_from() -> None:
    groups = list(GROUPS)
    groups[3] = groups[1]  # north and south
    settings = SplitSettings.read({"kind": "leave_one_out", "label": "site"})
    with pytest.raises(LeakageError):
        make_split(groups, STRATA, CONTENTS, settings, SITES)
    split = make_split(groups, STRATA, CONTENTS, settings.model_copy(update={"shared": "leave_out"}), SITES)
    north, south, west = split.folds
    assert 3 in north.test
    assert 1 not in (*north.train, *north.validation)
    assert 1 in south.test
    assert 3 not in (*south.train, *south.validation)
    assert {1, 3} <= {*west.train, *west.validation}


def test_what_cannot_be_split_is_said() -> None:
    with pytest.raises(UsageError, match="no sample has the label part = 'train'"):
        make_split(GROUPS, STRATA, CONTENTS, given(), ["test"] * COUNT)
    settings = SplitSettings.read({"kind": "leave_one_out", "label": "site"})
    with pytest.raises(UsageError, match="two values are needed"):
        make_split(GROUPS, STRATA, CONTENTS, settings, ["north"] * COUNT)
    same = ["p"] * COUNT
    with pytest.raises(UsageError, match="shares a patient"):
        make_split(same, STRATA, CONTENTS, given(shared="leave_out"), parts())


@pytest.mark.parametrize(
    "values",
    [{"kind": "given"}, {"kind": "leave_one_out"}, {"label": "site"}, {"shared": "leave_out"}],
)
def test_settings_that_do_not_go_together(values: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        SplitSettings.read(values)
