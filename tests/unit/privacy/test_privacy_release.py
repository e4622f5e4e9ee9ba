"""The release check: who may leave, and what a reason overrules."""

from __future__ import annotations

import pytest

from voxlake.core.errors import ItemError, SettingsError
from voxlake.privacy.policy import load_policy, to_toml
from voxlake.privacy.release import ReleaseFacts, ReleaseTerms, check_release, release_facts

REASON = "looked at by two people"
NOBODY = ReleaseTerms()


def facts(**columns: object) -> ReleaseFacts:
    row: dict[str, object] = {
        "patient_id": "P-1",
        "format": "dicom",
        "modality": "CT",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "image_type": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "burned_in_annotation": None,
        "pixel_offset": 1000,
        "policy": to_toml(load_policy("research")),
        "waived": [],
    }
    return release_facts({**row, **columns})


def refused(one: ReleaseFacts, terms: ReleaseTerms = NOBODY, withdrawn: tuple[str, ...] = ()) -> str | None:
    try:
        check_release(one, terms, withdrawn)
    except ItemError as error:
        return error.reason
    return None


def test_what_was_deidentified_and_checked_leaves():
    assert refused(facts()) is None
    assert refused(facts(burned_in_annotation="NO")) is None


def test_nothing_overrules_a_withdrawal():
    terms = ReleaseTerms(identified=REASON, unchecked=REASON)
    assert refused(facts(), terms, ("P-1",)) == "patient_withdrawn"
    assert refused(facts(patient_id=None), terms, ("P-1",)) is None


@pytest.mark.parametrize("policy", [to_toml(load_policy("none")), None, "name = 3", "no toml ["])
def test_what_nobody_deidentified_stays_without_a_reason(policy):
    assert refused(facts(policy=policy)) == "not_deidentified"
    assert refused(facts(policy=policy), ReleaseTerms(unchecked=REASON)) == "not_deidentified"
    assert refused(facts(policy=policy), ReleaseTerms(identified=REASON)) is None


@pytest.mark.parametrize(
    ("columns", "waived"),
    [
        ({"modality": "US"}, ["modality:US"]),
        ({"format": "png", "modality": None, "sop_class_uid": None}, ["png"]),
        ({"burned_in_annotation": "YES"}, ["burned_in"]),
        ({"image_type": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, ["image_type:SCREENSAVE"]),
    ],
)
def test_pixels_that_nobody_checked_stay_without_a_waiver_or_a_reason(columns, waived):
    assert refused(facts(**columns)) == "pixels_unchecked"
    assert refused(facts(**columns), ReleaseTerms(identified=REASON)) == "pixels_unchecked"
    assert refused(facts(**columns, waived=["overlay_bits"])) == "pixels_unchecked"
    assert refused(facts(**columns, waived=waived)) is None
    assert refused(facts(**columns), ReleaseTerms(unchecked=REASON)) is None


def test_objects_without_pixels_show_nothing():
    assert refused(facts(modality="SR", pixel_offset=None)) is None


def test_a_reason_is_one():
    with pytest.raises(SettingsError):
        ReleaseTerms.read({"identified": "yes"})
