"""The generated set and its scorer: an ideal tool driven by the key gets all, each kind of fault is found."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from datetime import date, timedelta
from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import UID

from voxlake.core.errors import UsageError
from voxlake.privacy.policy import load_policy
from voxlake.privacy.profile import load_profile
from voxlake.testing.deidentification.answer_key import REMOVAL, AnswerKey, Category
from voxlake.testing.deidentification.generated import generated_set
from voxlake.testing.deidentification.people import person
from voxlake.testing.deidentification.scorer import score

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("generated-set")

STEP = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)(?:\[(\d+)\])?")
PATIENTS = 2
GONE = (
    "ReferencedStudySequence",
    "OriginalAttributesSequence",
    "ContentSequence",
    "GraphicAnnotationSequence",
    "VerifyingObserverSequence",
)


@pytest.fixture(scope="module")
def generated():
    return generated_set(PATIENTS, seed=5)


def at(dataset, path: str):
    """The data set and tag that a path leads to; None where the path ends before."""
    for group, element, number in STEP.findall(path):
        tag = int(group + element, 16)
        if tag not in dataset:
            return None
        if not number:
            return dataset, tag
        items = dataset[tag].value
        if isinstance(items, bytes) or int(number) >= len(items):
            return None
        dataset = items[int(number)]
    return None


def moved(text: str, days: int) -> str:
    day = date(int(text[:4]), int(text[4:6]), int(text[6:8])) - timedelta(days=days)
    return f"{day:%Y%m%d}{text[8:]}"


def new_uid(original: str) -> str:
    return f"2.25.{int.from_bytes(original.encode()[-16:])}"


def ideal_file(data: bytes, checks, days: int) -> bytes:
    """Do what the key says, with the key in hand; what the key asks nothing about and may hold more goes."""
    dataset = dcmread(BytesIO(data))
    kept = {check.path: check.value for check in checks if check.category is Category.TEXT_RETAINED}
    for check in checks:
        found = at(dataset, check.path)
        if found is not None:
            follow(check, *found, kept, days)
    del dataset[0x00E10000:0x00E20000]
    for keyword in GONE:
        if keyword in dataset:
            del dataset[keyword]
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return written(dataset)


def follow(check, place, tag: int, kept, days: int) -> None:
    match check.category:
        case Category.TEXT_REMOVED if check.path in kept:
            place[tag].value = kept[check.path]
        case Category.TEXT_REMOVED if check.path != "(0010,0020)":
            del place[tag]
        case Category.PATIENT_ID_CONSISTENT:
            place[tag].value = f"P-{check.patient}"
        case Category.DATE_SHIFTED:
            place[tag].value = moved(check.value, days)
        case Category.UID_CHANGED:
            place[tag].value = new_uid(check.value)
        case Category.SHIFT_HIDDEN:
            place[tag].clear()


def written(dataset) -> bytes:
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture(scope="module")
def small(generated):
    """Some files of both patients, so that each fault is scored in no time."""
    return generated.key.part(
        [*generated.key.files[:13], *generated.key.files[20:21], *generated.key.files[27:32]]
    )


@pytest.fixture(scope="module")
def ideal(generated):
    by_file: dict[str, list] = {name: [] for name in generated.files}
    for check in generated.key.checks:
        by_file[check.file].append(check)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: ideal_file(data, by_file[name], 500 + int(name[1:4]))
            for name, data in generated.files.items()
        }


def test_an_ideal_tool_passes_every_check(generated, ideal):
    result = score(ideal, generated.key)
    assert result.failures() == ()
    assert result.share == 1.0
    assert {summary.category for summary in result.summary()} == set(Category) - {"file_expected"} | {"all"}
    for summary in result.summary():
        assert summary.passed == summary.total
        assert summary.low < summary.high == 1.0


def test_no_tool_at_all_fails_every_removal(generated):
    result = score(generated.files, generated.key)
    failed = Counter(failure.category for failure in result.failures())
    asked = Counter(check.category for check in generated.key.checks)
    assert set(failed) == {
        Category.TEXT_REMOVED,
        Category.DATE_SHIFTED,
        Category.UID_CHANGED,
        Category.PATIENT_ID_CONSISTENT,
    }
    for category in (Category.DATE_SHIFTED, Category.UID_CHANGED, Category.PATIENT_ID_CONSISTENT):
        assert failed[category] == asked[category]
    # Every secret is really in its file. Whatever stands in a private sequence is not read by its path.
    anywhere = [
        check for check in generated.key.checks if check.category is Category.TEXT_REMOVED and not check.path
    ]
    found = [failure for failure in result.failures(Category.TEXT_REMOVED) if not failure.path]
    assert len(found) == len(anywhere) > 500


def test_the_set_is_the_same_for_the_same_seed_only(generated):
    again = generated_set(PATIENTS, seed=5)
    assert again.files == generated.files
    assert again.key == generated.key
    assert generated_set(1, seed=6).files != generated_set(1, seed=5).files


def test_the_set_has_many_classes_patients_and_dates(generated):
    datasets = [dcmread(BytesIO(data)) for data in generated.files.values()]
    assert len(datasets) == PATIENTS * 27
    assert len({dataset.SOPClassUID for dataset in datasets}) == 15
    assert len({dataset.StudyDate for dataset in datasets}) == PATIENTS * 3
    assert {UID(dataset.SOPClassUID).type for dataset in datasets} == {"SOP Class"}
    assert not {dataset.Modality for dataset in datasets} & {"US", "SC", "OT", "XA"}


def test_people_differ():
    people = [person(number, 1) for number in range(100)]
    assert len({who.name for who in people}) == len({who.mrn for who in people}) == 100
    assert {who.charset for who in people} > {"ISO_IR 192", "ISO_IR 144"}


def test_what_must_stay_may_stay_by_the_table(generated):
    options = set(load_policy("research").options)
    for check in generated.key.checks:
        if check.category in (Category.TEXT_RETAINED, Category.TAG_RETAINED, Category.DATE_SHIFTED):
            for group, element, _ in STEP.findall(check.path):
                row = load_profile().row(int(group + element, 16))
                assert row is None or options & set(row.options) or "D" in row.basic or "Z" in row.basic, (
                    check
                )


def test_the_key_survives_json_and_can_be_cut(generated):
    assert AnswerKey.from_json(generated.key.to_json()) == generated.key
    name = generated.key.files[3]
    part = generated.key.part([name])
    assert part.files == (name,)
    assert {check.file for check in part.checks} == {name}


def test_a_set_without_patients_is_refused():
    with pytest.raises(UsageError, match="0 patients"):
        generated_set(0)


def edited(data: bytes, change) -> bytes:
    dataset = dcmread(BytesIO(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        change(dataset)
    return written(dataset)


def first_secret(generated, name):
    return next(
        check.value
        for check in generated.key.checks
        if check.file == name and check.category is Category.TEXT_REMOVED and check.path == "(0010,0010)"
    )


def leak_name(generated):
    name = generated.key.files[0]
    who = first_secret(generated, name)
    return (
        name,
        lambda dataset: setattr(dataset, "RequestedContrastAgent", f"for {who.upper()}"),
        Category.TEXT_REMOVED,
    )


def leak_in_meta(generated):
    name = generated.key.files[0]
    who = first_secret(generated, name)[:16]

    def change(dataset):
        dataset.file_meta.SourceApplicationEntityTitle = who

    return name, change, Category.TEXT_REMOVED


def leak_in_utf16(generated):
    name = generated.key.files[0]
    who = first_secret(generated, name)
    return (
        name,
        lambda dataset: dataset.add_new(0x00E11009, "OB", who.encode("utf-16-be")),
        Category.TEXT_REMOVED,
    )


def unshifted_date(generated):
    name = generated.key.files[5]
    before = dcmread(BytesIO(generated.files[name])).SeriesDate
    return name, lambda dataset: setattr(dataset, "SeriesDate", before), Category.DATE_SHIFTED


def date_shifted_otherwise(generated):
    name = generated.key.files[5]

    def change(dataset):
        dataset.AcquisitionDate = moved(dataset.AcquisitionDate, 1)

    return name, change, Category.DATE_SHIFTED


def time_of_day_changed(generated):
    name = generated.key.files[5]

    def change(dataset):
        dataset.AcquisitionDateTime = dataset.AcquisitionDateTime[:8] + "000000"

    return name, change, Category.DATE_SHIFTED


def interval_changed(generated):
    name = generated.key.files[20]

    def change(dataset):
        dataset.StudyDate = moved(dataset.StudyDate, 30)

    return name, change, Category.INTERVAL_KEPT


def shift_told(generated):
    name = next(name for name in generated.key.files if "_ct" in name and "enhanced" not in name)
    before = dcmread(BytesIO(generated.files[name])).DateOfLastCalibration
    shift = 500 + int(name[1:4])
    return (
        name,
        lambda dataset: setattr(dataset, "DateOfLastCalibration", moved(before, shift)),
        Category.SHIFT_HIDDEN,
    )


def uid_unchanged(generated):
    name = generated.key.files[2]
    before = dcmread(BytesIO(generated.files[name])).SeriesInstanceUID
    return name, lambda dataset: setattr(dataset, "SeriesInstanceUID", before), Category.UID_CHANGED


def uid_inconsistent(generated):
    name = generated.key.files[2]
    return name, lambda dataset: setattr(dataset, "StudyInstanceUID", "2.25.99"), Category.UID_CONSISTENT


def uids_merged(generated):
    name = generated.key.files[2]

    def change(dataset):
        dataset.SOPInstanceUID = dataset.StudyInstanceUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID

    return name, change, Category.UID_CONSISTENT


def patient_inconsistent(generated):
    return (
        generated.key.files[7],
        lambda dataset: setattr(dataset, "PatientID", "P-x"),
        Category.PATIENT_ID_CONSISTENT,
    )


def pixel_altered(generated):
    name = next(check.file for check in generated.key.checks if check.category is Category.PIXELS_RETAINED)

    def change(dataset):
        dataset.PixelData = bytes([dataset.PixelData[0] ^ 1]) + dataset.PixelData[1:]

    return name, change, Category.PIXELS_RETAINED


def text_lost(generated):
    check = next(
        check
        for check in generated.key.checks
        if check.path == "(0008,1030)" and check.category == "text_retained"
    )

    def change(dataset):
        dataset.StudyDescription = check.value[:-2]

    return check.file, change, Category.TEXT_RETAINED


def text_emptied(generated):
    return generated.key.files[0], lambda dataset: setattr(dataset, "Modality", ""), Category.TEXT_NOT_NULL


def tag_lost(generated):
    return generated.key.files[0], lambda dataset: dataset.__delitem__("PatientWeight"), Category.TAG_RETAINED


FAULTS = [
    leak_name,
    leak_in_meta,
    leak_in_utf16,
    unshifted_date,
    date_shifted_otherwise,
    time_of_day_changed,
    interval_changed,
    shift_told,
    uid_unchanged,
    uid_inconsistent,
    uids_merged,
    patient_inconsistent,
    pixel_altered,
    text_lost,
    text_emptied,
    tag_lost,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_one_fault_of_each_kind_is_found(generated, ideal, small, fault):
    name, change, category = fault(generated)
    outputs = {file: ideal[file] for file in small.files}
    assert score(outputs, small).failures() == ()
    result = score(outputs | {name: edited(ideal[name], change)}, small)
    assert name in {failure.file for failure in result.failures(category)}
    assert bool(result.removal_failures()) is (category in REMOVAL) or category is Category.INTERVAL_KEPT
    # A fault in one file is not laid at the door of others, but for UIDs that two objects now share.
    others = {failure.file for failure in result.failures()} - {name}
    assert not others or fault is uids_merged


def test_one_patient_shifted_as_a_whole_by_other_days_passes_and_two_patients_merged_do_not(generated, ideal):
    def merge(dataset):
        dataset.PatientID = "P-0"

    outputs = {name: edited(data, merge) for name, data in ideal.items()}
    failed = score(outputs, generated.key).failures()
    assert {failure.category for failure in failed} == {Category.PATIENT_ID_CONSISTENT}
    assert len(failed) == len(generated.files)


def test_a_missing_file_fails_all_of_its_checks(generated, ideal):
    name = generated.key.files[9]
    asked = sum(check.file == name for check in generated.key.checks)
    for outputs in (
        {other: data for other, data in ideal.items() if other != name},
        ideal | {name: b"no DICOM"},
    ):
        failures = score(outputs, generated.key).failures()
        assert len(failures) == asked + 1
        assert failures[0].category is Category.FILE_PRESENT


def test_an_extra_file_fails(generated, ideal):
    extra = ideal | {"notes.txt": b"names"}
    (failure,) = score(extra, generated.key).failures()
    assert (failure.category, failure.file) == (Category.FILE_EXPECTED, "notes.txt")
