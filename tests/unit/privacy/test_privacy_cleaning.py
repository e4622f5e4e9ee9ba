"""Identifiers in places and forms that the table does not speak of, in odd but readable files."""

from __future__ import annotations

import hashlib
import hmac
import struct
from io import BytesIO

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.core.errors import ItemError
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.policy import Policy, load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser

pytestmark = pytest.mark.filterwarnings("ignore")


class Key:
    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(b"q" * 32, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


PSEUDONYMS = Pseudonymiser(Key())
POLICIES = [load_policy("basic"), load_policy("research")]
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
WHO = "PAT477112"


def image(syntax: str = ExplicitVRLittleEndian, **values: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = CTImageStorage, "1.2.3.4", "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.8"
    dataset.PatientID, dataset.PatientName, dataset.Modality = WHO, "Doenhoff^John", "CT"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def in_a_file(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def element(tag: int, vr: str, value: bytes, *, length: int | None = None, order: str = "<") -> bytes:
    size = len(value) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if vr == "":
        return head + struct.pack(f"{order}I", size) + value
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return head + vr.encode() + struct.pack(f"{order}HI", 0, size) + value
    return head + vr.encode() + struct.pack(f"{order}H", size) + value


def item(content: bytes, *, undefined: bool = False, order: str = "<") -> bytes:
    head = struct.pack(f"{order}HHI", 0xFFFE, 0xE000, 0xFFFFFFFF if undefined else len(content))
    return head + content + (struct.pack(f"{order}HHI", 0xFFFE, 0xE00D, 0) if undefined else b"")


def end(order: str = "<") -> bytes:
    return struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0)


def cleaned(data: bytes | Dataset, policy: Policy = POLICIES[1], *secrets: bytes):
    result = deidentify(data, policy, PSEUDONYMS)
    for secret in (b"Doenhoff", b"477112", *secrets):
        assert secret not in result.data
    return result.dataset


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_that_are_an_identifier_are_taken_out(policy, syntax):
    # Neither of these is in the table; all repeat what the header says of the patient.
    source = image(syntax, AccessionNumber="7788123", StudyID="STUDY99")
    source.BodyPartExamined = "STUDY99"
    source.SliceThickness = "7788123"
    source.EchoNumbers = "7788123"
    source.ICCProfile = b"..Doenhoff.."
    source.RedPaletteColorLookupTableData = "D\0o\0e\0n\0h\0o\0f\0f\0".encode("latin-1")
    source.ConvolutionKernel = "B30f DOENHOFF 7788123"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "7788123", "L", "Head (STUDY99)"
    source.AnatomicRegionSequence = Sequence([code])
    made = cleaned(in_a_file(source), policy, b"7788123", b"STUDY99", b"D\0o\0e\0")
    assert made.BodyPartExamined == "ANONYMIZED"
    assert made["SliceThickness"].is_empty
    assert made["EchoNumbers"].is_empty
    assert "ICCProfile" not in made
    assert "RedPaletteColorLookupTableData" not in made
    assert made.ConvolutionKernel == "B30f"
    kept = made.AnatomicRegionSequence[0]
    assert (kept.CodeValue, kept.CodingSchemeDesignator, kept.CodeMeaning) == ("ANONYMIZED", "L", "Head ( )")


def test_bytes_in_a_value_of_two_possible_vrs_are_searched_in_implicit_files_too():
    table = Dataset()
    table.LUTDescriptor = [8, 0, 16]
    table.add_new(0x00283006, "OW", b"Doenhoff12345678")
    for syntax in SYNTAXES:
        made = cleaned(in_a_file(image(syntax, ModalityLUTSequence=Sequence([table]))))
        assert "LUTData" not in made.ModalityLUTSequence[0]


def test_a_text_of_nothing_but_an_identifier_becomes_a_dummy():
    made = cleaned(image(SeriesDescription="Doenhoff", SequenceName="x Doenhoff"))
    assert made.SeriesDescription == "ANONYMIZED"
    assert made.SequenceName == "x"


def test_nested_character_sets_are_their_own():
    inner, deepest = Dataset(), Dataset()
    deepest.CodeMeaning = "рука Дёнхофф"
    inner.SpecificCharacterSet = "ISO_IR 144"
    inner.PatientName = "Дёнхофф^Иван"
    inner.PatientID = WHO
    inner.CodeMeaning = "голова Дёнхофф"
    inner.DerivationCodeSequence = Sequence([deepest])
    source = image(SpecificCharacterSet="ISO_IR 100", StudyDescription="Schädel Größer")
    source.ReferringPhysicianName = "Größer^Jörg"
    source.SourceImageSequence = Sequence([inner])
    made = cleaned(in_a_file(source), POLICIES[1], "Größer".encode("latin-1"), "Дёнхофф".encode("iso8859-5"))
    assert made.StudyDescription == "Schädel"
    kept = made.SourceImageSequence[0]
    assert kept.CodeMeaning == "голова"
    assert kept.DerivationCodeSequence[0].CodeMeaning == "рука"
    assert kept.PatientName == made.PatientID


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_the_content_of_unknown_vrs_is_implicit_little_endian(policy, syntax, undefined):
    inside = element(0x00100010, "", b"Doenhoff^J") + element(0x00280106, "", b"\5\0")
    inside = element(0x00080104, "", b"Head") + inside
    content = item(inside, undefined=undefined)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    if undefined:
        body = element(0x00082218, "UN", content + end(), length=0xFFFFFFFF, order=order)
    else:
        body = element(0x00082218, "UN", content, order=order)
    data = in_a_file(image(syntax))
    at = data.index(struct.pack(f"{order}HH", 0x0010, 0x0010))
    if syntax == ExplicitVRBigEndian and undefined:
        # What is inside would have to be turned round; nothing of it is let through.
        with pytest.raises(ItemError) as caught:
            deidentify(data[:at] + body + data[at:], policy, PSEUDONYMS)
        assert caught.value.reason == "deidentify_failed"
        return
    made = cleaned(data[:at] + body + data[at:], policy)
    assert ("AnatomicRegionSequence" in made) is (syntax == ExplicitVRLittleEndian)
    if syntax == ExplicitVRLittleEndian:
        assert made.AnatomicRegionSequence[0].CodeMeaning == "Head"
        assert made.AnatomicRegionSequence[0].PatientName == made.PatientID


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("creator", ["GEMS_ACQU_01", "SOMEBODY"])
def test_private_sequences_of_undefined_length(policy, syntax, creator):
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    implicit = syntax == ImplicitVRLittleEndian

    def one(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
        return element(tag, "" if implicit else vr, value, length=length, order=order)

    inner = item(
        one(0x00100010, "PN", b"Doenhoff^J") + one(0x00180050, "DS", b"1.5 "), undefined=True, order=order
    )
    outer = item(one(0x00091002, "SQ", inner + end(order), 0xFFFFFFFF), undefined=True, order=order)
    name = creator.encode() + b" " * (len(creator) % 2)
    body = one(0x00090010, "LO", name) + one(0x00091001, "SQ", outer + end(order), 0xFFFFFFFF)
    data = in_a_file(image(syntax))
    at = data.index(struct.pack(f"{order}HH", 0x0010, 0x0010))
    made = cleaned(data[:at] + body + data[at:], policy, creator.encode())
    assert not [each for each in made if each.tag.is_private]
    assert made.PatientName == made.PatientID
    kept = deidentify(
        data[:at] + body + data[at:],
        Policy(name="own", rules=({"private_creator": creator, "action": "keep"},)),
        PSEUDONYMS,
    )
    assert b"Doenhoff" not in kept.data


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_safe_creators_two_levels_deep(syntax):
    def private(dataset: Dataset, value: str) -> None:
        dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", value)
        dataset.private_block(0x0019, "SOMEBODY", create=True).add_new(0x0C, "LO", "SECRET")

    top, middle, deepest = image(syntax), Dataset(), Dataset()
    for dataset, value in ((top, "1"), (middle, "2"), (deepest, "3")):
        private(dataset, value)
    middle.DerivationCodeSequence = Sequence([deepest])
    top.AnatomicRegionSequence = Sequence([middle])
    made = cleaned(in_a_file(top), POLICIES[1], b"SECRET", b"SOMEBODY")
    level = made
    for value in (1, 2, 3):
        private_tags = [each.tag for each in level if each.tag.is_private]
        assert private_tags == [0x00190010, 0x0019100C]
        assert int(level[0x0019100C].value) == value
        level = (
            level.AnatomicRegionSequence[0] if value == 1 else level.get("DerivationCodeSequence", [None])[0]
        )


def test_a_block_that_another_creator_reserves_in_an_item_is_not_safe():
    item_of_another = Dataset()
    item_of_another.add_new(0x00190010, "LO", "SOMEBODY")
    item_of_another.add_new(0x0019100C, "IS", "31337")
    lost = Dataset()
    lost.add_new(0x0019100C, "IS", "31338")
    source = image(AnatomicRegionSequence=Sequence([item_of_another, lost]))
    source.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    cleaned(in_a_file(source), POLICIES[1], b"31337", b"31338")


@pytest.mark.parametrize("policy", POLICIES)
def test_very_long_values_in_short_vrs(policy):
    # Longer than 16 bits can say: written as UN, as PS3.5 6.2.2 wants it.
    long = b"Doenhoff " + b"x" * 70000
    body = element(0x00181210, "UN", long + b" " * (len(long) % 2))
    data = in_a_file(image())
    at = data.index(b"\x20\x00\x0d\x00UI")
    result = deidentify(data[:at] + body + data[at:], policy, PSEUDONYMS)
    assert b"Doenhoff" not in result.data
    # pydicom leaves such values unread.
    assert bytes(result.dataset[0x00181210].value) == b"x" * 70000
    assert result.dataset.StudyInstanceUID == PSEUDONYMS.uid("1.2.3")


@pytest.mark.parametrize("policy", POLICIES)
def test_odd_lengths(policy):
    data = in_a_file(image())
    at = data.index(b"\x20\x00\x0d\x00UI")
    body = element(0x00181210, "SH", b"B30") + element(0x00181251, "SH", b"Doenhoff 1")
    made = cleaned(data[:at] + body + data[at:], policy)
    assert made.ConvolutionKernel == "B30"
    assert made.TransmitCoilName == "1"
    again = deidentify(data[:at] + body + data[at:], policy, PSEUDONYMS).data
    assert len(again) % 2 == 0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_signatures_icons_padding_and_group_lengths_go(policy, syntax):
    source = image(syntax, PixelData=b"", Rows=1, Columns=1, BitsAllocated=16, BitsStored=16, HighBit=15)
    source.add_new(0x7FE00010, "OW", b"\1\2")
    source.add_new(0x00080000, "UL", 4711)
    source.add_new(0xFFFCFFFC, "OB", b"Doenhoff")
    signature, icon = Dataset(), Dataset()
    signature.add_new(0x04000120, "OB", b"SIGNED01")
    signature.CertificateOfSigner = b"Doenhoff"
    icon.add_new(0x7FE00010, "OW", b"ICONICON")
    inner = Dataset()
    inner.DigitalSignaturesSequence = Sequence([signature])
    inner.IconImageSequence = Sequence([icon])
    inner.add_new(0x00080000, "UL", 4712)
    inner.add_new(0xFFFCFFFC, "OB", b"PADPADPA")
    source.DigitalSignaturesSequence = Sequence([signature])
    source.IconImageSequence = Sequence([icon])
    source.AnatomicRegionSequence = Sequence([inner])
    made = cleaned(in_a_file(source), policy, b"SIGNED01", b"ICONICON", b"PADPADPA")
    assert made.PixelData == b"\1\2"
    for level in (made, made.AnatomicRegionSequence[0]):
        assert 0x00080000 not in level
        assert 0xFFFCFFFC not in level
        assert "DigitalSignaturesSequence" not in level
        assert "IconImageSequence" not in level


def test_every_value_of_a_uid_is_mapped():
    source = image()
    nested = Dataset()
    nested.add_new(0x00081155, "UI", ["1.2.3.61", "1.2.3.62", "1.2.840.10008.5.1.4.1.1.2"])
    source.ReferencedImageSequence = Sequence([nested])
    made = cleaned(in_a_file(source), POLICIES[1], b"1.2.3.61", b"1.2.3.62")
    assert list(made.ReferencedImageSequence[0].ReferencedSOPInstanceUID) == [
        PSEUDONYMS.uid("1.2.3.61"),
        PSEUDONYMS.uid("1.2.3.62"),
        CTImageStorage,
    ]
    assert made.SeriesInstanceUID == PSEUDONYMS.uid("1.2.3.8")


@pytest.mark.parametrize(
    "text", ["DOENHOFF", "doenhoff", "xDoenhoffx", "John", "JOHN-DOENHOFF", "a_PAT477112_b"]
)
def test_names_in_any_case_and_inside_words(text):
    made = cleaned(image(ProtocolName=f"Thorax {text} nativ"), POLICIES[1], b"John", b"JOHN", text.encode())
    assert made.ProtocolName.startswith("Thorax")
    assert made.ProtocolName.endswith("nativ")


def test_the_patient_of_a_mapping_is_an_identifier_too():
    source = image(StudyDescription="Thorax MAPPED9")
    result = deidentify(source, POLICIES[1], PSEUDONYMS, patient="MAPPED9")
    assert b"MAPPED9" not in result.data
    assert result.dataset.StudyDescription == "Thorax"
