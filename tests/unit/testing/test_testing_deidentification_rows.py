"""The row scorer against an ideal tool, which knows what is planted, and against that tool made worse."""

from __future__ import annotations

import warnings
from collections import Counter
from datetime import date, timedelta
from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.sequence import Sequence

from voxlake.core.errors import UsageError
from voxlake.privacy.profile import load_profile
from voxlake.testing.deidentification.annex_e import LEVELS, annex_e_object
from voxlake.testing.deidentification.outcomes import Outcome, permitted
from voxlake.testing.deidentification.planting import planted_value
from voxlake.testing.deidentification.row_scores import score_rows

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("annex-e")

SHIFT = timedelta(days=1000)
DUMMIES = {
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "AS": "001D",
    "DS": "0",
    "IS": "0",
    "UR": "urn:x",
}
ORDER = (Outcome.EQUAL, Outcome.CHANGED, Outcome.EMPTY, Outcome.ABSENT)


@pytest.fixture(scope="module")
def original():
    return annex_e_object()


def level_of(dataset, level: int):
    for tag in LEVELS[level]:
        dataset = dataset[tag].value[0]
    return dataset


def dummy(plant, options):
    before = plant.planted.value
    if plant.vr == "UI":
        return f"2.25.{int(plant.planted.token) * 7}"
    if plant.vr == "SQ":
        return Sequence()
    if plant.vr == "US":
        return 0
    if plant.vr in ("OB", "OW", "UN"):
        return b"\0\0"
    if plant.vr in ("DA", "DT") and "retain_longitudinal_modified_dates" in options:
        moved = date(int(before[:4]), int(before[4:6]), int(before[6:8])) - SHIFT
        return f"{moved:%Y%m%d}{before[8:]}"
    return DUMMIES.get(plant.vr, "DUMMY")


def ideal(original, options=()):
    """Apply the first permitted outcome to every plant."""
    dataset = dcmread(BytesIO(original.data))
    for plant in original.plants:
        if plant.tag >> 16 == 2:
            continue
        allowed = permitted(plant.row, plant.vr, options, safe_private=plant.safe)
        what = next(outcome for outcome in ORDER if outcome in allowed)
        level = level_of(dataset, plant.level)
        if what is Outcome.ABSENT:
            del level[plant.tag]
        elif what is Outcome.EMPTY:
            level[plant.tag].clear()
        elif what is Outcome.CHANGED and plant.vr == "SQ":
            for element in level[plant.tag].value[0]:
                element.value = "2.25.77" if element.VR == "UI" else "DUMMY"
        elif what is Outcome.CHANGED:
            level[plant.tag].value = dummy(plant, options)
    dataset[0x00081200].value[0].StudyInstanceUID = dataset.StudyInstanceUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def written(dataset) -> bytes:
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not enforced, for then pydicom would mend a wrong UID in the file meta information.
        dcmwrite(stream, dataset, enforce_file_format=False)
    return stream.getvalue()


@pytest.mark.parametrize("implicit", [False, True])
def test_every_row_is_planted_on_three_levels_and_found_as_it_is(implicit):
    planted = annex_e_object(implicit=implicit)
    rows = {row.tag for row in load_profile().rows} - {"00001000", "00001001"}
    for level in range(3):
        found = {plant.row.tag for plant in planted.plants if plant.level == level}
        assert found == (rows if level == 0 else rows - {"00020003"})
    tokens = Counter(plant.planted.token for plant in planted.plants if plant.tag >> 16 != 2)
    assert max(tokens.values()) == 1
    scores = score_rows(planted, planted.data)
    assert {score.outcome for score in scores.scores} == {Outcome.EQUAL}
    assert (scores.share_right(), scores.rows) == (0.0, 655)
    assert scores.share_surviving(nested=True) == scores.share_surviving(nested=False) == 1.0


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("retain_longitudinal_modified_dates", "retain_device_identity"),
        ("retain_uids", "retain_longitudinal_full_dates"),
        ("clean_descriptors", "clean_graphics", "clean_structured_content", "retain_safe_private"),
        ("retain_patient_characteristics", "retain_institution_identity"),
    ],
    ids=str,
)
def test_an_ideal_tool_gets_every_row_right(original, options):
    scores = score_rows(original, written(ideal(original, options)), options)
    assert scores.failures() == ()
    assert (scores.share_right(), scores.share_surviving(nested=True)) == (1.0, 0.0)


def test_an_ideal_tool_of_other_options_does_not(original):
    kept = written(ideal(original, ("retain_uids",)))
    rows = {score.row for score in score_rows(original, kept).failures()}
    assert rows == {row.tag for row in load_profile().rows if "retain_uids" in row.options} - {
        "00001000",
        "00001001",
    }


def fault_back_again(dataset, original):
    dataset.PatientComments = "Head 1"
    return {"00104000"}


def fault_elsewhere(dataset, original):
    plant = next(plant for plant in original.plants if plant.row.tag == "00080050" and plant.level == 2)
    dataset.Manufacturer = f"see {plant.planted.token}"
    return {"00080050"}


def fault_wide(dataset, original):
    plant = next(plant for plant in original.plants if plant.row.tag == "00080080" and plant.level == 1)
    dataset.add_new(0x00420011, "OB", b"%PDF" + plant.planted.token.encode("utf-16-le"))
    return {"00080080"}


def fault_date_survives(dataset, original):
    plant = next(plant for plant in original.plants if plant.row.tag == "00080020" and plant.level == 1)
    dataset.Manufacturer = f"on {plant.planted.token}"
    return {"00080020"}


def fault_missing(dataset, original):
    del dataset.AccessionNumber
    return {"00080050"}


def fault_emptied(dataset, original):
    dataset.VerifyingObserverName = ""
    return {"0040a075"}


def fault_invalid(dataset, original):
    dataset[0x00080023]._value = "20201399"
    return {"00080023"}


def fault_link(dataset, original):
    dataset[0x00081200].value[0].StudyInstanceUID = "2.25.123"
    return {"0020000d"}


def fault_meta(dataset, original):
    plant = next(plant for plant in original.plants if plant.tag == 0x00020003)
    dataset.file_meta.MediaStorageSOPInstanceUID = plant.planted.value
    return {"00020003", "00080018"}


@pytest.mark.parametrize(
    "fault",
    [
        fault_back_again,
        fault_elsewhere,
        fault_wide,
        fault_date_survives,
        fault_missing,
        fault_emptied,
        fault_invalid,
        fault_link,
        fault_meta,
    ],
)
def test_each_fault_is_found_in_its_row(original, fault):
    dataset = ideal(original)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = fault(dataset, original)
    failures = score_rows(original, written(dataset)).failures()
    assert {score.row for score in failures} == rows


def test_one_date_that_moved_otherwise_is_found(original):
    options = ("retain_longitudinal_modified_dates",)
    dataset = ideal(original, options)
    level_of(dataset, 2).StudyDate = "19201005"
    (failure,) = score_rows(original, written(dataset), options).failures()
    assert (failure.row, failure.level, failure.outcome) == ("00080020", 2, Outcome.INCONSISTENT)


def test_full_and_modified_dates_exclude_each_other(original):
    with pytest.raises(UsageError, match="exclude each other"):
        score_rows(
            original,
            original.data,
            ("retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"),
        )


def test_what_is_no_dicom_is_refused(original):
    with pytest.raises(UsageError, match="no DICOM file"):
        score_rows(original, b"nothing")


def test_a_vr_without_a_planted_value_is_refused():
    with pytest.raises(ValueError, match="FD"):
        planted_value("FD", 1)
