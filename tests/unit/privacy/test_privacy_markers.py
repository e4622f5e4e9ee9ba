from __future__ import annotations

import hashlib
import hmac
from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.privacy.deidentify import IMPLEMENTATION_UID, deidentify
from voxlake.privacy.own_rules import OwnRule
from voxlake.privacy.policy import OPTION_CODES, POLICY_VERSION, Policy, load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser


class Key:
    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(b"m" * 32, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


PSEUDONYMS = Pseudonymiser(Key())


def image(syntax: str = ExplicitVRLittleEndian) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.SourceApplicationEntityTitle = "WARD7"
    dataset.file_meta.ImplementationVersionName = "WARD7SOFT"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3.99"
    dataset.file_meta.PrivateInformation = b"WARD7 private "
    dataset.preamble = b"WARD7   " * 16
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = CTImageStorage, "1.2.3.4", "1.2.3"
    dataset.PatientID, dataset.Modality, dataset.StudyDate = "4711", "CT", "20200301"
    return dataset


def in_a_file(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def codes(dataset: Dataset) -> dict[str, str]:
    items = dataset.DeidentificationMethodCodeSequence
    assert {item.CodingSchemeDesignator for item in items} == {"DCM"}
    return {item.CodeValue: item.CodeMeaning for item in items}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_is_written_in_every_encoding(syntax):
    policy = load_policy("research")
    result = deidentify(in_a_file(image(syntax)), policy, PSEUDONYMS)
    made = result.dataset
    assert made.PatientIdentityRemoved == "YES"
    assert list(made.DeidentificationMethod) == list(policy.method)
    assert all(len(value) <= 64 for value in policy.method)
    assert codes(made) == dict(OPTION_CODES[name] for name in ("basic", *policy.options))
    (equipment,) = made.ContributingEquipmentSequence
    (purpose,) = equipment.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109104", "DCM")
    assert (equipment.Manufacturer, equipment.SoftwareVersions) == (
        "voxlake",
        f"policy version {POLICY_VERSION}",
    )
    added = [change.keyword for change in result.report if change.action == "added"]
    assert added == [
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "DeidentificationMethodCodeSequence",
        "ContributingEquipmentSequence",
        "LongitudinalTemporalInformationModified",
    ]
    tags = [element.tag for element in made]
    assert tags == sorted(tags)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (None, "REMOVED"),
        ("retain_longitudinal_full_dates", "UNMODIFIED"),
        ("retain_longitudinal_modified_dates", "MODIFIED"),
    ],
)
def test_what_is_said_of_dates(option, said):
    made = deidentify(image(), Policy(name="p", options=(option,) if option else ()), PSEUDONYMS).dataset
    assert made.LongitudinalTemporalInformationModified == said
    shifted = {"REMOVED": False, "UNMODIFIED": False, "MODIFIED": True}[said]
    assert (made.StudyDate not in ("", "20200301")) is shifted


@pytest.mark.parametrize("option", sorted(set(OPTION_CODES) - {"basic"}))
def test_each_option_has_its_code(option):
    made = deidentify(image(), Policy(name="p", options=(option,)), PSEUDONYMS).dataset
    assert codes(made) == dict([OPTION_CODES["basic"], OPTION_CODES[option]])


@pytest.mark.parametrize(
    ("rule", "claimed"),
    [
        ({"keyword": "InstitutionName", "action": "keep"}, False),
        ({"keyword": "PatientComments", "action": "clean"}, False),
        ({"keyword": "ConvolutionKernel", "action": "remove"}, True),
        ({"keyword": "AccessionNumber", "action": "token"}, True),
    ],
)
def test_no_codes_are_claimed_where_own_rules_weaken_the_profile(rule, claimed):
    policy = Policy(name="own", rules=(OwnRule.read(rule),))
    source = image()
    source.DeidentificationMethodCodeSequence = Sequence([Dataset()])
    made = deidentify(source, policy, PSEUDONYMS).dataset
    assert ("DeidentificationMethodCodeSequence" in made and codes(made) != {}) is claimed
    assert ("not claimed" in made.DeidentificationMethod[-1]) is not claimed
    assert made.PatientIdentityRemoved == "YES"


def test_markers_of_the_sender_do_not_stay():
    source = image()
    source.PatientIdentityRemoved, source.DeidentificationMethod = "NO", "by WARD7"
    source.LongitudinalTemporalInformationModified = "UNMODIFIED"
    equipment = Dataset()
    equipment.InstitutionName, equipment.StationName = "WARD7", "WARD7"
    source.ContributingEquipmentSequence = Sequence([equipment, Dataset()])
    result = deidentify(in_a_file(source), load_policy("basic"), PSEUDONYMS)
    assert b"WARD7" not in result.data
    assert result.dataset.PatientIdentityRemoved == "YES"
    assert len(result.dataset.ContributingEquipmentSequence) == 1


def test_file_meta_is_written_anew():
    result = deidentify(in_a_file(image()), load_policy("basic"), PSEUDONYMS)
    meta = result.dataset.file_meta
    assert {element.keyword for element in meta} == {
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    }
    assert meta.ImplementationClassUID == IMPLEMENTATION_UID
    assert meta.MediaStorageSOPInstanceUID == result.dataset.SOPInstanceUID == PSEUDONYMS.uid("1.2.3.4")
    assert result.data[:132] == bytes(128) + b"DICM"
    assert meta.FileMetaInformationGroupLength == len(result.data) - len(_without_meta(result.data)) - 144


def _without_meta(data: bytes) -> bytes:
    dataset = dcmread(BytesIO(data))
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    assert stream.getvalue() == data
    return data[data.index(b"\x08\x00\x16\x00") :]
