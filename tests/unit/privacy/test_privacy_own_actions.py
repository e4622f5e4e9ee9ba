from __future__ import annotations

import hashlib
import hmac
from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from voxlake.core.errors import ItemError
from voxlake.privacy.deidentify import deidentify, preview
from voxlake.privacy.own_rules import OwnRule
from voxlake.privacy.policy import Policy
from voxlake.privacy.pseudonyms import Pseudonymiser


class Key:
    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(b"a" * 32, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


PSEUDONYMS = Pseudonymiser(Key())
PATH = ("AnatomicRegionSequence", "DerivationCodeSequence")


def image(
    nested: Dataset | None = None, *, syntax: str = ExplicitVRLittleEndian, **values: object
) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = CTImageStorage, "1.2.3.4", "1.2.3"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "4711", "Doe^John", "CT"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    if nested is not None:
        middle = Dataset()
        middle.DerivationCodeSequence = Sequence([nested])
        dataset.AnatomicRegionSequence = Sequence([middle])
    return dataset


def policy(*rules: dict[str, str], options: tuple[str, ...] = ()) -> Policy:
    return Policy(name="own", options=options, rules=tuple(OwnRule.read(rule) for rule in rules))


def in_a_file(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def applied(dataset: Dataset, *rules: dict[str, str], options: tuple[str, ...] = ()) -> Dataset:
    """What becomes of a data set, as a file and in memory."""
    wanted = policy(*rules, options=options)
    result = deidentify(in_a_file(dataset), wanted, PSEUDONYMS)
    assert deidentify(dataset, wanted, PSEUDONYMS).data == result.data
    return result.dataset


DAYS = PSEUDONYMS.shift_days("4711")
CASES = [
    ("InstitutionName", "Ward 7", {"action": "keep"}, "Ward 7"),
    ("ConvolutionKernel", "B30f", {"action": "remove"}, None),
    ("ConvolutionKernel", "B30f", {"action": "empty"}, ""),
    ("ConvolutionKernel", "B30f", {"action": "dummy"}, "ANONYMIZED"),
    ("ConvolutionKernel", "B30f", {"action": "replace", "value": "soft"}, "soft"),
    ("ConvolutionKernel", "B30f B31f", {"action": "replace", "pattern": r"B3\d", "value": "X"}, "Xf Xf"),
    ("ConvolutionKernel", "B30f Doe 12345", {"action": "clean"}, "B30f"),
    ("ConvolutionKernel", "Doe B30f secret", {"action": "clean", "pattern": " secret"}, "B30f"),
    ("ConvolutionKernel", "B30f", {"action": "token"}, PSEUDONYMS.token("00181210", "B30f")),
    ("AccessionNumber", "77", {"action": "token"}, PSEUDONYMS.token("00080050", "77")),
    ("FrameOfReferenceUID", "1.2.3.5", {"action": "keep"}, "1.2.3.5"),
    ("TrackingUID", "1.2.3.5", {"action": "map_uid"}, PSEUDONYMS.uid("1.2.3.5")),
    ("AcquisitionDate", "20200301", {"action": "keep"}, "20200301"),
    ("Exposure", "7", {"action": "replace", "value": "8"}, 8),
    ("SmallestImagePixelValue", 7, {"action": "replace", "value": "258"}, 258),
    ("DiffusionBValue", 7.0, {"action": "replace", "value": "0.5"}, 0.5),
    ("SmallestImagePixelValue", 7, {"action": "dummy"}, 0),
    ("SecondaryReviewerName", "Roe^Jane", {"action": "keep"}, "Roe^Jane"),
    ("AnatomicRegionSequence", Sequence([Dataset()]), {"action": "remove"}, None),
]


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize(("keyword", "value", "rule", "expected"), CASES)
def test_each_action_at_the_top_and_nested(depth, keyword, value, rule, expected):
    item = Dataset()
    # The VR of pixel values depends on this.
    item.PixelRepresentation = 0
    setattr(item, keyword, value)
    source = image(item) if depth else image(PixelRepresentation=0, **{keyword: value})
    made = applied(source, {"keyword": keyword, **rule})
    if depth:
        if keyword == "AnatomicRegionSequence":
            assert keyword not in made
            return
        made = made.AnatomicRegionSequence[0].DerivationCodeSequence[0]
    if expected is None:
        assert keyword not in made
    elif expected == "":
        assert made[keyword].is_empty
    else:
        assert made[keyword].value == expected


def test_dates_are_shifted_where_the_table_would_take_them_away():
    made = applied(
        image(StudyDate="20200301", AcquisitionDateTime="20200301101112"),
        {"keyword": "StudyDate", "action": "shift_date"},
        {"keyword": "AcquisitionDateTime", "action": "shift_date"},
    )
    assert made.StudyDate not in ("", "20200301")
    assert made.AcquisitionDateTime == f"{made.StudyDate}101112"
    from datetime import date

    moved = date.fromisoformat(made.StudyDate)
    assert (date(2020, 3, 1) - moved).days == DAYS


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_numbers_are_written_in_the_byte_order_of_the_file(syntax):
    source = image(syntax=syntax, PixelRepresentation=0, SmallestImagePixelValue=7, DiffusionBValue=1.0)
    source.add_new(0x00280009, "AT", 0x00181063)
    made = applied(
        source,
        {"vr": "US", "keyword": "SmallestImagePixelValue", "action": "replace", "value": "258"},
        {"vr": "FD", "action": "replace", "value": "-2.5"},
    )
    assert made.SmallestImagePixelValue == 258
    assert made.DiffusionBValue == -2.5


@pytest.mark.parametrize("action", ["keep", "empty", "dummy", "remove"])
def test_sequences(action):
    inner = Dataset()
    inner.CodeMeaning, inner.PatientName, inner.InstitutionName = "Head Doe 12345", "Doe^John", "Ward 7"
    source = image(RequestAttributesSequence=Sequence([inner]))
    made = applied(source, {"keyword": "RequestAttributesSequence", "action": action})
    if action == "remove":
        assert "RequestAttributesSequence" not in made
        return
    items = made.RequestAttributesSequence
    if action == "empty":
        assert len(items) == 0
        return
    # A sequence that is kept is no leave for what is inside: its elements have rules of their own.
    assert items[0].PatientName == made.PatientID
    assert items[0].InstitutionName == "ANONYMIZED"
    meaning = {"keep": "Head 12345", "dummy": "ANONYMIZED"}[action]
    assert items[0].CodeMeaning == meaning


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_private_elements_are_kept_by_creator(syntax):
    def with_private(creator: str) -> Dataset:
        dataset = image(syntax=syntax)
        block = dataset.private_block(0x0029, creator, create=True)
        block.add_new(0x10, "LO", "kept text")
        block.add_new(0x11, "DS", "1.5")
        other = dataset.private_block(0x0029, "OTHER", create=True)
        other.add_new(0x10, "LO", "SECRET")
        return dataset

    rule = {"private_creator": "ACME*", "action": "keep"}
    result = deidentify(in_a_file(with_private("ACME 1")), policy(rule), PSEUDONYMS)
    private = {element.tag: element for element in result.dataset if element.tag.is_private}
    assert sorted(private) == [0x00290010, 0x00291010, 0x00291011]
    # Implicit encodings do not state the VR of a private element.
    expected = b"kept text " if syntax == ImplicitVRLittleEndian else "kept text"
    assert private[0x00291010].value == expected
    assert b"SECRET" not in result.data
    assert b"OTHER" not in result.data
    none = deidentify(in_a_file(with_private("OTHER 2")), policy(rule), PSEUDONYMS).dataset
    assert not [element for element in none if element.tag.is_private]


def test_a_private_block_that_is_named_after_the_patient_goes():
    dataset = image()
    dataset.private_block(0x0029, "Doe Lab", create=True).add_new(0x10, "LO", "text")
    result = deidentify(in_a_file(dataset), policy({"group": "odd", "action": "keep"}), PSEUDONYMS)
    assert b"Doe" not in result.data
    assert not [element for element in result.dataset if element.tag.is_private]


def test_private_sequences_that_are_kept_are_opened():
    dataset = image()
    block = dataset.private_block(0x0029, "ACME", create=True)
    inner = Dataset()
    inner.PatientName, inner.InstitutionName, inner.ConvolutionKernel = "Doe^John", "Ward 7", "B30f"
    block.add_new(0x10, "SQ", Sequence([inner]))
    made = applied(dataset, {"private_creator": "ACME", "action": "keep"})
    (item,) = made[0x00291010].value
    assert (item.PatientName, item.ConvolutionKernel) == (made.PatientID, "B30f")
    assert item.InstitutionName == "ANONYMIZED"


@pytest.mark.parametrize("depth", [0, 2])
def test_reject_refuses_the_object_and_says_nothing_of_its_values(depth):
    item = Dataset()
    item.ImageComments = "VIP patient"
    source = image(item) if depth else image(ImageComments="VIP patient")
    rules = policy(
        {"keyword": "ConvolutionKernel", "action": "remove"},
        {"keyword": "ImageComments", "pattern": "VIP", "action": "reject"},
    )
    for call in (deidentify, preview):
        with pytest.raises(ItemError, match="own rule 2") as caught:
            call(in_a_file(source), rules, PSEUDONYMS)
        assert caught.value.reason == "policy_rejected"
        assert "VIP" not in str(caught.value)
    item.ImageComments = "somebody"
    assert deidentify(image(item), rules, PSEUDONYMS).data


def test_a_private_sequence_can_reject():
    dataset = image()
    dataset.private_block(0x0029, "ACME", create=True).add_new(0x10, "SQ", Sequence([Dataset()]))
    with pytest.raises(ItemError) as caught:
        deidentify(in_a_file(dataset), policy({"private_creator": "ACME", "action": "reject"}), PSEUDONYMS)
    assert caught.value.reason == "policy_rejected"


def test_the_first_rule_that_matches_decides_and_is_named():
    rules = [
        {"keyword": "ConvolutionKernel", "pattern": "soft", "action": "keep"},
        {"keyword": "ConvolutionKernel", "action": "replace", "value": "other"},
        {"vr": "SH", "action": "remove"},
    ]
    assert applied(image(ConvolutionKernel="soft 1"), *rules).ConvolutionKernel == "soft 1"
    assert applied(image(ConvolutionKernel="hard 1"), *rules).ConvolutionKernel == "other"
    assert "ConvolutionKernel" not in applied(image(ConvolutionKernel="hard 1"), *rules[::-1])
    changes = preview(image(ConvolutionKernel="hard 1"), policy(*rules), PSEUDONYMS)
    assert ("(0018,1210)", "ConvolutionKernel", "replaced", "own rule 2") in changes


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ({"sop_class": "CTImageStorage"}, True),
        ({"sop_class": MRImageStorage}, False),
        ({"modality": "CT"}, True),
        ({"modality": "MR"}, False),
        ({"modality": "CT", "sop_class": MRImageStorage}, False),
    ],
)
def test_the_kind_of_object_is_a_condition(condition, matches):
    made = applied(
        image(ConvolutionKernel="B30f"), {"keyword": "ConvolutionKernel", "action": "empty", **condition}
    )
    assert made["ConvolutionKernel"].is_empty is matches


def test_own_rules_come_before_options_and_the_table():
    source = image(StudyDescription="Thorax", PatientSex="F", OperatorsName="Roe^Jane")
    made = applied(
        source,
        {"keyword": "StudyDescription", "action": "remove"},
        {"keyword": "PatientSex", "action": "empty"},
        {"vr": "PN", "action": "dummy"},
        options=("clean_descriptors", "retain_patient_characteristics"),
    )
    assert "StudyDescription" not in made
    assert made["PatientSex"].is_empty
    assert made.OperatorsName == "ANONYMIZED"
    assert made.PatientName == made.PatientID != "ANONYMIZED"


def test_text_in_another_character_set_is_replaced_in_it():
    source = image(SpecificCharacterSet="ISO_IR 192", ConvolutionKernel="weich für Müller")
    rule = {"keyword": "ConvolutionKernel", "action": "replace", "pattern": "Müller", "value": "x"}
    assert applied(source, rule).ConvolutionKernel == "weich für x"
    assert dcmread(BytesIO(in_a_file(source))).ConvolutionKernel == "weich für Müller"
