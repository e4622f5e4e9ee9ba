from __future__ import annotations

import collections

import pytest

from voxlake.core.errors import IntegrityError
from voxlake.privacy import profile as profile_module
from voxlake.privacy.profile import load_profile, load_safe_private
from voxlake.privacy.rules import Action, Rules, is_shared_date

RESEARCH = (
    "clean_descriptors",
    "retain_longitudinal_modified_dates",
    "retain_patient_characteristics",
    "retain_safe_private",
)


def test_the_table_is_whole():
    profile = load_profile()
    assert profile.edition == "2026d"
    assert "Table E.1-1" in profile.source
    assert len(profile.rows) == 657
    counts = collections.Counter(option for row in profile.rows for option in row.options)
    assert counts["retain_longitudinal_modified_dates"] == counts["retain_longitudinal_full_dates"] == 169
    assert counts["retain_uids"] == 60
    assert set(counts) == {
        "clean_descriptors",
        "clean_graphics",
        "clean_structured_content",
        "retain_device_identity",
        "retain_institution_identity",
        "retain_longitudinal_full_dates",
        "retain_longitudinal_modified_dates",
        "retain_patient_characteristics",
        "retain_safe_private",
        "retain_uids",
    }


@pytest.mark.parametrize(
    ("tag", "basic"),
    [
        (0x00100010, "Z"),
        (0x00080050, "Z"),
        (0x00101010, "X"),
        (0x50021234, "X"),
        (0x60023000, "X"),
        (0x60FE4000, "X"),
        (0x00091001, "X"),
        (0x0040A730, "D"),
    ],
)
def test_rows_by_tag_and_mask(tag, basic):
    assert load_profile().row(tag).basic == basic


@pytest.mark.parametrize("tag", [0x00280010, 0x60020010, 0x7FE00010, 0x00080060])
def test_unlisted_tags_have_no_row(tag):
    assert load_profile().row(tag) is None


def test_a_table_that_was_changed_is_refused(monkeypatch):
    monkeypatch.setattr(profile_module, "PROFILE_DIGEST", "0" * 64)
    with pytest.raises(IntegrityError, match="install voxlake again"):
        load_profile.__wrapped__()


def test_safe_private_table():
    safe = load_safe_private()
    assert safe.edition == "2026a"
    assert len(safe.elements) == 479
    assert safe.vr("SIEMENS MR HEADER", 0x0019100C) == "IS"
    assert safe.vr("SIEMENS MR HEADER", 0x0019AB0C) == "IS"
    assert safe.vr("Philips PET Private Group", 0x70531000) == "DS"
    assert safe.vr("SIEMENS CSA HEADER", 0x00291010) is None
    assert safe.vr("SIEMENS MR HEADER", 0x0029100C) is None


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("X", Action.REMOVE),
        ("Z", Action.EMPTY),
        ("D", Action.DUMMY),
        ("U", Action.MAP_UID),
        ("X/Z", Action.EMPTY),
        ("X/D", Action.DUMMY),
        ("Z/D", Action.DUMMY),
        ("X/Z/D", Action.DUMMY),
        ("X/Z/U*", Action.MAP_UID),
    ],
)
def test_composite_codes_are_resolved_by_one_rule(code, action):
    rules = Rules(())
    rows = [
        row for row in load_profile().rows if row.basic == code and row.tag.isalnum() and "x" not in row.tag
    ]
    tags = [int(row.tag, 16) for row in rows if row.tag != "private"]
    assert tags
    assert {rules.decide(tag, "LO").action for tag in tags} == {action}
    assert {rules.decide(tag, "LO").why for tag in tags} == {f"Table E.1-1 {code}"}


def test_options_override_the_basic_profile():
    rules = Rules(RESEARCH)
    for tag, action, why in [
        (0x00101010, Action.KEEP, "option retain_patient_characteristics"),
        (0x00080020, Action.CLEAN, "option retain_longitudinal_modified_dates"),
        (0x00081030, Action.CLEAN, "option clean_descriptors"),
        (0x00102110, Action.CLEAN, "option clean_descriptors"),  # two options
        (0x00080080, Action.DUMMY, "Table E.1-1 X/Z/D"),  # no option here keeps it
    ]:
        assert rules.decide(tag, "LO") == (action, why)
    assert rules.decide(0x00280010, "US") is None
    assert rules.decide(0x00280000, "UL").why == "file format"
    assert rules.decide(0x77780001, "LO").why == "unknown element"
    assert rules.decide(0x77780001, "US") is None


@pytest.mark.parametrize("tag", [0x00181200, 0x00181204, 0x0018700C, 0x00080106, 0x0040DB06])
def test_dates_of_devices_and_vocabularies_are_shared(tag):
    assert is_shared_date(tag)


@pytest.mark.parametrize("tag", [0x00080020, 0x00100030, 0x0008002A, 0x00401002, 0x00080054])
def test_dates_of_patients_are_not_shared(tag):
    assert not is_shared_date(tag)


def test_cleaning_wins_over_keeping():
    both = Rules(("retain_device_identity", "retain_longitudinal_modified_dates"))
    contradicted = [
        row
        for row in load_profile().rows
        if row.options.get("retain_device_identity") == "K"
        and row.options.get("retain_longitudinal_modified_dates") == "C"
    ]
    assert len(contradicted) == 11
    assert {both.decide(int(row.tag, 16), "DA").action for row in contradicted} == {Action.CLEAN}


def test_what_becomes_of_dates_and_uids_that_no_row_names():
    assert Rules(()).dates == "remove"
    assert Rules(("retain_longitudinal_full_dates",)).dates == "keep"
    assert Rules(RESEARCH).dates == "shift"
    assert Rules(("retain_uids",)).keeps_uids
    assert not Rules(RESEARCH).keeps_uids
