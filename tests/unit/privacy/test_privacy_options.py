"""Each option of PS3.15 E.3 alone: what it keeps and cleans, and that nothing else survives."""

from __future__ import annotations

import hashlib
import hmac
from datetime import date
from io import BytesIO

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.policy import OPTION_CODES, Policy, load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.testing.deidentification.annex_e import annex_e_object
from voxlake.testing.deidentification.row_scores import score_rows

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("annex-e")


class Key:
    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(b"p" * 32, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


PSEUDONYMS = Pseudonymiser(Key())
OPTIONS = sorted(set(OPTION_CODES) - {"basic"})
FULL, MODIFIED = "retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"
PATIENT = "4711"


def image(**values: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = CTImageStorage, "1.2.3.4", "1.2.3"
    dataset.PatientID, dataset.PatientName, dataset.Modality = PATIENT, "Doe^John", "CT"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def everything() -> Dataset:
    """Something for each option to keep."""
    content = Dataset()
    content.ValueType, content.TextValue = "TEXT", "Mass seen by Doe"
    dataset = image(
        InstitutionName="Mercyvale Hospital",
        StationName="STATION9",
        DeviceSerialNumber="SN-998877",
        PatientSex="F",
        PatientAge="093Y",
        PatientWeight="61.5",
        StudyDate="20200301",
        StudyTime="101112",
        DateOfLastCalibration="20190507",
        StudyDescription="Thorax Doe",
        ConvolutionKernel="B30f",
        FrameOfReferenceUID="1.2.3.5",
        ContentSequence=Sequence([content]),
    )
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    dataset.private_block(0x0029, "SOMEBODY", create=True).add_new(0x0C, "LO", "SECRET")
    return dataset


KEPT = {
    "InstitutionName": "retain_institution_identity",
    "StationName": "retain_device_identity",
    "DeviceSerialNumber": "retain_device_identity",
    "PatientSex": "retain_patient_characteristics",
    "PatientWeight": "retain_patient_characteristics",
    "StudyDate": FULL,
    "FrameOfReferenceUID": "retain_uids",
    "StudyInstanceUID": "retain_uids",
}


@pytest.mark.parametrize("option", [None, *OPTIONS])
def test_an_option_keeps_what_it_is_for_and_nothing_else(option):
    source = everything()
    result = deidentify(source, Policy(name="one", options=(option,) if option else ()), PSEUDONYMS)
    made = result.dataset
    for keyword, needed in KEPT.items():
        stays = keyword in made and made[keyword].value == source[keyword].value
        assert stays is (option == needed), keyword
    assert made.get("PatientAge") == ("090Y" if option == "retain_patient_characteristics" else None)
    assert made.get("StudyDescription") == ("Thorax" if option == "clean_descriptors" else None)
    text = {"clean_structured_content": "Mass seen by"}.get(option or "", "ANONYMIZED")
    assert made.ContentSequence[0].TextValue == text
    private = [element.tag for element in made if element.tag.is_private]
    assert private == ([0x00190010, 0x0019100C] if option == "retain_safe_private" else [])
    assert (made.StudyTime == "101112") is (option in (FULL, MODIFIED))
    assert made.ConvolutionKernel == "B30f"
    for word in (b"SECRET", b"SOMEBODY", b"Doe", b"John"):
        assert word not in result.data


@pytest.fixture(scope="module")
def planted():
    return annex_e_object()


@pytest.mark.parametrize("option", [None, *OPTIONS])
def test_every_row_is_right_at_every_depth(planted, option):
    options = (option,) if option else ()
    result = deidentify(planted.data, Policy(name="one", options=options), PSEUDONYMS)
    scores = score_rows(planted, result.data, options)
    assert scores.rows > 600
    assert scores.failures() == ()


def shifted(text: str, patient: str = PATIENT) -> str:
    return f"{date.fromordinal(date.fromisoformat(text).toordinal() - PSEUDONYMS.shift_days(patient)):%Y%m%d}"


@pytest.mark.parametrize("device", [False, True])
def test_device_dates_do_not_disclose_the_shift(device):
    policy = Policy(name="p", options=(MODIFIED, *(("retain_device_identity",) if device else ())))
    values = {"DateOfLastCalibration": "20190507", "DateTimeOfLastCalibration": "20190507101112.5+0100"}
    one = deidentify(image(StudyDate="20200301", **values), policy, PSEUDONYMS).dataset
    two = deidentify(image(PatientID="other", StudyDate="20200301", **values), policy, PSEUDONYMS).dataset
    assert one.StudyDate == shifted("20200301") != two.StudyDate == shifted("20200301", "other")
    assert one.DateOfLastCalibration == two.DateOfLastCalibration
    assert one.DateTimeOfLastCalibration == two.DateTimeOfLastCalibration
    assert one.DateOfLastCalibration not in (
        "20190507",
        shifted("20190507"),
        shifted("20190507", "other"),
        "",
    )
    assert one.DateTimeOfLastCalibration == f"{one.DateOfLastCalibration}101112.5+0100"


def test_dates_of_vocabularies_do_not_disclose_the_shift():
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "DCM", "Head"
    code.ContextGroupVersion = "20150304101112"
    policy = Policy(name="p", options=(MODIFIED,))
    made = [
        deidentify(image(PatientID=who, AnatomicRegionSequence=Sequence([code])), policy, PSEUDONYMS).dataset
        for who in (PATIENT, "other")
    ]
    one, two = (each.AnatomicRegionSequence[0].ContextGroupVersion for each in made)
    assert one == two
    assert one[:8] not in ("20150304", shifted("20150304"))
    assert one[8:] == "101112"


@pytest.mark.filterwarnings("ignore")
def test_retained_uids_stay_everywhere():
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "1.2.3.77"
    source = image(
        SeriesInstanceUID="1.2.3.8",
        FrameOfReferenceUID="1.2.3.5",
        ReferencedImageSequence=Sequence([reference]),
        TrackingUID="1.2.3.66",
    )
    result = deidentify(source, Policy(name="p", options=("retain_uids",)), PSEUDONYMS)
    made = result.dataset
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID == "1.2.3.4"
    assert (made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID) == (
        "1.2.3",
        "1.2.3.8",
        "1.2.3.5",
    )
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.77"
    assert made.TrackingUID == "1.2.3.66"
    assert "uid_mapped" not in result.changes
    text = image()
    text.add_new(0x00200052, "UI", "DOE JOHN")
    result = deidentify(text, Policy(name="p", options=("retain_uids",)), PSEUDONYMS)
    assert result.dataset.FrameOfReferenceUID == PSEUDONYMS.uid("DOE JOHN")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", ["20200230", "2020.03.01", "20200301-20200302", "JOHN DOE", "202003"])
def test_full_dates_keep_dates_only(value):
    source = image(StudyTime="101112")
    source.add_new(0x00080020, "DA", value)
    source.add_new(0x0008002A, "DT", value)
    source.add_new(0x00080032, "TM", "JOHN")
    made = deidentify(source, Policy(name="p", options=(FULL,)), PSEUDONYMS).dataset
    assert made["StudyDate"].is_empty
    assert made["AcquisitionDateTime"].is_empty
    assert made["AcquisitionTime"].is_empty
    assert made.StudyTime == "101112"


@pytest.mark.parametrize(
    ("maximum", "age", "kept"),
    [
        (89, "089Y", "089Y"),
        (89, "090Y", "090Y"),
        (89, "101Y", "090Y"),
        (89, "999M", "999M"),
        (17, "017Y", "017Y"),
        (17, "216M", "018Y"),
        (None, "101Y", "101Y"),
        (89, "old", ""),
        (None, "old", ""),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_ages(maximum, age, kept):
    policy = Policy(name="p", options=("retain_patient_characteristics",), max_age=maximum)
    source = image()
    source.add_new(0x00101010, "AS", age)
    assert (deidentify(source, policy, PSEUDONYMS).dataset.get("PatientAge") or "") == kept


def test_what_the_policy_keeps_is_no_secret_elsewhere():
    source = image(InstitutionName="Mercyvale", SoftwareVersions="v1 Mercyvale")
    policy = Policy(name="p", options=("retain_institution_identity",))
    assert deidentify(source, policy, PSEUDONYMS).dataset.SoftwareVersions == "v1 Mercyvale"
    assert deidentify(source, load_policy("basic"), PSEUDONYMS).dataset.SoftwareVersions == "v1"


def test_safe_private_elements_are_cleaned_and_need_their_creator():
    def with_creator(creator: str) -> bytes:
        dataset = image()
        dataset.private_block(0x0019, creator, create=True).add_new(0x0C, "IS", "1000")
        block = dataset.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x03, "FL", 1000.0)
        block.add_new(0xC8, "LO", "SECRET")
        stream = BytesIO()
        dcmwrite(stream, dataset, enforce_file_format=True)
        return stream.getvalue()

    policy = Policy(name="p", options=("retain_safe_private",))
    for creator, safe in (("SIEMENS MR HEADER", True), ("SIEMENS MR HEADER 2", False)):
        result = deidentify(with_creator(creator), policy, PSEUDONYMS)
        assert (0x0019100C in result.dataset) is safe
        assert result.dataset[0x20011003].value == 1000.0
        assert b"SECRET" not in result.data
        assert creator.encode() in result.data if safe else creator.encode() not in result.data
