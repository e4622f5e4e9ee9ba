from __future__ import annotations

import collections

import pytest

from voxlake.core.errors import IntegrityError
from voxlake.privacy import profile as profile_module
from voxlake.privacy.profile import load_profile, load_safe_private
from voxlake.privacy.rules import Action, Rules

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
    assert {rules.action(tag) for tag in tags} == {action}


def test_options_override_the_basic_profile():
    rules = Rules(RESEARCH)
    assert rules.action(0x00101010) is Action.KEEP  # PatientAge
    assert rules.action(0x00080020) is Action.CLEAN  # StudyDate
    assert rules.action(0x00081030) is Action.CLEAN  # StudyDescription
    assert rules.action(0x00102110) is Action.CLEAN  # Allergies: two options
    assert rules.action(0x00080080) is Action.DUMMY  # InstitutionName: no option here keeps it
    assert rules.action(0x00280010) is None


@pytest.mark.parametrize("tag", [0x00181200, 0x00181204, 0x0018700C, 0x00080106, 0x0040DB06])
def test_dates_of_devices_and_vocabularies_are_never_shifted(tag):
    rules = Rules(RESEARCH)
    assert rules.action(tag) is rules.basic(tag)
    assert rules.action(tag) in (Action.REMOVE, Action.DUMMY)
