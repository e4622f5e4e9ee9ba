"""A stored object moved on by one generation is, byte for byte, the original de-identified by both."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from voxlake.core.errors import ItemError
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.policy import OPTION_CODES, Policy, load_policy
from voxlake.privacy.pseudonym_list import PseudonymList
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.rekey_dataset import rekey_dataset
from voxlake.store.keys import LakeKey

A, B = bytes(range(32)), bytes(range(32, 64))
ONE, BOTH = Pseudonymiser(LakeKey(A)), Pseudonymiser(LakeKey(A, B))
FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
SHIFTED = "retain_longitudinal_modified_dates"
EVERY = tuple(
    name for name in OPTION_CODES if name not in ("basic", "retain_longitudinal_full_dates", "retain_uids")
)
OWN = """
name = "own"
options = ["retain_longitudinal_modified_dates"]
[[rules]]
keyword = "AccessionNumber"
action = "token"
[[rules]]
keyword = "FrameOfReferenceUID"
action = "keep"
[[rules]]
keyword = "StationName"
action = "keep"
[[rules]]
keyword = "AcquisitionDate"
action = "replace"
value = "20000101"
[[rules]]
keyword = "PatientBirthDate"
action = "shift_date"
"""
POLICIES = (
    load_policy("research"),
    load_policy("basic"),
    Policy(name="every", options=EVERY),
    Policy(name="true", options=("retain_uids", "retain_longitudinal_full_dates")),
    Policy(name="short", options=(SHIFTED, "retain_uids"), max_shift_days=30),
    load_policy(OWN),
)


def moved_is_straight(data: bytes, policy: Policy, patient: str | None = None) -> bytes | None:
    """Check one object under one policy; returns the moved bytes, None where the policy refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stored = deidentify(data, policy, ONE, patient=patient).data
        except ItemError:
            return None
        straight = deidentify(data, policy, BOTH, patient=patient).data
        moved = rekey_dataset(stored, policy, BOTH.newest)
    assert moved == straight
    assert moved != stored
    return moved


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_every_kind_of_file(policy: Policy) -> None:
    done = [moved_is_straight(path.read_bytes(), policy) for path in FILES]
    assert sum(one is not None for one in done) >= 50


def rich(*, implicit: bool) -> bytes:
    """An object with nested patients, UIDs in every kind of place, dates of devices and of the patient."""
    source = next(path for path in FILES if path.name == "CT_small.dcm")
    dataset = pydicom.dcmread(source)
    dataset.AccessionNumber, dataset.StationName, dataset.PatientID = "A1", "CT01", "4711"
    dataset.FrameOfReferenceUID, dataset.IrradiationEventUID = "1.2.3.4", ["1.2.3.5", "1.2.3.6"]
    dataset.DateOfLastCalibration, dataset.AcquisitionDateTime = (
        ["20200101", "20210101"],
        "20240229101112.5+0100",
    )
    dataset.AcquisitionDate, dataset.PatientBirthDate = "20240229", "19500101"
    dataset.RetrieveAETitle = ["PACS1", "PACS2"]
    inner = Dataset()
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = "1.2.840.113619.4.26", "1.2.3.7"
    inner.PatientID, inner.PatientName = "other", "Other^Name"
    inner.ContentDate = "20240301"
    outer = Dataset()
    outer.StudyInstanceUID = "1.2.3.8"
    outer.ReferencedSOPSequence = Sequence([inner])
    dataset.ReferencedStudySequence = Sequence([outer])
    observer = Dataset()
    observer.UID, observer.DateTime, observer.Date = "1.2.3.9", "20240301101112", "20240301"
    dataset.ContentSequence = Sequence([observer])
    block = dataset.private_block(0x2001, "Philips Imaging DD 001", create=True)
    block.add_new(0x03, "FL", 800.0)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_nested_patients_uids_and_dates(policy: Policy, implicit: bool) -> None:
    data = rich(implicit=implicit)
    moved = moved_is_straight(data, policy)
    assert moved is not None
    dataset = pydicom.dcmread(BytesIO(moved))
    assert dataset.PatientID == dataset.PatientName == BOTH.patient("4711")
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    stated = moved_is_straight(data, policy, patient="hinted")
    assert stated is not None
    assert pydicom.dcmread(BytesIO(stated)).PatientID == BOTH.patient("hinted")


def test_dates_of_devices_do_not_move_with_the_patient() -> None:
    policy = Policy(name="device", options=(SHIFTED, "retain_device_identity"))
    moved = moved_is_straight(rich(implicit=False), policy)
    assert moved is not None
    dataset = pydicom.dcmread(BytesIO(moved))
    assert list(dataset.DateOfLastCalibration) == [BOTH.shared_date("20200101"), BOTH.shared_date("20210101")]


def test_listed_patients_move_on() -> None:
    listed = PseudonymList({"4711": "CT"})
    data, policy = rich(implicit=False), load_policy("research")
    stored = deidentify(data, policy, Pseudonymiser(LakeKey(A), listed)).data
    straight = deidentify(data, policy, Pseudonymiser(LakeKey(A, B), listed)).data
    assert pydicom.dcmread(BytesIO(stored)).PatientID == "CT"
    assert rekey_dataset(stored, policy, BOTH.newest) == straight


@pytest.mark.parametrize("data", [b"", b"no image", bytes(128) + b"DICM"])
def test_what_was_not_stored_by_us_is_refused(data: bytes) -> None:
    with pytest.raises(ItemError) as caught:
        rekey_dataset(data, load_policy("basic"), BOTH.newest)
    assert caught.value.reason == "parse_error"


def test_an_object_without_a_pseudonym_is_refused() -> None:
    dataset = pydicom.dcmread(BytesIO(deidentify(rich(implicit=False), load_policy("basic"), ONE).data))
    dataset.PatientID = ""
    buffer = BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(ItemError, match="names no patient"):
        rekey_dataset(buffer.getvalue(), load_policy("basic"), BOTH.newest)
