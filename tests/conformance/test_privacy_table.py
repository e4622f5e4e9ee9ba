"""Our Table E.1-1 against two other transcriptions of it."""

from __future__ import annotations

import csv
import json
from importlib import import_module

import pytest

from voxlake.privacy.policy import OPTION_CODES
from voxlake.privacy.profile import load_profile

# Categories of the other package, and the code of the table that each holds.
CATEGORIES = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}
COLUMNS = {
    "rtnSafePrivOpt": "retain_safe_private",
    "rtnUIDsOpt": "retain_uids",
    "rtnDevIdOpt": "retain_device_identity",
    "rtnInstIdOpt": "retain_institution_identity",
    "rtnPatCharsOpt": "retain_patient_characteristics",
    "rtnLongFullDatesOpt": "retain_longitudinal_full_dates",
    "rtnLongModifDatesOpt": "retain_longitudinal_modified_dates",
    "cleanDescOpt": "clean_descriptors",
    "cleanStructContOpt": "clean_structured_content",
    "cleanGraphOpt": "clean_graphics",
}


def ours() -> dict[str, tuple[str, dict[str, str]]]:
    return {row.tag: (row.basic, dict(row.options)) for row in load_profile().rows}


def test_basic_profile_equals_that_of_another_package():
    other = import_module("dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c")
    theirs = {
        f"{tag[0]:04x}{tag[1]:04x}": code
        for name, code in CATEGORIES.items()
        for tag in getattr(other, name)
        if len(tag) == 2
    }
    assert len(theirs) > 640
    table = ours()
    assert {tag: code for tag, code in theirs.items() if table.get(tag, ("",))[0] != code} == {}
    exact = {tag for tag in table if tag != "private" and "x" not in tag}
    # (3004,007F) came with edition 2026d, one after theirs.
    assert exact - set(theirs) == {"3004007f"}


@pytest.mark.realdata
def test_all_options_equal_the_published_table(realdata):
    folder = realdata / "reference"
    rows = {}
    for entry in json.loads((folder / "ps3_15_table_e1_1_2024b.json").read_text()):
        options = {COLUMNS[key]: value for key, value in entry.items() if key in COLUMNS}
        tag = entry["tag"].strip("()").replace(",", "").lower()
        rows["private" if "odd" in tag else tag] = (entry["basicProfile"], options)
    with (folder / "ps3_15_table_e1_1_2026d_additions.csv").open(newline="") as stream:
        added = list(csv.DictReader(stream))
    assert len(rows) == 621
    assert len(added) >= 36
    for entry in added:
        tag = entry["tag"].strip("()").replace(",", "").lower()
        stated = dict(part.split("=") for part in entry["options"].split(";") if part)
        basic, options = rows.get(tag, (entry["basic_profile"], {}))
        rows["private" if "odd" in tag or "gggg" in tag else tag] = (
            entry["basic_profile"] or basic,
            options | stated,
        )
    table = ours()
    assert {tag: row for tag, row in rows.items() if table.get(tag) != row} == {}
    assert len(table) == 657


def test_every_option_column_has_a_code_and_can_be_named():
    columns = {option for row in load_profile().rows for option in row.options}
    assert columns == set(OPTION_CODES) - {"basic"}
    assert len({code for code, _ in OPTION_CODES.values()}) == len(OPTION_CODES) == 11
