"""Every rule finds its example and leaves the sound ones alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from scipy.ndimage import gaussian_filter

from voxlake.core.errors import NotFoundError
from voxlake.lake.check import check
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.quality.registry import RULES

Change = Callable[[Dataset, int], None]
SIDE = 48
CAPTURE = SecondaryCaptureImageStorage


def noise(name: str, number: int, low: int = 0, high: int = 1200) -> np.ndarray:
    """Values of one slice, different in every one."""
    random = np.random.default_rng([zlib.crc32(name.encode()), number])
    return random.integers(low, high, (SIDE, SIDE))


def shape(name: str, seed: int = 0) -> np.ndarray:
    """A smooth picture with a little noise that depends on `seed`."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    smooth = gaussian_filter(random.normal(size=(SIDE, SIDE)), 2)
    picture = 600 + 500 * smooth / np.abs(smooth).max()
    return (picture + np.random.default_rng(seed).normal(0, 3, picture.shape)).astype(int)


def image(name: str, number: int, z: float, patient: str | None = None) -> Dataset:
    """One sound CT slice."""
    it = Dataset()
    it.SOPClassUID = CTImageStorage
    it.SOPInstanceUID = generate_uid(entropy_srcs=[name, str(number)])
    it.SeriesInstanceUID = generate_uid(entropy_srcs=[name])
    it.StudyInstanceUID = generate_uid(entropy_srcs=[name, "study"])
    it.FrameOfReferenceUID = generate_uid(entropy_srcs=[name, "frame"])
    it.PatientID, it.PatientSex, it.PatientAge = patient or name, "F", "045Y"
    it.PatientPosition = "HFS"
    it.Modality, it.BodyPartExamined, it.ImageType = "CT", "CHEST", ["ORIGINAL", "PRIMARY", "AXIAL"]
    it.SeriesDescription = "THORAX 3.0"
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(it, keyword, "20200310")
    it.StudyTime = it.SeriesTime = it.AcquisitionTime = "120000"
    it.InstanceNumber, it.SliceThickness = number, 3
    it.PixelSpacing, it.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    it.ImagePositionPatient = [0, 0, z]
    it.RescaleSlope, it.RescaleIntercept, it.RescaleType = 1, -1024, "HU"
    it.SamplesPerPixel, it.PhotometricInterpretation = 1, "MONOCHROME2"
    it.BitsAllocated, it.BitsStored, it.HighBit, it.PixelRepresentation = 16, 12, 11, 0
    fill(it, noise(name, number))
    return it


def fill(it: Dataset, values: np.ndarray) -> None:
    """Put pixels into a data set."""
    it.Rows, it.Columns = values.shape
    it.PixelData = values.astype("<u2").tobytes()
    it["PixelData"].VR = "OW"


def write(folder: Path, it: Dataset) -> None:
    """Write a data set, whatever is wrong with it."""
    it.file_meta = FileMetaDataset()
    it.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    it.file_meta.MediaStorageSOPClassUID = it.SOPClassUID
    it.file_meta.MediaStorageSOPInstanceUID = it.SOPInstanceUID
    folder.mkdir(parents=True, exist_ok=True)
    it.save_as(folder / f"{it.InstanceNumber}.dcm", enforce_file_format=True)


@dataclass(frozen=True)
class Case:
    """A series, what is done to its slices, and the rules that must speak, with the value."""

    name: str
    expected: dict[str, float | None] = field(default_factory=dict)
    change: Change = lambda it, number: None
    places: Sequence[float] = (0, 3, 6, 9)
    patient: str | None = None


def put(**values: Any) -> Change:
    """Set elements in every slice; None takes one out."""

    def change(it: Dataset, number: int) -> None:
        for keyword, value in values.items():
            if value is None:
                del it[keyword]
            else:
                setattr(it, keyword, value)

    return change


def only(place: int, change: Change) -> Change:
    """Change one slice alone."""
    return lambda it, number: change(it, number) if number == place else None


def pixels(values: Callable[[str, int], np.ndarray]) -> Change:
    """Other pixels in every slice."""
    return lambda it, number: fill(it, values(str(it.PatientID), number))


def both(*changes: Change) -> Change:
    """Several changes."""

    def change(it: Dataset, number: int) -> None:
        for one in changes:
            one(it, number)

    return change


def sheared(it: Dataset, number: int) -> None:
    it.ImagePositionPatient = [0, number - 1, it.ImagePositionPatient[2]]


def pet(it: Dataset, number: int) -> None:
    """Make it a PET slice with all that SUV needs."""
    it.SOPClassUID, it.Modality, it.Units = PositronEmissionTomographyImageStorage, "PT", "BQML"
    it.PatientWeight, it.DecayCorrection, it.RescaleIntercept = 70, "START", 0
    drug = Dataset()
    drug.RadiopharmaceuticalStartTime = "110000"
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 3.5e8, 6586.2
    it.RadiopharmaceuticalInformationSequence = Items([drug])


def late_injection(it: Dataset, number: int) -> None:
    pet(it, number)
    it.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "121000"


def patchy(low: int, high: int) -> Callable[[str, int], np.ndarray]:
    """Noise of which the first columns have the top value, and the last, if asked, the bottom value."""

    def make(name: str, number: int) -> np.ndarray:
        values = noise(name, number, 100, 1100)
        values[:, :high] = 1200
        values[:, SIDE - low :] = 0
        return values

    return make


ALIKE = {"near_duplicate": None, "label_conflict": None}
CASES = (
    Case("sound"),
    Case("sound-pet", change=pet),
    Case("localizer", {}, both(put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], PixelSpacing=None)), (0,)),
    Case("gap", {"slices_missing": 1}, places=(0, 3, 6, 12, 15)),
    Case("repeated", {"slices_duplicate": 4}, places=(0, 3, 3, 6)),
    Case("tilted", {"gantry_tilt": 18.43}, sheared),
    Case("uneven", {"spacing_uneven": None}, places=(0, 3, 6, 10.2, 13.2)),
    Case("shapes", {"shapes_mixed": 2}, only(4, lambda it, n: fill(it, noise("shapes", n)[:40]))),
    Case("spacings", {"spacing_mixed": 2}, only(4, put(PixelSpacing=[1, 1.5]))),
    Case("turned", {"orientation_mixed": 2}, only(1, put(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))),
    Case("crooked", {"orientation_inconsistent": 0.5}, put(ImageOrientationPatient=[1, 0, 0, 0.5, 0.866, 0])),
    Case("face-down", {"orientation_inconsistent": None}, put(ImageOrientationPatient=[-1, 0, 0, 0, -1, 0])),
    Case("no-spacing", {"pixel_spacing_missing": 4}, put(PixelSpacing=None)),
    Case("no-modality", {"modality_missing": 4}, put(Modality=None)),
    Case("false-modality", {"modality_wrong": 4}, put(Modality="MR")),
    Case("capture", {"secondary_capture": 1}, put(SOPClassUID=CAPTURE, Modality="DX"), (0,)),
    Case("view", {"patient_position_wrong": 4}, put(PatientPosition="PA")),
    Case("age", {"patient_age_malformed": 81}, put(PatientAge="81")),
    Case("no-body", {"body_part_missing": 4}, put(BodyPartExamined=None)),
    Case("false-body", {"body_part_wrong": None}, put(SeriesDescription="KNEE LEFT PD")),
    Case("joined-body", {}, put(BodyPartExamined="CHESTABDPELVIS", SeriesDescription="Leber nativ")),
    Case("no-rescale", {"ct_without_rescale": 4}, put(RescaleSlope=None, RescaleIntercept=None)),
    Case("blank", {"image_blank": 1}, only(3, pixels(lambda name, n: np.full((SIDE, SIDE), 7)))),
    Case("saturated", {"image_saturated": 0.125}, only(3, pixels(patchy(0, 6)))),
    Case("clipped", {"image_clipped": 0.0625}, only(3, pixels(patchy(3, 6)))),
    Case("no-air", {"ct_values_implausible": None}, pixels(lambda name, n: noise(name, n, 900, 1300))),
    Case("window", {"ct_values_implausible": 255}, both(
        put(RescaleIntercept=0), pixels(lambda name, n: np.clip(noise(name, n, 0, 256), 0, 255)))),
    Case("padded", {}, both(put(RescaleIntercept=-1024), pixels(
        lambda name, n: np.where(np.arange(SIDE) < 8, 63488, noise(name, n))),
        lambda it, n: (setattr(it, "PixelRepresentation", 1), setattr(it, "PixelPaddingValue", -2048))[0])),
    Case("pet-lacking", {"pet_without_suv_inputs": 2}, both(
        pet, put(PatientWeight=None),
        lambda it, n: delattr(it.RadiopharmaceuticalInformationSequence[0], "RadionuclideTotalDose"))),
    Case("pet-late", {"date_paradox": 23.83}, late_injection),
    Case("dates", {"date_paradox": 3}, put(SeriesDate="20200307")),
    Case("unborn", {"date_paradox": 366}, put(PatientBirthDate="20210311", PatientAge="000Y")),
    Case("old", {"date_paradox": 14.8}, put(PatientBirthDate="19900101")),
    Case("future", {"date_paradox": None}, put(
        StudyDate="29990101", SeriesDate="29990101", AcquisitionDate="29990101", ContentDate="29990101")),
    Case("sexes-1", {"patient_sex_conflict": 2}, patient="two-sexes"),
    Case("sexes-2", {"patient_sex_conflict": 2}, put(PatientSex="M"), patient="two-sexes"),
    Case("ages-1", {"patient_age_conflict": 15}, patient="two-ages"),
    Case("ages-2", {"patient_age_conflict": 15}, put(PatientAge="060Y"), patient="two-ages"),
    Case("growing-1", {}, patient="growing"),
    Case("growing-2", {}, put(PatientAge="046Y", StudyDate="20210109", SeriesDate="20210109",
                              AcquisitionDate="20210109", ContentDate="20210109"), patient="growing"),
    Case("copy-1", {"exact_duplicate": 2}, pixels(lambda name, n: shape("copy")), (0,)),
    Case("copy-2", {"exact_duplicate": 2}, pixels(lambda name, n: shape("copy")), (0,)),
    Case("near-1", ALIKE, pixels(lambda name, n: shape("near", 1)), (0,)),
    Case("near-2", ALIKE, pixels(lambda name, n: shape("near", 2)), (0,)),
    Case("own-follow-up-1", {}, pixels(lambda name, n: shape("own", 1)), (0,), "own"),
    Case("own-follow-up-2", {}, pixels(lambda name, n: shape("own", 2)), (0,), "own"),
    Case("disputed", {"label_conflict": 2}, places=(0,)),
)  # fmt: skip


# The lake of all cases is made once, by one worker.
pytestmark = pytest.mark.xdist_group("quality_rules")


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """One lake with all cases, checked once."""
    folder = tmp_path_factory.mktemp("quality")
    with pydicom.config.disable_value_validation():
        for case in CASES:
            for number, z in enumerate(case.places, 1):
                it = image(case.name, number, z, case.patient)
                case.change(it, number)
                write(folder / "in" / case.name, it)
    lake = open_lake(folder / "lake", key=folder / "key", policy="none")
    assert ingest(lake, folder / "in", engine="serial").failures == 0
    uids = {case.name: generate_uid(entropy_srcs=[case.name, "1"]) for case in CASES}
    lines = [f"{uids['near-1']},mass,A", f"{uids['near-2']},none,A", f"{uids['disputed']},mass,A"]
    lines += [f"{uids['disputed']},none,B", f"{uids['copy-1']},mass,A", f"{uids['copy-2']},mass,A"]
    (folder / "labels.csv").write_text("image,finding,reader\n" + "\n".join(lines))
    label(lake, folder / "labels.csv", level="instance", identifiers="lake")
    run = check(lake, engine="serial")
    assert run.failures == 0
    return lake


@pytest.fixture(scope="module")
def found(checked: Lake) -> dict[str, dict[str, float | None]]:
    """Rules and values by series."""
    by_series: dict[str, dict[str, float | None]] = {}
    rows = checked.sql(
        "select series_instance_uid, rule, max(value) from series_findings group by all"
    ).rows()
    for uid, rule, value in rows:
        by_series.setdefault(uid, {})[rule] = value
    return by_series


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_breaks_its_rules_and_no_other(found: dict[str, dict[str, float | None]], case: Case) -> None:
    rules = found.get(generate_uid(entropy_srcs=[case.name]), {})
    assert set(rules) == set(case.expected)
    for rule, value in case.expected.items():
        if value is not None:
            assert rules[rule] == pytest.approx(value, rel=0.01)


def test_every_rule_has_an_example() -> None:
    at_ingest = {"missing_patient_id", "same_bytes_other_patient"}
    assert {rule for case in CASES for rule in case.expected} == set(RULES) - at_ingest


def test_a_finding_says_what_was_measured(checked: Lake) -> None:
    rows = checked.sql("select rule, detail from findings where rule in ('slices_missing', 'date_paradox', "
                       "'pet_without_suv_inputs', 'body_part_wrong', 'near_duplicate')").rows()  # fmt: skip
    said = {(rule, detail.split(" 1.2.826")[0]) for rule, detail in rows}
    assert ("slices_missing", "1 slices missing between 5") in said
    assert ("pet_without_suv_inputs", "for SUV there is no weight, no dose") in said
    assert ("body_part_wrong", "BodyPartExamined says CHEST, the descriptions say limb") in said
    assert ("date_paradox", "a series is dated before its study (days)") in said
    assert any(rule == "near_duplicate" and detail.startswith("looks like") for rule, detail in rows)


def test_checking_again_adds_nothing(checked: Lake) -> None:
    before = checked.sql("select count(*) from findings").rows()
    images = checked.sql("select count(*) from instances").rows()[0][0]
    run = check(checked, engine="serial")
    assert run.counts == {"seen": images, "already": images}
    assert all(line["new"] == 0 for line in run.result["findings"])
    assert checked.sql("select count(*) from findings").rows() == before
    severities = [line["severity"] for line in run.result["findings"]]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    missing = next(line for line in run.result["findings"] if line["rule"] == "slices_missing")
    assert (missing["found"], missing["what"]) == (1, "Slices are missing")


def test_series_are_left_out_by_rule(checked: Lake) -> None:
    everything = select(checked, "everything")
    sound = select(checked, "sound", exclude=["slices_missing", "image_blank", "patient_sex_conflict"])
    left = {one.series_instance_uid for one in everything.members()}
    left -= {one.series_instance_uid for one in sound.members()}
    names = ("gap", "blank", "sexes-1", "sexes-2")
    assert left == {generate_uid(entropy_srcs=[name]) for name in names}
    assert sound.run is not None
    assert sound.run.arguments["exclude"] == ["image_blank", "patient_sex_conflict", "slices_missing"]
    # The condition can be run again as it is written down.
    again = checked.sql(f"select count(*) from series where {get_cohort(checked, 'sound').condition}").rows()
    assert again == [(sound.series,)]
    with pytest.raises(NotFoundError, match="slices_missing"):
        select(checked, "wrong", exclude=["slice_missing"])


def test_a_cohort_can_be_checked_alone(checked: Lake) -> None:
    uid = generate_uid(entropy_srcs=["gap"])
    select(checked, "one", f"series_instance_uid = '{uid}'")
    run = check(checked, "one", pixels=False, engine="serial")
    assert (run.counts, run.result["series"], run.arguments["cohort"]) == ({"seen": 0}, 1, "one@1")
    assert [(line["rule"], line["found"]) for line in run.result["findings"]] == [("slices_missing", 1)]


def test_a_finding_passes_when_the_slice_comes_in_later(lake: Lake, tmp_path: Path) -> None:
    for number, z in enumerate((0, 3, 9, 12), 1):
        write(tmp_path / "in", image("later", number, z))
    ingest(lake, tmp_path / "in", engine="serial", policy="none")
    check(lake, engine="serial")
    open_now = "select count(*) from series_findings where rule = 'slices_missing'"
    assert lake.sql(open_now).rows() == [(1,)]
    write(tmp_path / "in", image("later", 5, 6))
    ingest(lake, tmp_path / "in", engine="serial", policy="none")
    assert check(lake, engine="serial").counts == {"seen": 5, "already": 4, "stored": 1}
    assert lake.sql(open_now).rows() == [(0,)]
    assert lake.sql("select count(*) from findings where rule = 'slices_missing'").rows() == [(1,)]


def test_what_cannot_be_decoded_is_a_failed_item(lake: Lake, tmp_path: Path) -> None:
    for number in (1, 2):
        it = image("broken", number, 3 * number)
        if number == 2:
            it.BitsAllocated = 13
        write(tmp_path / "in", it)
    ingest(lake, tmp_path / "in", engine="serial", policy="none")
    run = check(lake, engine="serial")
    assert run.counts == {"seen": 2, "stored": 1, "failed": 1}
    assert run.reasons == {"decode_error": 1}
