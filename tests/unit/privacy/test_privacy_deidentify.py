from __future__ import annotations

import hashlib
import hmac
import struct
from io import BytesIO

import pytest
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

from voxlake.core.errors import ItemError
from voxlake.dicom.parse_bytes import parse_file
from voxlake.privacy.deidentify import IMPLEMENTATION_UID, deidentify, preview
from voxlake.privacy.policy import Policy, load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser


class Key:
    def __init__(self, secret: bytes = b"u" * 32) -> None:
        self.secret = secret

    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(self.secret, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


PSEUDONYMS = Pseudonymiser(Key())
RESEARCH = load_policy("research")
BASIC = load_policy("basic")
PIXELS = bytes(range(256)) * 2


def ct(syntax: str = ExplicitVRLittleEndian, **values: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.SourceApplicationEntityTitle = "WARD7"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = "1.2.3.4.5"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.4"
    dataset.PatientName = "Doe^John"
    dataset.PatientID = "4711"
    dataset.PatientBirthDate = "19500203"
    dataset.StudyDate = "20200301"
    dataset.StudyTime = "101112"
    dataset.Modality = "CT"
    dataset.Rows, dataset.Columns = 16, 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SmallestImagePixelValue = 7
    dataset.add_new(0x7FE00010, "OW", PIXELS)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def from_bytes(dataset: Dataset) -> Dataset:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return dcmread(BytesIO(stream.getvalue()))


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_same_bytes_from_file_and_from_memory_in_every_encoding(syntax):
    memory = ct(syntax, StudyDescription="Thorax Doe", PatientAge="093Y")
    read = from_bytes(memory)
    result = deidentify(read, RESEARCH, PSEUDONYMS)
    assert deidentify(memory, RESEARCH, PSEUDONYMS).data == result.data
    touched = from_bytes(memory)
    assert [element.value for element in touched]
    assert deidentify(touched, RESEARCH, PSEUDONYMS).data == result.data
    written = result.dataset
    assert written.file_meta.TransferSyntaxUID == syntax
    assert written.PixelData == PIXELS
    assert written.Rows == 16
    assert written.SmallestImagePixelValue == 7
    assert written.StudyDescription == "Thorax"
    assert written.PatientAge == "090Y"


def test_input_is_not_changed():
    dataset = from_bytes(ct())
    before = str(dataset)
    deidentify(dataset, BASIC, PSEUDONYMS)
    assert str(dataset) == before
    assert dataset.file_meta.SourceApplicationEntityTitle == "WARD7"


def test_markers_and_file_meta():
    result = deidentify(ct(), RESEARCH, PSEUDONYMS).dataset
    assert result.PatientIdentityRemoved == "YES"
    codes = {item.CodeValue: item for item in result.DeidentificationMethodCodeSequence}
    assert set(codes) == {"113100", "113105", "113107", "113108", "113111"}
    assert {item.CodingSchemeDesignator for item in codes.values()} == {"DCM"}
    assert codes["113100"].CodeMeaning == "Basic Application Confidentiality Profile"
    assert list(result.DeidentificationMethod) == [
        "voxlake policy research",
        f"policy sha256 {RESEARCH.digest()[:12]}",
    ]
    assert result.LongitudinalTemporalInformationModified == "MODIFIED"
    basic = deidentify(ct(), BASIC, PSEUDONYMS).dataset
    assert basic.LongitudinalTemporalInformationModified == "REMOVED"
    assert [item.CodeValue for item in basic.DeidentificationMethodCodeSequence] == ["113100"]
    meta = result.file_meta
    assert meta.ImplementationClassUID == IMPLEMENTATION_UID
    assert meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID == PSEUDONYMS.uid("1.2.3.4.5")
    assert "SourceApplicationEntityTitle" not in meta


def test_pseudonyms_dates_and_changes():
    result = deidentify(ct(), RESEARCH, PSEUDONYMS)
    pseudonym = PSEUDONYMS.patient("4711")
    assert result.patient_id == result.dataset.PatientID == str(result.dataset.PatientName) == pseudonym
    days = PSEUDONYMS.shift_days("4711")
    assert result.dataset.StudyDate < "20200301"
    assert result.dataset.StudyTime == "101112"
    assert result.dataset.PatientBirthDate == ""
    assert result.changes == {"added": 5, "date_shifted": 1, "emptied": 1, "replaced": 2, "uid_mapped": 3}
    narrow = Policy(name="n", options=RESEARCH.options, max_shift_days=1)
    assert deidentify(ct(), narrow, PSEUDONYMS).dataset.StudyDate == "20200229"
    assert 1 <= days <= 3650
    other = deidentify(ct(), RESEARCH, Pseudonymiser(Key(b"other" * 7)))
    assert other.patient_id != pseudonym
    assert other.dataset.StudyInstanceUID != result.dataset.StudyInstanceUID


def test_a_given_patient_wins_over_the_header():
    result = deidentify(ct(), RESEARCH, PSEUDONYMS, patient="mapped one")
    assert result.patient_id == result.dataset.PatientID == PSEUDONYMS.patient("mapped one")


def test_without_patient_the_study_stands_for_one():
    one = deidentify(ct(PatientID=""), RESEARCH, PSEUDONYMS)
    two = deidentify(ct(PatientID="", SOPInstanceUID="1.2.9"), RESEARCH, PSEUDONYMS)
    other = deidentify(ct(PatientID="", StudyInstanceUID="1.9"), RESEARCH, PSEUDONYMS)
    assert one.dataset.PatientID == two.dataset.PatientID != other.dataset.PatientID
    assert (one.patient_id, two.patient_id, other.patient_id) == (None, None, None)
    nobody = ct(PatientID="")
    del nobody.StudyInstanceUID
    with pytest.raises(ItemError) as caught:
        deidentify(nobody, RESEARCH, PSEUDONYMS)
    assert caught.value.reason == "missing_uid"


def test_nested_patients():
    same, another = Dataset(), Dataset()
    same.PatientID, same.PatientName = "4711", "Doe^John"
    another.PatientID, another.PatientName = "9999", "Roe^Jane"
    result = deidentify(ct(SourceImageSequence=Sequence([same, another])), BASIC, PSEUDONYMS)
    first, second = result.dataset.SourceImageSequence
    assert first.PatientID == str(first.PatientName) == result.patient_id
    assert second.PatientID == str(second.PatientName) == PSEUDONYMS.patient("9999")


def test_references_between_objects_stay_consistent():
    item = Dataset()
    item.ReferencedSOPClassUID = "1.3.12.2.1107.5.9.1"
    item.ReferencedSOPInstanceUID = "1.2.3.4.5"
    result = deidentify(ct(SourceImageSequence=Sequence([item])), BASIC, PSEUDONYMS).dataset
    assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == result.SOPInstanceUID
    assert result.SourceImageSequence[0].ReferencedSOPClassUID == "1.3.12.2.1107.5.9.1"


def test_private_elements():
    dataset = ct()
    safe = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    safe.add_new(0x0C, "IS", "1000")
    safe.add_new(0x0E, "FD", [1.0, 0.0, 0.5])
    safe.add_new(0x08, "CS", "IMAGE NUM 4")
    secret = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    secret.add_new(0x10, "OB", b"Doe^John")
    dataset.add_new(0x00110001, "LO", "no creator")
    result = deidentify(from_bytes(dataset), RESEARCH, PSEUDONYMS)
    kept = [element.tag for element in result.dataset if element.tag.is_private]
    assert kept == [0x00190010, 0x0019100C, 0x0019100E]
    assert result.dataset[0x0019100C].value == 1000
    assert list(result.dataset[0x0019100E].value) == [1.0, 0.0, 0.5]
    assert result.changes["private_removed"] == 4
    basic = deidentify(from_bytes(dataset), BASIC, PSEUDONYMS)
    assert not [element for element in basic.dataset if element.tag.is_private]


def raw_file(body: bytes) -> Dataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    shell = Dataset()
    shell.file_meta = meta
    shell.SOPClassUID, shell.SOPInstanceUID, shell.StudyInstanceUID = CTImageStorage, "1.2.3.4", "1.2.3"
    shell.PatientID = "4711"
    stream = BytesIO()
    dcmwrite(stream, shell, enforce_file_format=True)
    return dcmread(BytesIO(stream.getvalue() + body))


def explicit(group: int, element: int, vr: bytes, value: bytes, *, undefined: bool = False) -> bytes:
    length = 0xFFFFFFFF if undefined else len(value)
    return struct.pack("<HH2sHI", group, element, vr, 0, length) + value


def implicit(group: int, element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", group, element, len(value)) + value


def item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize("undefined", [False, True])
def test_unknown_vr_is_opened(undefined):
    content = item(
        implicit(0x0010, 0x0010, b"SECRET^X")
        + implicit(0x0008, 0x0104, b"Head")
        + implicit(0x0028, 0x0106, b"\5\0")
    )
    body = explicit(0x0040, 0xA043, b"UN", content + (END if undefined else b""), undefined=undefined)
    body += explicit(0x0040, 0xA075, b"UN", b"SECRET^Z")
    body += explicit(0x7777, 0x1001, b"UN", b"SECRET Q")
    body += explicit(0x7778, 0x0001, b"UN", b"SECRET W")
    result = deidentify(raw_file(body), BASIC, PSEUDONYMS)
    assert b"SECRET" not in result.data
    inner = result.dataset.ConceptNameCodeSequence[0]
    assert inner.CodeMeaning == "Head"
    assert inner.SmallestImagePixelValue == 5
    assert str(inner.PatientName) == result.patient_id
    assert 0x77780001 not in result.dataset


@pytest.mark.parametrize("nested", [False, True])
def test_elements_of_file_formats_go_out_of_a_data_set(nested):
    dataset = ct()
    holder = Dataset() if nested else dataset
    for tag in (0x00041500, 0x00041141):
        holder.add_new(tag, "CS", "ROOM7")
    if nested:
        dataset.ReferencedImageSequence = Sequence([holder])
    clean = deidentify(from_bytes(dataset), RESEARCH, PSEUDONYMS)
    assert b"ROOM7" not in clean.data
    assert [one.why for one in clean.report if "(0004" in one.path] == ["file format", "file format"]


def test_a_stray_item_goes():
    dataset = ct()
    dataset.add_new(0xFFFEE000, "OB", b"ROOM7 ")
    clean = deidentify(dataset, RESEARCH, PSEUDONYMS)
    assert b"ROOM7" not in clean.data
    assert [one.why for one in clean.report if "(FFFE" in one.path] == ["file format"]
    assert parse_file(clean.data).root.nodes[-1].tag == 0x7FE00010


def test_large_unknown_sequences_are_opened_too():
    content = b"".join(item(implicit(0x0010, 0x0010, b"SECRET^X" * 100)) for _ in range(100))
    result = deidentify(raw_file(explicit(0x0040, 0xA043, b"UN", content)), BASIC, PSEUDONYMS)
    assert b"SECRET" not in result.data
    assert len(result.dataset.ConceptNameCodeSequence) == 100


def test_text_under_the_wrong_vr_is_still_text():
    result = deidentify(raw_file(explicit(0x0018, 0x1210, b"OB", b"B30f NN ")), BASIC, PSEUDONYMS)
    assert result.dataset.ConvolutionKernel == "B30f NN"
    dataset = raw_file(explicit(0x0018, 0x1210, b"OB", b"SECRET B30f "))
    dataset.PatientName = "SECRET"
    assert deidentify(dataset, BASIC, PSEUDONYMS).dataset.ConvolutionKernel == "B30f"


def test_numbers_that_are_none_do_not_carry_text():
    body = struct.pack("<HH2sH", 0x0018, 0x0050, b"DS", 8) + b"JOHN DOE"
    result = deidentify(raw_file(body), BASIC, PSEUDONYMS)
    assert b"JOHN" not in result.data
    assert result.dataset.SliceThickness is None


def test_what_cannot_be_read_is_refused_without_a_value_in_the_message():
    with pytest.raises(ItemError) as caught:
        deidentify(raw_file(explicit(0x0040, 0xA043, b"SQ", b"SECRET garbage")), RESEARCH, PSEUDONYMS)
    assert caught.value.reason == "deidentify_failed"
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ItemError):
        preview(raw_file(explicit(0x0040, 0xA043, b"SQ", b"SECRET garbage")), RESEARCH, PSEUDONYMS)


def test_endless_nesting_is_refused():
    dataset = Dataset()
    for _ in range(200):
        outer = Dataset()
        outer.AnatomicRegionSequence = Sequence([dataset])
        dataset = outer
    with pytest.raises(ItemError, match="nested deeper than 64") as caught:
        deidentify(ct(AnatomicRegionSequence=dataset.AnatomicRegionSequence), BASIC, PSEUDONYMS)
    assert caught.value.reason == "deidentify_failed"


def test_overlays_curves_signatures_and_padding_go():
    dataset = ct()
    dataset.add_new(0x60000010, "US", 16)
    dataset.add_new(0x60003000, "OW", b"SECRET12")
    dataset.add_new(0x50003000, "OW", b"SECRET34")
    dataset.add_new(0xFFFCFFFC, "OB", b"SECRET56")
    signature = Dataset()
    signature.Signature = b"SECRET78"
    dataset.DigitalSignaturesSequence = Sequence([signature])
    icon = Dataset()
    icon.add_new(0x7FE00010, "OW", b"SECRET90")
    dataset.IconImageSequence = Sequence([icon])
    result = deidentify(dataset, RESEARCH, PSEUDONYMS)
    assert b"SECRET" not in result.data
    assert {element.tag.group for element in result.dataset} <= {0x08, 0x10, 0x12, 0x18, 0x20, 0x28, 0x7FE0}


def test_text_in_other_character_sets():
    dataset = ct(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jürgen")
    dataset.StudyDescription = "Schädel MÜLLER nativ"
    result = deidentify(from_bytes(dataset), RESEARCH, PSEUDONYMS)
    assert result.dataset.StudyDescription == "Schädel nativ"
    japanese = ct(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")
    japanese.StudyDescription = "胸部 山田 CT"
    assert deidentify(from_bytes(japanese), RESEARCH, PSEUDONYMS).dataset.StudyDescription == "胸部 CT"


def test_codes_are_not_cleaned():
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "4711000", "SCT", "Head of Doe"
    result = deidentify(ct(AnatomicRegionSequence=Sequence([code])), RESEARCH, PSEUDONYMS).dataset
    kept = result.AnatomicRegionSequence[0]
    assert (kept.CodeValue, kept.CodeMeaning) == ("4711000", "Head of")


def test_none_keeps_the_bytes():
    stream = BytesIO()
    dcmwrite(stream, ct(), enforce_file_format=True)
    data = stream.getvalue()
    dataset = dcmread(BytesIO(data))
    result = deidentify(data, load_policy("none"), PSEUDONYMS)
    assert result.data is data
    assert result.dataset == dataset
    assert (result.patient_id, dict(result.changes)) == ("4711", {})
    assert preview(dataset, load_policy("none"), PSEUDONYMS) == []
    with pytest.raises(ItemError, match="incoming bytes"):
        deidentify(dataset, load_policy("none"), PSEUDONYMS)


def test_preview_names_changes_and_no_values():
    dataset = ct(StudyDescription="Doe 1234567")
    changes = preview(dataset, RESEARCH, PSEUDONYMS)
    assert ("(0008,1030)", "StudyDescription", "cleaned", "option clean_descriptors") in changes
    counted = deidentify(dataset, RESEARCH, PSEUDONYMS).changes
    assert sum(counted.values()) == len(changes)
    assert "Doe" not in repr(changes)
    assert "4711" not in repr(changes)


def test_missing_class_or_instance_is_refused():
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        dataset = ct()
        delattr(dataset, keyword)
        with pytest.raises(ItemError) as caught:
            deidentify(dataset, BASIC, PSEUDONYMS)
        assert caught.value.reason == "missing_uid"


def test_sequences_that_are_cleaned_are_cleaned_inside():
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "L", "Fracture 1234567 left"
    both = ct(AdmittingDiagnosesCodeSequence=Sequence([code]), AnatomicRegionSequence=Sequence([code]))
    result = deidentify(both, RESEARCH, PSEUDONYMS).dataset
    assert result.AdmittingDiagnosesCodeSequence[0].CodeMeaning == "Fracture left"
    assert result.AnatomicRegionSequence[0].CodeMeaning == "Fracture 1234567 left"


def test_persons_and_addresses_go_where_no_row_names_them():
    result = deidentify(
        ct(SecondaryReviewerName="Roe^Jane", RetrieveURL="https://pacs.example/roe"), RESEARCH, PSEUDONYMS
    )
    assert b"Roe" not in result.data
    assert b"pacs.example" not in result.data
    assert result.dataset["SecondaryReviewerName"].is_empty


def test_a_station_named_like_its_model_does_not_cost_the_model():
    named = ct(Manufacturer="UIH", ManufacturerModelName="CERR", StationName="CERR", InstitutionName="Ward X")
    named.SoftwareVersions = "CERR Ward X 1"
    result = deidentify(named, RESEARCH, PSEUDONYMS).dataset
    assert (result.Manufacturer, result.ManufacturerModelName) == ("UIH", "CERR")
    assert result.SoftwareVersions == "CERR 1"


@pytest.mark.parametrize("policy", [BASIC, RESEARCH])
def test_true_dates_and_uids_go_from_technical_text_too(policy):
    dataset = ct(
        TriggerSourceOrType="1.2.826.0.1.3680043.8.498.1",
        ReceiveCoilName="coil 20200301",
        SoftwareVersions="syngo 4.1.2.11 of 2020-03-01",
        StudyInstanceUID="1.2.826.0.1.3680043.8.498.1",
    )
    dataset.add_new(0x00282000, "OB", b"profile 1.2.826.0.1.3680043.8.498.1 ")
    result = deidentify(from_bytes(dataset), policy, PSEUDONYMS)
    assert b"3680043" not in result.data
    assert b"20200301" not in result.data
    assert result.dataset.ReceiveCoilName == "coil"
    assert result.dataset.SoftwareVersions == "syngo 4.1.2.11 of"
    assert "ICCProfile" not in result.dataset


def test_kept_dates_and_uids_stay_in_text():
    policy = Policy(name="full", options=("retain_longitudinal_full_dates", "retain_uids"))
    dataset = ct(ReceiveCoilName="coil 20200301", TriggerSourceOrType="1.2.826.0.1.3680043.8.498.1")
    result = deidentify(from_bytes(dataset), policy, PSEUDONYMS).dataset
    assert result.ReceiveCoilName == "coil 20200301"
    assert result.TriggerSourceOrType == "1.2.826.0.1.3680043.8.498.1"
    assert (result.StudyDate, result.SOPInstanceUID) == ("20200301", "1.2.3.4.5")


def test_an_unknown_vr_is_read_as_what_the_dictionary_says():
    body = struct.pack("<HH2sH", 0x0018, 0x1210, b"AA", 4) + b"B30f"
    body += struct.pack("<HH2sH", 0x7778, 0x0010, b"AB", 6) + b"SECRET"
    result = deidentify(raw_file(body), BASIC, PSEUDONYMS)
    assert result.dataset.ConvolutionKernel == "B30f"
    assert b"SECRET" not in result.data
