"""Every row of PS3.15 Table E.1-1, planted at three depths of one object; then real files of many kinds."""

from __future__ import annotations

import hashlib
import hmac
import warnings
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.core.errors import ItemError
from voxlake.dicom.nodes import known_vr
from voxlake.privacy.deidentify import deidentify, preview
from voxlake.privacy.policy import load_policy
from voxlake.privacy.profile import load_profile
from voxlake.privacy.pseudonyms import Pseudonymiser


class Key:
    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(b"c" * 32, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


PSEUDONYMS = Pseudonymiser(Key())
FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
NOT_IN_A_FILE = (0, 2)


SPECIAL = {"private": 0x00091001, "50xxxxxx": 0x50021003, "60xx3000": 0x60023000, "60xx4000": 0x60FE4000}


def tag_of(row) -> int:
    return SPECIAL.get(row.tag) or int(row.tag, 16)


def vr_of(tag: int) -> str:
    if Tag(tag).is_private:
        return "LO"
    if not dictionary_has_tag(tag):
        # pydicom 3.0 does not know attributes that came after its dictionary.
        return "OB" if tag >> 24 in (0x50, 0x60) and tag & 0xFFFF == 0x3000 else known_vr(tag) or "LO"
    return dictionary_VR(tag).split(" or ")[0]


def planted(vr: str, number: int):
    """A value of this VR that no other element has, and the bytes to look for."""
    match vr:
        case "DA":
            text = f"{1950 + number % 40}{1 + number % 12:02d}{1 + number % 28:02d}"
        case "TM":
            text = f"{number % 24:02d}{number % 60:02d}{number % 59:02d}.{number:06d}"
        case "DT":
            text = f"19{50 + number % 40}0203{number % 24:02d}{number % 60:02d}11.{number:06d}"
        case "AS":
            text = "091Y"
        case "DS" | "IS":
            text = f"{700000 + number}"
        case "UI":
            text = f"1.9.8.7.{1000 + number}"
        case "US" | "SS" | "UL" | "SL" | "FD" | "FL" | "AT":
            return 31337, b""
        case "OB" | "OW" | "UN" | "OF" | "OD" | "OL" | "OV":
            return f"TOKEN{number:05d}".encode() + b"\0" * 6, f"TOKEN{number:05d}".encode()
        case _:
            text = f"TOKEN{number:05d}"
    return text, text.encode()


def item_with_all_rows(tokens: dict[bytes, str], start: int) -> Dataset:
    dataset = Dataset()
    dataset.add_new(0x00090010, "LO", "SOMEBODY")
    for number, row in enumerate(load_profile().rows, start=start):
        tag = tag_of(row)
        if tag >> 16 in NOT_IN_A_FILE:
            continue
        vr = vr_of(tag)
        if vr == "SQ":
            child = Dataset()
            # What stays of a sequence whose UIDs are mapped is the sequence, and in it a UID.
            inner_tag = 0x00081155 if row.basic == "X/Z/U*" else 0x00080104
            value, token = planted(vr_of(inner_tag), number)
            child.add_new(inner_tag, vr_of(inner_tag), value)
            dataset.add_new(tag, "SQ", Sequence([child]))
            tokens[token] = row.tag
            continue
        value, token = planted(vr, number)
        dataset.add_new(tag, vr, value)
        if token and vr != "AS":
            tokens[token] = row.tag
    return dataset


def annex_e_object(*, implicit: bool) -> tuple[bytes, dict[bytes, str]]:
    tokens: dict[bytes, str] = {}
    dataset = item_with_all_rows(tokens, 1)
    inner = item_with_all_rows(tokens, 1001)
    middle = item_with_all_rows(tokens, 2001)
    # Sequences that no rule names, so that what is inside is reached and not just removed with them.
    middle.DerivationCodeSequence = Sequence([inner])
    dataset.AnatomicRegionSequence = Sequence([middle])
    dataset.SOPClassUID = CTImageStorage
    dataset.Rows = 2
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.file_meta.SourceApplicationEntityTitle = "TOKENAE"
    dataset.preamble = b"TOKENPRE" * 16
    tokens[b"TOKENAE"] = tokens[b"TOKENPRE"] = "meta"
    tokens[b"SOMEBODY"] = "private creator"
    stream = BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue(), tokens


@pytest.fixture(scope="module", params=[False, True], ids=["explicit", "implicit"])
def annex_e(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return annex_e_object(implicit=request.param)


def levels(dataset: Dataset):
    yield dataset
    yield dataset.AnatomicRegionSequence[0]
    yield dataset.AnatomicRegionSequence[0].DerivationCodeSequence[0]


def test_the_object_holds_every_token_before(annex_e):
    data, tokens = annex_e
    assert len(tokens) > 1800
    assert [row for token, row in tokens.items() if token not in data] == []


def test_basic_leaves_no_token_at_any_depth(annex_e):
    data, tokens = annex_e
    result = deidentify(dcmread(BytesIO(data)), load_policy("basic"), PSEUDONYMS)
    assert [(token, row) for token, row in tokens.items() if token in result.data] == []


def test_basic_does_what_the_code_of_each_row_says(annex_e):
    data, _ = annex_e
    source = dcmread(BytesIO(data))
    result = deidentify(source, load_policy("basic"), PSEUDONYMS).dataset
    for level, (before, after) in enumerate(zip(levels(source), levels(result), strict=True)):
        for row in load_profile().rows:
            tag = tag_of(row)
            if tag >> 16 in NOT_IN_A_FILE:
                continue
            assert tag in before
            where = f"{row.tag} {row.basic} at depth {level}"
            if row.basic == "X":
                assert tag not in after, where
                continue
            assert tag in after, where
            element = after[tag]
            if row.basic == "U":
                assert str(element.value).startswith("2.25."), where
            elif row.basic in ("D", "X/D", "Z/D", "X/Z/D"):
                assert not element.is_empty, where
            elif row.basic in ("Z", "X/Z") and tag not in (0x00100010, 0x00100020):
                assert element.is_empty, where


def test_research_keeps_what_its_options_keep_and_nothing_else(annex_e):
    data, tokens = annex_e
    source = dcmread(BytesIO(data))
    policy = load_policy("research")
    result = deidentify(source, policy, PSEUDONYMS)
    kept_rows = {
        row.tag
        for row in load_profile().rows
        if {"K", "C"} & {row.options.get(option) for option in policy.options}
    }
    survivors = {row for token, row in tokens.items() if token in result.data}
    # Times stay under Modified Dates, descriptors without a known identity stay under Clean Descriptors.
    assert survivors <= kept_rows
    dates = {row.tag for row in load_profile().rows if "retain_longitudinal_modified_dates" in row.options}
    moved = {row for token, row in tokens.items() if row in dates and vr_of(int(row, 16)) in ("DA", "DT")}
    assert len(moved) > 80
    assert not moved & survivors
    assert result.dataset.PatientAge == "090Y"
    assert result.dataset.LongitudinalTemporalInformationModified == "MODIFIED"


def test_research_takes_the_patient_out_of_every_descriptor():
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = CTImageStorage, "1.2.3", "1.2"
    who = "TOKENA TOKENB PAT-77 HOSPITAL-9 12345678 20210304"
    nested = Dataset()
    for target in (dataset, nested):
        for row in load_profile().rows:
            if row.options.get("clean_descriptors") == "C" and vr_of(tag_of(row)) in (
                "LO",
                "SH",
                "ST",
                "LT",
                "UT",
            ):
                target.add_new(tag_of(row), vr_of(tag_of(row)), "who" if vr_of(tag_of(row)) == "SH" else who)
    dataset.PatientName, dataset.PatientID = "TOKENA^TOKENB", "PAT-77"
    dataset.InstitutionName = "HOSPITAL-9"
    dataset.ReferencedImageSequence = Sequence([nested])
    assert len(nested) > 60
    data = deidentify(dataset, load_policy("research"), PSEUDONYMS).data
    for word in who.split():
        assert word.encode() not in data


def real_files():
    return sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*.dcm"))


@pytest.mark.parametrize("name", real_files())
@pytest.mark.filterwarnings("ignore")
def test_real_files_stay_readable_with_the_same_pixels(name):
    try:
        source = dcmread(FOLDER / name)
    except pydicom.errors.InvalidDicomError:
        pytest.skip("not in the DICOM file format")
    before = source.get("PixelData")
    for policy in ("basic", "research"):
        try:
            result = deidentify(source, load_policy(policy), PSEUDONYMS)
        except ItemError:
            nobody = not (source.get("PatientID") or source.get("StudyInstanceUID"))
            no_file = not (source.get("SOPClassUID") and source.get("SOPInstanceUID"))
            assert nobody or no_file
            continue
        assert sum(1 for element in result.dataset.iterall() if element.value is not None) > 5
        assert result.data[:128] == bytes(128)
        assert result.dataset.file_meta.MediaStorageSOPInstanceUID == result.dataset.SOPInstanceUID
        if "TransferSyntaxUID" in source.file_meta:
            assert result.dataset.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
        if before is not None:
            assert result.dataset.PixelData[: len(before)] == before
            assert len(result.dataset.PixelData) - len(before) in (0, 1)
        for keyword in ("PatientName", "SOPInstanceUID", "StudyInstanceUID", "InstitutionName"):
            original = str(source.get(keyword) or "")
            if len(original) > 6:
                assert original.encode() not in result.data
        assert len(preview(source, load_policy(policy), PSEUDONYMS)) == sum(result.changes.values())


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore")
def test_real_series_of_several_vendors(realdata):
    checked = 0
    for path in sorted((realdata / "multivendor_dicom").rglob("*.dcm"))[::12]:
        source = dcmread(path)
        result = deidentify(source, load_policy("research"), PSEUDONYMS)
        assert result.dataset.get("PixelData") == source.get("PixelData")
        assert str(source.SOPInstanceUID).encode() not in result.data
        assert str(result.dataset.PatientID) == result.patient_id
        for element in result.dataset.iterall():
            assert element.tag.group not in (0x6000, 0x5000)
        checked += 1
    assert checked > 10
