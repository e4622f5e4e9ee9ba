"""Any policy on any tree: the same bytes from every door, nothing planted survives, and again it works."""

from __future__ import annotations

import hashlib
import hmac
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from voxlake.dicom.parse_bytes import parse_file
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.policy import OPTION_CODES, Policy
from voxlake.privacy.pseudonyms import Pseudonymiser

pytestmark = pytest.mark.filterwarnings("ignore")


class Key:
    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(self.secret, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


ONE, OTHER = Pseudonymiser(Key(b"1" * 32)), Pseudonymiser(Key(b"2" * 32))
FULL, MODIFIED = "retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"
WHO, NAME, PLACE, DEVICE, UID, DAY = "ZQX77", "Zqname", "Zqclinic", "ZQDEVICE9", "1.2.3.987", "20200229"
# What stays by the very purpose of an option; everything else must go under every policy.
KEPT_BY = {
    PLACE: "retain_institution_identity",
    DEVICE: "retain_device_identity",
    UID: "retain_uids",
    DAY: FULL,
}
LEAVES = st.sampled_from(
    [
        ("PatientName", f"{NAME}^A"),
        ("PatientID", WHO),
        ("OtherPatientNames", NAME),
        ("OperatorsName", NAME),
        ("SecondaryReviewerName", NAME),
        ("InstitutionName", PLACE),
        ("DeviceSerialNumber", DEVICE),
        ("StationName", DEVICE),
        ("StudyDescription", f"CT {NAME} of {WHO}"),
        ("ImageComments", f"x{NAME}x"),
        ("TextValue", f"{NAME}, {WHO}"),
        ("ConvolutionKernel", f"B30 {NAME}"),
        ("CodeMeaning", NAME),
        ("BodyPartExamined", "CHEST"),
        ("FrameOfReferenceUID", UID),
        ("ReferencedSOPInstanceUID", f"{UID}.1"),
        ("StudyDate", DAY),
        ("AcquisitionDateTime", f"{DAY}101112"),
        ("PatientAge", "093Y"),
        ("SliceThickness", "1.5"),
        ("SmallestImagePixelValue", 7),
        ("ICCProfile", f"..{NAME}..".encode()),
    ]
)
SEQUENCES = st.sampled_from(
    [
        "ReferencedImageSequence",
        "RequestAttributesSequence",
        "ContentSequence",
        "AnatomicRegionSequence",
        "AdmittingDiagnosesCodeSequence",
        "GraphicAnnotationSequence",
        "OriginalAttributesSequence",
    ]
)
PRIVATE = st.sampled_from([None, "SIEMENS MR HEADER", NAME])
TREES = st.recursive(
    st.tuples(st.lists(LEAVES, max_size=5), st.just([]), PRIVATE),
    lambda inner: st.tuples(
        st.lists(LEAVES, max_size=4),
        st.lists(st.tuples(SEQUENCES, st.lists(inner, max_size=2), st.booleans()), max_size=3),
        PRIVATE,
    ),
    max_leaves=8,
)
OPTIONS = (
    st.sets(st.sampled_from(sorted(set(OPTION_CODES) - {"basic"})))
    .filter(lambda chosen: not {FULL, MODIFIED} <= chosen)
    .map(lambda chosen: tuple(sorted(chosen)))
)
RULES = st.sampled_from(
    [
        (),
        ({"keyword": "ConvolutionKernel", "action": "token"},),
        ({"vr": "LO", "pattern": NAME, "action": "replace", "value": "nobody"},),
        ({"group": "odd", "action": "remove"}, {"vr": "PN", "action": "dummy"}),
    ]
)
POLICIES = st.builds(
    lambda options, shift, age, rules: Policy(
        name="any", options=options, max_shift_days=shift, max_age=age, rules=rules
    ),
    OPTIONS,
    st.integers(1, 36500),
    st.none() | st.integers(1, 998),
    RULES,
)
SYNTAXES = st.sampled_from(
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)


def dataset_of(tree) -> Dataset:
    leaves, branches, private = tree
    dataset = Dataset()
    for keyword, value in leaves:
        if keyword == "SmallestImagePixelValue":
            dataset.PixelRepresentation = 0
        setattr(dataset, keyword, value)
    for keyword, children, undefined in branches:
        items = [dataset_of(child) for child in children]
        for item in items:
            item.is_undefined_length_sequence_item = undefined
        setattr(dataset, keyword, Sequence(items))
        dataset[keyword].is_undefined_length = undefined
    if private:
        block = dataset.private_block(0x0019, private, create=True)
        block.add_new(0x0C, "IS", "1000")
        block.add_new(0x0E, "FD", [1.0, 0.0, 0.0])
        block.add_new(0xEE, "LO", NAME)
        block.add_new(0xEF, "SQ", Sequence([dataset_of(([("PatientName", NAME)], [], None))]))
    return dataset


def planted(tree, syntax: str) -> Dataset:
    dataset = dataset_of(tree)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = CTImageStorage, f"{UID}.4", UID
    dataset.SeriesInstanceUID = f"{UID}.5"
    dataset.PatientName, dataset.PatientID, dataset.Modality = NAME, WHO, "CT"
    dataset.InstitutionName, dataset.StationName, dataset.DeviceSerialNumber = PLACE, DEVICE, DEVICE
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def in_a_file(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def plain(data: bytes) -> bytes:
    """All values of a file one after the other, inflated where they were deflated."""
    parsed = parse_file(data, lambda _creator, _tag, _vr: "")
    return b"\n".join([data, *(leaf.value for _, leaf in parsed.root.walk())])


@settings(max_examples=80, deadline=None)
@given(TREES, POLICIES, SYNTAXES)
def test_the_same_bytes_from_every_door(tree, policy, syntax):
    memory = planted(tree, syntax)
    data = in_a_file(memory)
    result = deidentify(data, policy, ONE)
    assert deidentify(data, policy, ONE).data == result.data
    assert deidentify(dcmread(BytesIO(data)), policy, ONE).data == result.data
    # Implicit files do not say what a private element is, so that rules for its VR cannot find it there.
    if syntax != ImplicitVRLittleEndian or not policy.rules:
        assert deidentify(memory, policy, ONE).data == result.data
    assert result.dataset.file_meta.TransferSyntaxUID == syntax
    assert len(result.report) == sum(result.changes.values())


@settings(max_examples=80, deadline=None)
@given(TREES, POLICIES, SYNTAXES)
def test_nothing_survives_that_no_option_keeps(tree, policy, syntax):
    result = deidentify(in_a_file(planted(tree, syntax)), policy, ONE)
    held = plain(result.data)
    for secret in (WHO, NAME, "093Y" if (policy.max_age or 998) < 93 else WHO):
        assert secret.encode() not in held
    for secret, option in KEPT_BY.items():
        assert option in policy.options or secret.encode() not in held, secret
    assert str(result.dataset.PatientName) == result.dataset.PatientID == ONE.patient(WHO)
    if MODIFIED in policy.options:
        assert 1 <= ONE.shift_days(WHO, maximum=policy.max_shift_days) <= policy.max_shift_days


@settings(max_examples=60, deadline=None)
@given(TREES, POLICIES, POLICIES, SYNTAXES)
def test_what_came_out_can_go_in_again(tree, first, second, syntax):
    once = deidentify(in_a_file(planted(tree, syntax)), first, ONE)
    twice = deidentify(once.data, second, OTHER)
    parsed = dcmread(BytesIO(twice.data))
    assert [element.value for element in parsed.iterall()]
    assert parsed.PatientID == OTHER.patient(once.dataset.PatientID) != once.dataset.PatientID
    assert list(parsed.DeidentificationMethod) == list(second.method)
    assert deidentify(once.data, first, ONE).dataset.PatientID == ONE.patient(once.dataset.PatientID)
    if "retain_uids" not in second.options:
        assert once.dataset.SOPInstanceUID.encode() not in plain(twice.data)
